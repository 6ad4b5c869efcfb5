"""K-Means as a scikit-learn clusterer, with exact assignments."""

import functools
import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from somknn.fitted import one_state
from somknn.machine import resolve_n_threads
from somknn.neighbors.validation import validate_rows
from somknn.persistence import Savable
from somknn.persistence.contents import COLUMNS, FLOATS, Array, History, Integer, Kind, Number, Optional
from somknn.progress import CallbackSupportMixin, Passes, Task, with_callbacks
from somknn.prototypes.lloyd import (
    Assigned,
    AssignedDirections,
    Clustering,
    directions_of_sums,
    lloyd,
    means,
    relocate_empty,
)
from somknn.prototypes.seeding import INITS, centres_dtype, initial_centres
from somknn.prototypes.spread import mean_variance
from somknn.scaling import check_squares, exponent_of
from somknn.search.all_distances import distances_to_all
from somknn.search.codebook import CodebookSearch
from somknn.search.cosine import CosineIndex
from somknn.search.directions import Directions, checked_start
from somknn.search.index import ExactIndex
from somknn.search.metrics import METRICS


@one_state
class KMeans(
    CallbackSupportMixin, Savable, ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator
):
    """K-Means clustering (Lloyd 1982) as in scikit-learn, with every assignment found by the exact search engine.

    uint8 rows are clustered as they are, without a float copy. The same start leads to scikit-learn's labels, centres
    and number of iterations, up to the rounding of its distances; `init="k-means++"` draws the same random numbers.

    Parameters
    ----------
    n_clusters : int
    init : {"k-means++", "k-means||", "random"}, array (n_clusters, n_features) or callable
        Greedy k-means++; its parallel version (Bahmani et al. 2012) for many clusters; a random sample of rows; given
        centres; or a function of (X, n_clusters, random_state).
    n_local_trials : int or None
        Candidates that k-means++ tries for each centre, keeping the best; None: 2 + log(n_clusters), as in
        scikit-learn; 1: the algorithm that is not greedy, as in FAISS.
    n_init : int or "auto"
        Number of starts; the result with the lowest inertia is kept. "auto": 10 for "random" and a function, otherwise
        1.
    max_iter : int
    metric : {"euclidean", "cosine"}
        "cosine" is spherical K-Means (Dhillon and Modha 2001): rows count by their direction, and centres have unit
        length. Assignments are those of the exact search by cosine distance. Rows of zeros have distance 1 to every
        centre: they get label 0 and move none.
    tol : float
        Stop when the sum of the centres' squared movements is at most `tol` times the mean variance of a feature.
    copy_x : bool
        As in scikit-learn. X is never changed, whatever it says.
    algorithm : {"lloyd", "elkan"}
        As in scikit-learn. Every assignment is exact, and what rules centres out is chosen here, so both are the same.
    verbose : int
        1 prints a line per iteration.
    callback : callable or None
        Called after every iteration with a dict: start, iteration, inertia, moved_rows, center_shift, seconds, centers.
        The start ends when it returns True.
    random_state : int, RandomState or None
        The same seed gives the same result, for any number of threads.
    n_jobs : int or None
        Threads; None means all.

    Attributes
    ----------
    cluster_centers_ : ndarray (n_clusters, n_features), float32 for float32 rows, else float64
    labels_ : ndarray (n_samples,), int32
        Nearest centre of every row; equal distances go to the lowest centre.
    inertia_ : float
        Sum of the (weighted) squared distances to the nearest centres, or of the cosine distances.
    n_iter_ : int
    history_ : dict of lists of equal length
        "inertia" (before the centres moved), "moved_rows", "center_shift" and "seconds" of every iteration of the best
        start.
    counts_ : ndarray (n_clusters,), float64
        Number, or total weight, of the rows of each cluster; `partial_fit` continues from them. Under "cosine" rows of
        zeros are not counted.

    Examples
    --------
    >>> import numpy as np
    >>> from somknn import KMeans
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> kmeans = KMeans(n_clusters=2, random_state=0).fit(X)
    >>> sorted(kmeans.cluster_centers_.tolist()), kmeans.inertia_
    ([[1.0, 2.0], [10.0, 2.0]], 16.0)
    >>> len(set(kmeans.predict([[0, 0], [12, 3]]).tolist()))
    2
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions(set(INITS)), callable, "array-like"],
        "n_local_trials": [Interval(Integral, 1, None, closed="left"), None],
        "n_init": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "metric": [StrOptions({"euclidean", "cosine"})],
        "copy_x": ["boolean"],
        "algorithm": [StrOptions({"lloyd", "elkan"})],
        "verbose": ["verbose"],
        "callback": [callable, None],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    }

    _saved_state: ClassVar[dict[str, Kind]] = {
        **COLUMNS,
        "cluster_centers_": Array((None, "n_features_in_"), FLOATS),
        "counts_": Array(("cluster_centers_",), "float64"),
        "labels_": Optional(Array((None,), "int32", below="cluster_centers_")),
        "inertia_": Number(),
        "n_iter_": Integer(),
        "history_": History(("inertia",)),
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_local_trials: int | None = None,
        n_init: int | str = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        metric: str = "euclidean",
        copy_x: bool = True,
        algorithm: str = "lloyd",
        verbose: int = 0,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_local_trials = n_local_trials
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.metric = metric
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.verbose = verbose
        self.callback = callback
        self.random_state = random_state
        self.n_jobs = n_jobs

    @with_callbacks
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Compute the centres.

        Parameters
        ----------
        X : array (n_samples, n_features)
            uint8, float32 and float64 are used as they are; n_samples >= n_clusters.
        y : ignored
        sample_weight : array (n_samples,), optional
            Not negative.

        Raises
        ------
        ValueError
            For fewer rows than clusters, NaN or infinity, negative weights, or initial centres of another shape.
        """
        self._validate_params()
        X = self._rows(X, reset=True)
        weights = _weights(sample_weight, X)
        taken = self._take(X, weights, at_least=self.n_clusters)
        search = CodebookSearch(taken.rows, n_jobs=self.n_jobs)
        random = check_random_state(self.random_state)
        exponent, n_threads = exponent_of(taken.rows), resolve_n_threads(self.n_jobs)
        tolerance = self.tol * mean_variance(taken.rows, n_threads, exponent) if self.tol > 0 else 0.0

        def begin() -> tuple[Assigned, np.ndarray]:
            centres, nearest = self._start(search, taken, random, X.dtype)
            return self._assigned(search, taken, nearest), centres

        n_starts = self._n_starts()
        fitting = Task.of_fit(self, n_starts, X, y, sample_weight)
        data = self._best_start(begin, n_starts, tolerance, exponent, fitting)
        self.labels_ = taken.labels(data.labels)
        self.counts_ = np.bincount(data.labels, weights=taken.weights, minlength=self.n_clusters).astype(np.float64)
        self._warn_of_duplicates(np.bincount(data.labels, minlength=self.n_clusters))
        fitting.end(lambda: {"cluster_centers_": self.cluster_centers_})
        return self

    def _take(self, X: np.ndarray, weights: np.ndarray | None, at_least: int) -> "_Taken":
        """The rows that training works with. Raises ValueError if fewer than `at_least` have a direction."""
        if self.metric != "cosine":
            return _Taken(X, weights, np.empty(0, np.int64), 0.0)
        rows, zeros = Directions.of(X, resolve_n_threads(self.n_jobs))
        if len(zeros) == 0:
            return _Taken(rows, weights, zeros, 0.0)
        if len(X) - len(zeros) < at_least:
            raise ValueError(
                f"{len(zeros)} of {len(X)} rows are all zeros, without a direction: the others are fewer than "
                f"n_clusters={self.n_clusters}"
            )
        of_zeros = float(len(zeros) if weights is None else weights[zeros].sum())
        weights = None if weights is None else np.delete(weights, zeros)
        return _Taken(np.delete(rows, zeros, axis=0), weights, zeros, of_zeros)

    def _start(
        self, search: CodebookSearch, taken: "_Taken", random: np.random.RandomState, dtype: np.dtype
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The first centres for rows of `dtype`, and the nearest of them for each row if known."""
        weights = np.ones(len(taken.rows)) if taken.weights is None else taken.weights
        given = self.n_clusters, self.init, random, self.n_local_trials
        centres, nearest = initial_centres(search, weights, *given)
        if self.metric == "cosine":
            centres = checked_start(centres, "init", resolve_n_threads(self.n_jobs)).astype(centres_dtype(dtype))
        return centres, nearest

    def _assigned(self, search: CodebookSearch, taken: "_Taken", guess: np.ndarray | None = None) -> Assigned:
        if self.metric == "cosine":
            return AssignedDirections(search, taken.weights, guess, taken.of_zeros)
        return Assigned(search, taken.weights, guess)

    def _best_start(
        self,
        begin: Callable[[], tuple[Any, np.ndarray]],
        n_starts: int,
        tolerance: float,
        exponent: int,
        fitting: Task,
    ) -> Any:
        """Run all starts and keep the attributes of the best; return the rows (from `begin`) assigned to its centres.

        tolerance : in squares of 2^exponent.
        """
        best: tuple[Clustering, Any] | None = None
        for start in range(n_starts):
            task = fitting.part("start", self.max_iter)
            data, centres = begin()
            passes = Passes(task, self._report(start), lambda entry: {"cluster_centers_": entry["centers"]})
            found = lloyd(data, centres, self.max_iter, tolerance, passes, exponent, self._move)
            stop = task.end(functools.partial(dict, cluster_centers_=found.centres))
            if best is None or found.inertia < best[0].inertia:
                best = found, data
            if stop:
                break
        assert best is not None
        found, data = best
        self.cluster_centers_, self.inertia_ = found.centres, found.inertia
        self.n_iter_, self.history_ = found.n_iter, found.history
        return data

    @property
    def _move(self) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
        return directions_of_sums if self.metric == "cosine" else means

    def _warn_of_duplicates(self, totals: np.ndarray) -> None:
        distinct = np.count_nonzero(totals)
        if distinct < self.n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({distinct}) found smaller than n_clusters ({self.n_clusters}). Possibly "
                "due to duplicate points in X.",
                ConvergenceWarning,
                stacklevel=7,
            )

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Update the centres with one chunk of a stream (mini-batch K-Means, Sculley 2010).

        Each centre becomes the mean of all rows assigned to it so far, with the assignment made when each chunk
        arrived. After `fit`, the rows of that fit are included.

        Parameters
        ----------
        X : array (n_samples, n_features)
            The first chunk also provides the initial centres, so it needs at least n_clusters rows.
        y : ignored
        sample_weight : array (n_samples,), optional
        """
        self._validate_params()
        first = not hasattr(self, "cluster_centers_")
        X = self._rows(X, reset=first)
        weights = _weights(sample_weight, X)
        taken = self._take(X, weights, at_least=self.n_clusters if first else 1)
        # A single pass over these rows does not repay preparing a pruned search.
        search = CodebookSearch(taken.rows, n_jobs=self.n_jobs, algorithm="auto" if first else "brute")
        if first:
            random = check_random_state(self.random_state)
            self.cluster_centers_, _ = self._start(search, taken, random, X.dtype)
            self.counts_, self.n_iter_ = np.zeros(self.n_clusters), 0
            self.history_ = {"inertia": []}
        if len(self.cluster_centers_) != self.n_clusters:
            raise ValueError(
                f"n_clusters is {self.n_clusters}, but there are {len(self.cluster_centers_)} centres: "
                "use fit for others"
            )
        data = self._assigned(search, taken)
        self.inertia_, _ = data.assign(self.cluster_centers_)
        assert data.labels is not None
        sums, totals = data.sums(self.n_clusters)
        won = sums + self.counts_[:, None] * self.cluster_centers_.astype(np.float64)
        counts = self.counts_ + totals
        relocate_empty(won, counts, data.farthest)
        self.cluster_centers_, self.counts_ = self._move(won, counts, self.cluster_centers_), counts
        self.labels_ = taken.labels(data.labels)
        self.n_iter_ += 1
        self.history_ = {**self.history_, "inertia": [*self.history_["inertia"], self.inertia_]}
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Nearest centre of every row, (n_samples,) int32; equal distances go to the lowest centre."""
        return self._nearest(self._rows(X, reset=False))[1].astype(np.int32)

    def _nearest_unit(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Distances to the nearest centres, and these, of the rows, for batch prediction."""
        distances, units = self._nearest(self._rows(X, reset=False))
        return METRICS[self.metric].distances(distances), units

    def transform(self, X: Any) -> np.ndarray:
        """Distances to all centres, (n_samples, n_clusters), in the dtype of the centres; exact, 0 for equal rows.

        Under metric="cosine" they are cosine distances, from 0 to 2.
        """
        X = self._rows(X, reset=False)
        return distances_to_all(X, self.cluster_centers_, METRICS[self.metric], resolve_n_threads(self.n_jobs))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Minus the sum of (weighted) squared distances, or cosine distances, to the nearest centres."""
        X = self._rows(X, reset=False)
        weights = _weights(sample_weight, X)
        squares = self._nearest(X)[0]
        squares = 0.5 * squares if self.metric == "cosine" else squares
        return -float((squares if weights is None else squares * weights).sum())

    def _rows(self, X: Any, *, reset: bool) -> np.ndarray:
        if not reset:
            check_is_fitted(self)
        X = validate_rows(self, X, reset=reset)
        if reset and len(X) < self.n_clusters:
            raise ValueError(f"n_samples={len(X)} should be >= n_clusters={self.n_clusters}.")
        return X

    def _n_starts(self) -> int:
        if not isinstance(self.init, str) and not callable(self.init):
            if self.n_init not in ("auto", 1):
                warnings.warn(
                    f"given starting centres lead to one result: n_init={self.n_init} runs once",
                    RuntimeWarning,
                    stacklevel=7,
                )
            return 1
        if self.n_init == "auto":
            return 1 if self.init in ("k-means++", "k-means||") else 10
        return int(self.n_init)

    def _report(self, start: int) -> Callable[[dict[str, Any]], bool]:
        def report(entry: dict[str, Any]) -> bool:
            if self.verbose:
                print(f"Start {start}, iteration {entry['iteration']}: inertia {entry['inertia']:.8g}")
            return self.callback is not None and bool(self.callback({"start": start, **entry}))

        return report

    def _nearest(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances to the nearest centres, between unit rows under "cosine", and these."""
        index: Any = CosineIndex(n_jobs=self.n_jobs) if self.metric == "cosine" else ExactIndex(n_jobs=self.n_jobs)
        squares, labels = index.fit(self.cluster_centers_).search(X, 1)
        check_squares(squares[:, 0], X, self.cluster_centers_, "init")
        return squares[:, 0], labels[:, 0]

    @property
    def _n_features_out(self) -> int:
        return len(self.cluster_centers_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class _Taken(NamedTuple):
    """What training works with: rows, at unit length and without those of zeros under "cosine"; their weights or None.

    zeros : numbers of the rows that were left out, ascending; of_zeros : what these add to the inertia
    """

    rows: np.ndarray
    weights: np.ndarray | None
    zeros: np.ndarray
    of_zeros: float

    def labels(self, found: np.ndarray) -> np.ndarray:
        """Labels of all rows, int32. To a row of zeros all centres are equally near: it gets the first."""
        return np.insert(found, self.zeros - np.arange(len(self.zeros)), 0).astype(np.int32)


def _weights(sample_weight: Any, X: np.ndarray) -> np.ndarray | None:
    """(n,) float64, or None if every row counts once."""
    if sample_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, np.empty((len(X), 1)), dtype=np.float64, ensure_non_negative=True)
    if not weights.sum() > 0:
        raise ValueError("sample_weight must not be zero for every row")
    return None if (weights == 1).all() else np.ascontiguousarray(weights)
