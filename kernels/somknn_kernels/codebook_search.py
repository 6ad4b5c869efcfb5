"""The two nearest rows of a small codebook for every row of the data: best-matching units (BMU) of a map.

With x and w the row and the unit, both minus one centre, the order of the distances is that of the scores

    s(x, w) = ‖w‖²/2 - x·w ,      ‖x - w‖² = ‖x‖² + 2·s(x, w) .

On orthonormal axes P, with y = Px, v = Pw, and r, ρ the norms of what P leaves out, Cauchy-Schwarz gives

    s(x, w) >= ‖w‖²/2 - y·v - r·ρ .

Stage 1 multiplies the leading axes (and r with ρ) as 16-bit integers in a register tile and compares in the registers; stage 2
takes all axes for the few units that stage 1 leaves; stage 3 multiplies what is still alive with the whole row,
rounded to 16 bits; where that cannot tell two units apart, float64 decides. Every rounding is paid for in the bound, so no
true neighbour is ever lost. docs/som.md has the bounds and the figures.

Cost per row of data: 32·K multiply-adds of 16 bits, 64 for each survivor of stage 1, d for each of stage 2.
"""

import numpy as np
from numba import types
from numba.extending import overload

from somknn_kernels.codebook_codes import CODE_LIMIT, LEAD, NOWHERE
from somknn_kernels.distances import squared_distance_float64
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.row_products import row_product, screen_tile, spread_tile
from somknn_kernels.tiles import prefetch_row, query_tile, trailing_zeros

_SORTED = 16  # units of a row that are measured in order of their bounds


def _load(X, i, centre, factor, out, j):
    """out[j] = row i as 16-bit integers: bytes as they are, else (x - centre)·factor rounded."""
    raise NotImplementedError("only inside kernels")


@overload(_load, inline="never")
def _load_overload(X, i, centre, factor, out, j):
    if X.dtype == types.uint8:

        def bytes_as_they_are(X, i, centre, factor, out, j):
            for c in range(X.shape[1]):
                out[j, c] = X[i, c]

        return bytes_as_they_are

    def rounded(X, i, centre, factor, out, j):
        for c in range(X.shape[1]):
            out[j, c] = np.int16(np.rint((np.float64(X[i, c]) - centre[c]) * factor))

    return rounded


@inlined
def _closer(distance, index, other_distance, other_index):
    return distance < other_distance or (distance == other_distance and index < other_index)


@inlined
def _offer(distance, index, best, best_index):
    """Keep the two smallest (distance, index) pairs in best[0:2], best_index[0:2]."""
    if index == best_index[0] or index == best_index[1]:
        return
    if _closer(distance, index, best[0], best_index[0]):
        best[1] = best[0]
        best_index[1] = best_index[0]
        best[0] = distance
        best_index[0] = index
    elif _closer(distance, index, best[1], best_index[1]):
        best[1] = distance
        best_index[1] = index


@inlined
def _threshold(second, margin, product_unit):
    """The least accumulator (product minus half norm) that a unit may have and still be among the two nearest."""
    bound = -(second + margin) / product_unit - 2.0
    if not bound > -2147483647.0:  # a NaN rules nothing out
        return np.int32(-2147483647)
    return np.int32(min(np.floor(bound), 2147483647.0))


@inlined
def _two_largest(isa, tile_codes, panels, starts, values, first, second, places):
    """Accumulators of all units for the rows of a tile, and for each row the two units with the largest.

    values : int32 (rows, panels·panel rows); first, second : int32 (rows, panel rows), scratch: the two largest of each
    lane, so that the loop over the units has no branch; places : int64 (rows, 2).
    """
    n_panels, _, panel, _ = panels.shape
    first[:] = np.int32(NOWHERE)
    second[:] = np.int32(NOWHERE)
    for q in range(n_panels):
        spread_tile(isa, tile_codes, 0, panels, starts, q, values, first, second)
    for j in range(values.shape[0]):
        a = 0
        for r in range(1, panel):
            if first[j, r] > first[j, a]:
                a = r
        b = 1 if a == 0 else 0
        for r in range(panel):
            if r != a and first[j, r] > first[j, b]:
                b = r
        next_best = first[j, b]
        if second[j, a] >= next_best:
            next_best = second[j, a]
            b = a
        k = a
        while values[j, k] != first[j, a]:
            k += panel
        places[j, 0] = k
        k = k + panel if b == a and second[j, a] == first[j, a] else b
        while values[j, k] != next_best:
            k += panel
        places[j, 1] = k


@inlined
def _at_least(values, j, limit, step, alive):
    """Write the positions k with values[j, k] >= limit to alive[j]; returns how many.

    Counting the survivors of a group is a loop that LLVM turns into vector comparisons (an early exit is not); most groups
    have none.
    """
    found = 0
    for start in range(0, values.shape[1], step):
        some = np.int32(0)
        for k in range(start, start + step):
            some += np.int32(values[j, k] >= limit)
        if some > 0:
            for k in range(start, start + step):
                if values[j, k] >= limit:
                    alive[j, found] = k
                    found += 1
    return found


