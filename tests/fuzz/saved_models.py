"""Fitted models of every class that a model file may name, in many variants; new classes are found automatically.

Parameters are varied one at a time within the class's own `_parameter_constraints`; variants that `fit` rejects are
left out.
"""

import importlib
import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils._param_validation import StrOptions

from somknn import SOM, KNeighborsClassifier, NearestNeighbors
from somknn.images import Blur
from somknn.persistence import CLASSES

ROWS, LABELS = load_digits(return_X_y=True)
ROWS, LABELS = ROWS[:300].astype(np.uint8), LABELS[:300]
QUERIES = load_digits().data[300:320].astype(np.uint8)

# Parameters that keep a model small; each class uses those that it has.
_SMALL = {
    "n_rows": 3,
    "n_columns": 4,
    "epochs": 2,
    "n_clusters": 5,
    "max_iter": 3,
    "n_prototypes": 24,
    "prototypes_per_class": 2,
    "n_candidates": 20,
    "n_features": 10,
    "n_init": 1,
    "random_state": 0,
    "n_jobs": 1,
}
# Variants not covered by the constraints: parameters that are checked elsewhere, or that depend on each other.
_MORE: dict[str, list[dict[str, Any]]] = {
    "SOM": [{"training": "online"}, {"missing_values": "ignore"}, {"topology": "hexagonal", "boundary": "cylinder"}],
    "NearestNeighbors": [
        {"backend": "faiss", "backend_params": {"index": index, "target_recall": 0.8}}
        for index in ("ivf", "ivfpq", "hnsw", "sq8", "IVF4,PQ8x4np")
    ]
    + [
        {"metric": "cosine", "algorithm": "pruned"},
        {"metric": "cosine", "backend": "faiss", "backend_params": {"index": "ivf", "target_recall": 0.8}},
    ],
    "SOMClassifier": [{"backend": "faiss", "backend_params": {"index": "hnsw"}}],
}


def _class(name: str) -> Any:
    module, _, attribute = CLASSES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def _choices(cls: Any) -> Iterator[dict[str, Any]]:
    """The parameters of each variant."""
    yield {}
    for name, allowed in sorted(getattr(cls, "_parameter_constraints", {}).items()):
        if name == "add_indicator":  # not saved
            continue
        for each in allowed:
            if isinstance(each, StrOptions):
                yield from ({name: option} for option in sorted(each.options))
            elif each == "boolean":
                yield from ({name: option} for option in (False, True))
    yield from _MORE.get(cls.__name__, [])


def _make(cls: Any, choice: dict[str, Any]) -> Any:
    known = set(cls._get_param_names())
    parameters = {name: value for name, value in _SMALL.items() if name in known}
    if "som" in known:
        parameters["som"] = SOM(3, 4, epochs=2, random_state=0, n_jobs=1)
    return cls(**{**parameters, **choice})


def _columns() -> ColumnTransformer:
    """Few columns of the rows as categories, others filled in and scaled, the rest dropped or passed on."""
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    filled = Pipeline([("impute", SimpleImputer()), ("scale", StandardScaler())])
    return ColumnTransformer([("codes", one_hot, [2, 0]), ("filled", filled, [1]), ("none", "drop", [])])


def fitted_models() -> dict[str, Any]:
    """Models by a descriptive name; every class of `CLASSES` occurs."""
    models: dict[str, Any] = {
        "Pipeline": Pipeline([("blur", Blur(0.5)), ("nearest", KNeighborsClassifier(3))]).fit(ROWS, LABELS),
        "KNeighborsClassifier of texts": KNeighborsClassifier(3).fit(ROWS, np.array(["a", "bb", "c"])[LABELS % 3]),
        "KNeighborsClassifier of two outputs": KNeighborsClassifier(3).fit(ROWS, np.stack([LABELS, LABELS % 2], 1)),
        "NearestNeighbors of fractions": NearestNeighbors(algorithm="pruned").fit(ROWS / np.float32(3)),
        "NearestNeighbors of int8": NearestNeighbors(algorithm="pruned").fit(ROWS.astype(np.int8) - np.int8(8)),
        "NearestNeighbors of float16": NearestNeighbors(algorithm="pruned").fit((ROWS / 3).astype(np.float16)),
        "NearestNeighbors and rows of zeros": NearestNeighbors(metric="cosine", algorithm="pruned").fit(
            np.concatenate([ROWS, 0 * ROWS[:9]])
        ),
        "ColumnTransformer": _columns().fit(ROWS),
        "ColumnTransformer and neighbours": Pipeline(
            [("columns", _columns()), ("nearest", KNeighborsClassifier(3))]
        ).fit(ROWS, LABELS),
        "OneHotEncoder of texts": OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(
            np.array([f"class {label}" for label in LABELS], dtype=object)[:, None]
        ),
    }
    for name in CLASSES:
        if name in ("Pipeline", "ColumnTransformer"):
            continue
        for choice in _choices(_class(name)):
            model = _make(_class(name), choice)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    model.fit(ROWS, LABELS)
                except ValueError:  # parameters that contradict each other
                    continue
                models[" ".join([name, *map(str, itertools.chain(*choice.items()))])] = model
                if hasattr(model, "partial_fit"):
                    models[f"{name} {choice} of a stream"] = _make(_class(name), choice).partial_fit(ROWS)
    return models
