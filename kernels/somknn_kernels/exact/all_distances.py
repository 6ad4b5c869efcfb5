"""The distances of many rows to all of a few vectors, for those who want every one of them.

    D(x, w) = Σ_c (x[c] - w[c])²              D = ((X[:, None] - W) ** 2).sum(axis=2)

In the order of summation of `distances.py`. So they are those of a search, bit for bit, and 0 for equal rows; a matrix
product would leave what its rounding leaves. Rows with missing values are compared as `search/codebook_missing.py` does
it, over the columns that they have, in column order.
"""

import numpy as np

from somknn_kernels.exact.distances import four_squared_distances, squared_distance_float64
from somknn_kernels.policy import inlined, kernel

_ROWS = 16  # that meet four vectors while these lie in the level-1 cache


@kernel
def all_distances(X, first, last, W, out):
    """out[i - first, k] = squared distance of X[i] and W[k], for the rows [first, last).

    X : (n, d), W : (K, d), of any number types, C-contiguous; out : float64 (at least last - first, K)

    Cost per row and vector: d differences and multiply-adds in float64, in vectors of 8.
    """
    K = W.shape[0]
    sums, single = np.empty((4, 8)), np.empty(8)
    for start in range(first, last, _ROWS):
        stop = min(last, start + _ROWS)
        for k in range(0, K - K % 4, 4):
            for i in range(start, stop):
                four_squared_distances(X, i, W, k, sums, out, i - first)
        for k in range(K - K % 4, K):
            for i in range(start, stop):
                out[i - first, k] = squared_distance_float64(X, i, W, k, single)


@inlined
def list_present(X, i, values, columns):
    """values[:m], columns[:m] = the values of X[i] that are not NaN, as float64, and their columns; returns m."""
    present = 0
    for c in range(X.shape[1]):
        if not np.isnan(X[i, c]):
            values[present] = X[i, c]
            columns[present] = c
            present += 1
    return present


@kernel
def all_distances_missing(X, first, last, W, out):
    """As `all_distances`, where NaN in X is a missing value: such columns take no part. Terms in column order.

    X : float32 or float64. A row without values is at distance 0 from all.
    """
    d, K = X.shape[1], W.shape[0]
    values, columns = np.empty(d), np.empty(d, np.int64)
    for i in range(first, last):
        present = list_present(X, i, values, columns)
        for k in range(K):
            total = 0.0
            for at in range(present):
                difference = values[at] - np.float64(W[k, columns[at]])
                total += difference * difference
            out[i - first, k] = total
