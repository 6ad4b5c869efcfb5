"""Searches for the k nearest rows by somknn and by other libraries, each at its best settings.

Every function here makes a `prepare` (see `contender.Contender`). It reads `rows` and `queries` from the inputs, and
`k`, `single` (queries one after the other) and `threads` from the options. The run returns a list of pairs of distances
and rows, one for each call. `answer` turns it into arrays. Where settings have a best value that depends on the rows, a
few are tried on some of the queries, which is not timed.
"""

import functools
import gc
import importlib
import time

import numpy as np

from somknn_peers.memory import resident_bytes

FAISS_BLOCKS = ((1024, 4096), (4096, 1024))
LEAF_SIZES = (8, 16, 32, 64)
PANORAMA_WIDTHS = (64, 48, 32, 24)  # columns of a level
PANORAMA_BATCHES = (512, 1024)  # rows that are looked at together
PANORAMA_TRIED = 200  # queries
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
TORCH_DISTANCES = 2**27
_TRIED = {True: 100, False: 1024}  # queries of a trial, one by one or as a batch


def measured(options, fit):
    """fit(), with its seconds and the growth of the resident memory written into the options."""
    gc.collect()
    before, began = resident_bytes(), time.perf_counter()
    found = fit()
    options["fit_seconds"] = time.perf_counter() - began
    gc.collect()
    options["index_bytes"] = None if before is None else max(0, resident_bytes() - before)
    return found


def runs(search, queries, one_by_one):
    """A run over all queries at once or one after the other."""
    if one_by_one:
        return lambda: [search(queries[i : i + 1]) for i in range(len(queries))]
    return lambda: [search(queries)]


def _seconds(search, queries, options):
    """The better of two trials on a part of the queries."""
    trial = runs(search, queries[: _TRIED[options["single"]]], options["single"])

    def once():
        began = time.perf_counter()
        trial()
        return time.perf_counter() - began

    return min(once(), once())


def best_fitted(fit_with, settings, searched, queries, options):
    """The setting whose index answers soonest, fitted once more for the measurement.

    fit_with(setting) -> index; searched(index) -> search
    """
    best = min(settings, key=lambda setting: _seconds(searched(fit_with(setting)), queries, options))
    return best, measured(options, lambda: fit_with(best))


def known_algorithms():
    """What the installed `ExactIndex` can be asked for, without other names of the same."""
    from somknn.neighbors import ExactIndex
    from somknn.search import index

    names = getattr(ExactIndex, "ALGORITHMS", None) or index.ALGORITHMS
    return tuple(name for name in names if name not in ("kd_tree", "ball_tree"))


def somknn(algorithm, dtype=None):
    """`ExactIndex`; the rows as they are, or in another dtype."""

    def prepare(inputs, options):
        from somknn.neighbors import ExactIndex

        if algorithm not in known_algorithms():
            raise ValueError(f"this version of somknn has no algorithm {algorithm!r}")
        rows = np.ascontiguousarray(inputs["rows"], dtype)
        queries, k = np.ascontiguousarray(inputs["queries"], dtype), options["k"]
        # Loads the compiled kernels, or compiles them.
        ExactIndex(algorithm).fit(rows[:2000]).search(queries[:50], min(k, len(rows), 2000))
        index = measured(options, lambda: ExactIndex(algorithm).fit(rows))
        index.search(queries[:50], k)
        index.search(queries[:1], k)
        if algorithm == "auto":
            options["settings"] = f"{rows.dtype}, auto chose {index.algorithm_}"
        return runs(lambda part: index.search(part, k), queries, options["single"])

    return prepare


def _flat(rows):
    import faiss

    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(np.ascontiguousarray(rows, np.float32))
    return index


def faiss_flat(inputs, options):
    import faiss

    index = measured(options, lambda: _flat(inputs["rows"]))
    queries = np.ascontiguousarray(inputs["queries"], np.float32)

    def search(part):
        return index.search(part, options["k"])

    def seconds(blocks):
        faiss.cvar.distance_compute_blas_query_bs, faiss.cvar.distance_compute_blas_database_bs = blocks
        return _seconds(search, queries, options)

    best = min(FAISS_BLOCKS, key=seconds)
    seconds(best)
    if not options["single"]:  # one query is no product of matrices
        options["settings"] = f"IndexFlatL2, blocks of {best[0]} × {best[1]}, the better of two"
    return runs(search, queries, options["single"])


def faiss_panorama(inputs, options):
    """Principal axes first, and levels of columns after each of which rows are left out by a bound."""
    import faiss

    rows = np.ascontiguousarray(inputs["rows"], np.float32)
    queries, d = np.ascontiguousarray(inputs["queries"], np.float32), inputs["rows"].shape[1]
    levels = sorted({max(2, round(d / width)) for width in PANORAMA_WIDTHS})

    def fit(setting):
        index = faiss.index_factory(d, f"PCA{d},FlatL2Panorama{setting[0]}_{setting[1]}")
        index.train(rows)
        index.add(rows)
        return index

    settings = [(level, batch) for level in levels for batch in PANORAMA_BATCHES]

    def searched(index):
        return lambda part: index.search(part, options["k"])

    # It takes the queries of a batch one after the other, so a part of them is enough to try.
    best, index = best_fitted(fit, settings, searched, queries[:PANORAMA_TRIED], options)
    options["settings"] = f"PCA{d},FlatL2Panorama{best[0]}_{best[1]}, the best of {len(settings)}"
    return runs(searched(index), queries, options["single"])


