"""Collectors: what happens to a (distance, row) pair that the search could not rule out.

`Nearest` keeps the k best of each query, ordered by distance, then by row. It is a bounded max-heap in two arrays. The
worst pair kept is at position 0, so one comparison rejects almost every new pair. n rows in random order insert about
k·ln(n/k) times, at log2(k) steps each: some 50 insertions a query for k = 5 and n = 60,000, some 5,000 for k = 1,000.

`Within` takes every pair up to a distance. It runs twice: first to count, then to fill arrays of just the right size.

A search kernel uses two functions of a collector: `bound` (a pair with a larger distance is of no use) and `offer`.
Numba compiles the kernel once for each kind of collector.
"""

from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from somknn_kernels.policy import inlined, kernel

NO_INDEX = np.iinfo(np.int64).max


@inlined
def precedes(distance_a, index_a, distance_b, index_b):
    """Whether pair a comes before pair b."""
    return distance_a < distance_b or (distance_a == distance_b and index_a < index_b)


@inlined
def sift_down(distances, indices, heap, position, size):
    """Restore heap number `heap` (a line of both arrays) below `position`, where a smaller pair was written."""
    distance, index = distances[heap, position], indices[heap, position]
    while True:
        child = 2 * position + 1
        if child >= size:
            break
        if child + 1 < size and precedes(
            distances[heap, child], indices[heap, child], distances[heap, child + 1], indices[heap, child + 1]
        ):
            child += 1
        if not precedes(distance, index, distances[heap, child], indices[heap, child]):
            break
        distances[heap, position], indices[heap, position] = distances[heap, child], indices[heap, child]
        position = child
    distances[heap, position], indices[heap, position] = distance, index


@inlined
def push(distances, indices, heap, distance, index):
    """Offer a pair to a full heap (at first full of the worst possible pairs)."""
    if precedes(distance, index, distances[heap, 0], indices[heap, 0]):
        distances[heap, 0], indices[heap, 0] = distance, index
        sift_down(distances, indices, heap, 0, distances.shape[1])


@inlined
def sort_heap(distances, indices, heap):
    """Turn a heap into the ascending list of its pairs, in place."""
    for last in range(distances.shape[1] - 1, 0, -1):
        distances[heap, 0], distances[heap, last] = distances[heap, last], distances[heap, 0]
        indices[heap, 0], indices[heap, last] = indices[heap, last], indices[heap, 0]
        sift_down(distances, indices, heap, 0, last)


@inlined
def sift_down_keys(keys, heap, position, size):
    """As `sift_down`, for pairs that are one number each (`self_search.Lists`)."""
    key = keys[heap, position]
    while True:
        child = 2 * position + 1
        if child >= size:
            break
        if child + 1 < size:
            child += int(keys[heap, child] < keys[heap, child + 1])
        if keys[heap, child] <= key:
            break
        keys[heap, position] = keys[heap, child]
        position = child
    keys[heap, position] = key


class Nearest(NamedTuple):
    """The k best pairs of each query.

    distances : int64 or float64 (m, k), at first the largest value; indices : int64 (m, k).
    """

    distances: Any
    indices: Any


class Improved(NamedTuple):
    """The k best pairs of each query, if k pairs are known before the search. Those are not measured again.

    distances : int64 or float64 (m, k), indices : int64 (m, k): at first heaps of the known pairs (`make_heaps`).
    """

    distances: Any
    indices: Any


class Apart(NamedTuple):
    """The k best pairs of each query, where the queries are the rows: none with a row of the query's own group.

    distances : int64 or float64 (n, k), at first the largest value; indices : int64 (n, k); groups : int32 (n,)
    """

    distances: Any
    indices: Any
    groups: Any


class Within(NamedTuple):
    """All pairs up to the distance upper_bounds[query].

    counts : int64 (m,), pairs found so far
    starts : int64 (m + 1,), where each query begins in `distances` and `indices`, and their end
    distances, indices : empty while pairs are counted
    """

    upper_bounds: Any
    counts: Any
    starts: Any
    distances: Any
    indices: Any


def bound(collector, query):
    """The largest distance of a pair that `offer` may still take."""
    raise NotImplementedError("only inside kernels")


def offer(collector, query, distance, index):
    """Hand a pair to the collector."""
    raise NotImplementedError("only inside kernels")


def is_known(collector, query, index):
    """Whether the collector already has a pair with this index, or must not have it."""
    raise NotImplementedError("only inside kernels")


def wanted(collector):
    """How many pairs of each query the collector keeps, int64; 0 if it keeps all up to a distance."""
    raise NotImplementedError("only inside kernels")


@overload(bound)
def _bound(collector, query):
    if collector.instance_class is not Within:
        return lambda collector, query: collector.distances[query, 0]
    return lambda collector, query: collector.upper_bounds[query]


@overload(offer)
def _offer(collector, query, distance, index):
    if collector.instance_class is not Within:

        def keep_best(collector, query, distance, index):
            push(collector.distances, collector.indices, query, distance, index)

        return keep_best

    def keep_all(collector, query, distance, index):
        if distance <= collector.upper_bounds[query]:
            if collector.indices.shape[0] > 0:
                place = collector.starts[query] + collector.counts[query]
                if (
                    place < collector.starts[query + 1]
                ):  # rows in a mapped file may have changed since they were counted
                    collector.distances[place] = distance
                    collector.indices[place] = index
            collector.counts[query] += 1

    return keep_all


@overload(wanted)
def _wanted(collector):
    if collector.instance_class is Within:
        return lambda collector: np.int64(0)
    return lambda collector: np.int64(collector.distances.shape[1])


@overload(is_known)
def _is_known(collector, query, index):
    if collector.instance_class is Apart:
        return lambda collector, query, index: collector.groups[query] == collector.groups[index]
    if collector.instance_class is not Improved:
        return lambda collector, query, index: False

    def among_the_best(collector, query, index):
        for position in range(collector.indices.shape[1]):
            if collector.indices[query, position] == index:
                return True
        return False

    return among_the_best


@kernel
def make_heaps(distances, indices):
    """Turn every row of pairs into a heap, in place."""
    k = distances.shape[1]
    for query in range(distances.shape[0]):
        for position in range(k // 2 - 1, -1, -1):
            sift_down(distances, indices, query, position, k)


@kernel
def _sort_heaps(distances, indices):
    for query in range(distances.shape[0]):
        sort_heap(distances, indices, query)


def sorted_heaps(distances, indices):
    """Turn every row, a heap, into the ascending list of its pairs, in place; returns both arrays."""
    _sort_heaps(distances, indices)
    return distances, indices


@kernel
def merge_parts(part_distances, part_indices, distances, indices):
    """Merge the heaps of several parts of the rows into ascending lists.

    part_distances, part_indices : (parts, m, k); distances, indices : (m, k), filled by this function.
    """
    for query in range(distances.shape[0]):
        for place in range(distances.shape[1]):
            distances[query, place] = part_distances[0, query, place]
            indices[query, place] = part_indices[0, query, place]
        for part in range(1, part_distances.shape[0]):
            for position in range(distances.shape[1]):
                pair = part_distances[part, query, position], part_indices[part, query, position]
                push(distances, indices, query, pair[0], pair[1])
        sort_heap(distances, indices, query)
