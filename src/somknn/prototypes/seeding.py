"""Initial centres of K-Means: k-means++, k-means||, a random sample, or the caller's own."""

from collections.abc import Callable
from typing import Any

import numpy as np

from somknn.machine import per_task, resolve_n_threads, run_tasks
from somknn.scaling import check_squares, exponent_of, squares_scale
from somknn.search.allowance import Allowance
from somknn.search.codebook import CodebookSearch
from somknn.search.costs import exact_pair
from somknn.search.embedding import Embedding
from somknn_kernels.ir.layout import scan_panels, scan_queries
from somknn_kernels.ir.shapes import scan_sums
from somknn_kernels.learn import seeding as kernels
from somknn_kernels.tiles.sieve_tile import CANDIDATES

INITS = ("k-means++", "k-means||", "random")
_BLOCK = 2048  # rows per block; partial sums are added block by block, in a fixed order
_TASKS = 2  # of a step, per thread
_MEASURED = 512  # pairs that are worth a thread
_ENCODED = 1024  # rows encoded by one task
_ROOM = 2.0  # allows rows longer than the longest row of the first ones
_FINEST = 31000.0  # norm of a row's fine codes
# Candidates whose errors exceed this times the median of the rows go to the second mesh of the sieve, with all rows.
_USUAL = 1.5
_ROUNDS = 5  # of k-means||: Bahmani et al. (2012), section 5, found no gain from more
_OVERSAMPLING = 0.5  # rows drawn per round of k-means||, per requested centre: 2.5·n_clusters candidates in total


