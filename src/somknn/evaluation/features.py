"""Features to compare rows by: the rows as they are, scaled columns, unit length, deskewed images; and their choice."""

from typing import Any

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler

from somknn.neighbors import KNeighborsClassifier, KNeighborsRegressor

_SCALERS = {"standard": StandardScaler, "minmax": MinMaxScaler}
SCALINGS = ("raw", *_SCALERS)
FEATURES = (*SCALINGS, "normalised", "deskewed")
_MOST_ROWS = 2000
_FOLDS, _NEIGHBOURS = 5, 5


def fitted_transformer(name: str, data: Any) -> Any:
    """The transformer that makes the features `name` of rows, fitted on the training rows; None for "raw".

    "standard" gives each column mean 0 and variance 1, "minmax" the range 0 to 1, "normalised" each row unit length (a
    common factor for all rows, such as 1/255, would not change any neighbour). Raises ValueError for a name that is not
    in `FEATURES`, and for "deskewed" if the rows are not images.
    """
    if name == "raw":
        return None
    if name in _SCALERS:
        return _SCALERS[name]().fit(data.X_train)
    if name == "normalised":
        return Normalizer().fit(data.X_train[:1])
    if name != "deskewed":
        raise ValueError(f"unknown features {name!r}; choose from {', '.join(FEATURES)}")
    if data.image_shape is None or len(data.image_shape) != 2:
        raise ValueError("deskewed features need images, but the rows of this data set are none")
    from somknn.images import Deskew

    return Deskew(data.image_shape).fit(data.X_train[:1])


def with_features(model: Any, name: str, transformer: Any) -> Any:
    """A Pipeline that takes raw rows, of a fitted transformer and a model that was fitted on its features."""
    return model if transformer is None else Pipeline([(name, transformer), ("model", model)])


def candidates(data: Any) -> tuple[str, ...]:
    """The features that are tried where nothing is said: scalings for a table, raw pixels for images."""
    return SCALINGS if data.image_shape is None else ("raw",)


def choose_scaling(data: Any) -> tuple[str, dict[str, float]]:
    """The scaling of a table by which 5-NN predicts best, and the mean accuracy, or the mean RMSE of values, of each.

    5-fold cross-validation on the training rows (stratified by class), 2,000 of them at most, each fold scaled by its
    own training part. The first wins a tie, so raw rows stay as they are. ("raw", {}) for images, and where a class has
    one row.
    """
    X, y = data.X_train, np.asarray(data.y_train)
    if len(X) > _MOST_ROWS:
        chosen = np.random.default_rng(0).choice(len(X), _MOST_ROWS, replace=False)
        X, y = X[chosen], y[chosen]
    _, counts = np.unique(y, return_counts=True)
    quantities = y.dtype.kind == "f"
    n_folds = min(_FOLDS, len(X) if quantities else int(counts.min()))
    if candidates(data) == ("raw",) or n_folds < 2 or len(counts) < 2:
        return "raw", {}
    folds = (KFold if quantities else StratifiedKFold)(n_folds, shuffle=True, random_state=0)
    k = max(1, min(_NEIGHBOURS, len(X) - len(X) // n_folds - 1))
    model: Any = KNeighborsRegressor(k) if quantities else KNeighborsClassifier(k)
    scores = {}
    for name in SCALINGS:
        steps = [_SCALERS[name]()] if name in _SCALERS else []
        scoring = "neg_root_mean_squared_error" if quantities else None
        scores[name] = float(np.mean(cross_val_score(make_pipeline(*steps, model), X, y, cv=folds, scoring=scoring)))
    best = max(scores, key=lambda name: scores[name])
    return best, {name: abs(score) for name, score in scores.items()} if quantities else scores
