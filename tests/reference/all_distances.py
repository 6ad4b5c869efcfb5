"""Readable twins of `somknn_kernels.exact.all_distances`."""

import numpy as np

from reference.search import squared_distance_float64


def all_distances(X, W):
    """Squared distances (n, K) in float64, whatever the dtypes."""
    return np.array([squared_distance_float64(row, W) for row in X]).reshape(len(X), len(W))


def all_distances_missing(X, W):
    """The same over the columns in which a row is not NaN, in column order."""
    out = np.zeros((len(X), len(W)))
    for column in range(X.shape[1]):
        present = ~np.isnan(X[:, column])
        difference = X[present, None, column].astype(np.float64) - W[:, column].astype(np.float64)
        out[present] += difference * difference
    return out
