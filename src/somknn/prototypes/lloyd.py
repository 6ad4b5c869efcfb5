"""Lloyd's algorithm: assign every row to its nearest centre, move every centre to the mean of its rows, repeat."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from somknn.grouping import group_sums
from somknn.machine import resolve_n_threads
from somknn.progress import Passes
from somknn.scaling import check_squares
from somknn.search.codebook import CodebookSearch
from somknn.search.directions import unit_codebook, unit_length


class Clustering(NamedTuple):
    """Centres, the weighted sum of squared distances to them, and the number of iterations."""

    centres: np.ndarray
    inertia: float
    n_iter: int
    history: dict[str, list[float]]


class Far(NamedTuple):
    """Rows (m, d), and (m,) each: their squared distances to their centres, clusters and weights."""

    squares: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


class Assigned:
    """Rows in this process, assigned to changing centres: the data interface of `lloyd`.

    guess : int64 (n,), likely nearest centres for the first assignment, if known.

    `somknn.distributed` implements the same interface over the workers of a cluster.
    """

    def __init__(self, search: CodebookSearch, weights: np.ndarray | None, guess: np.ndarray | None = None):
        self.search, self.weights, self._guess = search, weights, guess
        self.squares = np.zeros(0)
        self.labels: np.ndarray | None = None

    def assign(self, centres: np.ndarray) -> tuple[float, int]:
        """Find the nearest centre of every row; return the inertia, and the number of rows that changed theirs."""
        before = self._guess if self.labels is None else self.labels
        squares, labels = self.search.nearest(centres, 1, None if before is None else before[:, None])
        self.squares, labels = squares[:, 0], labels[:, 0]
        check_squares(self.squares, self.search.rows, centres, "init")
        changed = len(labels) if self.labels is None else int(np.count_nonzero(labels != self.labels))
        self.labels = labels
        return float((self.squares if self.weights is None else self.squares * self.weights).sum()), changed

    def sums(self, n_clusters: int) -> tuple[np.ndarray, np.ndarray]:
        """Sums and totals of the rows of each cluster."""
        assert self.labels is not None
        n_threads = resolve_n_threads(self.search.n_jobs)
        return group_sums(self.search.rows, self.labels, n_clusters, self.weights, n_threads)

    def farthest(self, m: int) -> Far:
        """The m rows farthest from their centres, the farthest first; equal distances in row order."""
        assert self.labels is not None
        far = np.argsort(-self.squares.astype(np.float64), kind="stable")[:m]
        weights = np.ones(len(far), np.int64) if self.weights is None else self.weights[far]
        return Far(self.squares[far], self.search.rows[far], self.labels[far], weights)


class AssignedDirections(Assigned):
    """Rows of unit length, assigned to centres by cosine distance.

    of_zeros : what rows of zeros, which are not among the rows, add to the inertia
    """

    def __init__(
        self, search: CodebookSearch, weights: np.ndarray | None, guess: np.ndarray | None, of_zeros: float
    ) -> None:
        super().__init__(search, weights, guess)
        self._of_zeros = of_zeros

    def assign(self, centres: np.ndarray) -> tuple[float, int]:
        """As in `Assigned`; the inertia is the sum of the cosine distances."""
        squares, changed = super().assign(unit_codebook(centres, resolve_n_threads(self.search.n_jobs)))
        return 0.5 * squares + self._of_zeros, changed


def relocate_empty(sums: np.ndarray, totals: np.ndarray, farthest: Callable[[int], Far]) -> None:
    """Give every empty cluster the row that is farthest from its centre, as in scikit-learn; in place."""
    empty = np.flatnonzero(totals == 0)
    if len(empty) == 0:
        return
    far = farthest(len(empty))
    if not far.squares[0] > 0:
        return
    for cluster, row, label, weight in zip(empty, far.rows, far.labels, far.weights, strict=True):
        moved = row.astype(sums.dtype) * weight
        sums[cluster] = moved
        sums[label] -= moved
        totals[cluster] = weight
        totals[label] -= weight


def means(sums: np.ndarray, totals: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Sums divided by totals; a cluster without rows keeps its centre."""
    moved = centres.copy()
    filled = totals > 0
    moved[filled] = sums[filled] / totals[filled, None]
    return moved


def directions_of_sums(sums: np.ndarray, totals: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Sums scaled to unit length; a cluster without rows, or whose rows cancel, keeps its centre."""
    return unit_length(sums, centres, 1)


def lloyd(
    data: Any,
    centres: np.ndarray,
    max_iter: int,
    tolerance: float,
    report: Passes,
    exponent: int = 0,
    move: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] = means,
) -> Clustering:
    """Iterate until no label changes, the centres move by less than `tolerance`, or `max_iter` is reached.

    The movement is the sum of squares over all centres, in squares of 2^exponent. On return, `data` (an `Assigned`) is
    assigned to the returned centres. `report(entry)` is called after every iteration; the work ends when it returns
    True. move(sums, totals, centres) gives the centres of the next iteration.
    """
    history: dict[str, list[float]] = {"inertia": [], "moved_rows": [], "center_shift": [], "seconds": []}
    settled = False
    for iteration in range(1, max_iter + 1):
        report.begin()
        start = time.perf_counter()
        inertia, changed = data.assign(centres)
        sums, totals = data.sums(len(centres))
        relocate_empty(sums, totals, data.farthest)
        moved = move(sums, totals, centres)
        shift = float((((moved - centres).astype(np.float64) / 2.0**exponent) ** 2).sum())
        settled = changed == 0 and np.array_equal(moved, centres)
        centres = moved
        entry = {
            "inertia": inertia,
            "moved_rows": changed,
            "center_shift": float(np.sqrt(shift)) * 2.0**exponent,
            "seconds": time.perf_counter() - start,
        }
        for name, value in entry.items():
            history[name].append(value)
        stop = report({"iteration": iteration, "centers": centres, **entry})
        if changed == 0 or shift <= tolerance or stop:
            break
    if not settled:
        inertia, _ = data.assign(centres)
    return Clustering(centres, inertia, iteration, history)
