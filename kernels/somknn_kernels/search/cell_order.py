"""An order of the rows of a cell in which rows that share a panel are near each other.

A scan leaves a tile of 6 queries and 32 rows early if none of its 192 pairs can be neighbours. The more alike the rows
of a panel are, the more often it does. Each cell is halved across its longest extent, at the edge of a panel, and so
are the halves, until only single panels are left.
"""

import numpy as np

from somknn_kernels.policy import inlined, kernel

# Turns of power iteration. With 1, 2, 3 and 4 turns, 49.6%, 48.8%, 48.4% and 48.0% of the tiles of MNIST's own rows
# still remain after the first section.
_TURNS = 3


@inlined
def _project(vectors, rows, first, stop, centred, columns, axis, turned, along):
    """along[i - first] = vectors[rows[i]] along about their longest extent, for i in [first, stop).

    Scratch: centred : float32 (rows, p); columns : float32 (p, rows); axis, turned : float32 (p,). Both layouts are
    kept so that neither the sums of a row nor those of a column are chains of additions.
    """
    width, count = vectors.shape[1], stop - first
    turned[:] = 0.0
    for i in range(count):
        row = rows[first + i]
        for c in range(width):
            turned[c] += vectors[row, c]
    for c in range(width):
        turned[c] /= np.float32(count)
    for i in range(count):
        row = rows[first + i]
        for c in range(width):
            centred[i, c] = vectors[row, c] - turned[c]
    along[:count] = 0.0
    for c in range(width):
        for i in range(count):
            columns[c, i] = centred[i, c]
            along[i] += columns[c, i] * columns[c, i]
    farthest = 0
    for i in range(1, count):
        if along[i] > along[farthest]:
            farthest = i
    for c in range(width):
        turned[c] = centred[farthest, c]
    for turn in range(_TURNS + 1):
        largest = np.float32(0.0)
        for c in range(width):
            largest = max(largest, abs(turned[c]))
        if largest > 0.0:
            for c in range(width):
                axis[c] = turned[c] / largest
        along[:count] = 0.0
        for c in range(width):
            value = axis[c]
            for i in range(count):
                along[i] += columns[c, i] * value
        if turn < _TURNS:
            turned[:] = 0.0
            for i in range(count):
                value = along[i]
                for c in range(width):
                    turned[c] += value * centred[i, c]
    for i in range(count):
        if not np.isfinite(along[i]):
            along[i] = 0.0


@inlined
def _partition(values, rows, first, count, cut):
    """Swap rows[first : first + count] and their `values` until no value before `cut` is larger than one after it."""
    low, high = 0, count - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                rows[first + i], rows[first + j] = rows[first + j], rows[first + i]
                i += 1
                j -= 1
        if cut <= j:
            high = j
        elif cut >= i:
            low = i
        else:
            break


@kernel
def order_cells(vectors, edges, first_cell, last_cell, panel_rows, order):
    """Rearrange order[edges[c] : edges[c + 1]] for the cells c in [first_cell, last_cell), panel by panel.

    vectors : float32 (n, p); edges : int64 (cells + 1,), places; order : int64 (n,), the row at each place
    Cost: (2·3 + 4)·p operations for each row and halving.
    """
    width = vectors.shape[1]
    axis, turned = np.zeros(width, np.float32), np.empty(width, np.float32)
    starts, stops = np.empty(64, np.int64), np.empty(64, np.int64)
    for cell in range(first_cell, last_cell):
        n = edges[cell + 1] - edges[cell]
        along, centred, columns = (
            np.empty(n, np.float32),
            np.empty((n, width), np.float32),
            np.empty((width, n), np.float32),
        )
        starts[0], stops[0] = edges[cell], edges[cell + 1]
        left = 1
        while left > 0:
            left -= 1
            first, stop = starts[left], stops[left]
            low, high = first // panel_rows + 1, (stop - 1) // panel_rows
            if low > high:
                continue
            cut = (low + high) // 2 * panel_rows
            _project(vectors, order, first, stop, centred, columns, axis, turned, along)
            _partition(along, order, first, stop - first, cut - first)
            starts[left], stops[left] = first, cut
            starts[left + 1], stops[left + 1] = cut, stop
            left += 2


@kernel
def near_panels(coarse, slots, first_tile, last_tile, centres, edges, panel_rows, n_usual, near):
    """near[t] = panels of the cells nearest to the middle of the queries of tile t, nearest first, each once.

    coarse : float32 (m, p); slots : int64 (tiles · tile,), the query in each slot, or -1
    centres : float32 (p, cells), one per column; edges : int64 (cells + 1,), places where cells begin
    n_usual : panels that may be named
    near : int32 (tiles, W), full of -1. A guess: only speed depends on it, as long as no panel is named twice.
    """
    p, n_cells, width = coarse.shape[1], centres.shape[1], near.shape[1]
    tile = slots.shape[0] // near.shape[0]
    middle, scores = np.empty(p, np.float32), np.empty(n_cells, np.float32)
    named, half_squares = np.zeros(n_usual, np.uint8), np.zeros(n_cells, np.float32)
    for c in range(p):
        for cell in range(n_cells):
            half_squares[cell] += np.float32(0.5) * centres[c, cell] * centres[c, cell]
    for t in range(first_tile, last_tile):
        middle[:] = 0.0
        count = np.float32(0.0)
        for slot in range(t * tile, t * tile + tile):
            if slots[slot] >= 0:
                count += np.float32(1.0)
                for c in range(p):
                    middle[c] += coarse[slots[slot], c]
        for cell in range(n_cells):
            scores[cell] = half_squares[cell] * count
        for c in range(p):
            value = middle[c]
            for cell in range(n_cells):
                scores[cell] -= value * centres[c, cell]
        found = 0
        for _ in range(n_cells):
            best = 0
            for cell in range(1, n_cells):
                if scores[cell] < scores[best]:
                    best = cell
            scores[best] = np.inf
            first = edges[best] // panel_rows
            stop = min((edges[best + 1] + panel_rows - 1) // panel_rows, n_usual)
            for panel in range(first, stop if edges[best] < edges[best + 1] else first):
                if found < width and named[panel] == 0:
                    named[panel] = 1
                    near[t, found] = panel
                    found += 1
            if found == width:
                break
        for i in range(found):
            named[near[t, i]] = 0
