"""`KNeighborsClassifier`: a vote among the nearest neighbours."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin, MultiOutputMixin
from sklearn.exceptions import DataConversionWarning
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets

from somknn.fitted import one_state
from somknn.neighbors.base import NeighborsBase, rows_and_index
from somknn.neighbors.validation import validate_rows_and_targets
from somknn.neighbors.weighting import class_shares, neighbour_weights, winning_codes
from somknn.persistence import ModelFileError
from somknn.persistence.contents import Array, Classes, Either, Flag, Kind, ListOf, check_positions


@one_state
class KNeighborsClassifier(MultiOutputMixin, ClassifierMixin, NeighborsBase):
    """Classification by a vote among the exact nearest neighbours.

    Parameters
    ----------
    n_neighbors : int, default=5
        Neighbours that vote.
    weights : {"uniform", "distance"}, callable or None, default="uniform"
        "uniform" (or None): every neighbour counts 1. "distance": 1/distance; neighbours at distance zero, if there are
        any, decide alone. A function receives distances (m, n_neighbors) and returns weights of the same shape, 0 or
        greater; infinite weights decide alone. Distances are those of `metric`.
    tie_break : {"nearest", "first"}, default="nearest"
        Rule for classes with equal votes. "nearest": the class whose nearest neighbour is closest, and if these are
        equally close the smaller class. "first": the smaller class, which is scikit-learn's rule. If several rows are
        equally far, the rows with the lowest numbers are the neighbours; scikit-learn promises no order, so its labels
        may differ where distances tie.
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
    classes_ : ndarray of shape (n_classes,), or a list of them for several outputs
        Sorted class labels.
    outputs_2d_ : bool
        Whether `y` had several columns.
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
    For input dtypes see `NearestNeighbors`. With ties, `predict` under "nearest" may choose another class than the
    first maximum of `predict_proba`.

    References
    ----------
    T. Cover and P. Hart, "Nearest neighbor pattern classification", IEEE Transactions on Information Theory
    13(1), 1967.

    Examples
    --------
    >>> from somknn import KNeighborsClassifier
    >>> rows, labels = [[0], [1], [2], [3]], ["low", "low", "high", "high"]
    >>> classifier = KNeighborsClassifier(n_neighbors=3).fit(rows, labels)
    >>> classifier.predict([[1], [3]])
    array(['low', 'high'], dtype='<U4')
    >>> classifier.predict_proba([[0]]).round(3)
    array([[0.333, 0.667]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NeighborsBase._parameter_constraints,
        "weights": [StrOptions({"uniform", "distance"}), callable, None],
        "tie_break": [StrOptions({"nearest", "first"})],
    }
    _saved_state: ClassVar[dict[str, Kind]] = {
        **NeighborsBase._saved_state,
        "classes_": Either(Classes(), ListOf(Classes())),
        "outputs_2d_": Flag(),
        "codes": Array((None, "n_samples_fit_"), "int32"),
    }

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        weights: str | Callable[[np.ndarray], np.ndarray] | None = "uniform",
        tie_break: str = "nearest",
        algorithm: str = "auto",
        backend: str = "numba",
        backend_params: dict[str, Any] | None = None,
        metric: str = "minkowski",
        p: float | None = 2,
        n_jobs: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.tie_break = tie_break
        self.algorithm = algorithm
        self.backend = backend
        self.backend_params = backend_params
        self.metric = metric
        self.p = p
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any) -> "KNeighborsClassifier":
        """Fit to the labelled rows.

        Parameters
        ----------
        X : array-like of shape (n, n_features), ExactIndex or CosineIndex
            Rows, or a fitted index of them, which is then used directly.
        y : array-like of shape (n,) or (n, n_outputs)
            Labels of any sortable kind: numbers, text, booleans.

        Returns
        -------
        self
        """
        self._validate_params()
        X, index = rows_and_index(X)
        X, y = validate_rows_and_targets(self, X, y, numeric_targets=False, compact=self._is_compact)
        check_classification_targets(y)
        self.outputs_2d_ = y.ndim == 2 and y.shape[1] > 1
        if y.ndim == 2 and not self.outputs_2d_:
            warnings.warn(
                "A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
                "(n_samples,), for example using ravel().",
                DataConversionWarning,
                stacklevel=5,
            )
        classes, codes = zip(
            *(np.unique(column, return_inverse=True) for column in y.reshape(len(y), -1).T), strict=True
        )
        self.classes_: Any = list(classes) if self.outputs_2d_ else classes[0]
        # One contiguous row per output for the kernels.
        self._codes = np.array(codes, dtype=np.int32)
        self._fit_rows(X, index)
        return self

    @property
    def _classes(self) -> list[np.ndarray]:
        return self.classes_ if self.outputs_2d_ else [self.classes_]

    def predict(self, X: Any) -> np.ndarray:
        """The class of each query.

        Parameters
        ----------
        X : array-like of shape (m, n_features), or None
            Queries. None: the fitted rows, each without itself (leave one out).

        Returns
        -------
        ndarray of shape (m,) or (m, n_outputs)
            Labels, with the dtype of `y`.
        """
        neighbours = self._nearest(X)
        weights = neighbour_weights(self.weights, neighbours[0], self.n_jobs, self._metric)
        columns = [
            classes[self._winners(codes, len(classes), neighbours, weights)]
            for codes, classes in zip(self._codes, self._classes, strict=True)
        ]
        return np.stack(columns, axis=1) if self.outputs_2d_ else columns[0]

    def _winners(self, codes: np.ndarray, n_classes: int, neighbours: Any, weights: np.ndarray | None) -> np.ndarray:
        first = self.tie_break == "nearest"
        return winning_codes(codes, n_classes, neighbours, weights, nearest_first=first, n_jobs=self.n_jobs)

    def _predict_in_one_search(self, X: Any) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """`predict` as positions in `classes_`, `predict_proba` and `kneighbors`, from one search; for one output."""
        neighbours = self._nearest(X)
        weights = neighbour_weights(self.weights, neighbours[0], self.n_jobs, self._metric)
        own, n_classes = self._codes[0], len(self.classes_)
        shares = class_shares(own, n_classes, neighbours[1], weights, self.n_jobs)
        codes = self._winners(own, n_classes, neighbours, weights)
        return codes, shares, (self._distances(neighbours[0]), neighbours[1])

    def predict_proba(self, X: Any) -> Any:
        """Each class's share of the votes.

        Parameters
        ----------
        X : array-like of shape (m, n_features), or None
            Queries, as in `predict`.

        Returns
        -------
        ndarray of shape (m, n_classes), float64, or a list of them for several outputs
            Columns in the order of `classes_`.
        """
        squared_distances, indices = self._nearest(X)
        weights = neighbour_weights(self.weights, squared_distances, self.n_jobs, self._metric)
        shares = [
            class_shares(codes, len(classes), indices, weights, self.n_jobs)
            for codes, classes in zip(self._codes, self._classes, strict=True)
        ]
        return shares if self.outputs_2d_ else shares[0]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy of `predict(X)`; `score(None, y)` with the fitted labels is leave-one-out accuracy.

        Parameters
        ----------
        X : array-like of shape (m, n_features), or None
            Queries.
        y : array-like of shape (m,) or (m, n_outputs)
            Their labels.
        sample_weight : array-like of shape (m,), default=None
            Weight of each query.

        Returns
        -------
        float
        """
        return super().score(X, y, sample_weight)

    def _state_to_save(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, state = super()._state_to_save()
        return {**arrays, "codes": self._codes}, state

    def _check_saved(self, values: Mapping[str, Any]) -> None:
        classes, codes = values["classes_"], values["codes"]
        if isinstance(classes, list) != values["outputs_2d_"]:
            raise ModelFileError("classes_ and outputs_2d_ do not go together")
        each = classes if isinstance(classes, list) else [classes]
        if len(codes) != len(each):
            raise ModelFileError(f"class codes of {len(codes)} outputs do not match the classes of {len(each)}")
        for output, labels in zip(codes, each, strict=True):
            check_positions("codes", output, len(labels))

    def _restore(self, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        super()._restore({name: array for name, array in arrays.items() if name != "codes"}, state)
        self._codes = arrays["codes"]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
