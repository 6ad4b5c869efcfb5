"""Exact order among the candidates that an approximate search proposes.

The shortlist of another engine is a list of row numbers, in an order that the engine's own, rounded arithmetic chose.
Here the distance of each candidate is computed as `somknn_kernels.exact.distances` defines it. The best k are kept in
the order of every other search: by distance, then by row.
"""

import numpy as np

from somknn_kernels.exact.distances import squared_distance
from somknn_kernels.exact.selection import push, sort_heap
from somknn_kernels.policy import kernel


@kernel
def rerank(isa, queries, rows, candidates, start, stop, distances, indices, found):
    """The k nearest of each query's candidates, for the queries in [start, stop).

    queries (m, d), rows (n, d) : uint8, float32 or float64, C-contiguous
    candidates : int64 (m, s), row numbers below n, each at most once per query; a negative number stands for no row
    distances : int64 (bytes) or float64 (m, k), filled with the largest value; on return ascending
    indices : int64 (m, k), filled with NO_INDEX; on return the rows, ties in ascending order
    found : int64 (m,), how many of the k entries hold a row; -1 where a candidate was listed twice

    Cost per query: s distances of d columns, that is s·d bytes (of uint8) read at random rows of `rows`.
    """
    sums = np.empty(8)
    k = distances.shape[1]
    for i in range(start, stop):
        count = 0
        for j in range(candidates.shape[1]):
            row = candidates[i, j]
            if row >= 0:
                push(distances, indices, i, squared_distance(isa, queries, i, rows, row, sums), row)
                count += 1
        sort_heap(distances, indices, i)
        found[i] = min(count, k)
        # The two entries of a row that was listed twice are side by side now.
        for j in range(1, found[i]):
            if indices[i, j] == indices[i, j - 1]:
                found[i] = -1
                break
