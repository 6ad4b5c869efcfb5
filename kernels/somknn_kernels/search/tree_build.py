"""Building the tree: an order of the rows in which every range of a node is compact, then panels and boxes.

A node is split along its widest side, by the number of rows: so many leaves to the left, the others to the right.
"""

import numpy as np

from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles.tree_tiles import FAN, LEAF_ROWS, copy_record, deal_record, leaf_ranks

_SAMPLED = 128  # rows from which a node's widest side is judged
_RANKED = 128  # up to so many rows the value that parts them is found at once
_SAMPLE, _LARGE_SAMPLE = 64, 256  # values among which pivots are chosen, otherwise
_LARGE = 8192  # rows from which the large sample is taken


@inlined
def _middle_leaf(first, last):
    """Where the leaves [first, last) are parted: at a multiple of the largest power of FAN below their number."""
    n = last - first
    unit = 1
    while unit * FAN < n:
        unit *= FAN
    n_units = (n + unit - 1) // unit
    return first + max(1, min(n_units - 1, (n + unit) // (2 * unit))) * unit


@inlined
def _widest_column(records, n_columns, first, last, low, high):
    n = last - first
    count = min(n, _SAMPLED)
    low[:] = np.inf
    high[:] = -np.inf
    for i in range(count):
        place = first + i * n // count
        for c in range(n_columns):
            value = records[place, c]
            low[c] = value if value < low[c] else low[c]
            high[c] = value if value > high[c] else high[c]
    widest, width = 0, -1.0
    for c in range(n_columns):
        side = high[c] / 2 - low[c] / 2
        if side > width:
            widest, width = c, side
    return widest


@inlined
def _choose_pivots(records, column, first, last, rank, values, several):
    """Two values of a column between which that of rank `rank` lies, probably; twice the same one for few rows."""
    n = last - first
    count, spread = n, 0
    if n > _RANKED:
        count = _SAMPLE if n < _LARGE else _LARGE_SAMPLE
        spread = count // 16 + 4 if several else 0
    for i in range(count):
        values[i] = records[first + (2 * i + 1) * n // (2 * count), column]
    place = (rank - first) * count // n
    lower, upper = -np.inf, -np.inf
    for i in range(count):
        value, smaller = values[i], 0
        for j in range(count):
            smaller += int(values[j] < value)
        if smaller <= place - spread and value > lower:
            lower = value
        if smaller <= place + spread and value > upper:
            upper = value
    return lower, upper


@inlined
def _part(records, column, scratch, first, last, rank, values):
    """Order records[first:last] so that no value of `column` before `rank` is larger than one from there on.

    Each pass deals the records out to three heaps, without a branch: below the lower pivot, between, above the upper
    one. It keeps the order within each heap.
    """
    several = True
    while first < rank:  # else all that comes before is in its place
        lower, upper = _choose_pivots(records, column, first, last, rank, values, several)
        below, between, above = first, first, last - 1
        for i in range(first, last):
            value = records[i, column]
            deal_record(records, i, below, scratch, between, above)
            is_below, is_above = int(value < lower), int(value > upper)
            below += is_below
            above -= is_above
            between += 1 - is_below - is_above
        stop = below + between - first
        for i in range(first, between):
            copy_record(scratch, i, records, below + i - first)
        for i in range(last - stop):
            copy_record(scratch, last - 1 - i, records, stop + i)
        several = between < last
        if rank < below:
            last = below
        elif rank >= stop:
            first = stop
        elif not lower < upper:
            return
        else:
            first, last = below, stop


@inlined
def _split(records, n_columns, scratch, first, last, low, high, values):
    middle = _middle_leaf(first, last)
    start, stop = first * LEAF_ROWS, min(last * LEAF_ROWS, records.shape[0])
    column = _widest_column(records, n_columns, start, stop, low, high)
    _part(records, column, scratch, start, stop, middle * LEAF_ROWS, values)
    return middle


@kernel
def split_node(records, n_columns, scratch, first, last):
    """Order the records of the leaves [first, last), at least two, for one split; returns the first leaf to the right.

    records : float64 (n, width), of which n_columns are coordinates; scratch : as records; its records of the same
    places are used
    """
    return _split(
        records, n_columns, scratch, first, last, np.empty(n_columns), np.empty(n_columns), np.empty(_LARGE_SAMPLE)
    )


@kernel
def split_all(records, n_columns, scratch, first, last):
    """As `split_node`, down to single leaves."""
    low, high, values = np.empty(n_columns), np.empty(n_columns), np.empty(_LARGE_SAMPLE)
    waiting = np.empty((128, 2), np.int64)  # the right sides of the nodes on the way down
    count = 0
    while True:
        while last - first > 1:
            middle = _split(records, n_columns, scratch, first, last, low, high, values)
            waiting[count, 0], waiting[count, 1] = middle, last
            count += 1
            last = middle
        if count == 0:
            return
        count -= 1
        first, last = waiting[count, 0], waiting[count, 1]


@kernel
def fill_leaves(records, number_column, first, last, panels, numbers, boxes, lowest):
    """Write panels, row numbers and boxes of the leaves [first, last).

    A leaf has its rows in the order of their numbers.

    records : float64 (rows of these leaves, width): the values of a row in its d columns; its number at number_column
    panels : float64 (leaves, d, LEAF_ROWS), NaN where there is no row; numbers : int32 (leaves, LEAF_ROWS)
    boxes : float64 (nodes, d, 2, FAN), lowest : int32 (nodes, FAN): leaf i is child i % FAN of node i // FAN
    """
    d = panels.shape[1]
    own, lanes = np.empty(LEAF_ROWS), np.empty(LEAF_ROWS, np.int64)
    for leaf in range(first, last):
        start = (leaf - first) * LEAF_ROWS
        count = min(LEAF_ROWS, records.shape[0] - start)
        node, child = leaf // FAN, leaf % FAN
        for r in range(LEAF_ROWS):
            own[r] = records[start + r, number_column] if r < count else np.inf
        leaf_ranks(own, lanes)
        for r in range(count):
            lane = lanes[r]
            numbers[leaf, lane] = np.int32(own[r])
            for c in range(d):
                panels[leaf, c, lane] = records[start + r, c]
        lowest[node, child] = numbers[leaf, 0]
        for r in range(count, LEAF_ROWS):
            numbers[leaf, r] = -1
            for c in range(d):
                panels[leaf, c, r] = np.nan
        for c in range(d):
            low, high = np.inf, -np.inf
            for r in range(count):
                value = panels[leaf, c, r]
                low = value if value < low else low
                high = value if value > high else high
            boxes[node, c, 0, child] = low
            boxes[node, c, 1, child] = high


@kernel
def join_boxes(boxes, lowest, starts, sizes):
    """Boxes and lowest rows of all levels above the leaves, from those below them.

    starts : int64 (levels,), the first node of each level, from the leaves' parents to the root; sizes : int64
    (levels + 1,), the number of leaves, then of the nodes of each level
    """
    for level in range(1, starts.shape[0]):
        for i in range(sizes[level]):
            below, node, child = starts[level - 1] + i, starts[level] + i // FAN, i % FAN
            count = min(FAN, sizes[level - 1] - i * FAN)
            least = lowest[below, 0]
            for other in range(1, count):
                least = min(least, lowest[below, other])
            lowest[node, child] = least
            for c in range(boxes.shape[1]):
                low, high = np.inf, -np.inf
                for other in range(count):
                    low, high = min(low, boxes[below, c, 0, other]), max(high, boxes[below, c, 1, other])
                boxes[node, c, 0, child] = low
                boxes[node, c, 1, child] = high
