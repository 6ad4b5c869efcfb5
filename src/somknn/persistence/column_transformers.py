"""A fitted `ColumnTransformer` as parameters that a model file may hold, and back.

What is saved are its fitted transformers, each with the positions of its columns. Everything else that scikit-learn
keeps is made anew by a fit on one row that the transformers themselves supply.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from somknn.persistence.container import ModelFileError
from somknn.persistence.contents import COLUMNS, Flag, check_contents

INNER = ("OneHotEncoder", "SimpleImputer", "StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "Pipeline")
_STATE = {**COLUMNS, "sparse_output_": Flag()}
_MOST_COLUMNS = 1 << 20
_PARAMETERS = ("sparse_threshold", "n_jobs", "transformer_weights", "verbose", "verbose_feature_names_out")


def described(transformer: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the state to save. Raises ModelFileError for what cannot be."""
    parameters = {name: getattr(transformer, name) for name in _PARAMETERS}
    given = {name: step for name, step, _ in transformer.transformers}
    if not hasattr(transformer, "transformers_"):
        raise ModelFileError("it is not fitted")
    if transformer.remainder not in ("drop", "passthrough"):
        raise ModelFileError("its remainder must be drop or passthrough")
    steps = []
    for name, fitted, _ in transformer.transformers_:
        if name not in given:  # the remainder, which follows from the others
            continue
        columns = [int(column) for column in transformer._transformer_to_input_indices[name]]
        if columns:
            steps.append((name, given[name] if isinstance(given[name], str) else fitted, columns))
    state = {name: getattr(transformer, name) for name in _STATE if hasattr(transformer, name)}
    _check_steps(steps, state)
    return {**parameters, "transformers": steps, "remainder": transformer.remainder}, state


def restored(cls: Any, parameters: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
    """The transformer of these parameters and this state; ModelFileError for what `described` does not return."""
    if set(parameters) != {*_PARAMETERS, "transformers", "remainder"}:
        raise ModelFileError("damaged model header (a ColumnTransformer)")
    if parameters["remainder"] not in ("drop", "passthrough"):
        raise ModelFileError("damaged model header (the remainder of a ColumnTransformer)")
    check_contents(_STATE, state)
    steps = parameters["transformers"]
    _check_steps(steps, state)
    transformer = cls(**{**parameters, "transformers": [(n, _unfitted(step), columns) for n, step, columns in steps]})
    try:
        transformer._validate_params()
        _fit_on_one_row(transformer, steps, state["n_features_in_"])
    except (ValueError, TypeError) as error:
        raise ModelFileError(f"ColumnTransformer: {' '.join(str(error).split())}") from None
    fitted = {name: step for name, step, _ in steps if not isinstance(step, str)}
    transformer.transformers_ = [
        (name, fitted.get(name, made), columns) for name, made, columns in transformer.transformers_
    ]
    for name, value in state.items():
        setattr(transformer, name, value)
    return transformer


def _fit_on_one_row(transformer: Any, steps: list[Any], width: int) -> None:
    """Fit on a row of values that each transformer knows. Encoders are told their categories meanwhile."""
    row = np.zeros((1, width), object)
    for _, step, columns in steps:
        row[0, columns] = _known_row(step, len(columns))
    told = [(name, _told(step), columns) for name, step, columns in steps]
    asked, transformer.transformers = transformer.transformers, told
    transformer.fit(row)
    transformer.transformers = asked


def _check_steps(steps: Any, state: Mapping[str, Any]) -> None:
    """Raise ModelFileError unless these are (name, fitted transformer, positions of its columns)."""
    width = state.get("n_features_in_")
    if type(width) is not int or not 1 <= width <= _MOST_COLUMNS or not isinstance(steps, list) or not steps:
        raise ModelFileError("damaged model header (a ColumnTransformer)")
    for step in steps:
        if not isinstance(step, tuple) or len(step) != 3 or not isinstance(step[0], str):
            raise ModelFileError("damaged model header (a step of a ColumnTransformer)")
        name, inner, columns = step
        whole = isinstance(columns, list) and columns and all(type(column) is int for column in columns)
        if not whole or len(set(columns)) < len(columns) or min(columns) < 0 or max(columns) >= width:
            raise ModelFileError(f"ColumnTransformer: the columns of {name} are no positions below {width}")
        if isinstance(inner, str):
            if inner not in ("drop", "passthrough"):
                raise ModelFileError("damaged model header (a step of a ColumnTransformer)")
            continue
        for each in _leaves(inner):
            if type(each).__name__ not in INNER:
                raise ModelFileError(
                    f"ColumnTransformer: a {type(each).__name__} in it is not saved, {', '.join(INNER)} are"
                )
        if getattr(inner, "n_features_in_", None) != len(columns):
            raise ModelFileError(f"ColumnTransformer: {name} was fitted on another number of columns")


def _leaves(step: Any) -> list[Any]:
    if not hasattr(step, "steps"):
        return [step]
    return [leaf for _, inner in step.steps if inner not in (None, "passthrough") for leaf in _leaves(inner)]


def _known_row(step: Any, width: int) -> Any:
    """Values for which a transformer can be fitted."""
    if hasattr(step, "steps"):
        first = next((inner for _, inner in step.steps if inner not in (None, "passthrough")), None)
        return _known_row(first, width)
    if type(step).__name__ == "OneHotEncoder":
        return [categories[0] for categories in step.categories_]
    return step.statistics_ if type(step).__name__ == "SimpleImputer" else np.zeros(width)


def _unfitted(step: Any) -> Any:
    from sklearn.base import clone

    return step if isinstance(step, str) else clone(step)


def _told(step: Any) -> Any:
    """An unfitted copy that gives as many columns, whatever it is fitted on."""
    copy = _unfitted(step)
    if hasattr(step, "steps"):
        copy.steps = [(name, inner if inner is None else _told(inner)) for name, inner in step.steps]
    elif type(step).__name__ == "OneHotEncoder":
        copy.set_params(categories=[np.array(each, dtype=object) for each in step.categories_])
    return copy
