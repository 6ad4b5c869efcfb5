"""Reference implementations of `somknn_kernels.maps.som_update`, and of batch SOM training, in plain NumPy."""

import numpy as np


def weighted_sums(H: np.ndarray, S: np.ndarray) -> np.ndarray:
    """out[j] = Σ_i H[j, i]·S[i]."""
    return H @ S


def _pulls(pulls, distances, pushed_within):
    """A row pushes away no unit whose squared distance is above `pushed_within`."""
    return np.where((pulls < 0) & ~(distances <= pushed_within), 0.0, pulls)[:, None]


def train_online(X, order, W, influence, rates, pushed_within=np.inf):
    """The classical rule for the rows `order`; influence (K, K). Returns the trained codebook; NaN is missing."""
    W = W.astype(np.float64).copy()
    for step, row in enumerate(order):
        present = ~np.isnan(X[row].astype(np.float64))
        distances = ((X[row, present].astype(np.float64) - W[:, present]) ** 2).sum(axis=1)
        pulls = _pulls(rates[step] * influence[distances.argmin()], distances, pushed_within)
        W[:, present] += pulls * (X[row, present] - W[:, present])
    return W


train_online_missing = train_online


def present_online(X, W, influence, rates, margins=False, pushed_within=np.inf):
    """The two units of each row at the moment the classical rule presents it.

    Returns units (n, 2), squared distances (n,), and with `margins` how much farther the second unit is.
    """
    X, W = X.astype(np.float64), W.astype(np.float64).copy()
    units, squares, gaps = np.zeros((len(X), 2), np.int64), np.zeros(len(X)), np.full(len(X), np.inf)
    for step, row in enumerate(X):
        distances = ((row - W) ** 2).sum(axis=1)
        two = np.argsort(distances, kind="stable")[:2]
        units[step, : len(two)], squares[step] = two, distances[two[0]]
        if len(two) == 2:
            gaps[step] = distances[two[1]] - distances[two[0]]
        W += _pulls(rates[step] * influence[two[0]], distances, pushed_within) * (row - W)
    return (units, squares, gaps) if margins else (units, squares)


def batch_map(X, W, influences, weights=None):
    """Kohonen's batch training: one update for each (K, K) neighbourhood in `influences`; NaN in `X` is missing."""
    X, W = X.astype(np.float64), W.astype(np.float64).copy()
    weights = np.ones(len(X)) if weights is None else weights
    present = ~np.isnan(X)
    for H in influences:
        winners = np.nansum((X[:, None, :] - W[None]) ** 2, axis=2).argmin(axis=1)
        share = H[:, winners] * weights
        numerator, denominator = share @ np.where(present, X, 0.0), share @ present.astype(np.float64)
        W = np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1.0), W)
    return W
