"""Cross-validation of a k-NN regressor: every k and every weighting from one neighbour search."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from sklearn import metrics
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import KFold, ParameterGrid, check_cv
from sklearn.utils.validation import check_is_fitted, column_or_1d

from somknn.evaluation.folds import FoldNeighbors
from somknn.evaluation.tuning import checked_candidates, take_best
from somknn.fitted import one_state
from somknn.neighbors import KNeighborsRegressor
from somknn.neighbors.base import rows_and_index
from somknn.neighbors.validation import validate_rows_and_targets
from somknn.neighbors.weighting import mean_targets, neighbour_weights

_SCORES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "neg_root_mean_squared_error": lambda truth, found: -metrics.root_mean_squared_error(truth, found),
    "neg_mean_absolute_error": lambda truth, found: -metrics.mean_absolute_error(truth, found),
    "r2": metrics.r2_score,
}


@one_state
class KNeighborsRegressorCV(RegressorMixin, BaseEstimator):
    """k-NN regressor whose k and weighting are chosen by cross-validation with one neighbour search.

    Gives the scores of scikit-learn's `GridSearchCV` over the same grid, folds and scoring.

    Parameters
    ----------
    n_neighbors : iterable of int, default=range(1, 31)
        The candidates for k.
    weights : iterable of {"uniform", "distance"} or callable, default=("uniform", "distance")
        The candidate weightings.
    cv : int, splitter or iterable of splits, default=10
        As in scikit-learn, but an integer means `KFold(cv, shuffle=True, random_state=0)`: tables are often in the
        order of their target, and folds of neighbouring rows would then be unlike each other.
    scoring : {"neg_root_mean_squared_error", "neg_mean_absolute_error", "r2"}
        The default is the first.
    algorithm, n_jobs, metric
        As in `KNeighborsRegressor`.

    Attributes
    ----------
    best_params_ : dict
        "n_neighbors" and "weights"; if scores are equal, the first of `cv_results_["params"]`.
    best_score_ : float
        Mean score over the splits.
    cv_results_ : dict of ndarrays
        As in `GridSearchCV`, without times.
    best_estimator_ : KNeighborsRegressor
    n_splits_ : int

    Raises
    ------
    ValueError
        For targets that are no numbers, or k above the number of rows of a training set.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from somknn.evaluation import KNeighborsRegressorCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> search = KNeighborsRegressorCV(range(1, 21)).fit(X, y)
    >>> search.best_params_["n_neighbors"] > 5
    True
    """

    def __init__(
        self,
        n_neighbors: Iterable[int] = range(1, 31),
        weights: Iterable[str | Callable] = ("uniform", "distance"),
        *,
        cv: Any = 10,
        scoring: str = "neg_root_mean_squared_error",
        algorithm: str = "auto",
        n_jobs: int | None = None,
        metric: str = "minkowski",
    ):
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.cv = cv
        self.scoring = scoring
        self.algorithm = algorithm
        self.n_jobs = n_jobs
        self.metric = metric

    def fit(self, X: Any, y: Any) -> "KNeighborsRegressorCV":
        """Cross-validate every candidate on `X` (n, d) and `y` (n,), and refit the best."""
        if self.scoring not in _SCORES:
            raise ValueError(f"scoring must be one of {', '.join(_SCORES)}, got {self.scoring!r}")
        X, index = rows_and_index(X)
        X, y = validate_rows_and_targets(self, X, y, numeric_targets=True, compact=True)
        y = np.asarray(column_or_1d(y), dtype=np.float64)
        ks, weightings = checked_candidates(self.n_neighbors, self.weights)
        splits = _splits(y, self.cv)
        settings = {name: getattr(self, name) for name in ("algorithm", "metric", "n_jobs")}
        estimator = KNeighborsRegressor(**settings).fit(X if index is None else index, y)
        # The "classes" of the rows are their own numbers: what comes back are the neighbours themselves.
        numbers = np.arange(len(y), dtype=np.int32)
        candidates = list(ParameterGrid({"n_neighbors": ks, "weights": weightings}))
        scores = np.empty((len(candidates), len(splits)))
        for s, (rows, squared) in enumerate(FoldNeighbors(estimator._index, numbers, splits, max(ks))):
            truth = y[splits[s][1]]
            for i, candidate in enumerate(candidates):
                k, weighting = candidate["n_neighbors"], candidate["weights"]
                weights = neighbour_weights(
                    weighting, np.ascontiguousarray(squared[:, :k]), self.n_jobs, estimator._metric
                )
                near = np.ascontiguousarray(rows[:, :k], dtype=np.int64)
                found = mean_targets(y[:, None], near, weights, self.n_jobs)[:, 0]
                scores[i, s] = _SCORES[self.scoring](truth, found)
        take_best(self, candidates, scores)
        self.best_estimator_ = estimator.set_params(**self.best_params_)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Values (m,) for the rows of `X` by `best_estimator_`."""
        check_is_fitted(self, "best_estimator_")
        return self.best_estimator_.predict(X)


def _splits(y: np.ndarray, cv: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """The (training rows, test rows) of every split."""
    if isinstance(cv, (int, np.integer)) and not isinstance(cv, bool):
        if not 2 <= cv <= len(y):
            raise ValueError(f"cv must be from 2 folds to the number of rows, {len(y)}; got {cv}")
        cv = KFold(int(cv), shuffle=True, random_state=0)
    splitter = check_cv(cv, y, classifier=False)
    return [(np.asarray(train), np.asarray(test)) for train, test in splitter.split(np.zeros(len(y)), y)]
