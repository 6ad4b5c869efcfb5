"""Cross-validation of every k and every weighting from one neighbour search."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import get_scorer
from sklearn.model_selection import ParameterGrid
from sklearn.utils.validation import check_is_fitted, column_or_1d

from somknn.evaluation.folds import FoldNeighbors, make_splits
from somknn.fitted import one_state
from somknn.neighbors import KNeighborsClassifier
from somknn.neighbors.base import rows_and_index
from somknn.neighbors.validation import validate_rows_and_targets
from somknn.neighbors.weighting import class_shares, neighbour_weights, winners_of_every_k
from somknn.search.metrics import Metric, find_metric


@one_state
class KNeighborsClassifierCV(ClassifierMixin, BaseEstimator):
    """k-NN classifier whose k and weighting are chosen by cross-validation with one neighbour search.

    Gives the same scores as scikit-learn's `GridSearchCV` over the same grid, in little more than the time of one
    search.

    Parameters
    ----------
    n_neighbors : iterable of int, default=range(1, 31)
        The candidates for k.
    weights : iterable of {"uniform", "distance"} or callable, default=("uniform", "distance")
        The candidate weightings.
    cv : int, splitter or iterable of splits, default=10
        As in scikit-learn; an integer means `StratifiedKFold(cv)` without shuffling.
    scoring : str or callable, default="accuracy"
        Any scikit-learn scorer that uses predictions or probabilities.
    tie_break : {"nearest", "first"}, default="nearest"
        Who wins among classes with equal votes; "first" is scikit-learn's rule of votes. See `KNeighborsClassifier`.
    refit : bool, default=True
        Rule for classes with equal votes; "first" is scikit-learn's. See `KNeighborsClassifier`.
    algorithm, n_jobs, metric
        As in `KNeighborsClassifier`.

    Attributes
    ----------
    best_params_ : dict
        "n_neighbors" and "weights"; if scores are equal, the first of `cv_results_["params"]`.
    best_score_ : float
        Mean score over the splits.
    best_index_ : int
    cv_results_ : dict of ndarrays
        As in `GridSearchCV`, without times: "params", "param_*", "split*_test_score", "mean_test_score",
        "std_test_score", "rank_test_score".
    best_estimator_ : KNeighborsClassifier
    classes_ : ndarray
    n_splits_ : int
    shared_search_ : bool
        Whether one search served all splits.

    Raises
    ------
    ValueError
        For missing labels, a class with fewer rows than folds, or k above the number of rows of a training set.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from somknn.evaluation import KNeighborsClassifierCV
    >>> X, y = load_digits(return_X_y=True)
    >>> search = KNeighborsClassifierCV(range(1, 6), refit=False).fit(X, y)
    >>> search.best_params_["n_neighbors"] in range(1, 6)
    True
    """

    def __init__(
        self,
        n_neighbors: Iterable[int] = range(1, 31),
        weights: Iterable[str | Callable] = ("uniform", "distance"),
        *,
        cv: Any = 10,
        scoring: str | Callable = "accuracy",
        tie_break: str = "nearest",
        refit: bool = True,
        algorithm: str = "auto",
        n_jobs: int | None = None,
        metric: str = "minkowski",
    ):
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.cv = cv
        self.scoring = scoring
        self.tie_break = tie_break
        self.refit = refit
        self.algorithm = algorithm
        self.n_jobs = n_jobs
        self.metric = metric

    def fit(self, X: Any, y: Any) -> "KNeighborsClassifierCV":
        """Cross-validate every candidate on `X` (n, d) and `y` (n,), and refit the best.

        `X` may be a fitted `ExactIndex` of the rows, or a `CosineIndex` for `metric="cosine"`. It then serves both.
        """
        if self.tie_break not in ("nearest", "first"):
            raise ValueError(f"tie_break must be 'nearest' or 'first', got {self.tie_break!r}")
        metric = find_metric(self.metric)
        X, index = rows_and_index(X)
        X, y = validate_rows_and_targets(self, X, y, numeric_targets=False, compact=True)
        y = column_or_1d(y)
        ks, weightings = checked_candidates(self.n_neighbors, self.weights)
        splits = make_splits(y, self.cv)
        # One index serves the cross-validation and the refitted estimator.
        settings = {name: getattr(self, name) for name in ("tie_break", "algorithm", "metric", "n_jobs")}
        estimator = KNeighborsClassifier(**settings)
        estimator.fit(X if index is None else index, y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        neighbors = FoldNeighbors(estimator._index, codes, splits, max(ks))
        candidates = list(ParameterGrid({"n_neighbors": ks, "weights": weightings}))
        scores = np.empty((len(candidates), len(splits)))
        for s, (neighbor_codes, squared) in enumerate(neighbors):
            truth = codes[splits[s][1]].astype(np.int32)
            for weighting in weightings:
                predicted = self._predict_every_k(neighbor_codes, squared, weighting, ks, metric)
                for i, candidate in enumerate(candidates):
                    if candidate["weights"] == weighting:
                        k = candidate["n_neighbors"]
                        view = neighbor_codes[:, :k], squared[:, :k]
                        scores[i, s] = self._score(truth, predicted[k], *view, weighting, metric)
        self.shared_search_ = neighbors.shared
        take_best(self, candidates, scores)
        if self.refit:
            self.best_estimator_ = estimator.set_params(**self.best_params_)
        return self

    def _predict_every_k(
        self, codes: np.ndarray, squared: np.ndarray, weighting: str | Callable, ks: list[int], metric: Metric
    ) -> dict[int, np.ndarray]:
        """Predicted class codes by k. A callable weighting may depend on the whole list, so it is called for each k."""
        if not callable(weighting):
            weights = neighbour_weights(weighting, squared, self.n_jobs, metric)
            every = self._vote(codes, squared, weights)
            return {k: every[k - 1] for k in ks}
        predictions = {}
        for k in ks:
            weights = neighbour_weights(weighting, np.ascontiguousarray(squared[:, :k]), self.n_jobs, metric)
            predictions[k] = self._vote(codes[:, :k], squared[:, :k], weights)[k - 1]
        return predictions

    def _vote(self, codes: np.ndarray, squared: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
        nearest_first = self.tie_break == "nearest"
        given = codes, squared, weights, len(self.classes_)
        return winners_of_every_k(*given, nearest_first=nearest_first, n_jobs=self.n_jobs)

    def _score(
        self,
        truth: np.ndarray,
        predicted: np.ndarray,
        codes: np.ndarray,
        squared: np.ndarray,
        weighting: str | Callable,
        metric: Metric,
    ) -> float:
        if self.scoring == "accuracy":
            # The value of accuracy_score; its checks of the labels alone would cost 600 × 1 ms.
            return float(np.average(predicted == truth))
        scorer = get_scorer(self.scoring)
        read_off = _ReadOff(self.classes_, predicted, codes, squared, weighting, metric)
        return float(scorer(read_off, np.zeros((len(truth), 1)), self.classes_[truth]))

    def predict(self, X: Any) -> np.ndarray:
        """Labels of the rows of `X` by `best_estimator_`."""
        check_is_fitted(self, "best_estimator_")
        return self.best_estimator_.predict(X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Class shares of the rows of `X` by `best_estimator_`."""
        check_is_fitted(self, "best_estimator_")
        return self.best_estimator_.predict_proba(X)


