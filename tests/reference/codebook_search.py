"""Reference implementations of `somknn_kernels.search.codebook_search`."""

import numpy as np


def two_nearest(X: np.ndarray, W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(units (n, 2), squared distances (n, 2)) in float64; NaN in `X` is missing; ties go to the lowest index."""
    blocks = np.array_split(X, 1 + len(X) // 100)  # all differences at once would take gigabytes
    parts = [_two_nearest(block, W) for block in blocks]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _two_nearest(X: np.ndarray, W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    difference = X[:, None, :].astype(np.float64) - W[None, :, :].astype(np.float64)
    squares = np.nansum(difference**2, axis=2)
    units = np.argsort(squares, axis=1, kind="stable")[:, :2]
    return units, np.take_along_axis(squares, units, axis=1)


two_nearest_missing = two_nearest
