"""Lloyd's algorithm: assign every row to its nearest centre, move every centre to the mean of its rows, repeat."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from somknn.grouping import group_sums
from somknn.neighbors.codebook import CodebookSearch
from somknn_kernels.parallel import resolve_n_threads


class Clustering(NamedTuple):
    """Centres, the nearest of them for every row, the weighted sum of squared distances, and the iterations it took."""

    centres: np.ndarray
    labels: np.ndarray
    inertia: float
    n_iter: int
    history: dict[str, list[float]]


def relocate_empty(X, weights, squares, labels, sums, totals) -> None:
    """Give every empty cluster the row that is farthest from its centre, as scikit-learn does; in place.

    squares, labels : the assignment (n,) that `sums` and `totals` belong to. Equal distances go to the lowest row.
    """
    empty = np.flatnonzero(totals == 0)
    if len(empty) == 0 or not squares.max() > 0:
        return
    far = np.argsort(-squares.astype(np.float64), kind="stable")[: len(empty)]
    for cluster, row in zip(empty, far, strict=True):
        weight = 1 if weights is None else weights[row]
        moved = X[row].astype(sums.dtype) * weight
        sums[cluster] = moved
        sums[labels[row]] -= moved
        totals[cluster] = weight
        totals[labels[row]] -= weight


def means(sums: np.ndarray, totals: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Sums over totals; a cluster without rows keeps its centre."""
    moved = centres.copy()
    filled = totals > 0
    moved[filled] = sums[filled] / totals[filled, None]
    return moved


def lloyd(
    search: CodebookSearch,
    centres: np.ndarray,
    weights: np.ndarray | None,
    max_iter: int,
    tolerance: float,
    report: Callable[[dict], bool],
) -> Clustering:
    """Iterate until no label changes, the centres move by less than `tolerance` (squared, in all), or `max_iter`.

    The labels returned are those of the centres returned. `report(entry)` hears of every iteration and ends the work by
    returning True.
    """
    X, n_clusters = search.rows, len(centres)
    n_threads = resolve_n_threads(search.n_jobs)
    history: dict[str, list[float]] = {"inertia": [], "moved_rows": [], "center_shift": [], "seconds": []}
    labels = None
    settled = False
    for iteration in range(1, max_iter + 1):
        start = time.perf_counter()
        squares, nearest = search.nearest(centres, 1, labels)
        squares = squares[:, 0]
        changed = len(X) if labels is None else int(np.count_nonzero(nearest != labels))
        labels = nearest
        sums, totals = group_sums(X, labels[:, 0], n_clusters, weights, n_threads)
        relocate_empty(X, weights, squares, labels[:, 0], sums, totals)
        moved = means(sums, totals, centres)
        shift = float(((moved - centres).astype(np.float64) ** 2).sum())
        settled = changed == 0 and np.array_equal(moved, centres)
        centres = moved
        entry = {
            "inertia": _inertia(squares, weights),
            "moved_rows": changed,
            "center_shift": float(np.sqrt(shift)),
            "seconds": time.perf_counter() - start,
        }
        for name, value in entry.items():
            history[name].append(value)
        stop = report({"iteration": iteration, "centers": centres, **entry})
        if changed == 0 or shift <= tolerance or stop:
            break
    if not settled:
        squares, labels = search.nearest(centres, 1, labels)
        squares = squares[:, 0]
    return Clustering(centres, labels[:, 0], _inertia(squares, weights), iteration, history)


def _inertia(squares: np.ndarray, weights: np.ndarray | None) -> float:
    return float(squares.sum() if weights is None else (squares * weights).sum())
