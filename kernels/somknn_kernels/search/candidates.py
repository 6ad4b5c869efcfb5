"""Candidates: rows that the scan could not rule out, kept for each query until it is worth comparing them exactly.

A scan knows about how far the codes of a candidate are from those of its query. So candidates wait in a list, and are
compared exactly in the order of their codes' distances, nearest first. The bound soon falls below what the codes leave
possible, and the rest of the list is dropped without a look at the rows. Comparing each candidate as it was met took
two to four times as many exact distances, each of them a row from memory.

A list is full after `room` candidates. Where sums do not wrap around (VNNI) and short vectors leave nothing out, the
k-th smallest distance of codes is first turned into an upper bound, which costs no row at all.

A candidate is one number, `largest` - h · 2^32 - row, so that the nearest is the root of a max-heap (`sift_down_keys`).
Here h is half the squared distance of the codes, in squared steps, up to rounding: with S sections

    2h - S <= ‖c(q) - c(t)‖² <= 2h + 1 .
"""

import numpy as np
from numba import types
from numba.extending import overload

from somknn_kernels.bounds.rounding import CERTAIN, codes_within, distance_within
from somknn_kernels.exact.distances import squared_distance
from somknn_kernels.exact.selection import bound, offer, sift_down_keys
from somknn_kernels.ir.operations import prefetch_row
from somknn_kernels.policy import inlined

_LARGEST = np.int64(2**63 - 1)
_AHEAD = 4  # rows that are on their way from memory while one is compared


def rounded_up(upper_bounds, square):
    """`square`, a float64, in the type of `upper_bounds`, not smaller."""
    raise NotImplementedError("only inside kernels")


@overload(rounded_up, inline="never")
def _rounded_up(upper_bounds, square):
    if upper_bounds.dtype == types.int64:
        return lambda upper_bounds, square: np.int64(np.ceil(square))
    return lambda upper_bounds, square: square


@inlined
def candidate(half, row):
    """The number of a candidate; half : int64, at least 0."""
    return _LARGEST - (min(half, np.int64(2**31 - 1)) << np.int64(32)) - row


@inlined
def half_of(key):
    """h of a candidate."""
    return (_LARGEST - key) >> np.int64(32)


@inlined
def row_of(key):
    """The row of a candidate."""
    return (_LARGEST - key) & np.int64(2**32 - 1)


@inlined
def _heapify(keys, line, size):
    for position in range(size // 2 - 1, -1, -1):
        sift_down_keys(keys, line, position, size)


@inlined
def _pop(keys, line, size):
    """Take the nearest candidate out of a heap of `size`, and put it behind the others; returns it."""
    key = keys[line, 0]
    keys[line, 0] = keys[line, size - 1]
    keys[line, size - 1] = key
    sift_down_keys(keys, line, 0, size - 1)
    return key


@inlined
def _largest_half(upper_bound, error, step, n_sections):
    """No row within the distance `upper_bound` has a larger h. NaN for NaN."""
    return (codes_within((upper_bound + error) / step) + n_sections) * 0.5


@inlined
def compare(isa, queries, query, rows, keys, counts, line, error, step, n_sections, upper_bounds, collector, sums):
    """Offer the candidates of a line to `collector`, nearest first, as far as they can be of use; empty the line.

    keys : int64 (lines, room); counts : int64 (lines,); error : of the query and of a row together
    Returns the number of rows that were compared exactly.
    """
    size, d, compared = counts[line], queries.shape[1], 0
    counts[line] = 0
    _heapify(keys, line, size)
    worst = min(bound(collector, query), upper_bounds[query])
    most = _largest_half(distance_within(worst, d), error, step, n_sections)
    for position in range(min(size, _AHEAD)):
        prefetch_row(rows, row_of(keys[line, position]))
    while size > 0:
        key = _pop(keys, line, size)
        size -= 1
        if half_of(key) > most:
            break
        if size > 0:
            prefetch_row(rows, row_of(keys[line, 0]))
        row = row_of(key)
        distance = squared_distance(isa, queries, query, rows, row, sums)
        compared += 1
        if distance <= worst:
            offer(collector, query, distance, row)
            after = min(bound(collector, query), upper_bounds[query])
            if after < worst:
                worst = after
                most = _largest_half(distance_within(worst, d), error, step, n_sections)
    return compared


@inlined
def lower(keys, counts, line, error, step, n_sections, stretch, upper_bounds, query, k, d):
    """Lower upper_bounds[query] to what the k-th nearest codes of a line allow, and drop candidates beyond it.

    Only where sums do not wrap around: there h is never too small. stretch : how much farther apart two rows are, at
    most, than their short vectors; d : columns of the rows
    """
    size = counts[line]
    if size < k:
        return
    _heapify(keys, line, size)
    key = keys[line, 0]
    for taken in range(k):
        key = _pop(keys, line, size - taken)
    farthest = stretch * (step * np.sqrt(2.0 * half_of(key) + 1.0) + error)
    square = farthest * farthest * (CERTAIN + d * 2.0**-50) + 1e-300
    if not square < upper_bounds[query]:
        return
    upper_bounds[query] = rounded_up(upper_bounds, square)
    most = _largest_half(distance_within(upper_bounds[query], d), error, step, n_sections)
    left = 0
    for position in range(size):
        key = keys[line, position]
        if not half_of(key) > most:
            keys[line, left] = key
            left += 1
    counts[line] = left
