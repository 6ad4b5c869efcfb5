"""Sums of rows by label over all threads, used for K-Means centres and batch SOM training."""

import itertools

import numpy as np

from somknn.machine import check_stopped, per_task, run_tasks
from somknn_kernels.learn import group_sums as kernels

# Columns per task: few enough to share wide rows among threads, enough to use whole cache lines.
_COLUMNS = 256


def group_sums(
    X: np.ndarray,
    labels: np.ndarray,
    n_groups: int,
    weights: np.ndarray | None = None,
    n_threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the rows, and number or total weight of the rows, of every label.

    Parameters
    ----------
    X : (n, d) uint8, float32 or float64, C-contiguous
    labels : (n,) int64 in [0, n_groups)
    n_groups : int
        Number of labels.
    weights : (n,) float64, optional
    n_threads : int
        Number of threads; does not change the result.

    Returns
    -------
    sums : (n_groups, d)
        int64 and exact for uint8 rows without weights, otherwise float64, summed in ascending row order.
    totals : (n_groups,)
        int64 row counts, or float64 sums of weights.

    Raises
    ------
    ValueError
        If a label is outside [0, n_groups), since its sums would be written outside the array.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.uint8)
    >>> sums, counts = group_sums(X, np.array([1, 0, 1]), 3)
    >>> sums.tolist(), counts.tolist()
    ([[3, 4], [6, 8], [0, 0]], [1, 2, 0])
    """
    n, d = X.shape
    order = np.empty(n, np.int64)
    starts = np.empty(n_groups + 1, np.int64)
    sorted_rows = kernels.sort_by_label(labels, starts, order)
    if sorted_rows < n:
        raise ValueError(f"row {sorted_rows} has the label {labels[sorted_rows]}, which is none of {n_groups} groups")
    if weights is not None:
        totals = np.empty(n_groups)
        kernels.sum_weights(weights, labels, totals)
    else:
        totals = np.diff(starts)
    exact = X.dtype == np.uint8 and weights is None
    sums = np.zeros((n_groups, d), np.int64 if exact else np.float64)
    blocks = _blocks(starts, d, n_threads)

    def work(task: int) -> None:
        first_group, last_group, first_column, last_column = blocks[task]
        first, last = int(starts[first_group]), int(starts[last_group])
        at_once = per_task(max(1, last - first), (last_column - first_column) / 2)
        for position in range(first, last, at_once):
            check_stopped()
            part = starts if at_once >= last - first else np.clip(starts, position, position + at_once)
            block = (order, part, first_group, last_group, first_column, last_column, sums)
            if weights is not None:
                kernels.sum_groups_weighted(X, weights, *block)
            elif exact:
                kernels.sum_groups_bytes(X, *block)
            else:
                kernels.sum_groups_floats(X, *block)

    run_tasks(work, len(blocks), n_threads)
    return sums, totals


def _blocks(starts: np.ndarray, d: int, n_threads: int) -> list[tuple[int, int, int, int]]:
    """Blocks of groups by blocks of columns.

    Blocks of groups have about equally many rows. Columns are split only if the groups alone cannot occupy the threads:
    whole rows are read faster than parts of them.
    """
    n_groups = len(starts) - 1
    wanted = np.linspace(0, starts[-1], 8 * n_threads + 1)[1:-1]
    cuts = np.unique([0, *np.searchsorted(starts, wanted), n_groups]) if n_threads > 1 else np.array([0, n_groups])
    largest = np.diff(starts[cuts]).max(initial=0)
    whole = n_threads == 1 or 2 * n_threads * largest <= starts[-1]
    columns = [0, d] if whole else [0, *range(_COLUMNS, d - _COLUMNS // 2, _COLUMNS), d]
    return [(int(g0), int(g1), c0, c1) for g0, g1 in itertools.pairwise(cuts) for c0, c1 in itertools.pairwise(columns)]
