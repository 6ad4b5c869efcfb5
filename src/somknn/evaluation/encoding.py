"""Columns of text and missing cells made numbers by scikit-learn's transformers, fitted on the training rows."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

STRATEGIES = ("mean", "median", "most_frequent")


def encoded(data: Any, impute: str | None) -> Any:
    """The data set with one-hot codes for its categories and filled cells, and the encoder that makes them.

    Parameters
    ----------
    data : somknn.datasets.Dataset
    impute : {"mean", "median", "most_frequent"} or None
        What of a column's training rows takes the place of missing numbers.

    Returns
    -------
    Dataset
        With float64 rows; unchanged where there is nothing to do.

    Warns
    -----
    UserWarning
        If test rows have categories that training rows lack. Such a cell counts as none of the known categories.
    """
    if not data.categories and impute is None:
        return data
    _require_values(data)
    numbers = [j for j in range(data.X_train.shape[1]) if j not in data.categories]
    filled: Any = "passthrough" if impute is None else SimpleImputer(strategy=impute)
    if data.categories:
        one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        steps = [("categories", one_hot, list(data.categories)), ("numbers", filled, numbers)]
        encoder: Any = ColumnTransformer([step for step in steps if step[2]])
    else:
        encoder = filled
    names = data.column_names or [str(name) for name in data.feature_names]
    X_train = np.asarray(encoder.fit_transform(data.X_train), dtype=np.float64)
    _warn_of_unknown(data, names)
    return dataclasses.replace(
        data,
        X_train=X_train,
        X_test=np.asarray(encoder.transform(data.X_test), dtype=np.float64),
        feature_names=[name.partition("__")[2] or name for name in encoder.get_feature_names_out(names)],
        categories=(),
        encoder=encoder,
    )


def with_encoder(model: Any, encoder: Any) -> Any:
    """A Pipeline that takes a table's columns, of a fitted encoder and a model that was fitted on its codes."""
    if encoder is None:
        return model
    steps = model.steps if isinstance(model, Pipeline) else [("model", model)]
    return Pipeline([("columns", encoder), *steps])


def _require_values(data: Any) -> None:
    """Raise ValueError for a column of numbers without a single one in the training rows."""
    for j in range(data.X_train.shape[1]):
        if j not in data.categories and np.isnan(data.X_train[:, j].astype(np.float64)).all():
            name = data.feature_names[j]
            raise ValueError(f"{data.name}: the column {name} has no value in the training rows: --drop {name}")


def _warn_of_unknown(data: Any, names: Sequence[str]) -> None:
    for j in data.categories:
        known = set(data.X_train[:, j])
        new = [cell for cell in data.X_test[:, j] if cell not in known]
        if new:
            warnings.warn(
                f"{len(new):,} test rows have a category of {names[j]} that training rows lack ({new[0]!r}); it counts "
                "as none of the known ones",
                stacklevel=3,
            )
