"""The distances of rows to every vector of a codebook: what `transform` of maps and K-Means returns."""

import numpy as np

from somknn.machine import per_task, run_tasks
from somknn.scaling import exponent_of
from somknn.search.cosine import ORTHOGONAL, unit_rows
from somknn.search.metrics import Metric
from somknn_kernels.exact import all_distances as kernels

_ROWS = 512  # of a task
_USUAL = 400  # up to this exponent, squares fit into float64 and none vanishes


def distances_to_all(
    X: np.ndarray, codebook: np.ndarray, metric: Metric, n_threads: int, *, missing: bool = False
) -> np.ndarray:
    """Distances (n, K), in the dtype of `codebook`, of the rows `X` (n, d) to all rows of `codebook` (K, d).

    They are those of a search for all K nearest, rounded to that dtype: 0 for equal rows.
    missing : NaN in `X` is a missing value; distances are over the columns that a row has. Not under cosine.
    """
    zeros = None
    unit = 2.0 ** exponent_of(codebook)
    if metric.unit_rows:
        X, zeros = unit_rows(X, n_threads)
        unit, units = 1.0, unit_rows(codebook, n_threads)[0]
    elif 2.0**-_USUAL <= unit <= 2.0**_USUAL:
        unit, units = 1.0, codebook
    else:  # a power of two rounds nothing
        X, units = X.astype(np.float64) / unit, codebook.astype(np.float64) / unit
    out = np.empty((len(X), len(units)), codebook.dtype)
    at_once = per_task(_ROWS, units.size, 8)
    compute = kernels.all_distances_missing if missing else kernels.all_distances

    def work(task: int) -> None:
        first, last = task * at_once, min(len(X), (task + 1) * at_once)
        squares = np.empty((last - first, len(units)))
        compute(X, first, last, units, squares)
        if zeros is not None:
            squares[zeros[first:last]] = ORTHOGONAL
        with np.errstate(over="ignore"):
            out[first:last] = metric.distances(squares) * unit

    run_tasks(work, -(-len(X) // at_once), n_threads)
    return out
