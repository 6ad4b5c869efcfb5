"""The two nearest rows of a small codebook for every row of the data: best-matching units (BMU) of a map.

With x and w the row and the unit, both minus one centre, the order of the distances is that of the scores

    s(x, w) = ‖w‖²/2 - x·w ,      ‖x - w‖² = ‖x‖² + 2·s(x, w) .

On orthonormal axes P, with y = Px, v = Pw, and r, ρ the norms of what P leaves out, Cauchy-Schwarz gives

    s(x, w) >= ‖w‖²/2 - y·v - r·ρ .

Stage 1 multiplies the leading axes (and r with ρ) as 16-bit integers in a register tile and compares in the registers; stage 2
takes all axes for the few units that stage 1 leaves; stage 3 multiplies what is still alive with the whole row,
rounded to 16 bits; where that cannot tell two units apart, float64 decides. Every rounding is paid for in the bound, so no
true neighbour is ever lost. docs/concepts/maps.md has the bounds and the figures.

Cost per row of data: 32·K multiply-adds of 16 bits, 64 for each survivor of stage 1, d for each of stage 2.
"""

import numpy as np

from somknn_kernels.bounds.codebook_codes import NOWHERE, load_row, norm_beyond, round_codes, row_factor
from somknn_kernels.bounds.rounding import floor_int32
from somknn_kernels.exact.distances import squared_distance_float64
from somknn_kernels.ir.operations import prefetch_row, trailing_zeros
from somknn_kernels.ir.shapes import tile_rows
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.search.codebook_missing import offer_unit
from somknn_kernels.tiles.row_products import (
    AXES,
    at_least,
    four_row_products,
    project_tile,
    project_used,
    row_product,
    screen_tile,
    spread_tile,
    two_largest_lanes,
    two_row_products,
)

_SORTED = 3  # units of a row that are measured in order of their bounds
_TILES = 8  # that go through the stages together
_SMALL = 1024  # units, up to which their accumulators stay in the level-2 cache
_FETCHED = 8  # units of a row that are fetched ahead, of a large codebook: for one that lies in the level-2 or 3 cache, no gain


@inlined
def _threshold(second, margin, product_unit):
    """The least accumulator (product minus half norm) that a unit may have and still be among the two nearest."""
    return floor_int32(-(second + margin) / product_unit - 2.0)