class _ReadOff(ClassifierMixin, BaseEstimator):
    """A fitted classifier for a scorer; its answers for the test rows are already computed."""

    def __init__(
        self,
        classes: np.ndarray,
        predicted: np.ndarray,
        codes: np.ndarray,
        squared: np.ndarray,
        weighting: str | Callable,
        metric: Metric,
    ) -> None:
        self.classes_, self._metric = classes, metric
        self._predicted, self._codes, self._squared, self._weighting = predicted, codes, squared, weighting

    def predict(self, X: Any) -> np.ndarray:
        return self.classes_[self._predicted]

    def predict_proba(self, X: Any) -> np.ndarray:
        squared = np.ascontiguousarray(self._squared)
        weights = neighbour_weights(self._weighting, squared, None, self._metric)
        # The neighbours are given by their classes: the class of "row" c is c.
        every_class = np.arange(len(self.classes_), dtype=np.int32)
        return class_shares(every_class, len(every_class), self._codes.astype(np.int64), weights, None)


def checked_candidates(n_neighbors: Any, weights: Any) -> tuple[list[int], list[str | Callable]]:
    """The candidates for k and for the weighting as lists; ValueError for any that `fit` would refuse."""
    if isinstance(n_neighbors, (int, np.integer)):
        n_neighbors = [n_neighbors]
    ks = list(n_neighbors)
    for k in ks:
        if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
            raise ValueError(f"n_neighbors must hold integers of at least 1, got {k!r}")
    weightings = [weights] if isinstance(weights, str) or callable(weights) else list(weights)
    for weighting in weightings:
        if weighting not in ("uniform", "distance") and not callable(weighting):
            raise ValueError(f"weights must hold 'uniform', 'distance' or callables, got {weighting!r}")
    if not ks or not weightings:
        raise ValueError("n_neighbors and weights must each hold at least one candidate")
    return [int(k) for k in ks], weightings


def take_best(search: Any, candidates: list[dict[str, Any]], scores: np.ndarray) -> None:
    """Set on `search` what `GridSearchCV` has: the table of `scores` (candidates, splits), and the best candidate."""
    search.n_splits_ = scores.shape[1]
    search.cv_results_ = table_of_scores(candidates, scores)
    search.best_index_ = int(search.cv_results_["rank_test_score"].argmin())
    search.best_score_ = float(search.cv_results_["mean_test_score"][search.best_index_])
    search.best_params_ = candidates[search.best_index_]


def table_of_scores(candidates: list[dict[str, Any]], scores: np.ndarray) -> dict[str, Any]:
    """GridSearchCV's table, computed with its formulas so that all digits agree."""
    mean = np.average(scores, axis=1)
    results: dict[str, Any] = {
        f"param_{name}": np.ma.array([c[name] for c in candidates], dtype=kind)
        for name, kind in (("n_neighbors", np.int64), ("weights", object))
    }
    results["params"] = candidates
    results |= {f"split{s}_test_score": column for s, column in enumerate(scores.T)}
    results["mean_test_score"] = mean
    results["std_test_score"] = np.sqrt(np.average((scores - mean[:, None]) ** 2, axis=1))
    filled = np.nan_to_num(mean, nan=np.nanmin(mean) - 1 if not np.isnan(mean).all() else 0.0)
    results["rank_test_score"] = rankdata(-filled, method="min").astype(np.int32)
    return results
