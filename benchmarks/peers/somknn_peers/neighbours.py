"""Exact nearest neighbours: a batch of queries, and single queries."""

import time

import numpy as np

from somknn_peers.contender import Contender, Work

K = 5
SINGLE = 20
_FAISS_BLOCKS = ((1024, 4096), (4096, 1024))


def inputs(data, options):
    return {"rows": data.X_train, "queries": data.X_test[: options["queries"]]}


def single_inputs(data, options):
    return {"rows": data.X_train, "queries": data.X_test[:SINGLE]}


def _searches(search, queries, one_by_one):
    """A run over all queries at once or one after the other."""
    if one_by_one:
        return lambda: [search(queries[i : i + 1]) for i in range(len(queries))]
    return lambda: [search(queries)]


def _somknn(algorithm, dtype):
    def prepare(inputs, options):
        from somknn.neighbors import ExactIndex

        index = ExactIndex(algorithm).fit(np.ascontiguousarray(inputs["rows"], dtype))
        queries = np.ascontiguousarray(inputs["queries"], dtype)
        index.search(queries[:50], K)
        index.search(queries[:1], K)
        return _searches(lambda rows: index.search(rows, K)[1], queries, options["single"])

    return prepare


def _faiss(inputs, options):
    import faiss

    index = faiss.IndexFlatL2(inputs["rows"].shape[1])
    index.add(inputs["rows"].astype(np.float32))
    queries = inputs["queries"].astype(np.float32)

    def seconds(blocks):
        faiss.cvar.distance_compute_blas_query_bs, faiss.cvar.distance_compute_blas_database_bs = blocks
        began = time.perf_counter()
        index.search(queries[:1024], K)
        return time.perf_counter() - began

    best = min(_FAISS_BLOCKS, key=seconds)
    seconds(best)
    options["settings"] = f"blocks of {best[0]} × {best[1]}, the better of two"
    return _searches(lambda rows: index.search(rows, K)[1], queries, options["single"])


def _torch(inputs, options):
    import torch

    torch.set_num_threads(options["threads"])
    rows = torch.from_numpy(inputs["rows"].astype(np.float32))
    queries = torch.from_numpy(inputs["queries"].astype(np.float32))
    norms, columns = (rows**2).sum(1)[None], rows.T

    def search(part, chunk=1024):
        found = []
        for start in range(0, len(part), chunk):
            distances = torch.addmm(norms, part[start : start + chunk], columns, alpha=-2)
            found.append(torch.topk(distances, K, largest=False).indices)
        return torch.cat(found)

    def seconds(chunk):
        began = time.perf_counter()
        search(queries[:1024], chunk)
        return time.perf_counter() - began

    seconds(256)
    best = min((256, 1024), key=seconds)
    options["settings"] = f"addmm and topk, {best} queries at a time, the better of two"
    return _searches(lambda part: search(part, best), queries, options["single"])


def _sklearn(module):
    def prepare(inputs, options):
        import importlib

        nearest = importlib.import_module(module).NearestNeighbors
        model = nearest(n_neighbors=K, algorithm="brute", n_jobs=options["threads"]).fit(
            inputs["rows"].astype(np.float32)
        )
        queries = inputs["queries"].astype(np.float32)
        model.kneighbors(queries[:50])
        return _searches(lambda rows: model.kneighbors(rows, return_distance=False), queries, options["single"])

    return prepare


def _answer(found):
    return {"neighbours": np.concatenate([np.asarray(part) for part in found]).astype(np.int64)}


def judge(ours, theirs, inputs):
    """Share of queries whose distances differ; rows at equal distances are interchangeable."""

    def squared(neighbours):
        rows = inputs["rows"].astype(np.int32)
        return np.stack(
            [
                np.sort(((rows[found] - query.astype(np.int32)) ** 2).sum(1))
                for found, query in zip(neighbours, inputs["queries"], strict=True)
            ]
        )

    differ = float((squared(ours["neighbours"]) != squared(theirs["neighbours"])).any(1).mean())
    return differ, "equal" if differ == 0 else f"{differ:.2%} of the queries differ"


def multiply_adds(inputs, options):
    return float(len(inputs["queries"])) * inputs["rows"].size


def _contender(name, needs, distributions, prepare, settings, **more):
    return Contender(name, needs, distributions, prepare, _answer, settings, **more)


_PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
_OWN = ("somknn",)
_PRUNED = _contender("somknn", _OWN, _OWN, _somknn("auto", np.uint8), "uint8, algorithm auto", floats=False)
_OTHERS = (
    _contender("FAISS", ("faiss",), ("faiss-cpu",), _faiss, "IndexFlatL2, float32", environment=_PASSIVE),
    _contender("PyTorch", ("torch",), ("torch",), _torch, "float32", environment=_PASSIVE),
    _contender(
        "scikit-learn-intelex",
        ("sklearnex",),
        ("scikit-learn-intelex",),
        _sklearn("sklearnex.neighbors"),
        "brute, float32",
    ),
    _contender("scikit-learn", ("sklearn",), ("scikit-learn",), _sklearn("sklearn.neighbors"), "brute, float32"),
)

BATCH = Work(
    "neighbours",
    "Nearest neighbours",
    f"{K} nearest neighbours of a batch of queries",
    inputs,
    (
        _PRUNED,
        _contender("somknn, float32", _OWN, _OWN, _somknn("auto", np.float32), "float32, algorithm auto"),
        _contender("somknn, brute", _OWN, _OWN, _somknn("brute", np.uint8), "uint8, brute force", floats=False),
        *_OTHERS,
    ),
    judge,
    0.001,
    multiply_adds,
    options={"single": False},
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
    options={"single": True},
)
