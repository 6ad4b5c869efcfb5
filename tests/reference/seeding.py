"""Reference implementation of `somknn_kernels.learn.seeding`, in plain NumPy."""

import numpy as np


def squared_distances(X, vectors):
    """Squared distance of every row to every vector, (n, m); integers for bytes."""
    wide = np.int64 if X.dtype == np.uint8 else np.float64
    return np.stack([((X.astype(wide) - vector.astype(wide)) ** 2).sum(axis=1) for vector in vectors], axis=1)


def find_improvements(X, candidates, closest):
    """{(row, number of the candidate): squared distance} for distances below closest[row]."""
    squares = squared_distances(X, X[candidates])
    return {(int(i), int(c)): squares[i, c] for i, c in zip(*np.nonzero(squares < closest[:, None]), strict=True)}


def totals(X, candidates, closest, weights):
    """The weighted sum of squared distances after each candidate."""
    left = np.repeat(closest.astype(np.float64)[:, None], len(candidates), axis=1)
    for (row, number), distance in find_improvements(X, candidates, closest).items():
        left[row, number] = distance
    return weights @ left


def sieve_masks(candidates, offsets, rows, starts, tops, bits):
    """Mask of the rows that `sieve_tile` keeps, bool (candidates, rows), with sums modulo 2^bits."""
    half = 1 << bits - 1
    sums = candidates @ rows.T + starts + offsets[:, None]
    return (sums + half) % (2 * half) - half <= tops


def locate(weights, closest, wanted):
    """The first row where the running sum of weight times distance reaches each of `wanted`, or the last row."""
    return np.minimum(np.searchsorted(np.cumsum(weights * closest), wanted), len(weights) - 1)
