"""scikit-learn's transformers that a model file may hold, as steps of a Pipeline: a closed list, and their numbers.

A transformer is on the list if its fitted state is a few arrays of numbers, or texts that are checked one by one. What
a file may say about each is declared here, as the classes of somknn declare it in `_saved_state`; parameters are
checked by scikit-learn's own constraints. `ColumnTransformer`, which is made of others, is in `column_transformers`.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from somknn.persistence.container import ModelFileError
from somknn.persistence.contents import (
    COLUMNS,
    FLOATS,
    Array,
    Categories,
    Integer,
    Kind,
    ListOf,
    Number,
    Optional,
    check_contents,
)

_ROW = Array(("n_features_in_",), FLOATS)
_COUNT = Integer(1)
_MOST_CATEGORIES = 100_000  # of all columns of an encoder


class Declared(NamedTuple):
    """Where a transformer lives, its fitted state, the arrays that it divides by, and those that a parameter needs."""

    place: str
    state: Mapping[str, Kind]
    divisors: tuple[str, ...] = ()
    needed: Mapping[str, tuple[str, ...]] = MappingProxyType({})


TRANSFORMERS: dict[str, Declared] = {
    "StandardScaler": Declared(
        "sklearn.preprocessing:StandardScaler",
        {"mean_": Optional(_ROW), "var_": Optional(_ROW), "scale_": Optional(_ROW), "n_samples_seen_": _COUNT},
        ("scale_",),
        {"with_mean": ("mean_",), "with_std": ("mean_", "var_", "scale_")},
    ),
    "MinMaxScaler": Declared(
        "sklearn.preprocessing:MinMaxScaler",
        {
            **dict.fromkeys(("min_", "scale_", "data_min_", "data_max_", "data_range_"), _ROW),
            "n_samples_seen_": _COUNT,
        },
        ("scale_",),
    ),
    "MaxAbsScaler": Declared(
        "sklearn.preprocessing:MaxAbsScaler",
        {"scale_": _ROW, "max_abs_": _ROW, "n_samples_seen_": _COUNT},
        ("scale_",),
    ),
    "RobustScaler": Declared(
        "sklearn.preprocessing:RobustScaler",
        {"center_": Optional(_ROW), "scale_": Optional(_ROW)},
        ("scale_",),
        {"with_centering": ("center_",), "with_scaling": ("scale_",)},
    ),
    "Normalizer": Declared("sklearn.preprocessing:Normalizer", {}),
    "SimpleImputer": Declared("sklearn.impute:SimpleImputer", {"statistics_": _ROW}),
    "OneHotEncoder": Declared("sklearn.preprocessing:OneHotEncoder", {"categories_": ListOf(Categories())}),
    "PCA": Declared(
        "sklearn.decomposition:PCA",
        {
            "components_": Array(("n_components_", "n_features_in_"), FLOATS),
            "mean_": _ROW,
            "n_components_": Integer(1),
            "n_samples_": Integer(1),
            "noise_variance_": Optional(Number()),
            **dict.fromkeys(
                ("explained_variance_", "explained_variance_ratio_", "singular_values_"),
                Array(("n_components_",), FLOATS),
            ),
        },
    ),
}


def check_parameters(transformer: Any) -> None:
    """Raise ModelFileError for parameters that `fit` would refuse, or whose numbers a file does not hold."""
    try:
        transformer._validate_params()
    except (ValueError, TypeError) as error:
        raise ModelFileError(" ".join(str(error).split())) from None
    for name in ("feature_range", "quantile_range"):
        ends = getattr(transformer, name, (0, 1))
        if not all(isinstance(end, int | float) and math.isfinite(end) for end in ends) or not ends[0] < ends[1]:
            raise ModelFileError(f"{name} is no range of two numbers")
    if type(transformer).__name__ == "OneHotEncoder":
        rare = transformer.min_frequency is not None or transformer.max_categories is not None
        if rare or transformer.drop not in (None, "first", "if_binary"):
            raise ModelFileError("OneHotEncoder: min_frequency, max_categories and drop by category are not saved")
    if type(transformer).__name__ == "SimpleImputer":
        missing = transformer.missing_values
        if not (isinstance(missing, float) and math.isnan(missing)):
            raise ModelFileError("SimpleImputer: missing_values other than NaN are not saved")
        if transformer.add_indicator or transformer.strategy not in ("mean", "median", "most_frequent", "constant"):
            raise ModelFileError("SimpleImputer: add_indicator and strategies of one's own are not saved")
        if not isinstance(transformer.fill_value, int | float | np.number | None):
            raise ModelFileError("SimpleImputer: fill_value must be a number")


def state_of(transformer: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The fitted arrays and further values of a transformer, checked. Raises ModelFileError for what is not saved."""
    check_parameters(transformer)
    declared = TRANSFORMERS[type(transformer).__name__]
    fitted = vars(transformer)
    found = {name: _plain(fitted[name]) for name in (*COLUMNS, *declared.state) if name in fitted}
    if "n_samples_seen_" in found:  # weights and missing values give fractions and one for each column
        found["n_samples_seen_"] = max(1, int(np.max(found["n_samples_seen_"])))
    if found.get("noise_variance_", 0) < 0:  # rounding; only likelihoods need it
        del found["noise_variance_"]
    if not found:
        return {}, {}  # not fitted: a parameter
    _check(type(transformer).__name__, found)
    arrays = {name: value for name, value in found.items() if isinstance(value, np.ndarray) and value.dtype != object}
    return arrays, {name: value for name, value in found.items() if name not in arrays}


