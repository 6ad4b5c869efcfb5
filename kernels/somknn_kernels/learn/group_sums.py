"""Sums of rows by label: new centres of K-Means, the rows that each unit of a map won.

Rows are first put in order of their label by a counting sort, which is stable. Then every entry (group, column) of the
result is added up by one task, in ascending row order. A task owns some groups and some columns and shares nothing with
the others. So no result depends on how the work was cut, or on how many threads did it.

Adding rows to a shared table straight from the labels was rejected. Each thread would need a table of its own (groups ×
columns, read and written once), and the order of additions, hence the float result, would depend on the number of
threads.
"""

import numpy as np

from somknn_kernels.ir.operations import prefetch_row
from somknn_kernels.policy import inlined, kernel

# An int32 accumulator holds this many bytes of 255 and more: it is emptied into int64 before it can overflow.
_FLUSH_ROWS = 1 << 23
_AHEAD = 8  # rows from the one that is added to the one that is fetched


@kernel
def sort_by_label(labels, starts, order):
    """Counting sort: order[starts[g] : starts[g + 1]] lists the rows with label g, ascending.

    labels : int64 (n,), each in [0, groups); starts : int64 (groups + 1,) and order : int64 (n,) are written.
    Returns n, or the first row whose label is not in [0, groups). Then `order` is not written.
    Cost: two passes over the labels.
    """
    groups = starts.shape[0] - 1
    for g in range(groups + 1):
        starts[g] = 0
    for row in range(labels.shape[0]):
        if not 0 <= labels[row] < groups:
            return row
        starts[labels[row] + 1] += 1
    for g in range(groups):
        starts[g + 1] += starts[g]
    for row in range(labels.shape[0]):
        label = labels[row]
        order[starts[label]] = row
        starts[label] += 1
    for g in range(groups, 0, -1):
        starts[g] = starts[g - 1]
    starts[0] = 0
    return labels.shape[0]


@inlined
def _empty(part, total):
    for c in range(part.shape[0]):
        total[c] += part[c]
        part[c] = 0


@kernel
def sum_groups_bytes(X, order, starts, first_group, last_group, first_column, last_column, sums):
    """Add to sums[g, c] the sum of X[row, c] over the rows of group g, exact, for a block of groups and columns.

    X : uint8 (n, d); order, starts : as `sort_by_label` fills them, or starts of parts of the groups
    sums : int64 (groups, d). Cost: each byte of the block's rows is read once, widened and added.
    """
    width = last_column - first_column
    part = np.zeros(width, np.int32)
    fetched = order.shape[0] if width == X.shape[1] else 0
    for g in range(first_group, last_group):
        total = sums[g, first_column:last_column]
        pending = 0
        position, end = starts[g], starts[g + 1]
        # Four rows per turn: the accumulator is loaded and stored once for four additions.
        while position + 4 <= end:
            a = X[order[position], first_column:last_column]
            b = X[order[position + 1], first_column:last_column]
            c = X[order[position + 2], first_column:last_column]
            d = X[order[position + 3], first_column:last_column]
            for ahead in range(position + _AHEAD, min(position + _AHEAD + 4, fetched)):
                prefetch_row(X, order[ahead])
            for column in range(width):
                part[column] += np.int32(a[column]) + np.int32(b[column]) + np.int32(c[column]) + np.int32(d[column])
            position += 4
            pending += 4
            if pending >= _FLUSH_ROWS - 4:
                _empty(part, total)
                pending = 0
        for rest in range(position, end):
            a = X[order[rest], first_column:last_column]
            for column in range(width):
                part[column] += np.int32(a[column])
        _empty(part, total)


@kernel
def sum_groups_floats(X, order, starts, first_group, last_group, first_column, last_column, sums):
    """Add to sums[g, c] every X[row, c] of the rows of group g, in float64 in ascending row order.

    X : float32 or float64 (n, d); sums : float64 (groups, d); the rest as `sum_groups_bytes`.
    Bit-exact against the same additions done one after the other.
    """
    width = last_column - first_column
    for g in range(first_group, last_group):
        total = sums[g, first_column:last_column]
        for position in range(starts[g], starts[g + 1]):
            row = X[order[position], first_column:last_column]
            for column in range(width):
                total[column] += np.float64(row[column])


@kernel
def sum_groups_weighted(X, weights, order, starts, first_group, last_group, first_column, last_column, sums):
    """Add to sums[g, c] every weights[row]·X[row, c] of the rows of group g, in float64 in ascending row order.

    X : uint8, float32 or float64 (n, d); weights : float64 (n,); the rest as `sum_groups_floats`. Product and sum are
    rounded separately.
    """
    width = last_column - first_column
    for g in range(first_group, last_group):
        total = sums[g, first_column:last_column]
        for position in range(starts[g], starts[g + 1]):
            weight = weights[order[position]]
            row = X[order[position], first_column:last_column]
            for column in range(width):
                total[column] += weight * np.float64(row[column])


@kernel
def sum_weights(weights, labels, totals):
    """totals[g] = sum of the weights of the rows with label g, in float64 in ascending row order.

    weights : float64 (n,); labels : int64 (n,), checked by `sort_by_label`; totals : float64 (groups,), overwritten.
    """
    totals[:] = 0.0
    for row in range(labels.shape[0]):
        totals[labels[row]] += weights[row]
