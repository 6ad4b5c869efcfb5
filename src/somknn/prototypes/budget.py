"""Distribute the number of prototypes over the classes."""

import numpy as np


def split_budget(counts: np.ndarray, n_prototypes: int, shares: np.ndarray | None = None) -> np.ndarray:
    """Prototypes of each class, (n_classes,) int64: proportional to `shares`, or equal.

    Prototypes are distributed by the method of Sainte-Laguë (1910).

    counts : rows of each class, all above 0. A class gets at least 1 prototype and at most its number of rows;
    prototypes that it cannot use go to the other classes.

    >>> split_budget(np.array([9, 9, 2]), 12).tolist()
    [5, 5, 2]
    """
    counts = np.asarray(counts, np.int64)
    n_prototypes = int(np.clip(n_prototypes, len(counts), counts.sum()))
    shares = np.ones(len(counts)) if shares is None else np.asarray(shares, np.float64)
    budget = np.ones(len(counts), np.int64)
    for _ in range(n_prototypes - len(counts)):
        budget[np.argmax(np.where(budget < counts, shares / (2 * budget + 1), -1.0))] += 1
    return budget