@kernel
def two_nearest(isa, X, W, short, book, trust, first_row, last_row, units, distances, counts):
    """The nearest and second nearest row of W for the rows [first_row, last_row) of X.

    X : (n, d) uint8, float32 or float64; W : (K, d) float32 or float64, K >= 2; short : Short; book : Units
    units : int64 (n, 2): on entry two different guesses (previous units), used if `trust` is true, on return the two
    nearest: exact, ties (of float64 distances, see `distances`) to the lowest index. Guesses change only the speed.
    Without them the two units that look best on the leading axes are measured first: the better way as long as the
    codebook still changes much.
    distances : float64 (n,): squared distance to the nearest unit, within 1e-7 of itself.
    counts : int64 (4,): units that passed stage 1 and stage 2, those that float64 had to tell apart, and rows that
    kept their nearest unit, are added.
    """
    codes, norms, centre = short.codes, short.norms, short.centre
    panels, starts, second, high, low, offsets = (
        book.panels,
        book.starts,
        book.second,
        book.high,
        book.low,
        book.offsets,
    )
    scale, rare, step, fine = short.scale, short.rare, book.step, book.fine
    product_unit = short.unit * book.unit
    K = W.shape[0]
    n_panels, _, panel, _ = panels.shape
    integers = X.itemsize == 1
    flat_starts = starts.reshape(-1)
    tile = _tile_rows(isa)
    pairs = codes.view(np.int32)
    tile_codes = np.zeros((1, LEAD // 2, tile, 2), np.int16)
    tile_pairs = tile_codes.view(np.int32)
    whole = np.zeros((tile, high.shape[1]), np.int16)
    scores = np.empty(K, np.float64)
    places = np.empty(K, np.int64)
    bounds = np.empty(K, np.int64)
    alive = np.empty((tile, n_panels * panel), np.int32)
    found = np.zeros(tile, np.int64)
    values = np.empty((tile, n_panels * panel), np.int32)
    first = np.empty((tile, panel), np.int32)
    second_first = np.empty((tile, panel), np.int32)
    guesses = np.empty((tile, 2), np.int64)
    guess_scores = np.empty((tile, 2))
    limits = np.empty(tile, np.int32)
    masks = np.empty(tile, np.uint64)
    factors = np.empty(tile)
    sums = np.empty(8, np.float64)
    best = np.empty(2, np.float64)
    best_index = np.empty(2, np.int64)
    shrink = 1.0 / (scale * scale)
    for start in range(first_row, last_row, tile):
        rows = min(tile, last_row - start)
        for j in range(rows):
            i = start + j
            for g in range(LEAD // 2):
                tile_pairs[0, g, j, 0] = pairs[i, g]
        if trust:
            for j in range(rows):
                guesses[j, 0] = units[start + j, 0]
                guesses[j, 1] = units[start + j, 1]
        else:
            _two_largest(isa, tile_codes, panels, starts, values, first, second_first, guesses)
        for j in range(tile):
            limits[j] = 2147483647
            found[j] = 0
        for j in range(rows):
            i = start + j
            norm = norms[i]
            if not norm <= rare:
                continue
            factor = 1.0
            if not integers:
                factor = CODE_LIMIT / norm if norm > 0.0 else 0.0
            _load(X, i, centre, factor * scale, whole, j)
            factors[j] = step / factor if factor > 0.0 else 0.0
            second_score = -np.inf
            for g in range(2):
                k = guesses[j, g]
                score = offsets[k] - factors[j] * row_product(isa, whole, j, high, k)
                guess_scores[j, g] = score
                second_score = max(second_score, score)
            margin = book.slack[0] * norm + book.slack[1] + book.blur[0] * norm + book.blur[2]
            limits[j] = _threshold(second_score, margin, product_unit)
        if trust:  # the next tile's units on their way while this one is scanned
            for following in range(start + tile, min(start + 2 * tile, last_row)):
                prefetch_row(high, units[following, 0])
                prefetch_row(high, units[following, 1])
        else:
            for j in range(rows):
                found[j] = _at_least(values, j, limits[j], panel, alive)
        for q in range(n_panels if trust else 0):
            if screen_tile(isa, tile_codes, 0, panels, starts, q, limits, masks) != 0:
                for j in range(rows):
                    mask = masks[j]
                    while mask != 0:
                        alive[j, found[j]] = q * panel + trailing_zeros(mask)
                        found[j] += 1
                        mask &= mask - np.uint64(1)
        for j in range(rows):
            i = start + j
            norm = norms[i]
            best[0] = np.inf
            best[1] = np.inf
            best_index[0] = -1
            best_index[1] = -1
            if not norm <= rare:
                for k in range(K):
                    _offer(squared_distance_float64(X, i, W, k, sums), k, best, best_index)
                units[i, 0] = best_index[0]
                units[i, 1] = best_index[1]
                distances[i] = best[0]
                continue
            blur = book.blur[0] * norm + book.blur[2]
            margin = book.slack[0] * norm + book.slack[1] + blur
            guess_0, guess_1 = guesses[j, 0], guesses[j, 1]
            scores[0] = guess_scores[j, 0]
            scores[1] = guess_scores[j, 1]
            places[0] = guess_0
            places[1] = guess_1
            evaluated = 2
            lowest = min(scores[0], scores[1])
            second_lowest = max(scores[0], scores[1])
            nearest = guess_0 if scores[0] <= scores[1] else guess_1
            runner_up = guess_1 if scores[0] <= scores[1] else guess_0
            limit = limits[j]
            left = 0
            for position in range(found[j]):
                k = np.int64(alive[j, position])
                if k == guess_0 or k == guess_1:  # noqa: SIM109
                    continue
                counts[0] += 1
                bound = row_product(isa, codes, i, second, k) + np.int64(flat_starts[k])
                if bound >= limit:
                    alive[j, left] = k
                    bounds[left] = bound
                    left += 1
            for turn in range(left):
                # The most promising first: it lowers the limit for the others. Past some turns the search for it costs more.
                chosen = turn
                if turn < _SORTED:
                    for position in range(turn + 1, left):
                        if bounds[position] > bounds[chosen]:
                            chosen = position
                    if bounds[chosen] < limit:
                        break
                elif bounds[chosen] < limit:
                    continue
                k = np.int64(alive[j, chosen])
                alive[j, chosen] = alive[j, turn]
                bounds[chosen] = bounds[turn]
                score = offsets[k] - factors[j] * row_product(isa, whole, j, high, k)
                scores[evaluated] = score
                places[evaluated] = k
                evaluated += 1
                if score < second_lowest:
                    if score < lowest:
                        second_lowest = lowest
                        runner_up = nearest
                        lowest = score
                        nearest = k
                    else:
                        second_lowest = score
                        runner_up = k
                    limit = _threshold(second_lowest, margin, product_unit)
            counts[1] += evaluated
            counts[3] += np.int64(nearest == units[i, 0])
            certain = second_lowest - lowest > 2.0 * blur
            for position in range(evaluated):
                k = places[position]
                if k != nearest and k != runner_up and not scores[position] > second_lowest + 2.0 * blur:
                    certain = False
            if certain:
                units[i, 0] = nearest
                units[i, 1] = runner_up
                if integers:
                    fine_score = lowest - factors[j] * fine * row_product(isa, whole, j, low, nearest)
                    fine_score += book.rests[nearest]
                    distance = norm * norm + 2.0 * fine_score
                    if 2.0 * (book.blur[1] * norm + book.blur[2]) < 1e-7 * distance:
                        distances[i] = distance * shrink
                        continue
                distances[i] = squared_distance_float64(X, i, W, nearest, sums)
                continue
            for position in range(evaluated):
                if not scores[position] > second_lowest + 2.0 * blur:
                    counts[2] += 1
                    k = places[position]
                    _offer(squared_distance_float64(X, i, W, k, sums), k, best, best_index)
            units[i, 0] = best_index[0]
            units[i, 1] = best_index[1]
            distances[i] = best[0]


def _tile_rows(isa):
    """`query_tile` inside kernels."""
    raise NotImplementedError("only inside kernels")


@overload(_tile_rows, inline="never")
def _tile_rows_overload(isa):
    rows = query_tile(isa.instance_class())
    return lambda isa: rows


@kernel
def two_nearest_missing(X, W, first_row, last_row, units, distances):
    """Like `two_nearest` over the columns where a row is not NaN; rows without any value get unit 0, 1 and distance 0.

    X : float32 or float64 (n, d) with NaN for missing; units, distances as in `two_nearest` (guesses or -1).
    A partial sum past the second best ends a row of W early; terms are added in column order in float64.
    """
    d = X.shape[1]
    K = W.shape[0]
    values = np.empty(d, np.float64)
    columns = np.empty(d, np.int64)
    best = np.empty(2, np.float64)
    best_index = np.empty(2, np.int64)
    for i in range(first_row, last_row):
        present = 0
        for c in range(d):
            if not np.isnan(X[i, c]):
                values[present] = X[i, c]
                columns[present] = c
                present += 1
        best[0] = np.inf
        best[1] = np.inf
        best_index[0] = -1
        best_index[1] = -1
        guess_0, guess_1 = units[i, 0], units[i, 1]
        for turn in range(-2, K):
            k = guess_0 if turn == -2 else guess_1 if turn == -1 else turn
            if k < 0 or (turn >= 0 and (k == guess_0 or k == guess_1)):  # noqa: SIM109
                continue
            total = 0.0
            position = 0
            while position < present and total <= best[1]:
                stop = min(present, position + 32)
                for at in range(position, stop):
                    difference = values[at] - np.float64(W[k, columns[at]])
                    total += difference * difference
                position = stop
            if position == present:
                _offer(total, k, best, best_index)
        units[i, 0] = best_index[0]
        units[i, 1] = best_index[1]
        distances[i] = best[0]
