"""K-Means over parts: each part sums its rows by nearest centre.

The initial centres are drawn with the same random numbers as on one machine.
"""

from typing import Any

import dask.array
import numpy as np
from distributed import Client, Future
from sklearn.utils import check_random_state

from somknn.distributed.cluster import combine, given, turn
from somknn.distributed.parts import Part, Parts, forget_rows, key_of
from somknn.progress import Task, with_callbacks
from somknn.prototypes import KMeans
from somknn.prototypes.lloyd import Assigned, Far
from somknn.prototypes.seeding import centres_dtype, given_centres, parallel, plus_plus
from somknn.prototypes.spread import column_sums, squares_about
from somknn.scaling import exponent_of
from somknn.search.codebook import CodebookSearch


def _search(part: Part, n_threads: int) -> CodebookSearch:
    if "search" not in part.kept:
        part.kept["search"] = CodebookSearch(part.rows, n_jobs=n_threads)
    return part.kept["search"]


class _AssignedParts:
    """`somknn.prototypes.lloyd.Assigned` over a cluster; labels stay on the workers."""

    def __init__(self, parts: Parts):
        self.parts = parts
        self._now: Future | None = None

    def assign(self, centres: np.ndarray) -> tuple[float, int]:
        before, self._now = self._now, given(self.parts.client, centres)
        *self._sums, inertia, changed = self.parts.sum(_assign, self._now, before)
        return float(inertia), int(changed)

    def sums(self, n_clusters: int) -> tuple[np.ndarray, np.ndarray]:
        sums, totals = self._sums
        return sums.copy(), totals.copy()

    def farthest(self, m: int) -> Far:
        return combine(self.parts.client, self.parts.map(_farthest, self._now, m), _merge_far)[1]


def _assigned(part: Part, centres: np.ndarray | None, n_threads: int) -> Assigned:
    """The part's rows assigned to `centres`, or unassigned for None; reuses the kept assignment if it matches."""
    key = None if centres is None else key_of(centres)
    if "assigned" not in part.kept or part.kept["assigned"][0] != key:
        data = Assigned(_search(part, n_threads), None)
        if centres is not None:
            data.assign(centres)
        part.kept["assigned"] = key, data
    return part.kept["assigned"][1]


