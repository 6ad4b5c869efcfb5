"""Starting centres of K-Means: k-means++, k-means||, a random sample, or the caller's own."""

from typing import Any

import numpy as np

from somknn.neighbors.codebook import CodebookSearch
from somknn.neighbors.embedding import Embedding
from somknn.neighbors.pruned import LIFT, build_screen
from somknn_kernels import seeding as kernels
from somknn_kernels.parallel import resolve_n_threads, run_tasks
from somknn_kernels.pruned import Probes, Screen
from somknn_kernels.scan_tiles import scan_group

INITS = ("k-means++", "k-means||", "random")
_BLOCK = 2048  # rows of a task; partial sums are added block by block, whoever computed them
_USUAL = 1.5  # candidates with larger errors than this times the rows' median are measured without short vectors
_ROUNDS = 5  # of k-means||: Bahmani et al. (2012), section 5, found no gain beyond
_OVERSAMPLING = 0.5  # rows drawn in a round of k-means||, per centre wanted: 2.5·n_clusters candidates in all


class _Pruning:
    """Short vectors of all rows, and for each what rules candidates out."""

    def __init__(self, embedding: Embedding, probes: Probes):
        self.embedding, self.probes = embedding, probes
        # Thresholds outlive a step, so they are made for the largest error that candidates may have.
        self.errors = _USUAL * np.median(probes.errors[probes.order >= 0], axis=0, keepdims=True)
        n_tiles, _, tile, _ = probes.packed.shape
        # Nothing is ruled out before the first choice, which sets the thresholds of all rows.
        self.thresholds = np.zeros((n_tiles, 7, tile), np.int16 if scan_group(embedding.isa) == 2 else np.int32)

    def screen_of(self, candidates: np.ndarray) -> Screen | None:
        """The candidates' short vectors; None where an error is too large for the thresholds."""
        vectors = self.embedding.embed(candidates, 1, probes=False)
        if not (vectors.errors <= self.errors).all():
            return None
        return build_screen(self.embedding, vectors, np.arange(len(candidates)), 0)


