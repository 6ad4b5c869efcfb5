"""How many prototypes each class gets."""

import numpy as np


def split_budget(counts: np.ndarray, n_prototypes: int, shares: np.ndarray | None = None) -> np.ndarray:
    """Prototypes of each class, (n_classes,) int64: by `shares`, or equal, one after the other by the rule of Sainte-Laguë (1910).

    counts : rows of each class, all above 0: none gets more, what it cannot use goes to the others. Each gets at least 1.

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
