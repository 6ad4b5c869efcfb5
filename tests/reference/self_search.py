"""Neighbours of rows among themselves by comparing all pairs."""

import numpy as np


def nearest_apart(rows: np.ndarray, groups: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances and rows, (n, k), of the k nearest rows of other groups, by distance and row; rows of bytes."""
    wide = rows.astype(np.int64)
    squares = (wide**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * wide @ wide.T
    distances[groups[:, None] == groups] = np.iinfo(np.int64).max
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, axis=1), order
