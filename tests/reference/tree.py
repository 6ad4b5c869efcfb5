"""Readable twin of the tree: which rows a node holds, the bound of a box, and a search that goes down node by node."""

import numpy as np

from reference.search import squared_distance_float64

FAN, LEAF_ROWS = 8, 32


def rows_of(tree, level, node):
    """The row numbers in a node; level 0 is that of the leaves."""
    width = FAN**level
    numbers = tree.numbers[node * width : (node + 1) * width].ravel()
    return numbers[numbers >= 0]


def box_bound(query, low, high):
    """The least squared distance of a query to what lies in the box, in the documented order of summation."""
    with np.errstate(over="ignore"):
        gap = np.maximum(np.maximum(low - query, query - high), 0.0)
        return squared_distance_float64(gap, np.zeros_like(gap))


def join(low, high):
    """The box around boxes."""
    return low.min(axis=0), high.max(axis=0)


def nearest(tree, rows, query, k):
    """The k nearest rows of one query as pairs (distance, row), ascending; no node that a bound rules out is entered.

    rows : float64 (n, d)
    """
    best = [(np.inf, len(rows))] * k
    n_levels = len(tree.starts)

    def enter(level, node):
        nonlocal best
        if level == 0:
            found = rows_of(tree, 0, node)
            with np.errstate(over="ignore"):
                distances = squared_distance_float64(rows[found], query)
            best = sorted([*best, *zip(distances.tolist(), found.tolist(), strict=True)])[:k]
            return
        place = tree.starts[level - 1] + node
        for child in range(min(FAN, tree.sizes[level - 1] - node * FAN)):
            bound = box_bound(query, *tree.boxes[place, :, :, child].T)
            if (bound, tree.lowest[place, child]) < best[-1]:
                enter(level - 1, node * FAN + child)

    enter(n_levels, 0)
    return best