def _build_sieve(embedding: Embedding, rows: np.ndarray, n_threads: int) -> kernels.Sieve:
    """The sieve of `rows`, without their upper bounds so far."""
    isa, n, width = embedding.isa, len(rows), embedding.n_columns
    panels, narrow = scan_panels(isa, parts=1).zeros(n, width // 2), scan_sums(isa)
    n_panels, _, panel, _ = panels.shape
    sieve = kernels.Sieve(
        panels=panels,
        squares=np.empty(n, np.int64),
        errors=np.empty(n),
        step=embedding.step,
        lift=embedding.limits[0],
        largest=0.0,
        starts=np.zeros((n_panels, panel), narrow),
        thresholds=np.full((n_panels, panel), np.iinfo(narrow).max, narrow),
        fine=np.empty((n, width), np.int16),
        fine_squares=np.empty(n, np.int64),
        fine_errors=np.empty(n),
        fine_step=0.0,
        radius=np.full(n, np.inf),
    )
    for start, vectors, errors in embedding.chunks(rows, n_threads):
        if start == 0:
            longest = float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64).max()))
            sieve = sieve._replace(fine_step=max(_ROOM * longest, 1e-280) / _FINEST)

        def work(
            task: int,
            sieve: kernels.Sieve = sieve,
            start: int = start,
            vectors: np.ndarray = vectors,
            errors: np.ndarray = errors,
        ) -> None:
            at = slice(task * _ENCODED, (task + 1) * _ENCODED)
            given = vectors[at], errors[at], embedding.middle, float(embedding.limits[0])
            kernels.encode_rows(*given, start + at.start, sieve)

        run_tasks(work, -(-len(vectors) // _ENCODED), n_threads)
    return sieve._replace(largest=_USUAL * float(np.median(sieve.errors)))


class Potential:
    """The squared distance of every row to the nearest chosen row: the data interface of greedy k-means++.

    The rows are in this process.

    closest : those distances; nearest : int64 (n,), the nearest chosen row of each row, as its position in the order of
    choice. Ties go to the first.

    `somknn.distributed` implements this interface and that of `Owners` over the workers of a cluster.
    """

    def __init__(self, search: CodebookSearch, weights: np.ndarray):
        # Read-only arrays within a record would be another type to the kernels, and compiled again.
        self.search, self.weights = search, np.require(weights, np.float64, ["C_CONTIGUOUS", "WRITEABLE"])
        self.n_threads = resolve_n_threads(search.n_jobs)
        n, integers = len(weights), search.rows.dtype == np.uint8
        self.closest = np.full(n, np.iinfo(np.int64).max if integers else np.inf, np.int64 if integers else np.float64)
        self.total = np.inf
        # Sums of integers below 2^53 do not depend on their order, so they need not be recomputed.
        farthest = 255.0**2 * search.rows.shape[1]
        self._whole = integers and bool((weights % 1 == 0).all()) and weights.sum() * farthest < 2.0**53
        self._sieve: kernels.Sieve | None = None
        self._allowance = Allowance(search.algorithm == "auto")  # until the sieve is built
        self._block = _BLOCK  # a multiple of every panel size
        n_blocks = -(-n // self._block)
        self._masses = np.zeros(n_blocks)
        self._found = kernels.Improvements(
            rows=np.empty(0, np.int32),
            candidates=np.empty(0, np.int32),
            distances=np.empty(0, self.closest.dtype),
            most=np.empty(0),
            counts=np.zeros(n_blocks, np.int64),
        )
        self._trial = kernels.Trial(np.empty(0, np.int64), self.closest, self.weights, self._block)
        self._totals, self._n_chosen = np.zeros(0), 0
        self.nearest, self._moved = np.zeros(n, np.int64), np.empty(n, np.int32)

    def first(self, random: np.random.RandomState) -> int:
        """Draw a row with probability proportional to its weight."""
        return random.choice(len(self.weights), p=self.weights / self.weights.sum())

    def locate(self, masses: np.ndarray) -> np.ndarray:
        """The rows at which the running sum of weight times squared distance reaches `masses`."""
        if self._whole:
            rows = np.empty(len(masses), np.int64)
            kernels.locate(self.weights, self.closest, self._masses, self._block, masses, rows)
            return rows
        rows = np.searchsorted(np.cumsum(self.weights * self.closest), masses)
        return np.minimum(rows, len(self.weights) - 1).astype(np.int64)

    def try_rows(self, candidates: np.ndarray) -> np.ndarray:
        """The weighted sum of squared distances after each candidate; infinite if another's is certainly smaller."""
        m, n, n_blocks = len(candidates), len(self.weights), len(self._found.counts)
        if len(self._found.rows) < m * n:  # only the first step fills all of it
            pairs = {name: array for name, array in self._found._asdict().items() if name != "counts"}
            self._found = self._found._replace(**{name: np.empty(m * n, array.dtype) for name, array in pairs.items()})
        self._trial = self._trial._replace(candidates=np.array(candidates, np.int64))
        first = self.total == np.inf
        sieve = None if first else self._sieve_for(m)
        if sieve is not None:
            self._totals = self._try_sieved(sieve)
            return self._totals
        gains = np.zeros((n_blocks, m))
        given, out = (self.search.isa, self.search.rows, self._trial), (self._found, gains)
        self._over_blocks(lambda first, last, _: kernels.find_improvements(*given, first, last, *out))
        if first:  # `closest` holds no distances yet, so there is no gain to compute
            distances = self._found.distances[: m * n].reshape(n, m)
            self._totals = (distances * self.weights[:, None]).sum(axis=0)
        else:
            self._totals = self.total - gains.sum(axis=0)
        return self._totals

    def _sieve_for(self, n_candidates: int) -> kernels.Sieve | None:
        """The sieve, if it is to try so many candidates; it is built when it has become worth it."""
        rows = self.search.rows
        if self._allowance.covers(n_candidates * len(rows) * exact_pair(rows)):
            return None
        if self._sieve is None:
            embedding = self.search.embedding()
            if embedding is not None:
                self._sieve = _build_sieve(embedding, rows, self.n_threads)
                kernels.set_upper_bounds(self._sieve, np.arange(len(rows), dtype=np.int32), self.closest, rows.shape[1])
        return self._sieve

    def _over_blocks(self, work: Callable[[int, int, int], object], n_tasks: int | None = None) -> None:
        """Call work(first block, last block, task) for all blocks.

        Few tasks: each costs a call from Python, which takes as long as a block.
        """
        n_blocks = len(self._found.counts)
        if n_tasks is None:
            at_once = per_task(n_blocks, self._block * len(self._trial.candidates) * self.search.rows.shape[1])
            n_tasks = min(n_blocks, max(_TASKS * self.n_threads, -(-n_blocks // at_once)))
        edges = [task * n_blocks // n_tasks for task in range(n_tasks + 1)]
        run_tasks(lambda task: work(edges[task], edges[task + 1], task), n_tasks, self.n_threads)

    def _try_sieved(self, sieve: kernels.Sieve) -> np.ndarray:
        trial, found, (isa, rows) = self._trial, self._found, (self.search.isa, self.search.rows)
        m, d, layout = len(trial.candidates), rows.shape[1], scan_queries(isa, CANDIDATES)
        packed = layout.zeros(m, sieve.panels.shape[1] * layout.group)
        codes = kernels.CandidateCodes(packed, np.zeros((len(packed), CANDIDATES), sieve.starts.dtype))
        kernels.pack_candidates(sieve, trial.candidates, codes)
        most = np.zeros((len(found.counts), m))
        given = isa, trial, sieve, codes, d
        self._over_blocks(lambda first, last, _: kernels.find_possible(*given, first, last, found, most))

        n_pairs = int(found.counts.sum())
        at_once = per_task(max(1, n_pairs), d)
        n_tasks = max(1, min(max(self.n_threads, -(-n_pairs // at_once)), n_pairs // _MEASURED, len(most)))
        left = np.empty((n_tasks, m))
        for task in range(n_tasks):
            left[task] = most[task * len(most) // n_tasks : (task + 1) * len(most) // n_tasks].sum(axis=0)
        race = kernels.Race(
            leader=int(np.argmax(left.sum(axis=0))),
            margin=1e-12 * self.total,
            gained=np.zeros((n_tasks, m)),
            left=left,
            lost=np.zeros((n_tasks, m), np.uint8),
        )

        def measure(first: int, last: int, task: int) -> None:
            kernels.measure_possible(isa, rows, trial, first, last, found, race, task)

        self._over_blocks(measure, n_tasks)
        gained = race.gained
        if not self._whole:  # fixed order of summation
            gained = np.zeros_like(most)
            kernels.add_up(trial, found, gained)
        return np.where(race.lost.any(axis=0), np.inf, self.total - gained.sum(axis=0))

    def choose(self, i: int) -> None:
        """Choose candidate i of those last tried."""
        first = self.total == np.inf
        out = self.nearest, self._masses, self._moved
        n_moved = kernels.settle(self._trial, self._found, i, self._n_chosen, *out)
        self._n_chosen += 1
        if self._sieve is not None:
            kernels.set_upper_bounds(self._sieve, self._moved[:n_moved], self.closest, self.search.rows.shape[1])
        if first:
            check_squares(self.closest)
            starts = np.arange(0, len(self.closest), self._block)
            self._masses = np.add.reduceat(self.weights * self.closest, starts)
        self.total = float(self._totals[i] if self._whole else (self.weights * self.closest).sum())


class Owners:
    """The nearest chosen row of every row, in this process: the data interface of k-means||."""

    def __init__(self, search: CodebookSearch, weights: np.ndarray):
        self.search, self.weights = search, weights
        self.closest, self.owner, self.n_chosen = np.full(len(weights), np.inf), np.zeros(len(weights), np.int64), 0

    def first(self, random: np.random.RandomState) -> int:
        """Draw a row with probability proportional to its weight."""
        return random.choice(len(self.weights), p=self.weights / self.weights.sum())

    def add(self, chosen: np.ndarray) -> None:
        """Choose additional rows."""
        squares, nearest = self.search.nearest(self.search.rows[chosen])
        nearer = squares[:, 0] < self.closest
        self.closest[nearer] = squares[nearer, 0]
        check_squares(self.closest)
        self.owner[nearer] = self.n_chosen + nearest[nearer, 0]
        self.n_chosen += len(chosen)

    def total(self) -> float:
        """The weighted sum of squared distances."""
        return float((self.weights * self.closest).sum())

    def draw(self, random: np.random.RandomState, total: float, expected: float) -> np.ndarray:
        """Draw rows, each with probability expected · weight · squared distance / total."""
        draws = random.uniform(size=len(self.weights))
        return np.flatnonzero(draws * total < expected * (self.weights * self.closest))

    def won(self) -> np.ndarray:
        """Total weight of the rows nearest to each chosen row."""
        return np.bincount(self.owner, weights=self.weights, minlength=self.n_chosen)

    def search_among(self, chosen: np.ndarray) -> CodebookSearch:
        """A search over the rows `chosen`."""
        search = self.search
        return CodebookSearch(search.rows[chosen], n_jobs=search.n_jobs, algorithm=search.algorithm)


def plus_plus(
    potential: Any, n_clusters: int, random: np.random.RandomState, n_trials: int | None = None
) -> np.ndarray:
    """Rows chosen by k-means++ (Arthur and Vassilvitskii 2007), with scikit-learn's sequence of random numbers.

    n_trials : candidates for each row after the first, of which the best is kept; None: 2 + log(n_clusters).
    """
    chosen = np.empty(n_clusters, np.int64)
    chosen[0] = potential.first(random)
    total = potential.try_rows(chosen[:1])[0]
    potential.choose(0)
    n_trials = 2 + int(np.log(n_clusters)) if n_trials is None else n_trials
    for c in range(1, n_clusters):
        candidates = potential.locate(random.uniform(size=n_trials) * total)
        totals = potential.try_rows(candidates)
        best = int(np.argmin(totals))
        potential.choose(best)
        chosen[c], total = candidates[best], totals[best]
    return chosen


def parallel(owners: Any, n: int, n_clusters: int, random: np.random.RandomState) -> np.ndarray:
    """Rows chosen by k-means|| (Bahmani et al. 2012): rounds of independent draws, then k-means++ among them."""
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
    """float32 for float32 rows, otherwise float64."""
    return np.float32 if rows == np.float32 else np.float64


def initial_centres(
    search: CodebookSearch,
    weights: np.ndarray,
    n_clusters: int,
    init: Any,
    random: np.random.RandomState,
    n_trials: int | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Initial centres (n_clusters, d), and the nearest centre of each row if it is known.

    The centres are float32 for float32 rows and float64 otherwise.
    init : one of `INITS`, an array (n_clusters, d), or a function of (X, n_clusters, random_state) that returns one.
    n_trials : candidates per centre of k-means++.
    """
    rows, nearest = search.rows, None
    # Draws depend only on the ratios of weight times squared distance, so these are scaled to near one.
    weights = weights * squares_scale(exponent_of(rows))
    if isinstance(init, str):
        if init == "random":
            chosen = random.choice(len(rows), n_clusters, replace=False, p=weights / weights.sum())
        elif init == "k-means++":
            potential = Potential(search, weights)
            chosen, nearest = plus_plus(potential, n_clusters, random, n_trials), potential.nearest
        else:
            chosen = parallel(Owners(search, weights), len(rows), n_clusters, random)
        return rows[chosen].astype(centres_dtype(rows.dtype)), nearest
    centres = init(rows, n_clusters, random_state=random) if callable(init) else init
    return given_centres(centres, n_clusters, rows.shape[1], rows.dtype), None


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
