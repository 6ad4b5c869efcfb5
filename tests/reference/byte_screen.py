"""Reference implementation of `somknn_kernels.search.byte_screen.nearest_few`, in plain NumPy."""

import numpy as np


def nearest_few(rows, vectors):
    """Squared distances (integers between bytes) and the first nearest vector of each row."""
    kind = np.int64 if vectors.dtype == np.uint8 else np.float64
    squares = np.empty((len(rows), len(vectors)), kind)
    for i, row in enumerate(rows):
        squares[i] = ((row.astype(kind) - vectors.astype(kind)) ** 2).sum(axis=1)
    return squares.min(axis=1), squares.argmin(axis=1)
