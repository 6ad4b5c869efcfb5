"""Column names of a data set's table: they go into the models saved from it, and choose the columns of a saved one."""

import dataclasses
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_MADE_UP = re.compile(r"feature_\d+|pixel_\d+_\d+")


def column_names(dataset: str, data: Any) -> list[str] | None:
    """The names that the data set's file gives its columns; None where `data.feature_names` was made up.

    A file may have the same names as those that are made up, so its first line decides.
    """
    from somknn import datasets
    from somknn.datasets import readers

    names = [str(name) for name in data.feature_names]
    path = next(iter(datasets.files_of(dataset)), None)
    if path is None or not _may_have_names(path):
        return None
    if path.suffix in (".parquet", ".arrow", ".feather") or not all(map(_MADE_UP.fullmatch, names)):
        return names
    with readers.open_stream(path) as file:
        line = next(readers.lines(file, path), None)
    cells = [] if line is None else [cell.strip() for cell in readers.split_line(line[2])]
    return names if set(names) <= set(cells) else None


def _may_have_names(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith((".csv", ".tsv", ".parquet", ".arrow", ".feather"))


def save(model: Any, path: Path, names: Sequence[str] | None) -> None:
    """Save a model that was fitted on the rows of columns with these names."""
    from somknn import persistence

    persistence.save(model if names is None else named(model, names), path)


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
    for attribute, value in list(vars(copy).items()):
        if isinstance(value, BaseEstimator) and getattr(value, "n_features_in_", None) == len(names):
            setattr(copy, attribute, named(value, names))
    return copy


def in_the_order_of(model: Any, data: Any, dataset: str) -> Any:
    """The data set with the columns that a saved model was fitted on, in its order; the model then forgets their names.

    Raises ValueError if columns are missing or left over. Warns if only the model knows names.
    """
    from somknn import persistence
    from somknn.batch.columns import match
    from somknn.batch.prediction import forget_names

    expected = persistence.input_schema(model).feature_names
    names = column_names(dataset, data)
    forget_names(model)
    if expected is None:
        return data
    if names is None:
        from somknn import datasets

        if any(map(_may_have_names, datasets.files_of(dataset)[:1])):
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
    )
