"""The two nearest rows of a small codebook for every row of the data: the best-matching units (BMU) of a map.

Let x and w be the row and the unit, both minus one centre. The order of the distances is that of the scores

    s(x, w) = ‖w‖²/2 - x·w ,      ‖x - w‖² = ‖x‖² + 2·s(x, w) .

On orthonormal axes P, let y = Px and v = Pw, and let r and ρ be the norms of what P leaves out. By Cauchy-Schwarz

    s(x, w) >= ‖w‖²/2 - y·v - r·ρ .

Stage 1 multiplies the leading axes (and r with ρ) as 16-bit integers in a register tile, and compares in registers.
Stage 2 takes all axes, for the few units that stage 1 leaves.
Stage 3 multiplies the units that are left with the whole row, rounded to 16 bits.
If that cannot tell two units apart, float64 decides. The bound allows for every rounding, so no true neighbour is ever
lost. docs/concepts/maps.md has the bounds and the figures.

Cost per row of data: 32·K multiply-adds of 16 bits, 64 for each survivor of stage 1, and d for each of stage 2.
"""

import numpy as np

from somknn_kernels.bounds.codebook_codes import NOWHERE
from somknn_kernels.bounds.rounding import floor_int32
from somknn_kernels.exact.distances import squared_distance_float64
from somknn_kernels.ir.operations import prefetch_row, trailing_zeros
from somknn_kernels.ir.shapes import tile_rows
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.search.codebook_missing import offer_unit
from somknn_kernels.search.codebook_rows import OwnAxes, encode_chunk, make_room
from somknn_kernels.tiles.row_products import (
    AXES,
    at_least,
    four_row_products,
    row_product,
    screen_tile,
    spread_tile,
    two_largest_lanes,
    two_row_products,
)

_SORTED = 3  # units of a row that are measured in order of their bounds
_TILES = 8  # tiles that go through the stages together
_SMALL = 1024  # number of units up to which their sums stay in the level-2 cache
# Units of a row that are fetched ahead if the codebook is large. For one that lies in the level-2 or 3 cache this gains
# nothing.
_FETCHED = 8


@inlined
def _threshold(second, margin, product_unit):
    """The least sum (product minus half norm) with which a unit may still be among the two nearest."""
    return floor_int32(-(second + margin) / product_unit - 2.0)


@inlined
def _two_largest(isa, room, t, panels, starts):
    """The sums of all units for the rows of tile t, and for each row the two units with the largest sums, as guesses.

    The two largest of each lane are kept on the way, so that the loop over the units has no branch.
    """
    n_panels, _, panel, _ = panels.shape
    tile = room.codes.shape[2]
    values, first, second, guesses = (
        room.values[t * tile : (t + 1) * tile],
        room.largest,
        room.next_largest,
        room.guesses,
    )
    first[:] = np.int32(NOWHERE)
    second[:] = np.int32(NOWHERE)
    for q in range(n_panels):
        spread_tile(isa, room.codes, t, panels, starts, q, values, first, second)
    for j in range(tile):
        a, largest, b, next_largest = two_largest_lanes(isa, first, second, j)
        k = a
        while k < values.shape[1] and values[j, k] != largest:
            k += panel
        guesses[t * tile + j, 0] = k
        k = k + panel if b == a and next_largest == largest else b
        while k < values.shape[1] and values[j, k] != next_largest:
            k += panel
        guesses[t * tile + j, 1] = k


