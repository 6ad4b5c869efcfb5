"""k-nearest-neighbour search: algorithms, dtypes, k, rows, columns, single queries, memory, neighbours missed."""

import os

import numpy as np

from . import data
from .data import SOURCES, WithData, feature, keep_compiled, tracked

QUERIES = 2_000
ALGORITHMS = ("brute", "pruned", "faiss")


def make_index(algorithm):
    """`ExactIndex` with the given algorithm; "faiss" is the library's other backend."""
    if algorithm == "faiss":
        feature("faiss", "IndexFlatL2")
        return feature("somknn.neighbors.faiss_index", "FaissIndex")()
    return feature("somknn.neighbors", "ExactIndex")(algorithm)


class Search(WithData):
    """2,000 queries against all training rows (60,000)."""

    params = (SOURCES, ALGORITHMS, ("uint8", "float32"), (1, 5, 50))
    param_names = ("source", "algorithm", "dtype", "k")

    def setup(self, kept, source, algorithm, dtype, k):
        self.read(kept, source)
        self.queries = self.X_test[:QUERIES].astype(dtype)
        self.index = make_index(algorithm).fit(self.X_train.astype(dtype))
        self.index.search(self.queries[:50], k)  # compiles

    def time_search(self, kept, source, algorithm, dtype, k):
        self.index.search(self.queries, k)


class OneQuery(WithData):
    """The 5 neighbours of a single query."""

    params = (SOURCES, ALGORITHMS)
    param_names = ("source", "algorithm")
    number = 10

    def setup(self, kept, source, algorithm):
        self.read(kept, source)
        self.index = make_index(algorithm).fit(self.X_train)
        self.query = self.X_test[:1]
        self.index.search(self.query, 5)

    def time_search(self, kept, source, algorithm):
        self.index.search(self.query, 5)


class Growth(WithData):
    """2,000 queries, k = 5, against the first n rows: growth of the time."""

    params = (SOURCES, ("brute", "pruned"), (3_750, 15_000, 60_000))
    param_names = ("source", "algorithm", "n")

    def setup(self, kept, source, algorithm, n):
        self.read(kept, source)
        self.queries = self.X_test[:QUERIES]
        self.index = make_index(algorithm).fit(self.X_train[:n])
        self.index.search(self.queries[:50], 5)

    def time_search(self, kept, source, algorithm, n):
        self.index.search(self.queries, 5)


class Index(WithData):
    """Fitting an index, its total memory, and the neighbours that it misses compared with a plain computation."""

    params = (SOURCES, ALGORITHMS)
    param_names = ("source", "algorithm")

    def setup_cache(self):
        return keep_compiled(lambda rows, _: [make_index(way).fit(rows).search(rows, 5) for way in ALGORITHMS])

    def setup(self, kept, source, algorithm):
        self.read(kept, source)
        make_index(algorithm).fit(self.X_train[:2_000]).search(self.X_test[:50], 5)

    def time_fit(self, kept, source, algorithm):
        make_index(algorithm).fit(self.X_train)

    def peakmem_fit_and_search(self, kept, source, algorithm):
        make_index(algorithm).fit(self.X_train).search(self.X_test[:QUERIES], 5)

    @tracked("share of neighbours missed (1 - recall)")
    def track_missed(self, kept, source, algorithm):
        k, queries = 10, self.X_test[:200]
        _, found = make_index(algorithm).fit(self.X_train).search(queries, k)
        # Integers below 2^53 are exact in float64.
        rows, asked = self.X_train.astype(np.float64), queries.astype(np.float64)
        squared = (rows**2).sum(1) - 2 * asked @ rows.T + (asked**2).sum(1)[:, None]
        wanted = np.argsort(squared, axis=1, kind="stable")[:, :k]
        hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, wanted, strict=True))
        return 1 - hits / wanted.size


class FewColumns:
    """Rows of few columns, made here: 10,000 queries, one query, all within a radius, and building the index."""

    version = "1"
    timeout = 300
    params = (("uniform", "clustered"), (3, 8), (100_000, 1_000_000), (1, 5, 50))
    param_names = ("rows", "columns", "n", "k")

    def setup(self, rows, columns, n, k):
        if (columns, n) == (8, 1_000_000):
            raise NotImplementedError("takes long, and shows nothing that 100,000 rows do not show")
        random = np.random.default_rng(28)
        made = random.random((n + 10_000, columns))
        if rows == "clustered":
            made += 20 * random.random((1000, columns))[random.integers(0, 1000, len(made))]
        self.X, self.queries = made[:n], made[n:]
        self.index = make_index("tree").fit(self.X)
        distances, _ = self.index.search(self.queries[:100], k)
        self.squared_radius = float(np.median(distances[:, -1]))
        self.index.search_within(self.queries[:100], self.squared_radius)
        self.index.search(self.queries[:1], k)

    def time_search(self, rows, columns, n, k):
        self.index.search(self.queries, k)

    def time_search_within(self, rows, columns, n, k):
        self.index.search_within(self.queries, self.squared_radius)

    def time_100_single_queries(self, rows, columns, n, k):
        for i in range(100):
            self.index.search(self.queries[i : i + 1], k)

    def time_fit(self, rows, columns, n, k):
        make_index("tree").fit(self.X)


class Metrics:
    """2,000 queries, and single ones, among 30,000 float32 rows of unit length like text embeddings, k = 10."""

    params = (("euclidean", "cosine"), ("brute", "pruned"))
    param_names = ("metric", "algorithm")
    version = "1"
    number = 1
    repeat = 5
    warmup_time = 0
    timeout = 600

    def setup(self, metric, algorithm):
        rng = np.random.default_rng(20261129)
        n = data.TRAIN_ROWS // 2
        rows = rng.standard_normal((n + QUERIES, 384)) * np.arange(1, 385) ** -0.4  # 3/4 of the variance in 128 axes
        rows = rows @ np.linalg.qr(rng.standard_normal((384, 384)))[0]
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        index = feature("somknn.neighbors", {"euclidean": "ExactIndex", "cosine": "CosineIndex"}[metric])
        self.queries, self.index = rows[n:], index(algorithm).fit(rows[:n])
        self.index.search(self.queries[:50], 10)  # compiles

    def time_search(self, metric, algorithm):
        self.index.search(self.queries, 10)

    def time_single_queries(self, metric, algorithm):
        for i in range(20):
            self.index.search(self.queries[i : i + 1], 10)


class Yardstick(WithData):
    """The same 2,000 queries, k = 5, by FAISS itself at its best settings: the speed of the host, for every commit."""

    def setup(self, kept, source):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        self.read(kept, source)
        flat = feature("faiss", "IndexFlatL2")
        import faiss

        faiss.cvar.distance_compute_blas_query_bs, faiss.cvar.distance_compute_blas_database_bs = 4096, 1024
        self.index = flat(self.X_train.shape[1])
        self.index.add(self.X_train.astype(np.float32))
        self.queries = self.X_test[:QUERIES].astype(np.float32)
        self.index.search(self.queries[:50], 5)

    def time_faiss(self, kept, source):
        self.index.search(self.queries, 5)
