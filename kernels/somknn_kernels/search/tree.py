"""Search in a tree of boxes. See docs/concepts/tree.md."""

from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from somknn_kernels.exact.selection import NO_INDEX, Nearest, bound, offer
from somknn_kernels.ir.operations import trailing_zeros
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles.tree_tiles import (
    FAN,
    LEAF_ROWS,
    box_bounds,
    insert_pair,
    leaf_distances,
    leaf_ranks,
    least_distance,
    nearest_child,
    path_child,
    ranks_below,
    rows_within,
)

_ALL = np.uint64((1 << FAN) - 1)


class Tree(NamedTuple):
    """Rows in leaves, and boxes around them.

    panels : float64 (leaves, d, LEAF_ROWS), NaN where there is no row; numbers : int32 (leaves, LEAF_ROWS), their rows,
    ascending
    boxes : float64 (nodes, d, 2, FAN), the least and largest values of the columns in each child of a node
    lowest : int32 (nodes, FAN), the lowest row in it
    starts : int64 (levels,), the first node of each level, from the leaves' parents to the root
    sizes : int64 (levels + 1,), the number of leaves, then of the nodes of each level

    Child j of node i of a level is node, or leaf, FAN i + j of the level below.
    """

    panels: Any
    numbers: Any
    boxes: Any
    lowest: Any
    starts: Any
    sizes: Any


@inlined
def _children(sizes, level, node):
    """A bit for each child of a node."""
    return (np.uint64(1) << np.uint64(min(FAN, sizes[level] - node * FAN))) - np.uint64(1)


@inlined
def _descend(boxes, starts, sizes, queries, query, bounds, seconds, slot):
    """The leaf to which the nearest boxes lead, level by level; seconds[slot]: the least bounds beside the path."""
    node = 0
    for level in range(starts.shape[0] - 1, -1, -1):
        box_bounds(boxes, starts[level] + node, queries, query, bounds, level)
        node = node * FAN + path_child(bounds, level, _children(sizes, level, node), seconds, slot)
    return node


@kernel
def descend(tree, queries, first, last, leaves, seconds):
    """Find the leaf in whose box each query lies, or about so, for the queries [first, last).

    leaves : int64 (m,); seconds : float64 (m, levels), on each level the least bound of the boxes beside the path
    """
    boxes, starts, sizes = tree.boxes, tree.starts, tree.sizes
    bounds = np.empty((starts.shape[0], FAN))
    for query in range(first, last):
        leaves[query] = _descend(boxes, starts, sizes, queries, query, bounds, seconds, query)


class Ranked(NamedTuple):
    """The k nearest of each query in ascending order, for small k: float64 and int64 (m, k), filled by the search."""

    distances: Any
    indices: Any


def list_length(collector):
    """Length of the list in which the pairs of a query are ranked; 0 for collectors that need none."""
    raise NotImplementedError("only inside kernels")


def worst_pair(collector, query, near, rows):
    """The largest distance that is of use, and the row from which on a pair with this distance is of no use."""
    raise NotImplementedError("only inside kernels")


def offer_leaf(collector, query, near, rows, distances, numbers, leaf, groups):
    """Hand the rows of a leaf to the collector.

    near, rows : the list of `Ranked`; distances : float64 (LEAF_ROWS,); numbers : int32 (leaves, LEAF_ROWS)
    """
    raise NotImplementedError("only inside kernels")


def begin(collector, query, near, rows, distances, ranks, numbers, leaf, groups):
    """As `offer_leaf`, for the first leaf of a query. ranks : int64 (LEAF_ROWS,), scratch."""
    raise NotImplementedError("only inside kernels")


def end(collector, query, near, rows):
    """Hand over the list of `Ranked`."""
    raise NotImplementedError("only inside kernels")


