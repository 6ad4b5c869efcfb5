"""Sums of columns, and how far rows are spread about a point: what tolerances and learning rates are relative to."""

import numpy as np

from somknn.grouping import group_sums
from somknn.machine import run_tasks

_BLOCK = 1024  # rows of a task


def mean_variance(X: np.ndarray, n_threads: int, exponent: int = 0) -> float:
    """Mean variance of a feature in squares of 2^exponent; `tol` is relative to it."""
    return squares_about(X, column_sums(X, n_threads) / len(X), n_threads, exponent) / X.size


def column_sums(X: np.ndarray, n_threads: int) -> np.ndarray:
    """Sums of the columns (d,); int64 for uint8, else float64."""
    return group_sums(X, np.zeros(len(X), np.int64), 1, None, n_threads)[0][0]


def squares_about(X: np.ndarray, centre: np.ndarray, n_threads: int, exponent: int = 0) -> float:
    """Sum of the squared distances of the rows to `centre`, in squares of 2^exponent."""
    squares = np.empty(-(-len(X) // _BLOCK))

    def work(task: int) -> None:
        centred = X[task * _BLOCK : (task + 1) * _BLOCK] - centre
        if exponent:
            centred *= 2.0**-exponent
        squares[task] = np.einsum("ij,ij->", centred, centred)

    run_tasks(work, len(squares), n_threads)
    return float(squares.sum())
