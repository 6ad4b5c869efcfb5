"""The FAISS backend tuned to a recall of 0.99 on 15,000 rows: time, neighbours missed, fitting, and a model file."""

import os
from pathlib import Path

import numpy as np

from .data import SOURCES, WithData, feature, tracked

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # otherwise FAISS's threads spin while they wait

ROWS, QUERIES, K = 15_000, 2_000, 10
INDEXES = ("flat", "ivf", "ivfpq", "hnsw", "sq8")


def make_index(name):
    feature("faiss", "IndexFlatL2")
    return feature("somknn.neighbors", "FaissIndex")(name, n_neighbors=K)


class Approximate(WithData):
    """2,000 queries, k = 10, with each kind of index and re-ranked shortlists."""

    params = (SOURCES, INDEXES)
    param_names = ("source", "index")

    def setup(self, kept, source, index):
        self.read(kept, source)
        self.rows, self.queries = self.X_train[:ROWS], self.X_test[:QUERIES]
        self.index = make_index(index).fit(self.rows)
        self.index.search(self.queries[:50], K)  # compiles

    def time_search(self, kept, source, index):
        self.index.search(self.queries, K)

    @tracked("share of neighbours missed (1 - recall)")
    def track_missed(self, kept, source, index):
        exact = feature("somknn.neighbors", "ExactIndex")().fit(self.rows).search(self.queries, K)[0]
        return float(np.mean(self.index.search(self.queries, K)[0] > exact[:, -1:]))


class Fit(WithData):
    """Training, filling and tuning; saving and loading a model that contains the index."""

    params = (SOURCES, INDEXES)
    param_names = ("source", "index")
    repeat = 3

    def setup(self, kept, source, index):
        self.read(kept, source)
        self.rows = self.X_train[:ROWS]
        make_index(index).fit(self.rows[:500]).search(self.rows[:50], K)
        estimator = feature("somknn", "NearestNeighbors")
        self.load = feature("somknn", "load")
        params = {"index": index, "target_recall": 0.99}
        self.model = estimator(n_neighbors=K, backend="faiss", backend_params=params).fit(self.rows[:5_000])
        self.path = Path(f"{source}-{index}.model").absolute()
        self.model.save(self.path)

    def time_fit(self, kept, source, index):
        make_index(index).fit(self.rows)

    def time_save_and_load(self, kept, source, index):
        self.model.save(self.path)
        self.load(self.path)