class Potential:
    """The squared distance of every row to the nearest chosen row, in this process: all that greedy k-means++ asks.

    `somknn.distributed` has one over the workers of a cluster, and one of `Owners`.
    """

    def __init__(self, search: CodebookSearch, weights: np.ndarray):
        self.search, self.weights = search, np.ascontiguousarray(weights, np.float64)
        self.n_threads = resolve_n_threads(search.n_jobs)
        n, worst = len(weights), np.iinfo(np.int64).max if search.rows.dtype == np.uint8 else np.inf
        self.closest = np.full(n, worst, np.int64 if search.rows.dtype == np.uint8 else np.float64)
        self.total = np.inf
        self._pruning: _Pruning | None = None
        tile = 1
        short = search.short_vectors()
        if short is not None:
            self._pruning = _Pruning(*short)
            tile = short[1].packed.shape[2]
        self._block = max(1, _BLOCK // tile) * tile  # whole tiles
        self._found = kernels.Improvements(
            np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, self.closest.dtype)
        )
        self._counts = np.zeros(-(-n // self._block), np.int64)
        self._n_tried = 0

    def first(self, random: np.random.RandomState) -> int:
        """A row drawn by weight."""
        return random.choice(len(self.weights), p=self.weights / self.weights.sum())

    def locate(self, masses: np.ndarray) -> np.ndarray:
        """The rows at which the running sum of weight times squared distance reaches `masses`."""
        rows = np.searchsorted(np.cumsum(self.weights * self.closest), masses)
        return np.minimum(rows, len(self.weights) - 1).astype(np.int64)

    def try_rows(self, candidates: np.ndarray) -> np.ndarray:
        """The weighted sum of squared distances after each candidate."""
        m, n, rows, isa = len(candidates), len(self.weights), self.search.rows, self.search.isa
        if len(self._found.rows) < m * n:  # never all written but in the first step
            self._found = kernels.Improvements(*(np.empty(m * n, array.dtype) for array in self._found))
        self._n_tried = m
        gains = np.zeros((len(self._counts), m))
        first = self.total == np.inf
        screen = None if first or self._pruning is None else self._pruning.screen_of(rows[candidates])

        def work(task: int) -> None:
            start, stop = task * self._block, min(n, (task + 1) * self._block)
            given = isa, rows, candidates, self.closest, self.weights
            if screen is None or self._pruning is None:
                self._counts[task] = kernels.find_improvements(*given, start, stop, self._found, gains[task])
                return
            tile = self._pruning.probes.packed.shape[2]
            tiles = start // tile, -(-stop // tile)
            pruning = screen, self._pruning.probes, self._pruning.thresholds
            self._counts[task] = kernels.find_improvements_pruned(*given, *pruning, *tiles, self._found, gains[task])

        run_tasks(work, len(gains), self.n_threads)
        if first:  # `closest` is no distance yet to take a gain from
            distances = self._found.distances[: m * n].reshape(n, m)
            return (distances * self.weights[:, None]).sum(axis=0)
        return self.total - gains.sum(axis=0)

    def choose(self, i: int) -> None:
        """Keep candidate i of those last tried."""
        pruning, d = self._pruning, self.search.rows.shape[1]

        def work(task: int) -> None:
            start = task * self._block
            span = start * self._n_tried, self._counts[task], i
            kernels.settle(self._found, *span, self.closest)
            if pruning is not None:
                kernels.set_thresholds(
                    pruning.probes,
                    pruning.embedding.step,
                    LIFT,
                    pruning.errors,
                    self.closest,
                    d,
                    self._found,
                    *span,
                    pruning.thresholds,
                )

        run_tasks(work, len(self._counts), self.n_threads)
        self.total = float((self.weights * self.closest).sum())


class Owners:
    """The nearest chosen row of every row, in this process: all that k-means|| asks of its data."""

    def __init__(self, search: CodebookSearch, weights: np.ndarray):
        self.search, self.weights = search, weights
        self.closest, self.owner, self.n_chosen = np.full(len(weights), np.inf), np.zeros(len(weights), np.int64), 0

    def first(self, random: np.random.RandomState) -> int:
        """A row drawn by weight."""
        return random.choice(len(self.weights), p=self.weights / self.weights.sum())

    def add(self, chosen: np.ndarray) -> None:
        """Choose rows more."""
        squares, nearest = self.search.nearest(self.search.rows[chosen])
        nearer = squares[:, 0] < self.closest
        self.closest[nearer] = squares[nearer, 0]
        self.owner[nearer] = self.n_chosen + nearest[nearer, 0]
        self.n_chosen += len(chosen)

    def total(self) -> float:
        """The weighted sum of squared distances."""
        return float((self.weights * self.closest).sum())

    def draw(self, random: np.random.RandomState, total: float, expected: float) -> np.ndarray:
        """Rows, each drawn with the probability expected · weight · squared distance / total."""
        draws = random.uniform(size=len(self.weights))
        return np.flatnonzero(draws * total < expected * (self.weights * self.closest))

    def won(self) -> np.ndarray:
        """Weight of the rows that each chosen row is nearest to."""
        return np.bincount(self.owner, weights=self.weights, minlength=self.n_chosen)

    def search_among(self, chosen: np.ndarray) -> CodebookSearch:
        """A search over the rows `chosen`."""
        search = self.search
        return CodebookSearch(search.rows[chosen], n_jobs=search.n_jobs, algorithm=search.algorithm)


def plus_plus(potential: Any, n_clusters: int, random: np.random.RandomState) -> np.ndarray:
    """Rows chosen by greedy k-means++ (Arthur and Vassilvitskii 2007), with scikit-learn's sequence of random numbers."""
    chosen = np.empty(n_clusters, np.int64)
    chosen[0] = potential.first(random)
    total = potential.try_rows(chosen[:1])[0]
    potential.choose(0)
    n_trials = 2 + int(np.log(n_clusters))
    for c in range(1, n_clusters):
        candidates = potential.locate(random.uniform(size=n_trials) * total)
        totals = potential.try_rows(candidates)
        best = int(np.argmin(totals))
        potential.choose(best)
        chosen[c], total = candidates[best], totals[best]
    return chosen


def parallel(owners: Any, n: int, n_clusters: int, random: np.random.RandomState) -> np.ndarray:
    """Rows chosen by k-means|| (Bahmani et al. 2012): a few rounds of many independent draws, then k-means++ among them."""
    chosen = np.array([owners.first(random)], np.int64)
    owners.add(chosen)
    for _ in range(_ROUNDS):
        total = owners.total()
        if not total > 0:
            break
        drawn = owners.draw(random, total, _OVERSAMPLING * n_clusters)
        if len(drawn) == 0:
            continue
        owners.add(drawn)
        chosen = np.concatenate([chosen, drawn])
    won = owners.won()
    chosen, won = chosen[won > 0], won[won > 0]
    if len(chosen) > n_clusters:
        return chosen[plus_plus(Potential(owners.search_among(chosen), won), n_clusters, random)]
    spare = np.setdiff1d(np.arange(n), chosen)
    return np.concatenate([chosen, random.choice(spare, n_clusters - len(chosen), replace=False)])


def centres_dtype(rows: np.dtype) -> type:
    """float32 for float32 rows, else float64."""
    return np.float32 if rows == np.float32 else np.float64


def initial_centres(
    search: CodebookSearch, weights: np.ndarray, n_clusters: int, init: Any, random: np.random.RandomState
) -> np.ndarray:
    """Centres to start from, (n_clusters, d), float32 for float32 rows and float64 otherwise.

    init : one of `INITS`, an array (n_clusters, d), or a function of (X, n_clusters, random_state) that returns one.
    """
    rows = search.rows
    if isinstance(init, str):
        if init == "random":
            chosen = random.choice(len(rows), n_clusters, replace=False, p=weights / weights.sum())
        elif init == "k-means++":
            chosen = plus_plus(Potential(search, weights), n_clusters, random)
        else:
            chosen = parallel(Owners(search, weights), len(rows), n_clusters, random)
        return rows[chosen].astype(centres_dtype(rows.dtype))
    centres = init(rows, n_clusters, random_state=random) if callable(init) else init
    return given_centres(centres, n_clusters, rows.shape[1], rows.dtype)


def given_centres(centres: Any, n_clusters: int, n_features: int, rows: np.dtype) -> np.ndarray:
    """A copy of a caller's centres for rows of the dtype `rows`; ValueError for another shape, NaN or infinity."""
    centres = np.array(centres, dtype=centres_dtype(rows), order="C")
    if centres.shape != (n_clusters, n_features):
        raise ValueError(
            f"The shape of the initial centers {centres.shape} does not match the number of clusters {n_clusters} and "
            f"the number of features of the data {n_features}."
        )
    if not np.isfinite(centres).all():
        raise ValueError("init holds NaN or infinity; starting centres must be finite")
    return centres
