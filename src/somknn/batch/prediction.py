"""From rows to columns of predictions: the one function that every engine (files, cluster) calls."""

from typing import Any, NamedTuple

import numpy as np

from somknn.batch.checks import BatchError

_ROWS_AT_ONCE = 16384  # bounds what a classifier allots for itself, and is far beyond what its threads need


class Wanted(NamedTuple):
    """What is written besides label and confidence."""

    proba: bool = False
    top: int = 1
    neighbors: bool = False


def set_threads(model: Any, n_jobs: int | None) -> None:
    """Give `n_jobs` to a model and to the steps in it."""
    if n_jobs is not None:
        names = [name for name in model.get_params() if name == "n_jobs" or name.endswith("__n_jobs")]
        model.set_params(**dict.fromkeys(names, n_jobs))


def check_model(model: Any, wanted: Wanted) -> None:
    """Refuse, before any row is read, what the model cannot do."""
    if not hasattr(model, "predict") or not hasattr(model, "classes_"):
        raise BatchError(f"a {type(model).__name__} is no classifier")
    if isinstance(model.classes_, list):
        raise BatchError("classifiers with several outputs are not supported")
    if (wanted.proba or wanted.top > 1) and not hasattr(model, "predict_proba"):
        raise BatchError(f"a {type(model).__name__} gives no probabilities, which --proba and --top need")
    if not 1 <= wanted.top <= len(model.classes_):
        raise BatchError(f"--top {wanted.top}: the model has {len(model.classes_)} classes")
    if wanted.neighbors and not hasattr(model, "kneighbors"):
        raise BatchError(f"a {type(model).__name__} has no neighbours to write")


def predict_columns(model: Any, rows: np.ndarray, wanted: Wanted) -> dict[str, np.ndarray]:
    """Columns of predictions for rows that passed the checks; labels as positions in `model.classes_`.

    `code` int32 (m,), `confidence` float64 (m,) where the model gives probabilities, and by wish `proba` (m, classes),
    `top_code` and `top_confidence` (m, top), `neighbor` int64 and `distance` float64 (m, k).
    """
    parts = [_predict(model, rows[at : at + _ROWS_AT_ONCE], wanted) for at in range(0, len(rows), _ROWS_AT_ONCE)]
    if not parts:
        return {}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _predict(model: Any, rows: np.ndarray, wanted: Wanted) -> dict[str, np.ndarray]:
    codes, shares, neighbours = _codes_and_shares(model, rows)
    columns: dict[str, np.ndarray] = {"code": codes.astype(np.int32)}
    if shares is not None:
        columns["confidence"] = np.take_along_axis(shares, codes[:, None].astype(np.intp), axis=1)[:, 0]
    if wanted.proba:
        columns["proba"] = shares
    if wanted.top > 1:
        ranked = shares.copy()
        ranked[np.arange(len(rows)), codes] = np.inf  # the winner comes first, also among equal votes
        order = np.argsort(-ranked, axis=1, kind="stable")[:, : wanted.top]
        columns["top_code"] = order.astype(np.int32)
        columns["top_confidence"] = np.take_along_axis(shares, order, axis=1)
    if wanted.neighbors:
        if neighbours is None:
            distances, indices = model.kneighbors(rows)
        else:
            distances, indices = np.sqrt(neighbours[0].astype(np.float64)), neighbours[1]
        columns["neighbor"], columns["distance"] = np.asarray(indices, dtype=np.int64), distances
    return columns


def _codes_and_shares(model: Any, rows: np.ndarray) -> tuple[np.ndarray, Any, Any]:
    from somknn.neighbors.classification import KNeighborsClassifier
    from somknn.neighbors.weighting import class_shares, neighbour_weights, winning_codes

    if type(model) is KNeighborsClassifier:
        # One search for label, shares and neighbours; predict and predict_proba would search twice.
        neighbours = model._nearest(rows)
        weights = neighbour_weights(model.weights, neighbours[0], model.n_jobs)
        own, n_classes, first = model._codes[0], len(model.classes_), model.tie_break == "nearest"
        codes = winning_codes(own, n_classes, neighbours, weights, nearest_first=first, n_jobs=model.n_jobs)
        return codes, class_shares(own, n_classes, neighbours[1], weights, model.n_jobs), neighbours
    codes = np.searchsorted(model.classes_, model.predict(rows))
    shares = model.predict_proba(rows) if hasattr(model, "predict_proba") else None
    return codes, shares, None
