"""Process queries with FAISS: float32 vectors, shortlist, exact order, and whether the answer is certain."""

import threading
from typing import Any, NamedTuple

import numpy as np

from somknn.machine import Isa
from somknn.neighbors import faiss_factory
from somknn.neighbors.faiss_rows import FloatRows
from somknn.search.brute import NO_INDEX, BruteSearch

_QUERIES = 8192  # queries converted to float32 at a time
_LOCK = threading.Lock()  # shared by all: a lock in each would prevent pickling an estimator


class Setting(NamedTuple):
    """The parameters of a search.

    effort : the search parameter, at most the `limit` of the index; None if the index has none
    rerank : a shortlist has rerank·k rows
    """

    effort: int | None
    rerank: int


class Shortlist:
    """Queries a FAISS index for candidates and orders them exactly.

    Parameters
    ----------
    spec : str
        Name or factory string of the index.
    engine : FAISS's index, filled or to be filled
    brute : BruteSearch
        Brute-force search over the rows; it defines the exact distances.

    Attributes
    ----------
    order : int64 array (n,) or None
        The row at each position of FAISS's index; None if positions are row numbers.
    parameter : str or None
        Name of the search parameter: "nprobe" or "ef_search"; None if the index has none.
    setting : Setting
        The setting in use: it is replaced as a whole, never modified.
    """

    def __init__(self, spec: str, engine: Any, vectors: FloatRows, brute: BruteSearch, isa: Isa):
        self.engine, self.vectors, self.spec = engine, vectors, spec
        self._brute, self._isa = brute, isa
        self.order: np.ndarray | None = None
        self.parameter, self.limit = faiss_factory.effort_of(engine)
        if self.parameter == "ef_search":
            self.limit = len(brute.rows)
        self._whole = faiss_factory.compared_as_bytes(engine) if vectors.unchanged else None
        self.setting = Setting(None if self.parameter is None else 1, 1)
        self._effort_set: int | None = None

    def vectors_at(self, positions: np.ndarray) -> np.ndarray:
        """float32 vectors of the rows at these positions of FAISS's index."""
        return self.vectors.of(self._brute.rows[positions if self.order is None else self.order[positions]])

    @property
    def n_rows(self) -> int:
        return len(self._brute.rows)

    def length(self, k: int, setting: Setting) -> int:
        """Number of rows in a shortlist."""
        return min(self.n_rows, setting.rerank * int(k))

    def may_be_asked(self, queries: np.ndarray) -> np.ndarray:
        """Mask of the queries that FAISS can compare with the rows as this index stores them, bool (m,).

        An index of bytes may clip a query's values; it would then find the neighbours of a different query.
        """
        if self._whole is None or queries.dtype == np.uint8:
            return np.ones(len(queries), bool)
        floats = self.vectors.of(queries)
        return (floats == np.clip(np.rint(floats), *self._whole)).all(axis=1)

    def search(
        self, queries: np.ndarray, k: int, n_threads: int, setting: Setting | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distances and rows, both (m, k), and a mask of the valid answers, bool (m,).

        setting : None for the one in use

        An answer is not valid if fewer than k rows were found, if float32 cannot represent the query, or, for "flat",
        if the k rows are not proven to be the nearest.
        """
        m, setting = len(queries), setting or self.setting
        bytes_only = self._brute.integers(queries)
        distances = np.full((m, k), np.iinfo(np.int64).max if bytes_only else np.inf, np.int64 if bytes_only else float)
        indices = np.full((m, k), NO_INDEX, np.int64)
        complete = np.zeros(m, bool)
        for start in range(0, m, _QUERIES):
            part = slice(start, min(start + _QUERIES, m))
            floats = self.vectors.of(queries[part])
            estimates, candidates = self._ask(floats, self.length(k, setting), setting.effort, n_threads)
            found = self._brute.rerank(queries[part], candidates, distances[part], indices[part], n_threads)
            norms = self.vectors.norms(floats)
            complete[part] = (found == k) & self.vectors.bounded(norms)
            if self.spec == "flat":
                complete[part] &= self.vectors.certified(estimates, norms, distances[part, -1])
            else:
                complete[part] &= self.may_be_asked(queries[part])
        return distances, indices, complete

    def _ask(
        self, floats: np.ndarray, length: int, effort: int | None, n_threads: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """FAISS's estimates (m, length) and rows, with -1 for missing ones.

        The effort is a property of FAISS's index: if two searches run at once with different efforts, both may use
        either.
        """
        if effort is not None and effort != self._effort_set:
            with _LOCK:
                faiss_factory.set_effort(self.engine, str(self.parameter), effort)
                self._effort_set = effort
        with faiss_factory.faiss_threads(n_threads), faiss_factory.faiss_errors(f"searching {len(floats)} queries"):
            estimates, found = self.engine.search(floats, length)
        if found.size and (found.max() >= self.engine.ntotal or found.min() < -1):
            raise RuntimeError(f"FAISS named a row beyond the {self.engine.ntotal} that the index holds")
        if self.order is not None:
            found = np.where(found < 0, -1, self.order[found])
        return estimates, np.ascontiguousarray(found, dtype=np.int64)