@inlined
def insert_in_list(near, rows, distance, row):
    """Insert a pair into a list that is ascending by (distance, row); the last pair drops out.

    near : float64 (length,), rows : int64 (length,): as `insert_pair` takes them; the first 8 pairs precede every other
    """
    vector = near.shape[0] // FAN - 1
    while vector > 0 and insert_pair(near, rows, vector, distance, row) == _ALL:
        vector -= 1


@overload(list_length)
def _list_length(collector):
    if collector.instance_class is Ranked:
        return lambda collector: (collector.distances.shape[1] + 2 * FAN - 1) // FAN * FAN
    return lambda collector: 0


@overload(worst_pair)
def _worst_pair(collector, query, near, rows):
    if collector.instance_class is Ranked:
        return lambda collector, query, near, rows: (near[near.shape[0] - 1], rows[rows.shape[0] - 1])
    if collector.instance_class is Nearest:
        return lambda collector, query, near, rows: (collector.distances[query, 0], collector.indices[query, 0])
    return lambda collector, query, near, rows: (collector.upper_bounds[query], NO_INDEX)


@overload(begin)
def _begin(collector, query, near, rows, distances, ranks, numbers, leaf, groups):
    if collector.instance_class is not Ranked:

        def offer_first(collector, query, near, rows, distances, ranks, numbers, leaf, groups):
            offer_leaf(collector, query, near, rows, distances, numbers, leaf, groups)

        return offer_first

    def rank(collector, query, near, rows, distances, ranks, numbers, leaf, groups):
        k = collector.distances.shape[1]
        before = near.shape[0] - k
        for i in range(before, near.shape[0]):
            near[i] = np.inf
            rows[i] = NO_INDEX
        if groups.shape[0] > 0:
            for r in range(LEAF_ROWS):
                row = np.int64(numbers[leaf, r])
                if row >= 0 and groups[row] == groups[query]:
                    distances[r] = np.nan
        if k == 1:
            found = rows_within(distances, least_distance(distances))
            if found != 0:
                r = trailing_zeros(found)
                near[before], rows[before] = distances[r], numbers[leaf, r]
            return
        leaf_ranks(distances, ranks)
        found = ranks_below(ranks, k) & rows_within(distances, np.inf)
        while found != 0:
            r = trailing_zeros(found)
            found &= found - np.uint64(1)
            place = before + ranks[r]
            near[place] = distances[r]
            rows[place] = numbers[leaf, r]

    return rank


@overload(end)
def _end(collector, query, near, rows):
    if collector.instance_class is not Ranked:
        return lambda collector, query, near, rows: None

    def hand_over(collector, query, near, rows):
        k = collector.distances.shape[1]
        before = near.shape[0] - k
        for i in range(k):
            collector.distances[query, i] = near[before + i]
            collector.indices[query, i] = rows[before + i]

    return hand_over


@overload(offer_leaf)
def _offer_leaf(collector, query, near, rows, distances, numbers, leaf, groups):
    if collector.instance_class is Ranked:

        def insert(collector, query, near, rows, distances, numbers, leaf, groups):
            last = near.shape[0] - 1
            found = rows_within(distances, near[last])
            while found != 0:
                r = trailing_zeros(found)
                row = np.int64(numbers[leaf, r])
                others = ~((np.uint64(2) << np.uint64(r)) - np.uint64(1))
                if groups.shape[0] == 0 or groups[row] != groups[query]:
                    insert_in_list(near, rows, distances[r], row)
                found = rows_within(distances, near[last]) & others

        return insert

    def offer_each(collector, query, near, rows, distances, numbers, leaf, groups):
        found = rows_within(distances, bound(collector, query))
        while found != 0:
            r = trailing_zeros(found)
            found &= found - np.uint64(1)
            row = np.int64(numbers[leaf, r])
            if groups.shape[0] == 0 or groups[row] != groups[query]:
                offer(collector, query, distances[r], row)

    return offer_each


