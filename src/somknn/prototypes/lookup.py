"""Search for the nearest prototypes under a learned metric, or with another backend.

The classes have the interface of `somknn.search.few_vectors`.
"""

from typing import Any

import numpy as np

from somknn.prototypes.metric import MappedBytes, Metric
from somknn.search.few_vectors import FewVectorsSearch


class MappedLookup(FewVectorsSearch):
    """The same search under `metric`; `vectors` (p, rank) are the mapped prototypes."""

    def __init__(self, metric: Metric, vectors: np.ndarray):
        self._metric = metric
        super().__init__(vectors)

    def _forget(self) -> None:
        super()._forget()
        self._fused: MappedBytes | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_metric": self._metric}

    def prepare(self, n_threads: int) -> None:
        if self._metric.bytes:
            self._made_fused()
        else:
            super().prepare(n_threads)

    def _made_fused(self) -> MappedBytes:
        made = self._fused
        if made is None:
            self._fused = made = MappedBytes(self._metric, self.vectors)
        return made

    def search(self, rows: np.ndarray, k: int, *, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances under the metric, and prototypes, both (m, k), ascending."""
        if self._metric.bytes and k == 1 and rows.dtype == np.uint8:
            return self._made_fused().nearest(rows, n_threads)
        return super().search(self._metric.apply(rows, n_threads), k, n_threads=n_threads)

    def search_within(
        self, rows: np.ndarray, squared_radius: float, *, n_threads: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `Searcher.search_within`, under the metric."""
        return super().search_within(self._metric.apply(rows, n_threads), squared_radius, n_threads=n_threads)


class BackendLookup:
    """The same search by the index of another backend, an `index` fitted with the prototypes."""

    def __init__(self, index: Any, metric: Metric | None):
        self.index, self._metric = index, metric

    def _mapped(self, rows: np.ndarray, n_threads: int) -> np.ndarray:
        return rows if self._metric is None else self._metric.apply(rows, n_threads)

    def search(self, rows: np.ndarray, k: int, *, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Searcher.search`, with the neighbours that the backend finds."""
        return self.index.search(self._mapped(rows, n_threads), k, n_threads=n_threads)

    def search_within(
        self, rows: np.ndarray, squared_radius: float, *, n_threads: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `Searcher.search_within`."""
        return self.index.search_within(self._mapped(rows, n_threads), squared_radius, n_threads=n_threads)