def _assign(part: Part, centres: np.ndarray, before: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Sums and totals by centre, the inertia, and the number of rows whose nearest centre differed for `before`."""
    with turn() as n_threads:
        data = _assigned(part, before, n_threads)
        part.kept.pop("assigned")  # in case this task fails half-way
        inertia, changed = data.assign(centres)
        part.kept["assigned"] = key_of(centres), data
        return *data.sums(len(centres)), inertia, changed


def _farthest(part: Part, centres: np.ndarray, m: int) -> tuple[int, Far]:
    with turn() as n_threads:
        return m, _assigned(part, centres, n_threads).farthest(m)


def _merge_far(found: list[tuple[int, Far]]) -> tuple[int, Far]:
    m = found[0][0]
    columns = [np.concatenate(column) for column in zip(*(far for _, far in found), strict=True)]
    order = np.argsort(-columns[0].astype(np.float64), kind="stable")[:m]
    return m, Far(*(column[order] for column in columns))


class _Seeds:
    """The chosen rows, and the nearest of them for every row: `Potential` and `Owners` over a cluster."""

    def __init__(self, parts: Parts):
        self.parts = parts
        self._chosen = np.empty((0, parts.shape[1]), parts.dtype)
        self._shared: Future | None = None

    def _choose(self, rows: np.ndarray) -> None:
        self._chosen = np.concatenate([self._chosen, rows])
        self._shared = given(self.parts.client, self._chosen)

    def first(self, random: np.random.RandomState) -> int:
        # As RandomState.choice with equal weights, but without its array of one probability per row.
        return int(random.random_sample() * len(self.parts))

    def try_rows(self, candidates: np.ndarray) -> np.ndarray:
        self._tried = self.parts[candidates]
        answers = self.parts.gather(_try_rows, [(self._shared, self._tried)] * len(self.parts.sizes))
        self._masses = np.array(answers)
        return self._masses.sum(axis=0)

    def choose(self, i: int) -> None:
        self._choose(self._tried[i : i + 1])
        self._ends = np.cumsum(self._masses[:, i])

    def locate(self, masses: np.ndarray) -> np.ndarray:
        places = np.minimum(np.searchsorted(self._ends, masses), len(self._ends) - 1)
        at = np.unique(places)
        before = np.concatenate([[0.0], self._ends])
        own = [(self._shared, float(before[i]), masses[places == i]) for i in at]
        rows = np.empty(len(masses), np.int64)
        for i, some in zip(at, self.parts.gather(_locate, own, at), strict=True):
            rows[places == i] = some
        return rows

    def add(self, chosen: np.ndarray) -> None:
        self._choose(self.parts[chosen])

    def total(self) -> float:
        return float(self.parts.sum(_total, self._shared)[0])

    def draw(self, random: np.random.RandomState, total: float, expected: float) -> np.ndarray:
        own = []
        for n in self.parts.sizes:
            own.append((self._shared, random.get_state(), total, expected))
            random.uniform(size=n)  # skip the numbers of this part, which it draws itself
        return np.concatenate(self.parts.gather(_draw, own))

    def won(self) -> np.ndarray:
        return self.parts.sum(_won, self._shared)[0].astype(np.float64)

    def search_among(self, chosen: np.ndarray) -> CodebookSearch:
        return CodebookSearch(self.parts[chosen])


def _nearest_chosen(part: Part, chosen: np.ndarray, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
    """For every row of the part: squared distance to the nearest of the rows `chosen`, and its position among them."""
    key, count, squares, owner = part.kept.get("seeds", (b"", 0, None, None))
    if squares is None or count > len(chosen) or key_of(chosen[:count]) != key:
        count = 0
    if count < len(chosen):
        new, nearest = (found[:, 0] for found in _search(part, n_threads).nearest(chosen[count:]))
        if count:
            nearer = new < squares
            squares, owner = np.where(nearer, new, squares), np.where(nearer, count + nearest, owner)
        else:
            squares, owner = new.copy(), nearest.copy()
        part.kept["seeds"] = key_of(chosen), len(chosen), squares, owner
    return squares, owner


def _try_rows(part: Part, chosen: np.ndarray | None, candidates: np.ndarray) -> np.ndarray:
    """The sum of squared distances to the nearest chosen row if each candidate were added, (m,) float64."""
    with turn() as n_threads:
        found, which = _search(part, n_threads).nearest(candidates, len(candidates))
        squares = np.empty_like(found)
        np.put_along_axis(squares, which, found, axis=1)
        if chosen is not None:
            squares = np.minimum(squares, _nearest_chosen(part, chosen, n_threads)[0][:, None])
        return squares.sum(axis=0).astype(np.float64)


def _locate(part: Part, chosen: np.ndarray, before: float, masses: np.ndarray) -> np.ndarray:
    with turn() as n_threads:
        squares, _ = _nearest_chosen(part, chosen, n_threads)
        rows = np.searchsorted(before + np.cumsum(squares.astype(np.float64)), masses)
        return part.first + np.minimum(rows, len(part) - 1)


def _total(part: Part, chosen: np.ndarray) -> tuple[float]:
    with turn() as n_threads:
        return (float(_nearest_chosen(part, chosen, n_threads)[0].sum()),)


def _draw(part: Part, chosen: np.ndarray, state: Any, total: float, expected: float) -> np.ndarray:
    random = np.random.RandomState()
    random.set_state(state)
    with turn() as n_threads:
        squares = _nearest_chosen(part, chosen, n_threads)[0].astype(np.float64)
    return part.first + np.flatnonzero(random.uniform(size=len(part)) * total < expected * squares)


def _won(part: Part, chosen: np.ndarray) -> tuple[np.ndarray]:
    with turn() as n_threads:
        return (np.bincount(_nearest_chosen(part, chosen, n_threads)[1], minlength=len(chosen)),)


def _column_sums(part: Part) -> tuple[np.ndarray]:
    with turn() as n_threads:
        return (column_sums(part.rows, n_threads),)


def _squares_about(part: Part, centre: np.ndarray, exponent: int) -> tuple[float]:
    with turn() as n_threads:
        return (squares_about(part.rows, centre, n_threads, exponent),)


def _exponent(part: Part) -> int:
    return exponent_of(part.rows)


def _initial_centres(
    parts: Parts, n_clusters: int, init: Any, random: np.random.RandomState, n_trials: int | None
) -> np.ndarray:
    if not isinstance(init, str):
        return given_centres(init, n_clusters, parts.shape[1], parts.dtype)
    n = len(parts)
    if init == "random":
        chosen = random.choice(n, n_clusters, replace=False, p=np.full(n, 1 / n))
    elif init == "k-means++":
        chosen = plus_plus(_Seeds(parts), n_clusters, random, n_trials)
    else:
        chosen = parallel(_Seeds(parts), n, n_clusters, random)
    return parts[chosen].astype(centres_dtype(parts.dtype))


@with_callbacks
def fit_kmeans(kmeans: KMeans, X: dask.array.Array, client: Client) -> KMeans:
    """Train `kmeans` on the rows of `X`; see `somknn.distributed.fit`."""
    kmeans._validate_params()
    if kmeans.metric != "euclidean":
        raise ValueError(f"K-Means is trained on a cluster by metric='euclidean' only, got {kmeans.metric!r}")
    if callable(kmeans.init):
        raise ValueError("init cannot be a function on a cluster: no process has all rows")
    parts = Parts(client, X)
    if len(parts) < kmeans.n_clusters:
        raise ValueError(f"n_samples={len(parts)} should be >= n_clusters={kmeans.n_clusters}.")
    random = check_random_state(kmeans.random_state)
    tolerance, exponent = 0.0, combine(client, parts.map(_exponent), max)
    if kmeans.tol > 0:
        mean = parts.sum(_column_sums)[0] / len(parts)
        tolerance = kmeans.tol * parts.sum(_squares_about, mean, exponent)[0] / (len(parts) * parts.shape[1])

    def begin() -> tuple[_AssignedParts, np.ndarray]:
        centres = _initial_centres(parts, kmeans.n_clusters, kmeans.init, random, kmeans.n_local_trials)
        return _AssignedParts(parts), centres

    forget_rows(kmeans, parts.shape[1])
    n_starts = kmeans._n_starts()
    fitting = Task.of_fit(kmeans, n_starts)
    data = kmeans._best_start(begin, n_starts, tolerance, exponent, fitting)
    kmeans.counts_ = data.sums(kmeans.n_clusters)[1].astype(np.float64)
    kmeans._warn_of_duplicates(kmeans.counts_)
    fitting.end()
    return kmeans
