"""Column names of a data set's table: they go into the models saved from it, and choose the columns of a saved one."""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def save(model: Any, path: Path, data: Any) -> None:
    """Save a model that was fitted on the training rows of a data set, as one that takes the columns of its table."""
    from somknn import persistence
    from somknn.fitted import snapshot

    if data.encoder is not None:
        from somknn.evaluation.encoding import with_encoder

        model = with_encoder(model, data.encoder)
    elif hasattr(model, "steps") and _has_fractions(data.X_train):
        model = snapshot(model)
        model._input_dtype = data.X_train.dtype  # a scaler does not know it; integers may be of another scale
    persistence.save(model if data.column_names is None else named(model, data.column_names), path)


def _has_fractions(rows: Any) -> bool:
    return rows.dtype.kind == "f" and bool((rows != rows.round()).any())


def what_it_takes(model: Any, categories: Sequence[str]) -> dict[str, Any]:
    """The options of `somknn.datasets.load` by which a saved model gets its rows: its categories, missing cells."""
    from somknn import persistence
    from somknn.batch.coding import coding_of
    from somknn.batch.prediction import takes_missing

    names, coding = persistence.input_schema(model).feature_names, coding_of(model)
    if coding is not None and names is not None:
        categories = [f"name:{names[column]}" for column in coding.categories]
    return {"categories": tuple(categories), "missing": takes_missing(model)}


def named(model: Any, names: Sequence[str]) -> Any:
    """A copy of a fitted model that knows the names of its columns, as after a fit on a DataFrame with these columns.

    Commands fit on arrays, which are rows in memory already, and name the columns when they save.
    """
    import numpy as np
    from sklearn.base import BaseEstimator

    from somknn.fitted import snapshot

    copy = snapshot(model)
    if hasattr(copy, "steps"):  # a Pipeline knows the names that its first step knows
        (first, step), *others = copy.steps
        copy.steps = [(first, named(step, names)), *others]
        return copy
    copy.feature_names_in_ = np.array([*names], dtype=object)
    if hasattr(copy, "transformers_"):
        places = copy._transformer_to_input_indices
        copy.transformers_ = [
            (name, step if isinstance(step, str) else named(step, [names[j] for j in places[name]]), columns)
            for name, step, columns in copy.transformers_
        ]
        return copy
    for attribute, value in list(vars(copy).items()):
        if isinstance(value, BaseEstimator) and getattr(value, "n_features_in_", None) == len(names):
            setattr(copy, attribute, named(value, names))
    return copy


def in_the_order_of(model: Any, data: Any, dataset: str, *, by_name: bool = True) -> Any:
    """The data set with the columns that a saved model was fitted on, in its order; the model then forgets their names.

    Raises ValueError if columns are missing or left over. Warns if only the model knows names. Without `by_name` the
    columns are taken as they are given.
    """
    from somknn import persistence
    from somknn.batch.columns import match
    from somknn.batch.prediction import forget_names
    from somknn.datasets import kinds

    expected = persistence.input_schema(model).feature_names
    names = data.column_names
    forget_names(model)
    if expected is None or not by_name:
        return data
    if names is None:
        from somknn import datasets

        if any(kinds.bare_suffix(path) in kinds.TABLES for path in datasets.files_of(dataset)[:1]):
            warnings.warn(
                f"{dataset} has no column names: its columns are taken in the model's order ({', '.join(expected)})",
                stacklevel=2,
            )
        return data
    columns = match(dataset, names, expected, flags=False)
    return dataclasses.replace(
        data,
        X_train=data.X_train[:, columns],
        X_test=data.X_test[:, columns],
        feature_names=[names[i] for i in columns],
        column_names=[names[i] for i in columns],
        categories=tuple(place for place, i in enumerate(columns) if i in data.categories),
    )
