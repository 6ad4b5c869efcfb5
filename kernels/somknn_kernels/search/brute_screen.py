"""Brute force on bytes where only `vpmaddwd` is exact (AVX2): products of coarser codes first, at twice the rate.

Every query is compared with every row in all columns, as in `brute`, but by codes c(x) = ⌊x / s + ½⌋ of at most 7 bits.
`vpmaddubsw` multiplies 32 of them at once, and sums may wrap around at 2^16. The error e(x) = ‖x - s·c(x)‖ is known
exactly, and

    s·‖c(q) - c(t)‖ ≤ ‖q - t‖ + e(q) + e(t) .

So a row is no neighbour if its codes are farther apart from the query's than the k-th distance so far plus both errors.
The other rows (on MNIST one in 1,000) are compared exactly. docs/concepts/scan.md, "The scan in 16 bits", shows that
the wrap-around loses nothing.
"""

from typing import Any, NamedTuple

import numpy as np

from somknn_kernels.bounds.interval import range_of, sum_interval
from somknn_kernels.bounds.rounding import CERTAIN, distance_within
from somknn_kernels.exact.distances import squared_distance_bytes
from somknn_kernels.exact.selection import bound, offer
from somknn_kernels.ir.operations import trailing_zeros
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles.packing import drop_zero_groups, put_code
from somknn_kernels.tiles.scan_tiles import scan_tile_of_groups

_TILES_AT_ONCE = 8  # tiles that meet a panel one after another: it then comes from the level-1 cache
_GIVE_UP = 16  # if one pair in so many passes, comparing them exactly takes the time that the coarser codes save


class CodeScratch(NamedTuple):
    """What `screened_bytes` keeps from one range of rows to the next, and room for a block of rows.

    queries : int8 (query tiles, pairs of columns, query tile, 4), zeros
    panels : uint16 (panels of a block, pairs of columns, panel rows)
    groups : int32 (query tiles, pairs of columns) and n_groups : int64 (query tiles,), the pairs in use
    norms : int64 and errors : float64 (query tiles, query tile), zeros
    counts : int64 (2,), rows searched and pairs compared so far, zeros
    """

    queries: Any
    panels: Any
    groups: Any
    n_groups: Any
    norms: Any
    errors: Any
    counts: Any


