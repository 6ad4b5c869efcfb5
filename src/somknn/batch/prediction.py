"""From rows to columns of predictions: the one function that every engine (files, cluster) calls."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags

from somknn.batch.coding import coding_of, decoded, fills_missing
from somknn.datasets.chunks import BatchError

_ROWS_AT_ONCE = 16384  # bounds a classifier's working memory, and is far more than its threads need


class Wanted(NamedTuple):
    """Columns to write in addition to label and confidence."""

    proba: bool = False
    top: int = 1
    neighbors: bool = False


def set_threads(model: Any, n_jobs: int | None) -> None:
    """Set `n_jobs` on a model and on its steps."""
    if n_jobs is not None:
        names = [name for name in model.get_params() if name == "n_jobs" or name.endswith("__n_jobs")]
        model.set_params(**dict.fromkeys(names, n_jobs))


def forget_names(model: Any) -> None:
    """Remove the column names from a model and its parts.

    The names have already been compared with the input's, and the rows arrive as arrays without names.
    """
    vars(model).pop("feature_names_in_", None)
    parts = [*getattr(model, "steps", ()), *getattr(model, "transformers_", ())]
    for inner in [*vars(model).values(), *(part[1] for part in parts)]:
        if isinstance(inner, BaseEstimator):
            forget_names(inner)


def takes_missing(model: Any) -> bool:
    """Whether a model answers rows with NaN: an imputer or a model that ignores them, after steps that pass them on."""
    for step in [step for _, step in model.steps] if hasattr(model, "steps") else [model]:
        if step is None or step == "passthrough":
            continue
        if hasattr(step, "transformers_"):
            return fills_missing(step)
        if type(step).__name__ == "SimpleImputer" or getattr(step, "missing_values", None) == "ignore":
            return True
        if hasattr(step, "steps"):
            return takes_missing(step)
        if not hasattr(step, "transform") or not get_tags(step).input_tags.allow_nan:
            return False
    return False


def kind_of(model: Any) -> str | None:
    """What a model answers: classes, values, units of a map, clusters, neighbours or columns; None for nothing."""
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    if hasattr(model, "predict") and hasattr(model, "classes_"):
        return "classes"
    if is_regressor(last):
        return "values"
    if hasattr(last, "_nearest_unit"):
        return "units" if hasattr(last, "codebook_") else "clusters"
    if hasattr(last, "kneighbors"):
        return "neighbors"
    return "columns" if hasattr(last, "transform") else None


def names_of_columns(model: Any, given: list[str] | None, n: int) -> list[str]:
    """The names of `n` columns that a model makes of columns with the names `given`, or feature_1 and so on."""
    try:
        names = [str(name) for name in model.get_feature_names_out(given)]
    except (AttributeError, ValueError, NotFittedError):  # a step that does not name its columns
        names = []
    if len(names) != n or len(set(names)) < n:
        names = [f"feature_{j + 1}" for j in range(n)]
    return names


def check_model(model: Any, wanted: Wanted, *, any_kind: bool = False) -> None:
    """Raise before any row is read if the model cannot produce the requested columns.

    With `any_kind` it may also be a regressor, a map, a K-Means, an index of neighbours or a transformer.
    """
    kind = kind_of(model)
    if kind != "classes" and not any_kind:
        more = "; somknn predict takes it" if kind else ""
        raise BatchError(f"a {type(model).__name__} is no classifier{more}")
    if kind is None:
        raise BatchError(f"a {type(model).__name__} gives no predictions")
    if kind != "classes":
        if wanted.proba or wanted.top > 1 or (wanted.neighbors and kind not in ("values", "neighbors")):
            raise BatchError(
                f"a {type(model).__name__} is no classifier, which --proba and --top (and --neighbors) need"
            )
        return
    if isinstance(model.classes_, list):
        raise BatchError("classifiers with several outputs are not supported")
    if (wanted.proba or wanted.top > 1) and not hasattr(model, "predict_proba"):
        raise BatchError(f"a {type(model).__name__} gives no probabilities, which --proba and --top need")
    if not 1 <= wanted.top <= len(model.classes_):
        raise BatchError(f"--top {wanted.top}: the model has {len(model.classes_)} classes")
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    if wanted.neighbors and not hasattr(last, "kneighbors"):
        raise BatchError(f"a {type(last).__name__} has no neighbours to write")


def predict_columns(model: Any, rows: np.ndarray, wanted: Wanted) -> dict[str, np.ndarray]:
    """Columns of predictions for rows that passed the checks; labels as positions in `model.classes_`.

    The rows of a model that takes categories are coded (`somknn.batch.coding`).

    A regressor gives `value` float64 (m,) or (m, outputs), a map `map_row`, `map_column` int64 and `distance` float64
    (m,), a K-Means `cluster` int64 and `distance`, an index of neighbours `neighbor` and `distance` (m, k), a
    transformer `transformed` (m, columns). A classifier: `code` int32 (m,), `confidence` float64 (m,) if the model
    gives probabilities, and on request `proba` (m, classes), `top_code` and `top_confidence` (m, top), `neighbor` int64
    and `distance` float64 (m, k).
    """
    predict = _predict if kind_of(model) == "classes" else _answer
    coding = coding_of(model)
    parts = []
    for at in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[at : at + _ROWS_AT_ONCE]
        parts.append(predict(model, some if coding is None else decoded(some, coding), wanted))
    if not parts:
        return {}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _predict(model: Any, rows: np.ndarray, wanted: Wanted) -> dict[str, np.ndarray]:
    codes, shares, neighbours = _answers(model, rows, wanted.neighbors)
    columns: dict[str, np.ndarray] = {"code": codes.astype(np.int32)}
    if shares is not None:
        columns["confidence"] = np.take_along_axis(shares, codes[:, None].astype(np.intp), axis=1)[:, 0]
    if wanted.proba:
        columns["proba"] = shares
    if wanted.top > 1:
        ranked = shares.copy()
        ranked[np.arange(len(rows)), codes] = np.inf  # the predicted class comes first, also when votes are equal
        order = np.argsort(-ranked, axis=1, kind="stable")[:, : wanted.top]
        columns["top_code"] = order.astype(np.int32)
        columns["top_confidence"] = np.take_along_axis(shares, order, axis=1)
    if wanted.neighbors:
        distances, indices = neighbours
        columns["neighbor"], columns["distance"] = np.asarray(indices, dtype=np.int64), distances
    return columns


def _answer(model: Any, rows: np.ndarray, wanted: Wanted) -> dict[str, np.ndarray]:
    """The columns of a model that is no classifier."""
    kind, last, given = kind_of(model), model, rows
    while hasattr(last, "steps"):
        given, last = _through(last.steps[:-1], given), last.steps[-1][1]
    columns: dict[str, np.ndarray] = {}
    if kind == "values":
        columns["value"] = np.asarray(last.predict(given), dtype=np.float64)
    elif kind in ("units", "clusters"):
        distances, units = last._nearest_unit(given)
        if kind == "units":
            columns["map_row"], columns["map_column"] = np.divmod(units.astype(np.int64), last.codebook_.shape[1])
        else:
            columns["cluster"] = units.astype(np.int64)
        columns["distance"] = distances
    elif kind == "columns":
        found = last.transform(given)
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
            raise BatchError(f"a {type(last).__name__} gives no columns of numbers")
        columns["transformed"] = found
    if kind == "neighbors" or wanted.neighbors:
        distances, indices = last.kneighbors(given)
        columns["neighbor"], columns["distance"] = np.asarray(indices, dtype=np.int64), distances
    return columns


def _through(steps: Any, rows: Any) -> Any:
    for _, step in steps:
        if step is not None and step != "passthrough":
            rows = step.transform(rows)
    return rows


def _answers(model: Any, rows: Any, neighbors: bool) -> tuple[np.ndarray, Any, Any]:
    """Label codes, class shares (or None) and the result of `kneighbors` (or None), from one search if possible."""
    if hasattr(model, "steps"):  # a Pipeline: its `predict` and `predict_proba` would each transform the rows
        return _answers(model.steps[-1][1], _through(model.steps[:-1], rows), neighbors)
    if hasattr(model, "_predict_in_one_search"):
        return model._predict_in_one_search(rows)
    codes = np.searchsorted(model.classes_, model.predict(rows))
    shares = model.predict_proba(rows) if hasattr(model, "predict_proba") else None
    return codes, shares, model.kneighbors(rows) if neighbors else None
