"""Reference implementations of `somknn_kernels.learn.group_sums`."""

import numpy as np


def sort_by_label(labels, n_groups):
    """(starts, order): rows of label g are order[starts[g] : starts[g + 1]], ascending."""
    order = np.argsort(labels, kind="stable")
    return np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=n_groups))]), order


def group_sums(X, labels, n_groups, weights=None):
    """(sums, totals), row after row, in int64 for unweighted bytes, otherwise in float64."""
    exact = X.dtype == np.uint8 and weights is None
    sums = np.zeros((n_groups, X.shape[1]), np.int64 if exact else np.float64)
    totals = np.zeros(n_groups, np.int64 if weights is None else np.float64)
    for row, label in enumerate(labels):
        weight = 1 if weights is None else weights[row]
        sums[label] += weight * X[row].astype(sums.dtype)
        totals[label] += weight
    return sums, totals
