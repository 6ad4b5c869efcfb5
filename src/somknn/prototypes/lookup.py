"""Nearest prototypes of many rows: a set so small that the search's own preparations are what costs."""

from typing import Any

import numpy as np

from somknn.neighbors.brute import BruteSearch
from somknn.neighbors.byte_screen import ByteScreen, suits
from somknn.neighbors.embedding import Embedding
from somknn.neighbors.pruned import PrunedSearch
from somknn.prototypes.metric import MappedBytes, Metric
from somknn.threads import single_threaded_blas
from somknn_kernels import isa
from somknn_kernels.parallel import resolve_n_threads

_PRUNED_FROM = 200  # prototypes, and 48 columns; below, comparing all is no slower
_COLUMNS = 64  # of short vectors: half of the k-NN index's


class PrototypeLookup:
    """Exact nearest rows of `prototypes` (p, d), p in the hundreds or thousands; ties to the lowest."""

    def __init__(self, prototypes: np.ndarray, n_jobs: int | None):
        self.prototypes = prototypes
        self._screen: ByteScreen | None = None
        self._index: BruteSearch | PrunedSearch | None = None
        if suits(prototypes, len(prototypes)):
            self._screen = ByteScreen(prototypes, isa.select())
            self._vectors = self._screen.vectors(prototypes)
        else:
            self._index = self._make_index(n_jobs)

    def _make_index(self, n_jobs: int | None) -> BruteSearch | PrunedSearch:
        if len(self.prototypes) >= _PRUNED_FROM and self.prototypes.shape[1] >= 48:
            with single_threaded_blas():
                embedding = Embedding(self.prototypes, isa.select(), _COLUMNS)
            index = PrunedSearch(self.prototypes, embedding, resolve_n_threads(n_jobs))
            index.spare_seeds = 0
            return index
        return BruteSearch(self.prototypes, isa.select())

    def search(self, rows: np.ndarray, k: int, n_jobs: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances and prototypes (m, k), ascending."""
        if self._screen is not None and k == 1 and rows.dtype == np.uint8:
            nearest = np.empty(len(rows), np.int64)
            settings = False, resolve_n_threads(n_jobs), self._vectors
            found = self._screen.nearest(rows, self.prototypes, nearest, *settings)
            if found is not None:
                return found[0][:, None], nearest[:, None]
            self._screen = None
        if self._index is None:
            self._index = self._make_index(n_jobs)
        return self._index.nearest(rows, k, resolve_n_threads(n_jobs))


class MappedLookup(PrototypeLookup):
    """The same under `metric`, whose mapped rows `prototypes` (p, rank) are."""

    def __init__(self, metric: Metric, prototypes: np.ndarray, n_jobs: int | None):
        super().__init__(prototypes, n_jobs)
        self._metric = metric
        self._fused = MappedBytes(metric, prototypes) if metric.bytes else None

    def search(self, rows: np.ndarray, k: int, n_jobs: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances under the metric, and prototypes (m, k), ascending."""
        if self._fused is not None and k == 1 and rows.dtype == np.uint8:
            return self._fused.nearest(rows, n_jobs)
        return super().search(self._metric.apply(rows, n_jobs), k, n_jobs)


class BackendLookup:
    """The same by the index of another backend, an `index` fitted with the prototypes."""

    def __init__(self, index: Any, metric: Metric | None):
        self.index, self._metric = index, metric

    def search(self, rows: np.ndarray, k: int, n_jobs: int | None) -> tuple[np.ndarray, np.ndarray]:
        """As that of `PrototypeLookup`, as far as the backend finds them."""
        self.index.n_jobs = n_jobs
        return self.index.search(rows if self._metric is None else self._metric.apply(rows, n_jobs), k)
