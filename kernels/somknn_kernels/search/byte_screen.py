"""The nearest of a few vectors (bytes or floats) to many rows of bytes, for prototypes and for assignment in K-Means.

Let x and w be the row and the vector, both minus one centre of whole numbers, and A the axes (rows of a matrix, about
orthonormal). Let y = Ax, ṽ = (AAᵀ)⁻¹Aw, and r and ρ be the norms of what the axes leave out. By Cauchy-Schwarz

    x·w <= y·ṽ + r·ρ ,      ‖x - w‖² = ‖x‖² - 2·(x·w - ‖w‖²/2) .

y is computed in integers, exactly. (y, r) and (ṽ, ρ) become 16-bit codes, whose products a register tile adds up for
all vectors at once. Vectors that cannot be as near as the best so far are ruled out. The others are measured exactly,
by `distances.py`. Codes have one width, and rows are not put in an order: for a few thousand vectors such preparations
would cost more than they save.
"""

from typing import Any, NamedTuple

import numpy as np

from somknn_kernels.bounds.codebook_codes import NOWHERE, PIECE
from somknn_kernels.bounds.rest import rest_code
from somknn_kernels.bounds.rounding import distance_within, floor_int32
from somknn_kernels.exact.distances import squared_distance
from somknn_kernels.ir.operations import prefetch_row, trailing_zeros
from somknn_kernels.ir.shapes import tile_rows
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles.packing import load_centred
from somknn_kernels.tiles.row_products import (
    AXES,
    at_least,
    first_of,
    largest_of,
    project_tile,
    row_product,
    screen_tile,
    spread_tile,
)

LEAD = 2 * AXES  # columns of the codes: the axes and the rest
WIDEST = 33_025  # columns: a sum of so many squared differences of bytes fits 32 bits


class ByteAxes(NamedTuple):
    """What turns rows of bytes into codes.

    centre : int16 (d,); axes : int16 (panels, d in whole fours / 2, AXES, 2), LEAD - 1 axes: A times `scale`
    scale, unit : float64; codes are multiples of unit = 2^shift / scale; largest : float64, largest eigenvalue of AAᵀ
    """

    centre: Any
    axes: Any
    shift: Any
    scale: Any
    unit: Any
    largest: Any


class Vectors(NamedTuple):
    """The vectors, as the search uses them.

    panels : int16 (panels, LEAD / 2, panel rows, 2) and codes : int16 (K, LEAD): (ṽ, ρ) in multiples of a step
    starts : int32 (panels, panel rows), minus half the squared norms in multiples of `unit`, NOWHERE beyond K
    unit : float64, what one unit of a product of codes is worth
    slack : float64 (2,): the error of a product of codes is at most slack[0]·‖x‖ + slack[1]
    high : int16 (K, d in whole pieces): w is within the distance `coarse` of step·high; squares : float64 (K,), the
    squared norms. They are for a second look at vectors of floats, at an eighth of the cost of an exact distance. For
    vectors of bytes `high` has no rows
    """

    panels: Any
    codes: Any
    starts: Any
    unit: Any
    slack: Any
    high: Any
    step: Any
    coarse: Any
    squares: Any


