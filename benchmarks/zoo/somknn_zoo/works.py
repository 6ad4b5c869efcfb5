"""Works of the zoo: each entry as a batch and as single queries, with all contenders of its kind."""

import functools

import numpy as np
from somknn_peers import searchers
from somknn_peers.contender import Contender, Work
from somknn_peers.judging import judge, nearest
from somknn_peers.neighbours import multiply_adds

from somknn_zoo import radius
from somknn_zoo import rows as table

ALGORITHMS = ("auto", "brute", "pruned", "tree")
"""What somknn is asked for. An installed version without one of them says so, and it is left out."""
_CHECKED = 100  # queries that the oracle answers
_FLOAT32, _FLOAT64 = (float(np.finfo(dtype).eps) for dtype in (np.float32, np.float64))


def _somknn(dtype):
    """somknn's contenders; the first is what the others are compared with."""
    answer = functools.partial(searchers.answer, precision=0.0)
    for algorithm in ALGORITHMS:
        name = "somknn" if algorithm == "auto" else f"somknn {algorithm}"
        prepare = searchers.somknn(algorithm)
        yield Contender(name, ("somknn",), ("somknn",), prepare, answer, algorithm, floats=dtype != "uint8")


def _peer(name, module, distribution, prepare, precision, settings=""):
    """A peer whose distances are square roots."""
    answer = functools.partial(searchers.answer, roots=True, precision=precision)
    return Contender(name, (module,), (distribution,), prepare, answer, settings)


def _product(name, module, distribution, prepare, settings=""):
    """A peer that works in float32, returns squared distances, and has OpenMP threads."""
    answer = functools.partial(searchers.answer, precision=_FLOAT32)
    return Contender(name, (module,), (distribution,), prepare, answer, settings, environment=searchers.PASSIVE)


def _trees(own_type):
    """own_type : precision of peers that work in the type of the rows"""
    kd_tree, ball_tree = searchers.sklearn_tree("kd_tree"), searchers.sklearn_tree("ball_tree")
    intel = searchers.sklearn_like("sklearnex.neighbors", "kd_tree")
    yield _peer("scipy cKDTree", "scipy.spatial", "scipy", searchers.scipy_tree, _FLOAT64)
    yield _peer("pykdtree", "pykdtree", "pykdtree", searchers.pykdtree_tree, own_type)
    yield _peer("scikit-learn kd_tree", "sklearn", "scikit-learn", kd_tree, _FLOAT64)
    yield _peer("scikit-learn ball_tree", "sklearn", "scikit-learn", ball_tree, _FLOAT64)
    yield _peer("sklearnex kd_tree", "sklearnex", "scikit-learn-intelex", intel, own_type, "kd_tree")


def _flat(own_type):
    """scikit-learn's brute force is what its `auto` chooses above 15 columns."""
    auto = searchers.sklearn_like("sklearn.neighbors", "auto")
    yield _peer("scikit-learn auto", "sklearn", "scikit-learn", auto, own_type)
    yield _product("FAISS flat", "faiss", "faiss-cpu", searchers.faiss_flat, "IndexFlatL2")
    yield _product("PyTorch", "torch", "torch", searchers.torch_products)


def _axes(own_type):
    intel = searchers.sklearn_like("sklearnex.neighbors", "brute")
    yield _product("FAISS Panorama", "faiss", "faiss-cpu", searchers.faiss_panorama)
    yield _peer("sklearnex brute", "sklearnex", "scikit-learn-intelex", intel, own_type, "brute")


_GROUPS = {table.TREES: _trees, table.FLAT: _flat, table.AXES: _axes}


def contenders(entry):
    own_type = _FLOAT64 if entry.dtype == "float64" else _FLOAT32
    peers = [peer for group in entry.peers for peer in _GROUPS[group](own_type)]
    return (*_somknn(entry.dtype), *peers)


def _inputs(entry, k, single):
    def inputs(data, options):
        """`data` is not used. options["rows"] and options["queries"] limit the sizes."""
        wanted = entry.singles if single else entry.queries
        rows, queries = entry.make(min(entry.n, options["rows"]), min(wanted, options["queries"]))
        squared, neighbours = nearest(queries[:_CHECKED], rows, k)
        return {"rows": rows, "queries": queries, "oracle_distances": squared, "oracle_neighbours": neighbours}

    return inputs


def works_of(entry):
    """The works of an entry of the table."""
    found = contenders(entry)
    for single, k in [(False, entry.k), (True, entry.k), *((False, k) for k in entry.further_k)]:
        name = f"{entry.name}/{'one' if single else 'batch'}{'' if k == entry.k else f'/k={k}'}"
        yield Work(
            name,
            entry.name,
            f"{entry.title}: the {k} nearest rows of {'one query' if single else 'a batch'}",
            _inputs(entry, k, single),
            found,
            judge,
            0.0,
            multiply_adds,
            options={"k": k, "single": single},
            home="somknn_zoo.works",
        )
    if entry.radius:
        yield work_within(entry)


def _contenders_within(entry):
    def one(name, module, distribution, prepare, answer, **more):
        return Contender(name, (module,), (distribution,), prepare, answer, more.pop("settings", ""), **more)

    for algorithm in ALGORITHMS:
        name = "somknn" if algorithm == "auto" else f"somknn {algorithm}"
        prepare = radius.somknn(algorithm)
        yield one(name, "somknn", "somknn", prepare, radius.answer_of_somknn, settings=algorithm)
    lists = functools.partial(radius.answer_of_lists, precision=_FLOAT64)
    flat = functools.partial(radius.answer_of_faiss, precision=_FLOAT32)
    yield one("scipy cKDTree", "scipy.spatial", "scipy", radius.scipy_tree, lists)
    yield one("scikit-learn kd_tree", "sklearn", "scikit-learn", radius.sklearn_tree("kd_tree"), lists)
    yield one("scikit-learn ball_tree", "sklearn", "scikit-learn", radius.sklearn_tree("ball_tree"), lists)
    environment = searchers.PASSIVE
    yield one(
        "FAISS flat", "faiss", "faiss-cpu", radius.faiss_flat, flat, settings="IndexFlatL2", environment=environment
    )


def work_within(entry):
    """All rows of an entry within its radius."""

    def inputs(data, options):
        rows, queries = entry.make(min(entry.n, options["rows"]), min(entry.queries, options["queries"]))
        starts, squared, neighbours = radius.oracle(queries[:_CHECKED], rows, entry.radius)
        checked = {"starts": starts, "squared_distances": squared, "neighbours": neighbours}
        return {"rows": rows, "queries": queries} | {f"oracle_{name}": values for name, values in checked.items()}

    return Work(
        f"{entry.name}/radius",
        entry.name,
        f"{entry.title}: all rows within {entry.radius}",
        inputs,
        tuple(_contenders_within(entry)),
        radius.judge_within(entry.radius),
        0.0,
        multiply_adds,
        options={"radius": entry.radius, "single": False, "k": None},
        home="somknn_zoo.works",
    )


ALL = tuple(work for entry in table.ALL for work in works_of(entry))


def find(name: str) -> Work:
    return next(work for work in ALL if work.name == name)
