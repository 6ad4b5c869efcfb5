"""Classification by a map: every neuron answers with the classes of the training rows that it won."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from somknn.persistence import Savable
from somknn.som.estimator import SOM


class SOMClassifier(Savable, ClassifierMixin, BaseEstimator):
    """The label map of a SOM as a classifier.

    A row takes the class probabilities of its best-matching unit: the shares of the classes among the training rows that the
    unit won. A unit that won none takes those of the nearest unit, by weights, that won some.

    Parameters
    ----------
    som : SOM or None
        The map to train (a clone is). None: a 20×20 batch map of 20 epochs with a final radius of 0.3.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    som_ : SOM
        The trained map.
    label_map_ : ndarray (n_rows, n_columns)
        The most frequent class of each neuron; ties go to the class that comes first.
    probability_map_ : ndarray (n_rows, n_columns, n_classes)

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from somknn import SOM, SOMClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = SOMClassifier(SOM(5, 5, random_state=0)).fit(X, y)
    >>> classifier.score(X, y) > 0.9
    True
    """

    def __init__(self, som=None):
        self.som = som

    def fit(self, X, y, sample_weight=None):
        """Train the map on `X` and count the classes `y` (n_samples,) of every neuron."""
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None")
        template = SOM(20, 20, epochs=20, final_radius=0.3, random_state=0) if self.som is None else self.som
        if not isinstance(template, SOM):
            raise TypeError(f"som must be a SOM or None, got {type(template).__name__}")
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
        return self

    def _fill_empty(self, votes: np.ndarray) -> np.ndarray:
        flat = self.som_.codebook_.reshape(len(votes), -1).astype(np.float64)
        won = votes.sum(axis=1) > 0
        for k in np.flatnonzero(~won):
            votes[k] = votes[won][((flat[won] - flat[k]) ** 2).sum(axis=1).argmin()]
        return votes

    def predict_proba(self, X):
        """Class probabilities of the best-matching units, (n_samples, n_classes)."""
        check_is_fitted(self)
        return self.probability_map_.reshape(-1, len(self.classes_))[self.som_.predict(X)]

    def predict(self, X):
        """The class of the best-matching unit of every row, (n_samples,)."""
        check_is_fitted(self)
        return self.label_map_.reshape(-1)[self.som_.predict(X)]

    def _predict_in_one_search(self, X):
        """`predict` as positions in `classes_`, and `predict_proba`."""
        units = self.som_.predict(X)
        codes = np.searchsorted(self.classes_, self.label_map_.reshape(-1))
        return codes[units], self.probability_map_.reshape(-1, len(self.classes_))[units], None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.som is not None and getattr(self.som, "missing_values", "") == "ignore"
        return tags