@kernel
def encode_bytes(isa, X, first, last, by, codes, squares):
    """codes[i - first] of the rows X[i], and their squared norms about the centre, for the rows [first, last).

    X : uint8 (n, d), d <= WIDEST; by : ByteAxes
    codes : int16 (last - first, LEAD); squares : float64 (last - first,), whole numbers
    Cost per row: LEAD·d multiply-adds of 16 bits.
    """
    centre, axes, shift, unit = by.centre, by.axes, np.int32(by.shift), by.unit
    share = 1.0 / (by.scale * by.scale * by.largest)
    half = np.int32(1) << shift >> np.int32(1)
    tile = tile_rows(isa)
    rows = np.zeros((tile, -(-X.shape[1] // PIECE) * PIECE), np.int16)
    dots = np.empty((tile, AXES), np.int32)
    inside = np.empty(tile)
    for start in range(first, last, tile):
        count = min(tile, last - start)
        for j in range(count):
            load_centred(X, start + j, centre, rows, j)
            squares[start - first + j] = np.float64(row_product(isa, rows, j, rows, j))
        inside[:] = 0.0
        for p in range(axes.shape[0]):
            project_tile(isa, rows, 0, axes, p, dots)
            for j in range(count):
                for r in range(AXES):
                    codes[start - first + j, p * AXES + r] = (dots[j, r] + half) >> shift
                s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
                for r in range(0, AXES, 4):
                    s0 += np.float64(dots[j, r]) * np.float64(dots[j, r])
                    s1 += np.float64(dots[j, r + 1]) * np.float64(dots[j, r + 1])
                    s2 += np.float64(dots[j, r + 2]) * np.float64(dots[j, r + 2])
                    s3 += np.float64(dots[j, r + 3]) * np.float64(dots[j, r + 3])
                inside[j] += (s0 + s1) + (s2 + s3)
        for j in range(count):
            square = squares[start - first + j]
            # 1e-9 covers the rounding in these few lines.
            codes[start - first + j, LEAD - 1] = rest_code(square, inside[j] * share, 1e-9 * square, unit)


@inlined
def _least(square, upper_bound, norm, unit, slack):
    """The least sum of products of a vector within `upper_bound` of the row."""
    bound = (
        (square - upper_bound * upper_bound) * 0.5
        - slack[0] * norm
        - slack[1]
        - 1e-9 * (square + upper_bound * upper_bound)
    )
    return floor_int32(bound / unit - 2.0)


@inlined
def _gather(isa, values, j, panel, threshold, alive):
    """Write the numbers k with values[j, k] >= threshold to alive[j]; returns how many there are."""
    found = 0
    for place in range(values.shape[1] // panel):
        mask = at_least(isa, values, j, place, threshold)
        while mask != 0:
            alive[j, found] = place * panel + trailing_zeros(mask)
            found += 1
            mask &= mask - np.uint64(1)
    return found


class CodedRows(NamedTuple):
    """Rows of bytes with their codes.

    centre : int16 (d,); codes : int16 (rows, LEAD) and squares : float64 (rows,), as `encode_bytes` makes them
    """

    centre: Any
    codes: Any
    squares: Any


class Found(NamedTuple):
    """The nearest vectors.

    indices : int64 (n,), on entry guesses; distances : int64 (n,) for bytes, else float64
    counts : int64 (2,): the vectors that the scan did not rule out and the vectors measured are added
    """

    indices: Any
    distances: Any
    counts: Any


class _Room(NamedTuple):
    """Scratch for the rows of a tile.

    queries : int16 (1, groups, tile, 2), their codes; values : int32 (tile, panels·panel rows), sums, if not guided
    first_best, second_best : int32 (tile, panel rows), the two largest sums of each lane
    thresholds : int32 (tile,), the least sum of a vector that is of use; masks : uint64 (tile,)
    alive : int32 (tile, panels·panel rows), vectors that the scan leaves; found : int64 (tile,), how many
    sums : float64 (8,)
    """

    queries: Any
    values: Any
    first_best: Any
    second_best: Any
    thresholds: Any
    masks: Any
    alive: Any
    found: Any
    sums: Any


@inlined
def _guess(isa, W, vectors, room, start, count, indices):
    """indices = the vector with the largest sum, for each row of the tile in `room`. All sums are kept."""
    panels, starts, values = vectors.panels, vectors.starts, room.values
    first_best, second_best, queries = room.first_best, room.second_best, room.queries
    first_best[:] = np.int32(NOWHERE)
    second_best[:] = np.int32(NOWHERE)
    for p in range(panels.shape[0]):
        spread_tile(isa, queries, 0, panels, starts, p, values, first_best, second_best)
    for j in range(count):
        best = first_of(isa, values, j, panels.shape[2], largest_of(first_best, j))
        indices[start + j] = best
        prefetch_row(W, best)


@inlined
def _scan(isa, vectors, room, count, guided):
    """alive[j] = the vectors whose sums are not below the threshold of row j."""
    panels, starts, values, alive, found = vectors.panels, vectors.starts, room.values, room.alive, room.found
    thresholds, masks, queries, panel = room.thresholds, room.masks, room.queries, vectors.panels.shape[2]
    if not guided:
        for j in range(count):
            found[j] = _gather(isa, values, j, panel, thresholds[j], alive)
        return
    found[:] = 0
    thresholds[count:] = 2147483647
    for p in range(panels.shape[0]):
        if screen_tile(isa, queries, 0, panels, starts, p, thresholds, masks) != 0:
            for j in range(count):
                mask = masks[j]
                while mask != 0:
                    alive[j, found[j]] = p * panel + trailing_zeros(mask)
                    found[j] += 1
                    mask &= mask - np.uint64(1)


@inlined
def _measure(isa, X, W, rows, vectors, room, start, first, count, guided, out):
    """Measure what the scan left and nothing else rules out: indices and distances of a tile's rows."""
    indices, distances, counts, line = out[0], out[1], out[2], out[3]
    centre, codes, squares, vector_codes = rows.centre, rows.codes, rows.squares, vectors.codes
    starts, unit, slack, panel = vectors.starts, vectors.unit, vectors.slack, vectors.panels.shape[2]
    high, step, coarse, vector_squares = vectors.high, vectors.step, vectors.coarse, vectors.squares
    alive, found, values, thresholds, sums = room.alive, room.found, room.values, room.thresholds, room.sums
    for j in range(count):
        for position in range(found[j]):
            if high.shape[0] > 0:
                prefetch_row(high, np.int64(alive[j, position]))
            else:
                prefetch_row(W, np.int64(alive[j, position]))
    for j in range(count):
        i = start + j
        counts[0] += found[j]
        counts[1] += 1
        guess, threshold, square = indices[i], thresholds[j], squares[i - first]
        norm, loaded = np.sqrt(square), False
        for position in range(found[j]):
            k = np.int64(alive[j, position])
            if k == guess:
                continue
            # The best so far may be better than it was before the scan.
            if guided:
                value = row_product(isa, codes, i - first, vector_codes, k) + np.int64(starts[k // panel, k % panel])
            else:
                value = np.int64(values[j, k])
            if value < threshold:
                continue
            if high.shape[0] > 0:
                if not loaded:
                    loaded = True
                    load_centred(X, i, centre, line, 0)
                about = square + vector_squares[k]
                error = 2.0 * coarse * norm + 1e-9 * about
                about -= 2.0 * step * row_product(isa, line, 0, high, k)
                if about - error > np.float64(distances[i]) * (1.0 + 1e-9):
                    continue
            counts[1] += 1
            distance = squared_distance(isa, X, i, W, k, sums)
            if distance < distances[i] or (distance == distances[i] and k < indices[i]):
                distances[i] = distance
                indices[i] = k
                threshold = _least(square, distance_within(distance, X.shape[1]), norm, unit, slack)


@kernel
def nearest_few(isa, X, W, first, last, rows, vectors, guided, out):
    """The nearest vector of W for the rows X[i], for i in [first, last); ties go to the lowest index.

    X : uint8 (n, d); W : uint8, float32 or float64 (K, d); rows : CodedRows, from `first` on; vectors : Vectors
    guided : whether indices[i] holds a vector that is likely to be near; out : Found
    Exact. Cost per row: LEAD·K multiply-adds of 16 bits, and d for each vector measured.
    """
    indices, distances, counts = out.indices, out.distances, out.counts
    unit, slack, squares = vectors.unit, vectors.slack, rows.squares
    n_panels, groups, panel, _ = vectors.panels.shape
    tile = tile_rows(isa)
    pairs = rows.codes.view(np.int32)
    slots = np.zeros((groups, tile), np.int32)
    room = _Room(
        slots.view(np.int16).reshape(1, groups, tile, 2),
        np.empty((tile, n_panels * panel), np.int32),
        np.empty((tile, panel), np.int32),
        np.empty((tile, panel), np.int32),
        np.full(tile, 2147483647, np.int32),
        np.empty(tile, np.uint64),
        np.empty((tile, n_panels * panel), np.int32),
        np.zeros(tile, np.int64),
        np.empty(8),
    )
    thresholds, sums = room.thresholds, room.sums
    result = indices, distances, counts, np.zeros((1, vectors.high.shape[1]), np.int16)
    for start in range(first, last, tile):
        count = min(tile, last - start)
        for j in range(count):
            for g in range(groups):
                slots[g, j] = pairs[start - first + j, g]
        if not guided:
            _guess(isa, W, vectors, room, start, count, indices)
        for j in range(count):
            i = start + j
            distances[i] = squared_distance(isa, X, i, W, indices[i], sums)
            square = squares[i - first]
            upper_bound = distance_within(distances[i], X.shape[1])
            thresholds[j] = _least(square, upper_bound, np.sqrt(square), unit, slack)
        _scan(isa, vectors, room, count, guided)
        _measure(isa, X, W, rows, vectors, room, start, first, count, guided, result)
