"""Every estimator with two data sets to fit and its answers, for tests of concurrent or consecutive fits."""

import copy
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.datasets import load_digits

import somknn
from somknn import (
    LVQ,
    SOM,
    DeformationClassifier,
    KMeans,
    KNeighborsClassifier,
    KNeighborsClassifierCV,
    KNeighborsRegressor,
    KNeighborsTransformer,
    NearestNeighbors,
    PrototypeClassifier,
    SOMClassifier,
    SOMFeatureSelector,
)
from somknn.images import Blur, CenterDigit, Deskew, GradientOrientation

DIGITS, LABELS = load_digits(return_X_y=True)
DIGITS = DIGITS.astype(np.uint8)
QUERIES = DIGITS[1700:1740]
# Many rows and classes against few, so that numbers of one fit are outside the arrays of the other.
MANY, FEW = (DIGITS[:600], LABELS[:600]), (DIGITS[600:660], LABELS[600:660] % 3)
WIDER = np.repeat(DIGITS[:50], 4, axis=1), LABELS[:50]


class Case(NamedTuple):
    """An estimator, the data sets it is fitted to in turn, and the answers to compare."""

    make: Callable[[], Any]
    fits: tuple[tuple, ...] = (MANY, FEW)
    answers: dict[str, Callable[[Any, Any], Any]] = {}  # noqa: RUF012 (of a tuple that nobody changes)
    made_by_fit: str | None = None  # "fit_predict": fits, and returns an answer of its own fit


def asked(*names):
    return {name: lambda model, path, name=name: getattr(model, name)(QUERIES) for name in names}


def attribute(*names):
    return {name: lambda model, path, name=name: getattr(model, name) for name in names}


def kept(method):
    """The answers of the model in a file, or a pickle, written at that moment."""

    def saved(model, path):
        model.save(path)
        return getattr(somknn.load(path, memory_map=False), method)(QUERIES)

    return {
        "saved": saved,
        "pickled": lambda model, path: getattr(pickle.loads(pickle.dumps(model)), method)(QUERIES),
        "copied": lambda model, path: getattr(copy.deepcopy(model), method)(QUERIES),
    }


VOTES = asked("predict", "predict_proba", "_predict_in_one_search")
GRAPHS = asked("kneighbors", "kneighbors_graph")
PROTOTYPES = attribute("prototype_labels_", "prototype_rows_", "model_bytes_")
ALL_ROWS = {"of the fitted rows": lambda model, path: model.kneighbors(n_neighbors=3)}
CASES = {
    "classifier": Case(lambda: KNeighborsClassifier(3), answers=VOTES | GRAPHS | ALL_ROWS | kept("predict_proba")),
    "pruned classifier": Case(
        lambda: KNeighborsClassifier(3, algorithm="pruned"), answers=VOTES | GRAPHS | kept("predict_proba")
    ),
    "regressor": Case(lambda: KNeighborsRegressor(3), answers=asked("predict") | GRAPHS | kept("predict")),
    "transformer": Case(
        lambda: KNeighborsTransformer(n_neighbors=3),
        answers=asked("transform") | GRAPHS | kept("transform"),
        made_by_fit="fit_transform",
    ),
    "neighbors": Case(
        lambda: NearestNeighbors(n_neighbors=3, radius=20.0),
        answers=GRAPHS | asked("radius_neighbors", "radius_neighbors_graph") | ALL_ROWS | kept("kneighbors"),
    ),
    "K-Means": Case(
        lambda: KMeans(5, max_iter=3, random_state=0),
        answers=asked("predict", "transform", "score") | kept("predict"),
        made_by_fit="fit_predict",
    ),
    "LVQ": Case(lambda: LVQ(20, max_iter=2, random_state=0), answers=asked("predict") | PROTOTYPES | kept("predict")),
    "prototypes": Case(
        lambda: PrototypeClassifier("sample", 30, n_neighbors=3, random_state=0),
        answers=VOTES | PROTOTYPES | kept("predict_proba"),
    ),
    "map": Case(
        lambda: SOM(4, 5, epochs=2, random_state=0),
        answers=asked("predict", "transform", "quantization_error", "topographic_error", "hit_map")
        | {"u_matrix": lambda model, path: model.u_matrix()}
        | kept("predict"),
        made_by_fit="fit_predict",
    ),
    "map's classes": Case(
        lambda: SOMClassifier(SOM(3, 3, epochs=2, random_state=0)), answers=VOTES | kept("predict_proba")
    ),
    "map's features": Case(
        lambda: SOMFeatureSelector(SOM(3, 3, epochs=2, random_state=0), n_features=9),
        answers=asked("transform") | {"get_support": lambda model, path: model.get_support()} | kept("transform"),
        made_by_fit="fit_transform",
    ),
    "a table of features": Case(
        lambda: SOMFeatureSelector(SOM(3, 3, epochs=2, random_state=0), n_features=9).set_output(transform="pandas"),
        answers=asked("transform"),
    ),
    "deformations": Case(
        lambda: DeformationClassifier(3, n_candidates=5, warp_range=1),
        fits=((DIGITS[:150], LABELS[:150]), FEW),
        answers=VOTES | asked("kneighbors") | kept("predict_proba"),
    ),
    "cross-validation": Case(
        lambda: KNeighborsClassifierCV(range(1, 4), cv=3),
        fits=((DIGITS[:300], LABELS[:300]), FEW),
        answers=asked("predict", "predict_proba"),
    ),
    **{
        name: Case(make, fits=(MANY, WIDER), answers=asked("transform") | kept("transform"))
        for name, make in {
            "deskewed": Deskew,
            "blurred": Blur,
            "gradients": GradientOrientation,
            "centred": lambda: CenterDigit(8),
        }.items()
    },
}


def outcome(work, *arguments):
    """The result of a call, or the error that it raised: a fit with other columns rejects the queries."""
    try:
        return work(*arguments)
    except Exception as error:
        return type(error).__name__, str(error)


def same(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if sparse.issparse(a):
        return sparse.issparse(b) and a.shape == b.shape and (a != b).nnz == 0
    if hasattr(a, "columns") and not same(list(a.columns), list(b.columns)):
        return False
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype == object and b.dtype == object:
        return a.shape == b.shape and all(map(same, a.ravel(), b.ravel()))
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b)
