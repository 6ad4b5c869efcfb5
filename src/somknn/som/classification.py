"""Classification by a SOM: every neuron predicts the classes of the training rows that it won."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from somknn.fitted import one_state
from somknn.machine import resolve_n_threads
from somknn.neighbors.backends import BACKENDS, fit_codebook_index, make_index
from somknn.persistence import ModelFileError, Savable
from somknn.persistence.contents import COLUMNS, Array, Classes, Fitted, Kind, Labels, Saved
from somknn.som.estimator import SOM


@one_state
class SOMClassifier(Savable, ClassifierMixin, BaseEstimator):
    """The label map of a SOM as a classifier.

    A row takes the class probabilities of its best-matching unit: the shares of the classes among the training rows
    that the unit won. A unit that won no rows takes those of the nearest unit, by weights, that won some.

    Parameters
    ----------
    som : SOM or None
        The map to train (a clone is trained). None: a 20×20 batch map of 20 epochs with a final radius of 0.3.
    backend : {"numba", "faiss"}, default="numba"
        Search engine for the best-matching units of the rows to classify; training is always exact. "faiss" is for
        large maps, and cannot search rows with missing values.
    backend_params : dict, default=None
        Parameters of `somknn.neighbors.FaissIndex` for `backend="faiss"`, which is tuned on training rows: for example
        `{"index": "hnsw", "target_recall": 0.99}`.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    som_ : SOM
        The trained map.
    label_map_ : ndarray (n_rows, n_columns)
        The most frequent class of each neuron; ties go to the first class.
    probability_map_ : ndarray (n_rows, n_columns, n_classes)
    recall_ : float or None
        Share of rows whose best-matching unit the backend finds: 1.0 for an exact one, otherwise measured by `fit` on
        training rows.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from somknn import SOM, SOMClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = SOMClassifier(SOM(5, 5, random_state=0)).fit(X, y)
    >>> classifier.score(X, y) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "som": [SOM, None],
        "backend": [StrOptions(set(BACKENDS))],
        "backend_params": [dict, None],
    }
    _saved_state: ClassVar[dict[str, Kind]] = {
        **COLUMNS,
        "som_": Fitted("SOM"),
        "classes_": Classes(),
        "label_map_": Labels("classes_", (None, None)),
        "probability_map_": Array((None, None, "classes_"), "float64"),
        "screen_*": Saved(),
    }

    def __init__(
        self, som: SOM | None = None, *, backend: str = "numba", backend_params: dict[str, Any] | None = None
    ) -> None:
        self.som = som
        self.backend = backend
        self.backend_params = backend_params

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the map on `X` and count the classes `y` (n_samples,) of the rows that every neuron wins."""
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        template = SOM(20, 20, epochs=20, final_radius=0.3, random_state=0) if self.som is None else self.som
        if not isinstance(template, SOM):
            raise TypeError(f"som must be a SOM or None, got {type(template).__name__}")
        if self.backend != "numba" and template.missing_values == "ignore":
            raise ValueError(f"backend={self.backend!r} cannot search rows with missing values; use backend='numba'")
        if self.backend != "numba" and template.metric != "euclidean":
            raise ValueError(f"backend={self.backend!r} searches a map by metric='euclidean' only; use backend='numba'")
        make_index(self.backend, "auto", None, self.backend_params)  # check the names before the training
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        sample_weight = None if sample_weight is None else np.asarray(sample_weight)
        self.som_ = clone(template).fit(X, y, sample_weight=sample_weight)
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.n_features_in_ = self.som_.n_features_in_
        if hasattr(self.som_, "feature_names_in_"):
            self.feature_names_in_ = self.som_.feature_names_in_
        rows, columns, _ = self.som_.codebook_.shape
        size, n_classes = rows * columns, len(self.classes_)
        votes = np.bincount(
            self.som_.labels_ * n_classes + codes, weights=sample_weight, minlength=size * n_classes
        ).reshape(size, n_classes)
        votes = self._fill_empty(votes.astype(np.float64))
        probabilities = votes / votes.sum(axis=1, keepdims=True)
        self.probability_map_ = probabilities.reshape(rows, columns, n_classes)
        self.label_map_ = self.classes_[probabilities.argmax(axis=1)].reshape(rows, columns)
        self._index = None
        if self.backend != "numba":
            like = self.som_._validate(X, reset=False)
            codebook = np.ascontiguousarray(self.som_._flat())
            self._index = fit_codebook_index(codebook, like, self.backend, self.backend_params, template.n_jobs)
        return self

    @property
    def recall_(self) -> float | None:
        check_is_fitted(self)
        return 1.0 if self._index is None else self._index.recall_

    def _units(self, X: Any) -> np.ndarray:
        if self._index is None:
            return self.som_.predict(X)
        rows = self.som_._validate(X, reset=False, least=1)
        return self._index.search(rows, 1, n_threads=resolve_n_threads(self.som_.n_jobs))[1][:, 0]

    def _fill_empty(self, votes: np.ndarray) -> np.ndarray:
        flat = self.som_.codebook_.reshape(len(votes), -1).astype(np.float64)
        won = votes.sum(axis=1) > 0
        for k in np.flatnonzero(~won):
            votes[k] = votes[won][((flat[won] - flat[k]) ** 2).sum(axis=1).argmin()]
        return votes

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class probabilities of the best-matching units, (n_samples, n_classes)."""
        check_is_fitted(self)
        return self.probability_map_.reshape(-1, len(self.classes_))[self._units(X)]

    def predict(self, X: Any) -> np.ndarray:
        """The class of the best-matching unit of every row, (n_samples,)."""
        check_is_fitted(self)
        return self.label_map_.reshape(-1)[self._units(X)]

    def _state_to_save(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, state = super()._state_to_save()
        return arrays | ({} if self._index is None else self._index.screen_to_save()), state

    def _check_saved(self, values: Mapping[str, Any]) -> None:
        grid = values["som_"].codebook_.shape[:2]
        if values["label_map_"].shape != grid or values["probability_map_"].shape[:2] != grid:
            raise ModelFileError(f"the maps of labels and probabilities are not those of {grid[0]} × {grid[1]} neurons")
        if values["som_"].n_features_in_ != values["n_features_in_"]:
            raise ModelFileError("the map has another number of features")

    def _restore(self, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        screen = {name: array for name, array in arrays.items() if name.startswith("screen_")}
        super()._restore({name: array for name, array in arrays.items() if name not in screen}, state)
        self._index = None
        if self.backend != "numba":
            index = make_index(self.backend, "auto", self.som_.n_jobs, self.backend_params, 1)
            self._index = index.restore(np.ascontiguousarray(self.som_._flat()), screen)
        elif screen:
            raise ValueError("an index that no backend reads")

    def _predict_in_one_search(self, X: Any) -> tuple[np.ndarray, np.ndarray, None]:
        """`predict` as positions in `classes_`, and `predict_proba`."""
        check_is_fitted(self)
        units = self._units(X)
        codes = np.searchsorted(self.classes_, self.label_map_.reshape(-1))
        return codes[units], self.probability_map_.reshape(-1, len(self.classes_))[units], None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.som is not None and getattr(self.som, "missing_values", "") == "ignore"
        return tags