@inlined
def _encode(source, row, step, codes):
    """codes[:d] = ⌊source[row] / step + ½⌋; returns the squared norms of the codes and of what rounding lost."""
    # Three loops in the narrowest types, which LLVM turns into vector instructions. One loop in 32 bits takes twice
    # as long. (x + step // 2) // step as a product with a rounded-up reciprocal is exact below 2^16 / step.
    half, reciprocal = np.uint32(step // 2), np.uint32(65536 // step + 1)
    for c in range(source.shape[1]):
        shifted = np.uint32(np.uint32(source[row, c]) + half)
        codes[c] = np.uint8(np.uint32(shifted * reciprocal) >> np.uint32(16))
    square = lost = np.int32(0)
    for c in range(source.shape[1]):
        code = np.int32(np.int16(codes[c]))
        square = np.int32(square + np.int32(code * code))
    for c in range(source.shape[1]):
        rest = np.int32(np.int16(np.int16(source[row, c]) - np.int16(np.int16(step) * np.int16(codes[c]))))
        lost = np.int32(lost + np.int32(rest * rest))
    return np.int64(square), np.int64(lost)


@inlined
def _set_thresholds(thresholds, t, j, radius, step, norm):
    """thresholds[t, :, j] for `scan_tile_of_groups`: codes farther than `radius` (units of the data) are ruled out.

    norm : squared norm of the query's codes
    """
    largest, half_range = range_of(thresholds.itemsize)
    start, top = sum_interval(radius / step, norm, 1, largest)
    thresholds[t, 0, j] = half_range + start
    thresholds[t, 1, j] = top - half_range


@kernel
def screened_bytes(isa, queries, rows, span, step, scratch, upper_bounds, collector):
    """Offer to `collector` every row of a span that a query of the span cannot rule out.

    queries : uint8 (m, d); rows : uint8 (n, d); step : int, 3 to 127, the step of the codes; scratch : CodeScratch
    span : `brute.Span`; upper_bounds : int64 (m,), squared distances beyond which no row is of use
    Returns the row at which it stopped: before r_stop if so many rows passed that `brute_bytes` is faster for the rest.
    """
    q_start, q_stop, r_start, r_stop, pack_start, pack_stop = span
    packed_queries, panels, groups, n_groups = scratch.queries, scratch.panels, scratch.groups, scratch.n_groups
    norms, errors, counts = scratch.norms, scratch.errors, scratch.counts
    n_tiles, width, tile, _ = packed_queries.shape
    n_panels, _, panel = panels.shape
    d = queries.shape[1]
    thresholds = np.empty((n_tiles, 2, tile), np.int16)
    thresholds[:] = np.iinfo(np.int16).min  # rules everything out, for slots of a tile without a query
    codes = np.zeros(2 * width, np.uint8)
    words = codes.view(np.uint16)
    for t in range(pack_start, pack_stop):
        first = q_start + t * tile
        for j in range(min(tile, q_stop - first)):
            norms[t, j], lost = _encode(queries, first + j, step, codes)
            errors[t, j] = np.sqrt(np.float64(lost)) * CERTAIN
            for c in range(width):
                for e in range(2):
                    put_code(packed_queries, t, 2 * c + e, j, 2, np.int8(codes[2 * c + e]))
        n_groups[t] = drop_zero_groups(packed_queries, t, groups)
    half_norms = np.zeros((n_panels, panel), np.int16)
    masks = np.empty(tile, np.uint64)
    row_error = -1.0
    for block in range(r_start, r_stop, n_panels * panel):
        stop = min(block + n_panels * panel, r_stop)
        used = (stop - block + panel - 1) // panel
        largest = 0.0
        for p in range(used):
            for r in range(min(panel, stop - block - p * panel)):
                square, lost = _encode(rows, block + p * panel + r, step, codes)
                largest = max(largest, np.sqrt(np.float64(lost)) * CERTAIN)
                half_norms[p, r] = np.int16(square // 2)
                for c in range(width):
                    panels[p, c, r] = words[c]
        if row_error < largest:
            row_error = largest
            for t in range(n_tiles):
                first = q_start + t * tile
                for j in range(min(tile, q_stop - first)):
                    upper_bound = distance_within(min(upper_bounds[first + j], bound(collector, first + j)), d)
                    _set_thresholds(thresholds, t, j, upper_bound + errors[t, j] + row_error, step, norms[t, j])
        n_turns = (n_tiles + _TILES_AT_ONCE - 1) // _TILES_AT_ONCE * used
        for turn in range(n_turns):
            first_tile, p = turn // used * _TILES_AT_ONCE, turn % used
            for t in range(first_tile, min(first_tile + _TILES_AT_ONCE, n_tiles)):
                given = packed_queries, t, groups, n_groups, panels, half_norms, p, thresholds, t, masks
                if scan_tile_of_groups(isa, *given) == 0:
                    continue
                first = q_start + t * tile
                first_row = block + p * panel
                for j in range(min(tile, q_stop - first)):
                    mask = masks[j]
                    before = min(upper_bounds[first + j], bound(collector, first + j))
                    worst = before
                    while mask != 0:
                        row = first_row + trailing_zeros(mask)
                        mask &= mask - np.uint64(1)
                        if row >= stop:
                            break
                        counts[1] += 1
                        distance = squared_distance_bytes(isa, queries, first + j, rows, row)
                        if distance <= worst:
                            offer(collector, first + j, distance, row)
                            worst = min(worst, bound(collector, first + j))
                    if worst < before:
                        upper_bound = distance_within(worst, d)
                        _set_thresholds(thresholds, t, j, upper_bound + errors[t, j] + row_error, step, norms[t, j])
        counts[0] += stop - block
        if counts[1] * _GIVE_UP > counts[0] * (q_stop - q_start):
            return stop
    return r_stop
