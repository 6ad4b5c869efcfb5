"""Exact nearest neighbours: a batch of queries, and single queries."""

import functools

import numpy as np

from somknn_peers import searchers
from somknn_peers.contender import Contender, Work
from somknn_peers.judging import judge

K = 5
SINGLE = 20
_FLOAT32 = float(np.finfo(np.float32).eps)


def inputs(data, options):
    return {"rows": data.X_train, "queries": data.X_test[: options["queries"]]}


def single_inputs(data, options):
    return {"rows": data.X_train, "queries": data.X_test[:SINGLE]}


def multiply_adds(inputs, options):
    return float(len(inputs["queries"])) * inputs["rows"].size


def _contender(name, needs, distributions, prepare, settings, **more):
    answer = functools.partial(searchers.answer, precision=0.0 if name.startswith("somknn") else _FLOAT32)
    return Contender(name, needs, distributions, prepare, answer, settings, **more)


_PASSIVE = searchers.PASSIVE
_OWN = ("somknn",)
_PRUNED = _contender("somknn", _OWN, _OWN, searchers.somknn("auto", np.uint8), "uint8, algorithm auto", floats=False)
_OTHERS = (
    _contender("FAISS", ("faiss",), ("faiss-cpu",), searchers.faiss_flat, "IndexFlatL2, float32", environment=_PASSIVE),
    _contender("PyTorch", ("torch",), ("torch",), searchers.torch_products, "float32", environment=_PASSIVE),
    _contender(
        "scikit-learn-intelex",
        ("sklearnex",),
        ("scikit-learn-intelex",),
        searchers.sklearn_like("sklearnex.neighbors", "brute", np.float32),
        "brute, float32",
    ),
    _contender(
        "scikit-learn",
        ("sklearn",),
        ("scikit-learn",),
        searchers.sklearn_like("sklearn.neighbors", "brute", np.float32),
        "brute, float32",
    ),
)

BATCH = Work(
    "neighbours",
    "Nearest neighbours",
    f"{K} nearest neighbours of a batch of queries",
    inputs,
    (
        _PRUNED,
        _contender("somknn, float32", _OWN, _OWN, searchers.somknn("auto", np.float32), "float32, algorithm auto"),
        _contender(
            "somknn, brute", _OWN, _OWN, searchers.somknn("brute", np.uint8), "uint8, brute force", floats=False
        ),
        *_OTHERS,
    ),
    judge,
    0.001,
    multiply_adds,
    options={"single": False, "k": K},
)
SINGLE_QUERY = Work(
    "one-query",
    "One query",
    f"{K} nearest neighbours of one query",
    single_inputs,
    (_PRUNED, *_OTHERS),
    judge,
    0.0,
    multiply_adds,
    repeats=SINGLE,
    options={"single": True, "k": K},
)
