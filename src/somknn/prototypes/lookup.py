"""Nearest prototypes of many rows: a set so small that the search's own preparations are what costs."""

from typing import Any

import numpy as np

from somknn.neighbors.brute import BruteSearch
from somknn.neighbors.byte_screen import ByteScreen, suits
from somknn.neighbors.embedding import Embedding
from somknn.neighbors.pruned import PrunedSearch
from somknn.prototypes.metric import MappedBytes, Metric
from somknn.scaling import exponent_of, fits_float32
from somknn.threads import single_threaded_blas
from somknn_kernels import isa
from somknn_kernels.parallel import resolve_n_threads
from somknn_kernels.search.byte_screen import Vectors

_PRUNED_FROM = 200  # prototypes, and 48 columns; below, comparing all is no slower
_COLUMNS = 64  # of short vectors: half of the k-NN index's


class PrototypeLookup:
    """Exact nearest rows of `prototypes` (p, d), p in the hundreds or thousands; ties to the lowest.

    What the search is prepared with is made when it is first needed, by two threads at once twice, alike; no pickle holds it.
    """

    def __init__(self, prototypes: np.ndarray):
        self.prototypes = prototypes
        self._forget()

    def _forget(self) -> None:
        self._screen: tuple[ByteScreen, Vectors | None] | None = None
        self._index: BruteSearch | PrunedSearch | None = None
        self._by_codes = suits(self.prototypes, len(self.prototypes))  # until they turn out to rule too little out

    def __getstate__(self) -> dict[str, Any]:
        return {"prototypes": self.prototypes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def prepare(self, n_jobs: int | None) -> None:
        """Make ready for the first search among bytes, or, where codes do not suit, any rows."""
        if self._by_codes:
            self._made_screen()
        else:
            self._made_index(n_jobs)

    def _made_screen(self) -> tuple[ByteScreen, Vectors | None]:
        made = self._screen
        if made is None:
            screen = ByteScreen(self.prototypes, isa.select())
            self._screen = made = screen, screen.vectors(self.prototypes)
        return made

    def _made_index(self, n_jobs: int | None) -> BruteSearch | PrunedSearch:
        made = self._index
        if made is None:
            self._index = made = self._make_index(n_jobs)
        return made

    def _make_index(self, n_jobs: int | None) -> BruteSearch | PrunedSearch:
        wide = len(self.prototypes) >= _PRUNED_FROM and self.prototypes.shape[1] >= 48
        if wide and fits_float32(exponent_of(self.prototypes)):
            with single_threaded_blas():
                embedding = Embedding(self.prototypes, isa.select(), _COLUMNS)
            index = PrunedSearch(self.prototypes, embedding, resolve_n_threads(n_jobs))
            index.spare_seeds = 0
            return index
        return BruteSearch(self.prototypes, isa.select())

    def search(self, rows: np.ndarray, k: int, n_jobs: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances and prototypes (m, k), ascending."""
        n_threads = resolve_n_threads(n_jobs)
        if self._by_codes and k == 1 and rows.dtype == np.uint8:
            screen, vectors = self._made_screen()
            nearest = np.empty(len(rows), np.int64)
            found = screen.nearest(rows, self.prototypes, nearest, False, n_threads, vectors)
            if found is not None:
                return found[0][:, None], nearest[:, None]
            self._by_codes, self._screen = False, None
        squares, indices, *_ = self._made_index(n_jobs).nearest(rows, k, n_threads)
        return squares, indices


class MappedLookup(PrototypeLookup):
    """The same under `metric`, whose mapped rows `prototypes` (p, rank) are."""

    def __init__(self, metric: Metric, prototypes: np.ndarray):
        self._metric = metric
        super().__init__(prototypes)

    def _forget(self) -> None:
        super()._forget()
        self._fused: MappedBytes | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_metric": self._metric}

    def prepare(self, n_jobs: int | None) -> None:
        if self._metric.bytes:
            self._made_fused()
        else:
            super().prepare(n_jobs)

    def _made_fused(self) -> MappedBytes:
        made = self._fused
        if made is None:
            self._fused = made = MappedBytes(self._metric, self.prototypes)
        return made

    def search(self, rows: np.ndarray, k: int, n_jobs: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances under the metric, and prototypes (m, k), ascending."""
        if self._metric.bytes and k == 1 and rows.dtype == np.uint8:
            return self._made_fused().nearest(rows, n_jobs)
        return super().search(self._metric.apply(rows, n_jobs), k, n_jobs)


class BackendLookup:
    """The same by the index of another backend, an `index` fitted with the prototypes."""

    def __init__(self, index: Any, metric: Metric | None):
        self.index, self._metric = index, metric

    def search(self, rows: np.ndarray, k: int, n_jobs: int | None) -> tuple[np.ndarray, np.ndarray]:
        """As that of `PrototypeLookup`, as far as the backend finds them."""
        mapped = rows if self._metric is None else self._metric.apply(rows, n_jobs)
        return self.index.search(mapped, k, n_threads=resolve_n_threads(n_jobs))
