"""Common parts of the k-NN estimators: parameters, the fitted index, k-neighbour queries, saving."""

import copy
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import sklearn
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from somknn.machine import resolve_n_threads
from somknn.neighbors.backends import BACKENDS, EXACT_INDEXES, check_serves, make_index
from somknn.neighbors.validation import check_n_neighbors, validate_rows
from somknn.persistence import Savable
from somknn.persistence.contents import COLUMNS, ROWS, Array, Integer, Kind, Saved, Text
from somknn.search.index import ALGORITHMS
from somknn.search.metrics import EFFECTIVE, METRICS, Metric, find_metric


class NeighborsBase(Savable, BaseEstimator):
    """Base of the estimators. Subclasses define `__init__`, `fit` and how the neighbours are used."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "algorithm": [StrOptions(set(ALGORITHMS))],
        "backend": [StrOptions(set(BACKENDS))],
        "backend_params": [dict, None],
        "metric": [StrOptions(set(METRICS))],
        "p": [Interval(Real, 0, None, closed="neither"), None],
        "n_jobs": [Integral, None],
    }
    _saved_state: ClassVar[dict[str, Kind]] = {
        **COLUMNS,
        "n_samples_fit_": Integer(1),
        "effective_metric_": Text(tuple(EFFECTIVE)),
        "fit_X": Array(("n_samples_fit_", "n_features_in_"), ("int8", "int16", "float16", *ROWS)),
        "screen_*": Saved(),
    }
    # Set by `_fit_rows`.
    n_neighbors: int
    algorithm: str
    backend: str
    backend_params: dict[str, Any] | None
    metric: str
    p: float | None
    n_jobs: int | None

    def _validate_params(self) -> None:
        super()._validate_params()
        find_metric(self.metric, self.p)

    def _fit_rows(self, X: np.ndarray, index: Any = None) -> None:
        """Set the search index of the rows.

        index : a fitted index to use, an `ExactIndex` or `CosineIndex`; by default a new one is made.
        """
        metric = find_metric(self.metric, self.p)
        if index is None:
            index = self._new_index(metric).fit(X)
        else:
            if self.backend != "numba":
                raise ValueError(f"an index in place of rows takes backend='numba', not {self.backend!r}")
            check_serves(index, metric)
        self._take(index, metric)

    @property
    def _is_compact(self) -> bool:
        """Whether the index holds int8, int16 and float16 as they are."""
        return self.backend == "numba"

    def _queries(self, X: Any) -> np.ndarray:
        """`X` as queries; None means the fitted rows."""
        if X is None:
            return self._fit_X
        held = self._fit_X.dtype
        return validate_rows(self, X, reset=False, compact=held.itemsize <= 2 and held != np.uint8, held=held)

    def _new_index(self, metric: Metric) -> Any:
        return make_index(
            self.backend, self.algorithm, self.n_jobs, self.backend_params, self.n_neighbors, metric=metric
        )

    def _take(self, index: Any, metric: Metric) -> None:
        self._index = index
        self._index.n_jobs = self.n_jobs
        self._index._of_an_estimator = True
        self.n_samples_fit_ = len(index.rows_)
        self.effective_metric_ = metric.name

    @property
    def _metric(self) -> Metric:
        return EFFECTIVE[self.effective_metric_]

    @property
    def recall_(self) -> float | None:
        """Share of the true neighbours that the backend finds: 1.0 for an exact one, otherwise measured by `fit`.

        `fit` measures it on held-out rows; None if an approximate backend was given its search parameters and measured
        nothing.
        """
        check_is_fitted(self)
        return getattr(self._index, "recall_", 1.0)

    @property
    def index_(self) -> Any:
        """The search index in use: a fitted `somknn.neighbors.ExactIndex`, `CosineIndex` or `FaissIndex`.

        Only this estimator's `fit` changes its rows.
        """
        check_is_fitted(self)
        return self._index

    @property
    def _fit_X(self) -> np.ndarray:
        return self._index.rows_

    @property
    def _input_dtype(self) -> np.dtype:
        return self._fit_X.dtype

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_index")

    def _nearest(self, X: Any, n_neighbors: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances and rows of the nearest neighbours of `X`; None means the fitted rows.

        `_metric.distances` makes distances of them.
        """
        check_is_fitted(self)
        k = check_n_neighbors(n_neighbors, self.n_neighbors)
        queries = self._queries(X)
        if k + (X is None) > self.n_samples_fit_:
            sign = "<" if X is None else "<="
            raise ValueError(
                f"Expected n_neighbors {sign} n_samples_fit, but n_neighbors = {k}, "
                f"n_samples_fit = {self.n_samples_fit_}, n_samples = {len(queries)}"
            )
        # `n_jobs` takes effect even if it was set after `fit`, as by `set_params(n_jobs=...)`.
        n_threads = resolve_n_threads(self.n_jobs)
        if X is not None:
            return self._index.search(queries, k, n_threads=n_threads)
        return _without_self(*self._index.search(queries, k + 1, n_threads=n_threads))

    def kneighbors(
        self,
        X: Any = None,
        n_neighbors: int | None = None,
        return_distance: bool = True,
        *,
        squared: bool = False,
    ) -> Any:
        """Find the nearest rows of the fitted data.

        Parameters
        ----------
        X : array-like of shape (m, n_features), default=None
            Queries. None: the fitted rows themselves, where no row counts as its own neighbour.
        n_neighbors : int, default=None
            Neighbours per query; by default the constructor's `n_neighbors`.
        return_distance : bool, default=True
            Whether to return distances as well.
        squared : bool, default=False
            Return squared Euclidean distances, as computed: int64 if queries and fitted rows are both stored as uint8
            or both as int8 (see the module `somknn.neighbors.validation`), float64 otherwise. Not under cosine.

        Returns
        -------
        distances : ndarray of shape (m, n_neighbors), float64 or int64
            Distances under `metric`, ascending. Only with `return_distance=True`.
        indices : ndarray of shape (m, n_neighbors), int64
            Row numbers; equal distances in order of row number.

        Raises
        ------
        ValueError
            For more neighbours than rows, NaN, infinity, another number of features, or `squared` under cosine.
        """
        squared_distances, indices = self._nearest(X, n_neighbors)
        if not return_distance:
            return indices
        return self._distances(squared_distances, squared), indices

    def _distances(self, squared_distances: np.ndarray, squared: bool = False) -> np.ndarray:
        """What a caller gets for the values of an index."""
        if not squared:
            return self._metric.distances(squared_distances)
        if self._metric.unit_rows:
            raise ValueError("squared=True is of Euclidean distances; with metric='cosine' leave it out")
        return squared_distances

    def kneighbors_graph(
        self, X: Any = None, n_neighbors: int | None = None, mode: str = "connectivity"
    ) -> sparse.csr_matrix | sparse.csr_array:
        """The graph of nearest neighbours as a sparse matrix.

        Parameters
        ----------
        X, n_neighbors
            As in `kneighbors`.
        mode : {"connectivity", "distance"}, default="connectivity"
            Entries of the matrix: ones, or distances.

        Returns
        -------
        CSR matrix of shape (m, n_samples_fit), float64
            `n_neighbors` entries per row, nearest first. A sparse array instead if scikit-learn's setting
            `sparse_interface` says so.
        """
        if mode not in ("connectivity", "distance"):
            raise ValueError(f"mode must be 'connectivity' or 'distance', got {mode!r}")
        squared_distances, indices = self._nearest(X, n_neighbors)
        values = self._distances(squared_distances) if mode == "distance" else np.ones(indices.shape)
        starts = np.arange(len(indices) + 1) * indices.shape[1]
        return as_csr(values.ravel(), indices.ravel(), starts, self.n_samples_fit_)

    def _state_to_save(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, state = super()._state_to_save()
        # The prepared index is saved too (26% of uint8 rows), so that a loaded model can answer at once.
        return {**arrays, "fit_X": self._fit_X, **self._index.screen_to_save()}, state

    def _restore(self, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        X = arrays["fit_X"]
        screen = {name: array for name, array in arrays.items() if name.startswith("screen_")}
        others = {name: array for name, array in arrays.items() if name != "fit_X" and name not in screen}
        super()._restore(others, state)
        index = self._new_index(self._metric)
        self._take(index.restore(X, screen) if screen else index.fit(X), self._metric)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags


def rows_and_index(X: Any) -> tuple[Any, Any]:
    """Split the argument of `fit`: rows and None, or for a fitted index its rows and a private copy of it."""
    if not isinstance(X, EXACT_INDEXES):
        return X, None
    index = copy.copy(X)
    return index._taken().rows, index


def _without_self(squared_distances: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop query i from the neighbours of query i: the result has one column less.

    A row with more duplicates than neighbours may be missing from its own list: then all listed rows are as near as the
    row itself, and the last of them is dropped. So may a row of zeros under the cosine distance.
    """
    m, k = indices.shape
    keep = indices != np.arange(m)[:, None]
    keep[keep.all(axis=1), -1] = False
    return squared_distances[keep].reshape(m, k - 1), indices[keep].reshape(m, k - 1)


def as_csr(
    values: np.ndarray, columns: np.ndarray, starts: np.ndarray, n_columns: int
) -> sparse.csr_matrix | sparse.csr_array:
    """A CSR matrix or sparse array, depending on scikit-learn's configuration."""
    as_array = sklearn.get_config().get("sparse_interface") == "sparray"
    make = sparse.csr_array if as_array else sparse.csr_matrix
    return make((values, columns, starts), shape=(len(starts) - 1, n_columns))
