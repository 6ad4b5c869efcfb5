"""Starting centres of K-Means: k-means++, k-means||, a random sample, or the caller's own."""

from typing import Any

import numpy as np

from somknn.neighbors.codebook import CodebookSearch
from somknn_kernels import seeding as kernels
from somknn_kernels.parallel import resolve_n_threads, run_tasks

INITS = ("k-means++", "k-means||", "random")
_BLOCK = 1024  # rows of a task; partial sums are added block by block, whoever computed them
_ROUNDS = 5  # of k-means||: Bahmani et al. (2012), section 5, found no gain beyond
_OVERSAMPLING = 0.5  # rows drawn in a round of k-means||, per centre wanted: 2.5·n_clusters candidates in all


class _Potential:
    """The squared distance of every row to the nearest chosen row, and what candidates would make of it."""

    def __init__(self, search: CodebookSearch, weights: np.ndarray):
        self.search, self.weights = search, weights
        rows = search.rows
        kind, worst = (np.int64, np.iinfo(np.int64).max) if rows.dtype == np.uint8 else (np.float64, np.inf)
        self.closest = np.full(len(rows), worst, kind)
        self.vectors = search.short_vectors()
        self.total = np.inf

    def lowered(self, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`closest` after each candidate, (m, n), and its weighted sum, (m,)."""
        rows = self.search.rows
        n = len(rows)
        n_blocks = -(-n // _BLOCK)
        lowered = np.empty((len(candidates), n), self.closest.dtype)
        sums, counts = np.empty((n_blocks, len(candidates))), np.zeros((n_blocks, 1), np.int64)

        def work(task: int) -> None:
            at = slice(task * _BLOCK, min(n, (task + 1) * _BLOCK))
            span = (at.start, at.stop)
            kernels.lower_to_candidates(
                self.search.isa, rows, candidates, self.closest, *self.vectors, *span, lowered, counts[task]
            )
            sums[task] = (lowered[:, at] * self.weights[at]).sum(axis=1)

        run_tasks(work, n_blocks, resolve_n_threads(self.search.n_jobs))
        return lowered, sums.sum(axis=0)

    def choose(self, closest: np.ndarray, total: float) -> None:
        self.closest, self.total = closest, float(total)


def _plus_plus(search: CodebookSearch, weights: np.ndarray, n_clusters: int, random: np.random.RandomState):
    """Rows chosen by greedy k-means++ (Arthur and Vassilvitskii 2007), with scikit-learn's sequence of random numbers."""
    potential = _Potential(search, weights)
    chosen = np.empty(n_clusters, np.int64)
    chosen[0] = random.choice(len(weights), p=weights / weights.sum())
    lowered, totals = potential.lowered(chosen[:1])
    potential.choose(lowered[0], totals[0])
    n_trials = 2 + int(np.log(n_clusters))
    for c in range(1, n_clusters):
        draws = random.uniform(size=n_trials) * potential.total
        candidates = np.searchsorted(np.cumsum(weights * potential.closest), draws)
        candidates = np.minimum(candidates, len(weights) - 1).astype(np.int64)
        lowered, totals = potential.lowered(candidates)
        best = int(np.argmin(totals))
        potential.choose(lowered[best], totals[best])
        chosen[c] = candidates[best]
    return chosen


def _parallel(search: CodebookSearch, weights: np.ndarray, n_clusters: int, random: np.random.RandomState):
    """Rows chosen by k-means|| (Bahmani et al. 2012): a few rounds of many independent draws, then k-means++ among them."""
    n = len(weights)
    first = random.choice(n, p=weights / weights.sum())
    chosen = np.array([first], np.int64)
    owner = np.zeros(n, np.int64)
    closest = search.nearest(search.rows[chosen])[0][:, 0].astype(np.float64)
    for _ in range(_ROUNDS):
        mass = weights * closest
        total = mass.sum()
        if not total > 0:
            break
        drawn = np.flatnonzero(random.uniform(size=n) * total < _OVERSAMPLING * n_clusters * mass)
        if len(drawn) == 0:
            continue
        squares, nearest = search.nearest(search.rows[drawn])
        nearer = squares[:, 0] < closest
        closest[nearer] = squares[nearer, 0]
        owner[nearer] = len(chosen) + nearest[nearer, 0]
        chosen = np.concatenate([chosen, drawn])
    won = np.bincount(owner, weights=weights, minlength=len(chosen))
    chosen, won = chosen[won > 0], won[won > 0]
    if len(chosen) > n_clusters:
        inner = CodebookSearch(search.rows[chosen], n_jobs=search.n_jobs, algorithm=search.algorithm)
        return chosen[_plus_plus(inner, won, n_clusters, random)]
    spare = np.setdiff1d(np.arange(n), chosen)
    return np.concatenate([chosen, random.choice(spare, n_clusters - len(chosen), replace=False)])


def initial_centres(
    search: CodebookSearch, weights: np.ndarray, n_clusters: int, init: Any, random: np.random.RandomState
) -> np.ndarray:
    """Centres to start from, (n_clusters, d), float32 for float32 rows and float64 otherwise.

    init : one of `INITS`, an array (n_clusters, d), or a function of (X, n_clusters, random_state) that returns one.
    """
    rows = search.rows
    dtype = np.float32 if rows.dtype == np.float32 else np.float64
    if isinstance(init, str):
        if init == "random":
            chosen = random.choice(len(rows), n_clusters, replace=False, p=weights / weights.sum())
        else:
            chosen = (_plus_plus if init == "k-means++" else _parallel)(search, weights, n_clusters, random)
        return rows[chosen].astype(dtype)
    centres = np.array(init(rows, n_clusters, random_state=random) if callable(init) else init, dtype=dtype, order="C")
    if centres.shape != (n_clusters, rows.shape[1]):
        raise ValueError(
            f"The shape of the initial centers {centres.shape} does not match the number of clusters {n_clusters} and "
            f"the number of features of the data {rows.shape[1]}."
        )
    if not np.isfinite(centres).all():
        raise ValueError("init holds NaN or infinity; starting centres must be finite")
    return centres
