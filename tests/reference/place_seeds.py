"""Bounds on the k-th distances of rows among themselves, from some of the rows."""

import numpy as np


def bound(rows: np.ndarray, groups: np.ndarray, row: int, others: np.ndarray, k: int) -> int:
    """The k-th smallest squared distance of rows[row] to those of rows[others] that belong to other groups.

    The largest int64 if there are fewer than k.
    """
    others = others[groups[others] != groups[row]]
    squares = np.sort(((rows[others].astype(np.int64) - rows[row]) ** 2).sum(axis=1))
    return int(squares[k - 1]) if len(squares) >= k else int(np.iinfo(np.int64).max)
