"""Reference implementation of `somknn_kernels.learn.linear_map`, in plain NumPy."""

import numpy as np


def map_bytes(X, centre, axes, shift):
    """axes : integers (rank, d)."""
    products = (X.astype(np.int64) - centre) @ axes.astype(np.int64).T
    return (np.clip((products + 2**shift // 2) // 2**shift, -128, 127) + 128).astype(np.uint8)


def nearest_mapped(X, centre, axes, shift, vectors):
    """vectors : uint8 (p, rank), as `map_bytes` returns them."""
    codes = map_bytes(X, centre, axes, shift).astype(np.int64)
    squares = ((codes[:, None] - vectors[None].astype(np.int64)) ** 2).sum(axis=2)
    return squares.min(axis=1), squares.argmin(axis=1)


def map_floats(X, centre, columns):
    """columns : (d, rank)."""
    total = np.zeros((len(X), columns.shape[1]))
    for c in range(X.shape[1]):
        total = total + columns[c] * (X[:, c].astype(np.float64) - centre[c])[:, None]
    return total
