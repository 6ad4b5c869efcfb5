"""`KNeighborsRegressor`: the mean of the nearest neighbours' targets."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils._param_validation import StrOptions

from somknn.fitted import one_state
from somknn.neighbors.base import NeighborsBase, rows_and_index
from somknn.neighbors.validation import validate_rows_and_targets
from somknn.neighbors.weighting import mean_targets, neighbour_weights
from somknn.persistence.contents import Array, Either, Kind


@one_state
class KNeighborsRegressor(MultiOutputMixin, RegressorMixin, NeighborsBase):
    """Regression by the weighted mean of the exact nearest neighbours' targets.

    Parameters
    ----------
    n_neighbors : int, default=5
        Neighbours that are averaged.
    weights : {"uniform", "distance"}, callable or None, default="uniform"
        As in `KNeighborsClassifier`.
    algorithm : {"auto", "brute", "pruned", "tree"}, default="auto"
        Search method of the index; never changes the answer. See `somknn.neighbors.ExactIndex`.
    backend : {"numba", "faiss"}, default="numba"
        Search engine. "numba" is exact. "faiss" is as exact as `backend_params` make it.
    backend_params : dict, default=None
        Parameters of `somknn.neighbors.FaissIndex` for `backend="faiss"`: for example
        `{"index": "ivf", "target_recall": 0.99}`. None: its `index="flat"`, which is exact as well.
    metric : {"minkowski", "euclidean", "l2", "sqeuclidean", "cosine"}, default="minkowski"
        The first three are the Euclidean distance. See `NearestNeighbors`.
    p : 2 or None
        The power of "minkowski": no other than 2 is supported. Other metrics ignore it, as in scikit-learn.
    n_jobs : int, default=None
        Threads; None and -1 mean all that `NUMBA_NUM_THREADS` allows.

    Attributes
    ----------
    n_features_in_, n_samples_fit_ : int
        Width and number of the fitted rows.
    effective_metric_ : str
        The metric in use: "euclidean" for "minkowski", otherwise `metric`.
    recall_ : float or None
        Share of the true neighbours that the backend finds: 1.0 for an exact one, otherwise measured by `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if `X` had them.

    Notes
    -----
    For input dtypes see `NearestNeighbors`. Targets of any dtype are averaged in float64.

    Examples
    --------
    >>> from somknn import KNeighborsRegressor
    >>> regressor = KNeighborsRegressor(n_neighbors=2).fit([[0], [1], [2], [3]], [0.0, 1.0, 4.0, 9.0])
    >>> regressor.predict([[0.4], [2.9]])
    array([0.5, 6.5])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NeighborsBase._parameter_constraints,
        "weights": [StrOptions({"uniform", "distance"}), callable, None],
    }
    _saved_state: ClassVar[dict[str, Kind]] = {
        **NeighborsBase._saved_state,
        "targets": Either(Array(("n_samples_fit_",), "float64"), Array(("n_samples_fit_", None), "float64")),
    }

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        weights: str | Callable[[np.ndarray], np.ndarray] | None = "uniform",
        algorithm: str = "auto",
        backend: str = "numba",
        backend_params: dict[str, Any] | None = None,
        metric: str = "minkowski",
        p: float | None = 2,
        n_jobs: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.algorithm = algorithm
        self.backend = backend
        self.backend_params = backend_params
        self.metric = metric
        self.p = p
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any) -> "KNeighborsRegressor":
        """Fit to the rows and their targets.

        Parameters
        ----------
        X : array-like of shape (n, n_features), ExactIndex or CosineIndex
            Rows, or a fitted index of them, which is then used directly.
        y : array-like of shape (n,) or (n, n_outputs)
            Numbers.

        Returns
        -------
        self
        """
        self._validate_params()
        X, index = rows_and_index(X)
        X, y = validate_rows_and_targets(self, X, y, numeric_targets=True, compact=self._is_compact)
        self._targets = np.ascontiguousarray(y, dtype=np.float64)
        self._fit_rows(X, index)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The mean target of each query's neighbours.

        Parameters
        ----------
        X : array-like of shape (m, n_features), or None
            Queries. None: the fitted rows, each without itself (leave one out).

        Returns
        -------
        ndarray of shape (m,) or (m, n_outputs), float64
        """
        squared_distances, indices = self._nearest(X)
        weights = neighbour_weights(self.weights, squared_distances, self.n_jobs, self._metric)
        targets = self._targets
        means = mean_targets(targets.reshape(len(targets), -1), indices, weights, self.n_jobs)
        return means if targets.ndim == 2 else means[:, 0]

    def _state_to_save(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, state = super()._state_to_save()
        return {**arrays, "targets": self._targets}, state

    def _restore(self, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        super()._restore({name: array for name, array in arrays.items() if name != "targets"}, state)
        self._targets = arrays["targets"]
