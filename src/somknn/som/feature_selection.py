"""Rank features by their importance to a SOM, and select features that are not redundant."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.feature_selection import SelectorMixin
from sklearn.pipeline import Pipeline
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from somknn.fitted import one_state
from somknn.persistence import ModelFileError, Savable
from somknn.persistence.contents import COLUMNS, Array, Fitted, Kind
from somknn.scaling import exponent_of
from somknn.som.estimator import SOM

CRITERIA = ("redundancy", "norm", "variance", "class_separation")


def weight_norms(codebook: np.ndarray) -> np.ndarray:
    """Norm of every feature's weights over the neurons, (d,), for a codebook (K, d)."""
    return np.linalg.norm(codebook, axis=0)


def weight_variances(codebook: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Variance of every feature's weights over the neurons, weighted by the rows that each neuron won, (d,)."""
    share = hits / hits.sum()
    return share @ (codebook - share @ codebook) ** 2


def class_separation(codebook: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Between-class over within-class variance of the weights, (d,); votes (K, n_classes): rows won per class."""
    share = votes / votes.sum()
    means = (share.T @ codebook) / np.maximum(share.sum(axis=0)[:, None], 1e-300)
    overall = share.sum(axis=1) @ codebook
    between = share.sum(axis=0) @ (means - overall) ** 2
    within = share.sum(axis=1) @ (codebook - overall) ** 2 - between
    floor = 1e-3 * max(float(within.max(initial=0.0)), 1e-300)
    return between / np.maximum(within, floor)


def _square_sums(factor: np.ndarray) -> np.ndarray:
    """Sums (d,) of the squares of each column of factorᵀ·factor."""
    return np.einsum("ij,ij->j", factor, (factor @ factor.T) @ factor)


def select_without_redundancy(centred: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Greedy column subset selection: each step takes the feature that explains most of the unexplained variance.

    With R the covariance that remains after the features taken so far, feature j explains Σ_i R[i, j]² / R[j, j] of the
    variance of all features (Farahat, Ghodsi, Kamel 2011); R is then deflated by it. Returns the features in the order
    taken, and the explained variance of each feature (d,), 0 for those not taken. Ties go to the lowest feature; what
    differs by less than 1e-12 is a tie.

    centred : (m, d); the covariance is centredᵀ·centred, and is never made
    R is kept as a factor of min(m, d) rows, and Σ_i R[i, j]² follows from step to step. That loses digits, so it is
    made anew whenever the variance has fallen to a quarter. Cost: count·d·min(m, d).
    """
    left = np.array(centred, dtype=np.float64)
    d = left.shape[1]
    if len(left) > d:
        left = np.linalg.qr(left)[1]
    variances = np.einsum("ij,ij->j", left, left)
    squares, at_last = _square_sums(left), float(variances.sum())
    tiny = 1e-10 * max(at_last / d, 1e-300)
    taken, importance = [], np.zeros(d)
    free = np.ones(d, bool)
    for _ in range(min(count, d)):
        usable = free & (variances > tiny)
        gain = np.where(usable, squares / np.where(usable, variances, 1.0), -1.0)
        if not usable.any():
            gain = np.where(free, 0.0, -1.0)
        best = int((gain >= gain.max() * (1.0 - 1e-12)).argmax())
        taken.append(best)
        free[best] = False
        importance[best] = max(gain[best], 0.0)
        if not usable[best]:
            continue
        direction = left[:, best] / np.sqrt(variances[best])
        explained = direction @ left
        squares += explained * (float(explained @ explained) * explained - 2.0 * ((left @ explained) @ left))
        left -= np.outer(direction, explained)
        variances = np.einsum("ij,ij->j", left, left)
        if variances.sum() < 0.25 * at_last:
            squares, at_last = _square_sums(left), float(variances.sum())
    return np.array(taken), importance


@one_state
class SOMFeatureSelector(Savable, SelectorMixin, BaseEstimator):
    """Select the features that are most important to a SOM.

    Parameters
    ----------
    som : SOM or None
        The map to train (a clone is trained). None: 20×20, 10 epochs.
    n_features : int
        Number of features to keep; all if the data has fewer.
    criterion : {"redundancy", "norm", "variance", "class_separation"}
        "redundancy": greedily, the feature that explains most of the variation of the weights over the map that the
        features before it leave unexplained (see `select_without_redundancy`). The others rate each feature separately:
        by the norm of its weights, their variance over the neurons, or between-class over within-class variance (needs
        y).

    Attributes
    ----------
    importances_ : ndarray (n_features_in_,)
    selected_ : ndarray, int64
        The selected features, most important first.
    som_ : SOM

    Examples
    --------
    >>> import numpy as np
    >>> from somknn import SOM, SOMFeatureSelector
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(2, 300))
    >>> X = np.column_stack([3 * a, 3 * a, 2 * b])  # the second says nothing new
    >>> SOMFeatureSelector(SOM(5, 5), n_features=2).fit(X).get_support(indices=True).tolist()
    [0, 2]
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "som": [SOM, None],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "criterion": [StrOptions(set(CRITERIA))],
    }
    _saved_state: ClassVar[dict[str, Kind]] = {
        **COLUMNS,
        "som_": Fitted("SOM"),
        "importances_": Array(("n_features_in_",), "float64"),
        "selected_": Array((None,), "int64", below="n_features_in_"),
    }

    def __init__(self, som: SOM | None = None, *, n_features: int = 100, criterion: str = "redundancy") -> None:
        self.som = som
        self.n_features = n_features
        self.criterion = criterion

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train the map on `X` and rate the features; "class_separation" needs classes `y` (n_samples,)."""
        if self.criterion not in CRITERIA:
            raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}; got {self.criterion!r}")
        if isinstance(self.n_features, bool) or not hasattr(self.n_features, "__index__") or self.n_features < 1:
            raise ValueError(f"n_features must be an integer of at least 1, got {self.n_features!r}")
        if self.criterion == "class_separation" and y is None:
            raise ValueError("requires y to be passed, but the target y is None (criterion 'class_separation')")
        template = SOM(20, 20, epochs=10, random_state=0) if self.som is None else self.som
        if not isinstance(template, SOM):
            raise TypeError(f"som must be a SOM or None, got {type(template).__name__}")
        sample_weight = None if sample_weight is None else np.asarray(sample_weight)
        self.som_ = clone(template).fit(X, y, sample_weight=sample_weight)
        self.n_features_in_ = self.som_.n_features_in_
        if hasattr(self.som_, "feature_names_in_"):
            self.feature_names_in_ = self.som_.feature_names_in_
        codebook = self.som_.codebook_.reshape(-1, self.n_features_in_).astype(np.float64)
        units = self.som_.labels_
        hits = np.bincount(units, weights=sample_weight, minlength=len(codebook)).astype(np.float64)
        count = min(int(self.n_features), self.n_features_in_)
        unit = 2.0 ** exponent_of(codebook)  # in this unit squares, and their squares, fit into float64
        codebook = codebook / unit
        if self.criterion == "redundancy":
            share = hits / hits.sum()
            centred = codebook - share @ codebook
            self.selected_, importances = select_without_redundancy(centred * np.sqrt(share)[:, None], count)
            self.importances_ = importances * unit * unit
            return self
        if self.criterion == "norm":
            self.importances_ = weight_norms(codebook) * unit
        elif self.criterion == "variance":
            self.importances_ = weight_variances(codebook, hits) * unit * unit
        else:
            classes, codes = np.unique(y, return_inverse=True)
            votes = np.bincount(
                units * len(classes) + codes, weights=sample_weight, minlength=len(codebook) * len(classes)
            ).reshape(len(codebook), len(classes))
            self.importances_ = class_separation(codebook, votes.astype(np.float64))
        self.selected_ = np.argsort(-self.importances_, kind="stable")[:count]
        return self

    def _check_saved(self, values: Mapping[str, Any]) -> None:
        if values["som_"].n_features_in_ != values["n_features_in_"]:
            raise ModelFileError("the map has another number of features")
        if len(np.unique(values["selected_"])) != len(values["selected_"]):
            raise ModelFileError("array 'selected_' holds a feature twice")

    def _get_support_mask(self) -> np.ndarray:
        check_is_fitted(self)
        mask = np.zeros(self.n_features_in_, bool)
        mask[self.selected_] = True
        return mask

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.som is not None and getattr(self.som, "missing_values", "") == "ignore"
        tags.target_tags.required = self.criterion == "class_separation"
        return tags


def som_features_knn(
    som: SOM | None = None, *, n_features: int = 100, criterion: str = "redundancy", n_neighbors: int = 3
) -> Pipeline:
    """A pipeline: select the most important features by a SOM, then classify by k nearest neighbours on them."""
    from somknn.neighbors import KNeighborsClassifier

    return Pipeline(
        [
            ("features", SOMFeatureSelector(som, n_features=n_features, criterion=criterion)),
            ("neighbors", KNeighborsClassifier(n_neighbors=n_neighbors)),
        ]
    )
