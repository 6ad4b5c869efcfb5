"""Several k-NN settings judged on one test set from one search: what `somknn evaluate` and `somknn tune` do."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import normalize

from somknn.evaluation.metrics import evaluate_predictions
from somknn.evaluation.results import MethodResult
from somknn.neighbors import KNeighborsClassifier
from somknn.neighbors.weighting import class_shares, neighbour_weights, winning_codes


def unit_length(X: np.ndarray) -> np.ndarray:
    """Rows divided by their Euclidean norm, float32: neighbours by the angle between rows, whatever their contrast."""
    return normalize(X.astype(np.float32))


def _deskewed(X: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    from somknn.images import Deskew

    return Deskew(image_shape=image_shape).fit_transform(X)


FEATURES = ("raw", "normalised", "deskewed")


def feature_transform(name: str, image_shape: tuple[int, ...] | None) -> Callable[[np.ndarray], np.ndarray] | None:
    """The function that makes the features `name` of rows; None for "raw".

    "normalised" divides each row by its norm (one factor for all rows, such as 1/255, changes no neighbour).
    Raises ValueError for a name that is not in `FEATURES`, and for "deskewed" where rows are no images.
    """
    if name == "raw":
        return None
    if name == "normalised":
        return unit_length
    if name == "deskewed":
        if image_shape is None or len(image_shape) != 2:
            raise ValueError("deskewed features need images, but the rows of this data set are none")
        shape = image_shape
        return lambda X: _deskewed(X, shape)
    raise ValueError(f"unknown features {name!r}; choose from {', '.join(FEATURES)}")


def savable(classifier: KNeighborsClassifier, features: str, data: Any) -> Any:
    """A fitted classifier of raw rows that can be saved; None for features that no saved model makes."""
    if features == "raw":
        return classifier
    if features == "deskewed":
        from somknn.images import Deskew

        return Pipeline([("deskew", Deskew(data.image_shape).fit(data.X_train[:1])), ("classifier", classifier)])
    return None


def judge(
    model: KNeighborsClassifier,
    settings: Sequence[tuple[str, dict[str, Any], np.ndarray | None]],
    data: Any,
    *,
    transform: Callable[[np.ndarray], np.ndarray] | None = None,
    n_resamples: int = 1000,
) -> list[MethodResult]:
    """Evaluate settings of k and weights on the data's test rows with one search.

    Parameters
    ----------
    model : KNeighborsClassifier
        Fitted on the training rows; its own k and weights play no part.
    settings : sequence of (name, {"n_neighbors": k, "weights": …}, scores of the folds or None)
    data : somknn.datasets.Dataset
    transform : callable, optional
        Makes the features of rows that the model was fitted on.
    n_resamples : int
        For the bootstrap intervals.

    Returns
    -------
    list of MethodResult, in the order of `settings`
        Their `seconds` hold the one search for the largest k, and their own vote.
    """
    X_test = data.X_test if transform is None else transform(data.X_test)
    largest = max(parameters["n_neighbors"] for _, parameters, _ in settings)
    start = time.perf_counter()
    squared, indices = model._nearest(X_test, largest)
    search_seconds = time.perf_counter() - start
    codes, n_classes = model._codes[0], len(model.classes_)
    results = []
    for name, parameters, folds in settings:
        k = parameters["n_neighbors"]
        start = time.perf_counter()
        near, rows = np.ascontiguousarray(squared[:, :k]), np.ascontiguousarray(indices[:, :k])
        weights = neighbour_weights(parameters["weights"], near, model.n_jobs)
        won = winning_codes(
            codes,
            n_classes,
            (near, rows),
            weights,
            nearest_first=model.tie_break == "nearest",
            n_jobs=model.n_jobs,
        )
        shares = class_shares(codes, n_classes, rows, weights, model.n_jobs)
        vote_seconds = time.perf_counter() - start
        evaluation = evaluate_predictions(
            data.y_test, model.classes_[won], shares, classes=model.classes_, n_resamples=n_resamples
        )
        results.append(
            MethodResult(
                name=name,
                evaluation=evaluation,
                parameters=dict(parameters),
                cross_validation=folds,
                seconds={"search of the test rows (shared)": search_seconds, "vote": vote_seconds},
                model=model,
                transform=transform,
            )
        )
    return results


def fold_scores(cv_results: dict[str, Any], parameters: dict[str, Any]) -> np.ndarray | None:
    """The scores of every fold for one candidate of a tuning; None where it was not a candidate."""
    if parameters not in cv_results["params"]:
        return None
    place = cv_results["params"].index(parameters)
    n_splits = sum(name.startswith("split") for name in cv_results)
    return np.array([cv_results[f"split{s}_test_score"][place] for s in range(n_splits)])
