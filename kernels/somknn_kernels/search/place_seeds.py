"""First upper bounds on the k-th distances of rows that are searched for themselves (`self_search.py`).

The rows of the panels nearest to a row's own are ranked by their codes. The best of them are measured, and the k-th
smallest distance is the upper bound. Ranking takes two comparisons of vectors: how many scores lie below a threshold,
until the threshold is right, and then which scores do. A heap of the best took ten times as long.
"""

import numpy as np

from somknn_kernels.exact.selection import push, sort_heap
from somknn_kernels.exact.used_columns import distances_through
from somknn_kernels.ir.operations import trailing_zeros
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles.score_tiles import bits_up_to, count_up_to, score_panel


@kernel
def nearest_panels(centres, half_squares, first, last, near):
    """near[panel] = the panels whose centres are nearest to that of `panel`, nearest first, for panels [first, last).

    centres : float32 (p, panels), one per column; half_squares : float32 (panels,), half their squared norms
    near : int32 (panels, width), width at most the number of panels. A guess: only speed depends on it.
    """
    width, n_panels = near.shape[1], centres.shape[1]
    scores = np.empty(n_panels, np.float32)
    best, numbers = np.empty((1, width), np.float32), np.empty((1, width), np.int64)
    for panel in range(first, last):
        for other in range(n_panels):
            scores[other] = half_squares[other]
        for a in range(centres.shape[0]):
            value = centres[a, panel]
            for other in range(n_panels):
                scores[other] -= value * centres[a, other]
        best[:] = np.inf
        for i in range(width):
            numbers[0, i] = i
        for other in range(n_panels):
            if scores[other] < best[0, 0]:
                push(best, numbers, 0, scores[other], other)
        sort_heap(best, numbers, 0)
        for i in range(width):
            near[panel, i] = numbers[0, i]


@inlined
def _threshold(isa, scores, line, n_panels, wanted, most):
    """A threshold that `wanted` to `most` scores of a line do not exceed.

    More scores if some are equal; all numbers that are scores if there are fewer.
    """
    low, high = np.int64(0), np.int64(2**16 - 2) if scores.itemsize == 2 else np.int64(2**32 - 2)
    while low < high:
        middle = (low + high) // 2
        count = count_up_to(isa, scores, line, n_panels, middle)
        if count < wanted:
            low = middle + 1
        else:
            high = middle
            if count <= most:
                break
    return high


@kernel
def seed_places(isa, places, upper_bounds, near, k, wanted, first_tile, last_tile):
    """Lower the upper_bounds of the places of some tiles to the k-th smallest distance to `wanted` rows of near panels.

    These rows are the nearest by their codes.
    places, upper_bounds : as in `self_search.py`; near : int32 (panels, width), see `nearest_panels`
    wanted : at least k, at most the rows of `width` panels
    """
    rows, apart, packed, panels = places.rows, places.apart, places.packed, places.panels
    half_norms, offsets, squares, used = places.half_norms, places.offsets, places.squares, places.used
    panel_rows, tile, n_near = panels.shape[3], packed.shape[2], near.shape[1]
    most = wanted + wanted // 8
    scores = np.empty((tile, n_near * panel_rows), places.half_squares.dtype)
    others, distances = np.empty(most, np.int32), np.empty(most, upper_bounds.dtype)
    largest = np.empty(most - k + 1, upper_bounds.dtype)
    sums = np.empty(8)
    for t in range(first_tile, last_tile):
        if t * tile >= len(apart):
            break
        own = t * tile // panel_rows
        for i in range(n_near):
            panel = np.int64(near[own, i])
            score_panel(isa, packed, t, panels, half_norms, panel, offsets, apart, scores, i)
        for j in range(tile):
            one = t * tile + j
            if one >= len(apart) or apart[one] < 0:
                continue
            limit = _threshold(isa, scores, j, n_near, wanted, most)
            count = 0
            for i in range(n_near):
                mask = bits_up_to(isa, scores, j, i, limit)
                while mask != 0 and count < most:
                    others[count] = np.int64(near[own, i]) * panel_rows + trailing_zeros(mask)
                    mask &= mask - np.uint64(1)
                    count += 1
            if count < k:
                continue
            distances_through(isa, rows, one, others, count, used, squares, sums, distances)
            size = count - k + 1
            largest[:size] = -1
            for p in range(count):
                distance, position = distances[p], size - 1
                if distance > largest[position]:
                    while position > 0 and largest[position - 1] < distance:
                        largest[position] = largest[position - 1]
                        position -= 1
                    largest[position] = distance
            upper_bounds[one] = min(upper_bounds[one], largest[size - 1])