@inlined
def _guess(isa, W, short, book, room, start, rows, units, trust):
    """Two units for each row that are likely to be near, their scores, and the thresholds that these give."""
    guesses, guess_scores, thresholds, factors = room.guesses, room.guess_scores, room.thresholds, room.factors
    whole, high, offsets, norms, rare, step = room.whole, book.high, book.offsets, short.norms, short.rare, book.step
    slack, blur, product_unit = book.slack, book.blur, short.unit * book.unit
    K, tile = W.shape[0], room.codes.shape[2]
    if trust:
        for j in range(rows):
            guesses[j, 0] = units[start + j, 0]
            guesses[j, 1] = units[start + j, 1]
    else:
        for t in range(-(-rows // tile)):
            _two_largest(isa, room, t, book.panels, book.starts)
    # Rows of NaN give numbers that are no units, and so may a caller's guesses. Such numbers are replaced.
    for j in range(rows):
        for g in range(2):
            if not 0 <= guesses[j, g] < K:
                guesses[j, g] = g
    for j in range(thresholds.shape[0]):
        thresholds[j] = 2147483647
        if K > _SMALL and j < rows:
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
        margin = slack[0] * norm + slack[1] + blur[0] * norm + blur[2]
        thresholds[j] = _threshold(second_score, margin, product_unit)


@inlined
def _screen(isa, book, room, rows, trust, masks):
    """Stage 1: bits of the units whose sums are not below the rows' thresholds. The guesses are left out."""
    panels, starts, values, bits = book.panels, book.starts, room.values, room.bits
    tile_codes, thresholds, guesses = room.codes, room.thresholds, room.guesses
    n_panels, _, panel, _ = panels.shape
    tile = tile_codes.shape[2]
    bits[:] = np.uint64(0)
    for t in range(-(-rows // tile)):
        from_row = t * tile
        count = min(tile, rows - from_row)
        tile_thresholds = thresholds[from_row : from_row + tile]
        for q in range(n_panels):
            if trust:
                if screen_tile(isa, tile_codes, t, panels, starts, q, tile_thresholds, masks) == 0:
                    continue
            else:
                for j in range(count):
                    masks[j] = at_least(isa, values, from_row + j, q, thresholds[from_row + j])
            word, shift = q * panel // 64, np.uint64(q * panel % 64)
            for j in range(count):
                bits[from_row + j, word] |= masks[j] << shift
    for j in range(rows):
        for g in range(2):
            bits[j, guesses[j, g] // 64] &= ~(np.uint64(1) << np.uint64(guesses[j, g] % 64))


@inlined
def _look_closer(isa, short, book, room, start, rows, counts):
    """Stage 2: of the units that stage 1 leaves, those whose sums over all axes are not below the thresholds."""
    bits, alive, sums, found = room.bits, room.alive, room.sums, room.found
    values, thresholds = room.values, room.thresholds
    codes, second, flat_starts, high = short.codes, book.second, book.starts.reshape(-1), book.high
    staged, distant = second.shape[0] > 0, high.shape[0] > _SMALL
    for j in range(rows):
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
            four_row_products(isa, codes, start + j, second, alive, j, position, sums)
        for position in range(passed):
            k = alive[j, position]
            if staged:
                bound = np.int64(sums[j, position]) + np.int64(flat_starts[k])
                if bound < thresholds[j]:
                    continue
                sums[j, left] = np.int32(bound)
            else:
                sums[j, left] = values[j, k]
            alive[j, left] = k
            left += 1
            if distant and left <= _FETCHED:
                prefetch_row(high, np.int64(k))
        found[j] = left


@inlined
def _are_apart(scores, places, count, nearest, runner_up, lowest, second_lowest, gap):
    """Whether the two lowest scores are more than `gap` apart from each other, and all others from both."""
    certain = second_lowest - lowest > gap
    for position in range(count):
        k = places[position]
        if k != nearest and k != runner_up and not scores[position] > second_lowest + gap:
            certain = False
    return certain


@inlined
def _settle_by_float64(X, W, i, count, beyond, result):
    """Set units[i] and distances[i] by float64, among the first `count` places with scores that are not above `beyond`.

    Returns how many those were. result : as in `_decide`.
    """
    units, distances, scores, places, best, best_index, sums = result
    best[:] = np.inf
    best_index[:] = -1
    compared = 0
    for position in range(count):
        if not scores[position] > beyond:
            compared += 1
            k = places[position]
            offer_unit(squared_distance_float64(X, i, W, k, sums), k, best, best_index)
    units[i, 0] = best_index[0]
    units[i, 1] = best_index[1]
    distances[i] = best[0]
    return compared


@inlined
def _decide(isa, X, W, short, book, room, start, rows, last_row, result, counts):
    """Stage 3: scores of the units left, by whole rows of integers. If those cannot tell two units apart, by float64.

    result : (units, distances, scores : float64 (K,), places : int64 (K,), best : float64 (2,), their units :
    int64 (2,), sums : float64 (8,)). All but the first two are scratch.
    """
    units, distances, scores, places, sums64 = result[0], result[1], result[2], result[3], result[6]
    whole, factors, guesses, guess_scores = room.whole, room.factors, room.guesses, room.guess_scores
    thresholds, found, alive, sums = room.thresholds, room.found, room.alive, room.sums
    norms, rare, high, low = short.norms, short.rare, book.high, book.low
    offsets, rests, fine = book.offsets, book.rests, book.fine
    slack, blurs, product_unit = book.slack, book.blur, short.unit * book.unit
    K, chunk, integers = W.shape[0], thresholds.shape[0], X.itemsize == 1
    shrink = 1.0 / (short.scale * short.scale)
    for j in range(rows):
        i = start + j
        if i + chunk < last_row:
            prefetch_row(X, i + chunk)
        norm = norms[i]
        if not norm <= rare:  # no codes: every unit is compared
            for unit in range(K):
                scores[unit] = -np.inf
                places[unit] = unit
            _settle_by_float64(X, W, i, K, 0.0, result)
            continue
        blur = blurs[0] * norm + blurs[2]
        margin = slack[0] * norm + slack[1] + blur
        scores[0] = guess_scores[j, 0]
        scores[1] = guess_scores[j, 1]
        places[0] = guesses[j, 0]
        places[1] = guesses[j, 1]
        evaluated = 2
        lowest = min(scores[0], scores[1])
        second_lowest = max(scores[0], scores[1])
        nearest = places[0] if scores[0] <= scores[1] else places[1]
        runner_up = places[1] if scores[0] <= scores[1] else places[0]
        threshold = thresholds[j]
        left = found[j]
        for turn in range(left):
            # The most promising first: it raises the threshold for the others. After some turns, the search for it
            # costs more than it saves.
            chosen = turn
            if turn < _SORTED:
                for position in range(turn + 1, left):
                    if sums[j, position] > sums[j, chosen]:
                        chosen = position
                if sums[j, chosen] < threshold:
                    break
            elif sums[j, chosen] < threshold:
                continue
            k = np.int64(alive[j, chosen])
            alive[j, chosen] = alive[j, turn]
            sums[j, chosen] = sums[j, turn]
            score = offsets[k] - factors[j] * row_product(isa, whole, j, high, k)
            scores[evaluated] = score
            places[evaluated] = k
            evaluated += 1
            if score < second_lowest:
                if score < lowest:
                    second_lowest, runner_up, lowest, nearest = lowest, nearest, score, k
                else:
                    second_lowest, runner_up = score, k
                threshold = _threshold(second_lowest, margin, product_unit)
        counts[1] += evaluated
        counts[3] += np.int64(nearest == units[i, 0])
        certain = _are_apart(scores, places, evaluated, nearest, runner_up, lowest, second_lowest, 2.0 * blur)
        if integers and not certain:  # the low parts of the weights tell most of them apart
            beyond = second_lowest + 2.0 * blur
            blur = blurs[1] * norm + blurs[2]
            lowest, second_lowest = np.inf, np.inf
            for position in range(evaluated):
                if scores[position] > beyond:
                    scores[position] = np.inf
                    continue
                k = places[position]
                score = scores[position] - factors[j] * fine * row_product(isa, whole, j, low, k) + rests[k]
                scores[position] = score
                if score < lowest:
                    second_lowest, runner_up, lowest, nearest = lowest, nearest, score, k
                elif score < second_lowest:
                    second_lowest, runner_up = score, k
            certain = _are_apart(scores, places, evaluated, nearest, runner_up, lowest, second_lowest, 2.0 * blur)
        elif integers:
            lowest += rests[nearest] - factors[j] * fine * row_product(isa, whole, j, low, nearest)
        if not certain:
            counts[2] += _settle_by_float64(X, W, i, evaluated, second_lowest + 2.0 * blur, result)
            continue
        units[i, 0] = nearest
        units[i, 1] = runner_up
        distance = norm * norm + 2.0 * lowest
        if integers and 2.0 * (blurs[1] * norm + blurs[2]) < 1e-7 * distance:
            distances[i] = distance * shrink
        else:
            distances[i] = squared_distance_float64(X, i, W, nearest, sums64)


@kernel
def two_nearest(isa, X, W, short, book, trust, first_row, last_row, units, distances, counts):
    """The nearest and second nearest row of W for the rows [first_row, last_row) of X.

    X : (n, d) uint8, float32 or float64; W : (K, d) float32 or float64, K >= 2; short : Short; book : Units
    first_row : a multiple of the rows of a tile
    units : int64 (n, 2). On return the two nearest units: exact, ties (of float64 distances, see `distances`) to the
    lowest index. On entry two different guesses (the previous units), used if `trust` is true. Guesses change only the
    speed. Without them the two units that look best in stage 1 are measured first. That is better as long as the
    codebook still changes much, and the only way without a stage 2.
    distances : float64 (n,): squared distance to the nearest unit, with a relative error of at most 1e-7
    counts : int64 (4,), to which are added: units that passed stage 1, units measured in full, units that float64 had
    to tell apart, and rows that kept their nearest unit

    Some tiles of rows go through the stages together, so that each loop has branches and memory accesses of one kind.
    """
    K, n_own = W.shape[0], book.own.shape[0]
    n_panels, n_pairs, panel, _ = book.panels.shape
    tile = tile_rows(isa)
    chunk = (_TILES if K <= _SMALL else 1) * tile
    room = make_room(chunk, tile, book.high.shape[1], n_pairs, n_panels * panel, panel)
    own = OwnAxes(
        book.own,
        book.own_shifts / short.unit,
        short.unit,
        book.own_inverse,
        book.deviation,
        short.loss,
        np.empty((max(1, n_own), tile, AXES), np.int32),
        np.empty(AXES, np.int32),
    )
    result = units, distances, np.empty(K), np.empty(K, np.int64), np.empty(2), np.empty(2, np.int64), np.empty(8)
    masks = np.empty(tile, np.uint64)
    for start in range(first_row, last_row, chunk):
        rows = min(chunk, last_row - start)
        encode_chunk(isa, X, short, own, room, start, rows)
        _guess(isa, W, short, book, room, start, rows, units, trust)
        _screen(isa, book, room, rows, trust, masks)
        _look_closer(isa, short, book, room, start, rows, counts)
        _decide(isa, X, W, short, book, room, start, rows, last_row, result, counts)