@inlined
def _aligned_rows(n, columns):
    """Zeros, int16 (n, columns), that begin with a cache line."""
    room = np.zeros(n * columns + 32, np.int16)
    first = -(room.ctypes.data // 2) % 32
    return room[first : first + n * columns].reshape(n, columns)


@inlined
def _two_largest(isa, tile_codes, t, panels, starts, values, first, second, places, first_place):
    """Accumulators of all units for the rows of tile t, and for each row the two units with the largest.

    values : int32 (rows, panels·panel rows); first, second : int32 (rows, panel rows), scratch: the two largest of each
    lane, so that the loop over the units has no branch; places : int64 (…, 2), from `first_place` on.
    """
    n_panels, _, panel, _ = panels.shape
    first[:] = np.int32(NOWHERE)
    second[:] = np.int32(NOWHERE)
    for q in range(n_panels):
        spread_tile(isa, tile_codes, t, panels, starts, q, values, first, second)
    for j in range(values.shape[0]):
        a, largest, b, next_largest = two_largest_lanes(isa, first, second, j)
        k = a
        while k < values.shape[1] and values[j, k] != largest:
            k += panel
        places[first_place + j, 0] = k
        k = k + panel if b == a and next_largest == largest else b
        while k < values.shape[1] and values[j, k] != next_largest:
            k += panel
        places[first_place + j, 1] = k


@inlined
def _are_apart(scores, places, count, nearest, runner_up, lowest, second_lowest, gap):
    """Whether the two lowest scores are apart from each other, and the others from both, by more than `gap`."""
    certain = second_lowest - lowest > gap
    for position in range(count):
        k = places[position]
        if k != nearest and k != runner_up and not scores[position] > second_lowest + gap:
            certain = False
    return certain


@inlined
def _own_codes(projected, tile, first, count, norms, factors, from_row, scaling, shifts, loss, line, tile_codes, t):
    """The codes of a tile's rows on the codebook's own axes, and in the last column the norms beyond them.

    projected : int32 (panels·rows of a tile, AXES); scaling : (unit, 1 / (unit of the axes), deviation of their Gram matrix). One call for a tile: the
    arrays of each call are counted, by atomic instructions, as dear as the codes of a row.
    """
    unit, inverse, deviation = scaling
    n_panels = projected.shape[0] // tile
    for j in range(count):
        factor = factors[from_row + j]
        factor = inverse / (factor * unit) if factor > 0.0 else 0.0
        inside = 0.0
        for p in range(n_panels):
            inside += round_codes(projected, p * tile + j, factor, shifts, p * AXES, line)
            for a in range(AXES):
                column = p * AXES + a
                tile_codes[t, column // 2, j, column % 2] = np.int16(line[a])
        norm = norms[first + j]
        beyond = norm_beyond(norm * norm, inside * unit * unit, loss, deviation, unit)
        tile_codes[t, n_panels * AXES // 2 - 1, j, 1] = beyond


@kernel
def two_nearest(isa, X, W, short, book, trust, first_row, last_row, units, distances, counts):
    """The nearest and second nearest row of W for the rows [first_row, last_row) of X.

    X : (n, d) uint8, float32 or float64; W : (K, d) float32 or float64, K >= 2; short : Short; book : Units; first_row : a multiple
    of the rows of a tile
    units : int64 (n, 2): on entry two different guesses (previous units), used if `trust` is true, on return the two
    nearest: exact, ties (of float64 distances, see `distances`) to the lowest index. Guesses change only the speed.
    Without them the two units that look best in stage 1 are measured first: the better way as long as the codebook still
    changes much, and the only one without a stage 2.
    distances : float64 (n,): squared distance to the nearest unit, within 1e-7 of itself.
    counts : int64 (4,): units that passed stage 1, units measured in full, those that float64 had to tell apart, and rows that
    kept their nearest unit, are added.

    Some tiles of rows go through the stages together: loops of one kind, whose branches and memory are alike.
    """
    codes, norms, centre, used = short.codes, short.norms, short.centre, short.used
    listed = used.shape[0] > 0
    panels, starts, second, own, high, low, offsets = (
        book.panels,
        book.starts,
        book.second,
        book.own,
        book.high,
        book.low,
        book.offsets,
    )
    scale, rare, step, fine = short.scale, short.rare, book.step, book.fine
    product_unit = short.unit * book.unit
    K = W.shape[0]
    n_panels, n_pairs, panel, _ = panels.shape
    integers = X.itemsize == 1
    staged = second.shape[0] > 0
    owned = own.shape[0] > 0
    flat_starts = starts.reshape(-1)
    tile = tile_rows(isa)
    tiles = _TILES if K <= _SMALL else 1
    chunk = tiles * tile
    distant = K > _SMALL
    pairs = codes.view(np.int32)
    tile_codes = np.zeros((tiles, n_pairs, tile, 2), np.int16)
    tile_pairs = tile_codes.view(np.int32)
    whole = _aligned_rows(chunk, high.shape[1])
    projected = np.empty((own.shape[0], tile, AXES), np.int32)
    all_projected = projected.reshape(-1, AXES)
    n_own = own.shape[0]
    first_projected = projected[0] if owned else all_projected
    last_projected = projected[n_own - 1] if owned else all_projected
    own_shifts = book.own_shifts / short.unit
    scaling = (short.unit, book.own_inverse, book.deviation)
    line = np.empty(AXES, np.int32)
    values = np.empty((chunk, n_panels * panel), np.int32)
    alive = np.zeros((chunk, n_panels * panel), np.int32)
    bits = np.empty((chunk, (n_panels * panel + 63) // 64), np.uint64)
    bounds = np.empty((chunk, n_panels * panel), np.int32)
    found = np.zeros(chunk, np.int64)
    first = np.empty((tile, panel), np.int32)
    second_first = np.empty((tile, panel), np.int32)
    guesses = np.empty((chunk, 2), np.int64)
    limits = np.empty(chunk, np.int32)
    masks = np.empty(tile, np.uint64)
    factors = np.empty(chunk)
    guess_scores = np.empty((chunk, 2))
    scores = np.empty(K)
    places = np.empty(K, np.int64)
    sums = np.empty(8)
    best = np.empty(2)
    best_index = np.empty(2, np.int64)
    shrink = 1.0 / (scale * scale)
    for start in range(first_row, last_row, chunk):
        rows = min(chunk, last_row - start)
        if trust:
            for j in range(rows):
                guesses[j, 0] = units[start + j, 0]
                guesses[j, 1] = units[start + j, 1]
        for j in range(rows):
            norm = norms[start + j]
            factors[j] = row_factor(integers, norm) if norm <= rare else 0.0
            load_row(X, start + j, centre, factors[j] * scale, whole, j)
        for t in range(-(-rows // tile)):
            from_row = t * tile
            count = min(tile, rows - from_row)
            if owned:
                if listed:
                    project_used(isa, whole, from_row, own, 0, first_projected, used, (start + from_row) // tile)
                    if n_own > 1:
                        project_used(isa, whole, from_row, own, 1, last_projected, used, (start + from_row) // tile)
                else:
                    project_tile(isa, whole, from_row, own, 0, first_projected)
                    if n_own > 1:
                        project_tile(isa, whole, from_row, own, 1, last_projected)
                _own_codes(
                    all_projected, tile, start + from_row, count, norms, factors, from_row, scaling, own_shifts, short.loss, line,
                    tile_codes, t,
                )  # fmt: skip
            else:
                for j in range(count):
                    for g in range(n_pairs):
                        tile_pairs[t, g, j, 0] = pairs[start + from_row + j, g]
            if not trust:
                lines = values[from_row : from_row + tile]
                _two_largest(isa, tile_codes, t, panels, starts, lines, first, second_first, guesses, from_row)
        # Rows of NaN find what is no unit, as a caller's guesses may be: neither is looked up.
        for j in range(rows):
            for g in range(2):
                if not 0 <= guesses[j, g] < K:
                    guesses[j, g] = g
        bits[:] = np.uint64(0)
        for j in range(chunk):
            limits[j] = 2147483647
            if distant and j < rows:
                prefetch_row(high, guesses[j, 0])
                prefetch_row(high, guesses[j, 1])
        for j in range(rows):
            norm = norms[start + j]
            if not norm <= rare:
                continue
            factors[j] = step / factors[j] if factors[j] > 0.0 else 0.0
            second_score = -np.inf
            products = two_row_products(isa, whole, j, high, guesses[j, 0], guesses[j, 1])
            for g in range(2):
                guess_scores[j, g] = offsets[guesses[j, g]] - factors[j] * products[g]
                second_score = max(second_score, guess_scores[j, g])
            margin = book.slack[0] * norm + book.slack[1] + book.blur[0] * norm + book.blur[2]
            limits[j] = _threshold(second_score, margin, product_unit)
        for t in range(-(-rows // tile)):
            from_row = t * tile
            count = min(tile, rows - from_row)
            tile_limits = limits[from_row : from_row + tile]
            for q in range(n_panels):
                if trust:
                    if screen_tile(isa, tile_codes, t, panels, starts, q, tile_limits, masks) == 0:
                        continue
                else:
                    for j in range(count):
                        masks[j] = at_least(isa, values, from_row + j, q, limits[from_row + j])
                word, shift = q * panel // 64, np.uint64(q * panel % 64)
                for j in range(count):
                    bits[from_row + j, word] |= masks[j] << shift
        for j in range(rows):
            for g in range(2):
                bits[j, guesses[j, g] // 64] &= ~(np.uint64(1) << np.uint64(guesses[j, g] % 64))
            passed = 0
            for word in range(bits.shape[1]):
                mask = bits[j, word]
                while mask != 0:
                    alive[j, passed] = word * 64 + trailing_zeros(mask)
                    passed += 1
                    mask &= mask - np.uint64(1)
            counts[0] += passed
            left = 0
            for position in range(0, passed if staged else 0, 4):
                four_row_products(isa, codes, start + j, second, alive, j, position, bounds)
            for position in range(passed):
                k = alive[j, position]
                if staged:
                    bound = np.int64(bounds[j, position]) + np.int64(flat_starts[k])
                    if bound < limits[j]:
                        continue
                    bounds[j, left] = np.int32(bound)
                else:
                    bounds[j, left] = values[j, k]
                alive[j, left] = k
                left += 1
                if distant and left <= _FETCHED:
                    prefetch_row(high, np.int64(k))
            found[j] = left
        for j in range(rows):
            i = start + j
            if i + chunk < last_row:
                prefetch_row(X, i + chunk)
            norm = norms[i]
            best[0] = np.inf
            best[1] = np.inf
            best_index[0] = -1
            best_index[1] = -1
            if not norm <= rare:
                for unit in range(K):
                    offer_unit(squared_distance_float64(X, i, W, unit, sums), unit, best, best_index)
                units[i, 0] = best_index[0]
                units[i, 1] = best_index[1]
                distances[i] = best[0]
                continue
            blur = book.blur[0] * norm + book.blur[2]
            margin = book.slack[0] * norm + book.slack[1] + blur
            scores[0] = guess_scores[j, 0]
            scores[1] = guess_scores[j, 1]
            places[0] = guesses[j, 0]
            places[1] = guesses[j, 1]
            evaluated = 2
            lowest = min(scores[0], scores[1])
            second_lowest = max(scores[0], scores[1])
            nearest = places[0] if scores[0] <= scores[1] else places[1]
            runner_up = places[1] if scores[0] <= scores[1] else places[0]
            limit = limits[j]
            left = found[j]
            for turn in range(left):
                # The most promising first: it lowers the limit for the others. Past some turns the search for it costs more.
                chosen = turn
                if turn < _SORTED:
                    for position in range(turn + 1, left):
                        if bounds[j, position] > bounds[j, chosen]:
                            chosen = position
                    if bounds[j, chosen] < limit:
                        break
                elif bounds[j, chosen] < limit:
                    continue
                k = np.int64(alive[j, chosen])
                alive[j, chosen] = alive[j, turn]
                bounds[j, chosen] = bounds[j, turn]
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
            certain = _are_apart(scores, places, evaluated, nearest, runner_up, lowest, second_lowest, 2.0 * blur)
            if integers and not certain:  # the weights' second parts tell most of them apart
                beyond = second_lowest + 2.0 * blur
                blur = book.blur[1] * norm + book.blur[2]
                lowest = np.inf
                second_lowest = np.inf
                for position in range(evaluated):
                    if scores[position] > beyond:
                        scores[position] = np.inf
                        continue
                    k = places[position]
                    score = scores[position] - factors[j] * fine * row_product(isa, whole, j, low, k) + book.rests[k]
                    scores[position] = score
                    if score < lowest:
                        second_lowest = lowest
                        runner_up = nearest
                        lowest = score
                        nearest = k
                    elif score < second_lowest:
                        second_lowest = score
                        runner_up = k
                certain = _are_apart(scores, places, evaluated, nearest, runner_up, lowest, second_lowest, 2.0 * blur)
            elif integers:
                product = row_product(isa, whole, j, low, nearest)
                lowest += book.rests[nearest] - factors[j] * fine * product
            if not certain:
                for position in range(evaluated):
                    if not scores[position] > second_lowest + 2.0 * blur:
                        counts[2] += 1
                        k = places[position]
                        offer_unit(squared_distance_float64(X, i, W, k, sums), k, best, best_index)
                units[i, 0] = best_index[0]
                units[i, 1] = best_index[1]
                distances[i] = best[0]
                continue
            units[i, 0] = nearest
            units[i, 1] = runner_up
            distance = norm * norm + 2.0 * lowest
            if integers and 2.0 * (book.blur[1] * norm + book.blur[2]) < 1e-7 * distance:
                distances[i] = distance * shrink
            else:
                distances[i] = squared_distance_float64(X, i, W, nearest, sums)