@kernel
def search_tree(tree, queries, order, leaves, seconds, first, last, collector, groups):
    """Offer to `collector` every row that the queries order[first:last] cannot rule out.

    queries : float64 (m, d); order : int64 (m,); collector : Ranked, Nearest or Within, with float64 distances
    leaves, seconds : int64 (m,) and float64 (m, levels), see `descend`; empty: they are found here
    groups : int32 (n,), or empty: query i is row i, and rows of its own group are left out
    """
    panels, numbers, boxes, lowest, starts, sizes = tree
    n_levels = starts.shape[0]
    bounds = np.empty((n_levels, FAN))
    left = np.empty(n_levels, np.uint64)
    nodes = np.empty(n_levels, np.int64)
    levels = np.empty(n_levels, np.int64)
    distances, ranks = np.empty(LEAF_ROWS), np.empty(LEAF_ROWS, np.int64)
    near, rows = np.empty(list_length(collector)), np.empty(list_length(collector), np.int64)
    near[:] = -np.inf  # of which the first places stay: a list is as long as whole registers
    rows[:] = -1
    descended = leaves.shape[0] > 0
    if not descended:
        seconds = np.empty((1, n_levels))
    for place in range(first, last):
        query = order[place]
        slot = query if descended else 0
        own = leaves[query] if descended else _descend(boxes, starts, sizes, queries, query, bounds, seconds, 0)
        leaf_distances(panels, own, queries, query, distances)
        begin(collector, query, near, rows, distances, ranks, numbers, own, groups)
        on_path = own
        for climbed in range(n_levels):
            worst, worst_row = worst_pair(collector, query, near, rows)
            path_lane = np.uint64(on_path % FAN)
            on_path //= FAN
            if seconds[slot, climbed] > worst:
                continue
            depth = 0
            levels[0], nodes[0] = climbed, on_path
            left[0] = _children(sizes, climbed, on_path) & ~(np.uint64(1) << path_lane)
            box_bounds(boxes, starts[climbed] + on_path, queries, query, bounds, 0)
            while depth >= 0:
                worst, worst_row = worst_pair(collector, query, near, rows)
                among, lane = nearest_child(bounds, depth, left[depth], worst)
                if among == 0:
                    depth -= 1
                    continue
                rest = among & ~(np.uint64(1) << lane)
                left[depth] = rest
                level, node, child = levels[depth], nodes[depth], np.int64(lane)
                if bounds[depth, child] == worst and lowest[starts[level] + node, child] >= worst_row:
                    continue
                child += node * FAN
                if level > 0:
                    depth += int(rest != 0)
                    levels[depth], nodes[depth], left[depth] = level - 1, child, _children(sizes, level - 1, child)
                    box_bounds(boxes, starts[level - 1] + child, queries, query, bounds, depth)
                else:
                    leaf_distances(panels, child, queries, query, distances)
                    offer_leaf(collector, query, near, rows, distances, numbers, child, groups)
        end(collector, query, near, rows)


@inlined
def _swap(distances, indices, a, b):
    distances[a], distances[b] = distances[b], distances[a]
    indices[a], indices[b] = indices[b], indices[a]


@inlined
def _sink(distances, indices, start, root, size):
    while 2 * root + 1 < size:
        child = 2 * root + 1
        if child + 1 < size:
            child += int(indices[start + child] < indices[start + child + 1])
        if indices[start + child] <= indices[start + root]:
            return
        _swap(distances, indices, start + root, start + child)
        root = child


@kernel
def sort_by_row(starts, distances, indices, first, last):
    """Order the pairs of the queries [first, last) by row, in place.

    starts : int64 (m + 1,), where each query begins in distances, float64, and indices, int64
    """
    for query in range(first, last):
        start, n = starts[query], starts[query + 1] - starts[query]
        # A heap with the largest row on top; then it is taken off, and put behind what is left.
        for step in range(n // 2 + n - 1 if n > 1 else 0):
            if step < n // 2:
                root, size = n // 2 - 1 - step, n
            else:
                root, size = 0, n - 1 - (step - n // 2)
                _swap(distances, indices, start, start + size)
            _sink(distances, indices, start, root, size)