def _plain(value: Any) -> Any:
    """Python's number for NumPy's, numbers among objects as numbers, other values as they are."""
    if isinstance(value, list):  # categories, column by column
        numbers = [each.dtype == object and all(isinstance(one, int | float) for one in each) for each in value]
        return [np.array(each.tolist()) if number else each for each, number in zip(value, numbers, strict=True)]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype == object and value.size and type(value.flat[0]) is not str:
        return value.astype(np.float64)
    return value


def _check(name: str, values: Mapping[str, Any]) -> None:
    check_contents({**COLUMNS, **TRANSFORMERS[name].state}, values)
    if name == "OneHotEncoder":
        categories = values["categories_"]
        if len(categories) != values["n_features_in_"] or sum(map(len, categories)) > _MOST_CATEGORIES:
            raise ModelFileError(f"OneHotEncoder: categories_ are not those of {values['n_features_in_']} columns")
    for divisor in TRANSFORMERS[name].divisors:
        if values.get(divisor) is not None and not (values[divisor] > 0).all():
            raise ModelFileError(f"{name}: {divisor} holds numbers that are not above 0")


def restore(transformer: Any, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
    """Give a new transformer its fitted state. Raises ModelFileError for anything that `state_of` does not return."""
    name, values = type(transformer).__name__, {**arrays, **state}
    check_parameters(transformer)
    _check(name, values)
    if name == "SimpleImputer":
        # Fitted on one row of its own statistics, which gives them again, and whatever else this version keeps.
        transformer.fit(np.array([values["statistics_"]]))
        if not np.array_equal(transformer.statistics_, values["statistics_"]):
            raise ModelFileError("SimpleImputer: statistics_ are not those of its strategy")
    if name == "OneHotEncoder":  # on one row, with its categories told; whatever this version keeps comes of them
        asked, found = transformer.categories, values["categories_"]
        transformer.categories = [np.array(each, dtype=object) for each in found]
        transformer.fit(np.array([[each[0] for each in found]], dtype=object))
        transformer.categories = asked
    if name == "PCA" and values["n_components_"] > values["n_features_in_"]:
        raise ModelFileError("PCA: more components than features")
    declared = TRANSFORMERS[name]
    for parameter, attributes in declared.needed.items():
        lacking = [each for each in attributes if getattr(transformer, parameter) and values.get(each) is None]
        if lacking:
            raise ModelFileError(f"{name}: {parameter} without {lacking[0]}")
    for attribute, value in [*((each, None) for each in _nullable(declared)), *values.items()]:
        # NumPy's integer, as after a fit: `partial_fit` counts on.
        setattr(transformer, attribute, np.int64(value) if attribute == "n_samples_seen_" and value else value)


def _nullable(declared: Declared) -> list[str]:
    """Attributes that are None where a parameter does not need them."""
    return [attribute for attributes in declared.needed.values() for attribute in attributes]