def torch_products(inputs, options):
    import torch

    torch.set_num_threads(options["threads"])
    queries = torch.from_numpy(inputs["queries"].astype(np.float32))

    def fit():
        rows = torch.from_numpy(inputs["rows"].astype(np.float32))
        return (rows**2).sum(1)[None], rows.T

    norms, columns = measured(options, fit)

    def search(part, chunk=1024):
        found = []
        for start in range(0, len(part), chunk):
            of_queries = part[start : start + chunk]
            distances = torch.addmm(norms, of_queries, columns, alpha=-2)
            nearest = torch.topk(distances, options["k"], largest=False)
            squared = (nearest.values + (of_queries**2).sum(1)[:, None]).clamp_(min=0)
            found.append((squared, nearest.indices))
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))

    # Many rows: no more than 512 MB of distances at a time.
    chunks = sorted({min(chunk, max(1, TORCH_DISTANCES // norms.shape[1])) for chunk in (256, 1024)})
    best = min(chunks, key=lambda chunk: _seconds(functools.partial(search, chunk=chunk), queries, options))
    options["settings"] = f"addmm and topk, {best} queries at a time, the best of {tuple(chunks)}"
    return runs(functools.partial(search, chunk=best), queries, options["single"])


def sklearn_like(module, algorithm, dtype=None):
    """`NearestNeighbors` of scikit-learn or scikit-learn-intelex, with its own leaf size.

    dtype : None means that of the rows; bytes become float32
    """

    def prepare(inputs, options):
        rows, queries = (_floats(inputs[name], dtype) for name in ("rows", "queries"))
        nearest = importlib.import_module(module).NearestNeighbors
        threads = sklearn_threads(options)
        model = nearest(n_neighbors=options["k"], algorithm=algorithm, n_jobs=threads)
        measured(options, lambda: model.fit(rows))
        model.kneighbors(queries[:50])
        if algorithm == "auto":
            options["settings"] = f"{rows.dtype}, auto chose {getattr(model, '_fit_method', 'what it does not say')}"
        return runs(model.kneighbors, queries, options["single"])

    return prepare


def sklearn_threads(options):
    """For scikit-learn: threads cost more than they bring for a single query."""
    return 1 if options["single"] else options["threads"]


def sklearn_tree(algorithm):
    """`NearestNeighbors` for a batch, which uses threads; for single queries the tree's own class, which is quicker."""

    def prepare(inputs, options):
        from sklearn.neighbors import BallTree, KDTree, NearestNeighbors

        rows, queries = (_floats(inputs[name], np.float64) for name in ("rows", "queries"))
        k, own = options["k"], {"kd_tree": KDTree, "ball_tree": BallTree}[algorithm]

        def fit(size):
            if options["single"]:
                return own(rows, leaf_size=size)
            return NearestNeighbors(
                n_neighbors=k, algorithm=algorithm, leaf_size=size, n_jobs=sklearn_threads(options)
            ).fit(rows)

        def searched(model):
            return (lambda part: model.query(part, k)) if options["single"] else model.kneighbors

        best, model = best_fitted(fit, LEAF_SIZES, searched, queries, options)
        options["settings"] = f"{algorithm}, leaf_size={best}, the best of {LEAF_SIZES}"
        return runs(searched(model), queries, options["single"])

    return prepare


def _floats(array, dtype=None):
    return np.ascontiguousarray(array, dtype or (np.float32 if array.dtype == np.uint8 else array.dtype))


def scipy_tree(inputs, options):
    from scipy.spatial import cKDTree

    rows, queries = (np.ascontiguousarray(inputs[name], np.float64) for name in ("rows", "queries"))
    workers = 1 if options["single"] else -1

    def searched(tree):
        return lambda part: _columns(tree.query(part, options["k"], workers=workers))

    settings = [(size, balanced) for size in LEAF_SIZES for balanced in (True, False)]

    def fit(setting):
        return cKDTree(rows, leafsize=setting[0], balanced_tree=setting[1], compact_nodes=setting[1])

    (size, balanced), tree = best_fitted(fit, settings, searched, queries, options)
    middle = "" if balanced else ", sliding midpoints"
    options["settings"] = f"cKDTree, leafsize={size}{middle}, workers={workers}, the best of {len(settings)}"
    return runs(searched(tree), queries, options["single"])


def pykdtree_tree(inputs, options):
    from pykdtree.kdtree import KDTree

    rows, queries = (_floats(inputs[name]) for name in ("rows", "queries"))

    def searched(tree):
        return lambda part: _columns(tree.query(part, k=options["k"]))

    best, tree = best_fitted(lambda size: KDTree(rows, leafsize=size), LEAF_SIZES, searched, queries, options)
    options["settings"] = f"{rows.dtype}, leafsize={best}, the best of {LEAF_SIZES}"
    return runs(searched(tree), queries, options["single"])


def _columns(found):
    """Both peers return one column without its axis where k = 1."""
    distances, rows = found
    return (distances, rows) if distances.ndim == 2 else (distances[:, None], rows[:, None])


def answer(found, *, roots=False, precision=0.0):
    """Arrays of a run. roots : distances are not squared. precision : machine epsilon of the arithmetic; 0 is exact."""
    distances = np.concatenate([np.asarray(part[0]) for part in found])
    # Numbers of rows as unsigned integers (pykdtree): int64 keeps them all.
    neighbours = np.concatenate([np.asarray(part[1]) for part in found]).astype(np.int64)
    squared = distances.astype(np.float64) ** 2 if roots else distances
    return {"neighbours": neighbours, "squared_distances": squared, "precision": np.array(precision)}
