"""The FAISS backend: an approximate shortlist by FAISS, its order and its distances by somknn's own arithmetic.

    FaissIndex                                validates, tunes, keeps the promise below
      |- Shortlist                            asks FAISS; exact order by a kernel (reranking)
      |    `- faiss_factory, faiss_rows       FAISS itself; the float32 vectors that it sees
      |- BruteSearch                          queries that a shortlist cannot answer
      |- recall, ExactIndex                   what to tune against, and what was reached
      `- faiss_arrays                         the index in a model file

What is promised, whatever the index: k different rows for every query, their exact distances, in order of distance and then
of row. What may be missed is a neighbour that FAISS did not propose; `recall_` says how many. `index="flat"` misses none:
a bound on its rounding errors certifies each answer, and a query that cannot be certified is answered exactly.
"""

import threading
import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np

from somknn.neighbors import faiss_arrays, faiss_factory, recall
from somknn.neighbors.brute import BruteSearch
from somknn.neighbors.faiss_rows import FloatRows
from somknn.neighbors.faiss_shortlist import Shortlist
from somknn.neighbors.index import ALGORITHMS, ExactIndex, as_rows
from somknn_kernels import isa as isa_module
from somknn_kernels.parallel import resolve_n_threads

_LONGEST_SHORTLIST = 2048
_DEFAULT_TARGET = 0.99
_LOCK = threading.Lock()  # of all: one in each would keep an estimator from being pickled
_PREFIX = "screen_faiss_"  # of the arrays in a model file


class FaissIndex:
    """k-nearest-neighbour search by FAISS, re-ranked exactly.

    Parameters
    ----------
    index : str
        "flat" (compares all rows in float32), "ivf" (inverted file: compares the rows of the `nprobe` nearest cells),
        "ivfpq" (the same with rows compressed to 64 bytes), "hnsw" (a graph of neighbours, 32 links), "sq8" (all rows, at one byte a
        feature), or any string for FAISS's `index_factory`, such as "IVF1024,PQ32x4fs".
    nlist : int or None
        Cells of "ivf" and "ivfpq". None: a power of two near 4·√n.
    nprobe, ef_search : int or None
        The search parameter of an inverted file, of a graph. None: the cheapest one that reaches `target_recall`. Set on a
        fitted index they count from the next search on.
    rerank : int or None
        The shortlist has rerank·k rows. None: 2, and 10 for an index of compressed rows, or more where `target_recall` needs it.
    target_recall : float or None
        Recall to reach on held-out rows, in (0, 1], with one standard error to spare. None: 0.99, unless `nprobe` or `ef_search`
        is given.
    n_neighbors : int
        The k that `target_recall` and `recall_` are about.
    algorithm : {"auto", "brute", "pruned"}
        Of the exact engine, which gives the answers to tune against and serves `search_within`.
    n_jobs : int or None
        Threads, also of FAISS while it works for this index; None and -1 mean all that `NUMBA_NUM_THREADS` allows.

    Attributes
    ----------
    recall_ : float or None
        Share of the `n_neighbors` nearest rows that are found. Measured on up to 500 held-out rows, others than those that the
        parameters were chosen by; 1.0 for "flat", None where nothing was tuned.
    nprobe_, ef_search_, rerank_ : int or None
        What is in use.
    search_stats_ : dict
        Of the last search: `queries`, rows in each `shortlist`, and the queries `answered_exactly`.
    rows_ : ndarray (n, d)
        The fitted rows; the caller's own array where that was C-contiguous.

    Notes
    -----
    A query for which FAISS proposes fewer than k rows (its answer is then -1) is answered by exact search, as is one
    whose values float32 cannot hold, and for "sq8" on bytes one whose values are no bytes. Inverted files, "sq8" and "flat" are the same for every fit; the graph of "hnsw" depends on
    the order in which threads insert rows, so only a fit with `n_jobs=1` can be repeated.

    References
    ----------
    M. Douze et al., "The Faiss library", 2024, arXiv:2401.08281.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.arange(400, dtype=np.float32).reshape(-1, 2)
    >>> index = FaissIndex("ivf", n_neighbors=3, target_recall=1.0).fit(rows)
    >>> index.search(np.array([[10, 11]], dtype=np.float32), k=3)
    (array([[0., 8., 8.]]), array([[5, 4, 6]]))
    >>> index.recall_
    1.0
    """

    rows_: np.ndarray
    recall_: float | None
    search_stats_: dict[str, int]
    _exact: ExactIndex | None

    def __init__(
        self,
        index: str = "flat",
        *,
        nlist: int | None = None,
        nprobe: int | None = None,
        ef_search: int | None = None,
        rerank: int | None = None,
        target_recall: float | None = None,
        n_neighbors: int = 10,
        algorithm: str = "auto",
        n_jobs: int | None = None,
    ):
        self.index = index
        self.nlist = nlist
        self.nprobe = nprobe
        self.ef_search = ef_search
        self.rerank = rerank
        self.target_recall = target_recall
        self.n_neighbors = n_neighbors
        self.algorithm = algorithm
        self.n_jobs = n_jobs
        self._ready = False

    def fit(self, X: Any, queries: Any = None) -> "FaissIndex":
        """Take the rows `X` (n, d), uint8, float32 or float64, build FAISS's index and tune it.

        The rows must not change while the index is in use: distances are computed from them.

        Parameters
        ----------
        X : array (n, d)
        queries : array (m, d) or None
            Rows like those that will be asked, to tune by and to measure `recall_` on: every second of them serves for each.
            None: rows of `X`, held out of the index meanwhile.

        Raises
        ------
        ImportError
            In one line, where FAISS is not installed.
        ValueError
            For parameters out of range or that do not go together, NaN, infinity, or what FAISS refuses.
        """
        n_threads = self._take(X)
        n = len(self.rows_)
        self._start()
        target = None if self.index == "flat" else self._target()
        asked = None if queries is None else as_rows(queries, "queries", self.rows_.shape[1])
        # The held-out rows enter the index last: it is tuned before it has seen them.
        sample = recall.held_out(n) if target is not None and asked is None else np.empty(0, np.int64)
        if len(sample):
            self._list.order = np.concatenate([np.setdiff1d(np.arange(n), sample, assume_unique=True), sample])
            asked = self.rows_[sample]
        engine, vectors_at = self._list.engine, self._list.vectors_at
        with faiss_factory.faiss_threads(n_threads):
            faiss_factory.train(engine, n, vectors_at)
            faiss_factory.fill(engine, 0, n - len(sample), vectors_at)
            if target is not None and asked is not None:
                self._tune_on(asked, sample, target, n_threads)
            elif (
                target is not None and self._list.parameter is not None
            ):  # too few rows to hold any out: compare them all
                self._list.effort = self._list.limit
            faiss_factory.fill(engine, n - len(sample), n, vectors_at)
        if self.index == "flat":
            self.recall_ = 1.0
        self._ready = True
        return self

    def search(self, Q: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest of the rows that FAISS proposes, for every query.

        Parameters
        ----------
        Q : array (m, d), uint8, float32 or float64
        k : int, 1 to n

        Returns
        -------
        squared_distances : ndarray (m, k), int64 (uint8 queries and rows) or float64, exact, ascending
        indices : ndarray (m, k), int64; ties to the lowest row

        Raises
        ------
        ValueError
            For a k out of range, queries of another width, NaN or infinity.
        RuntimeError
            If FAISS names a row that does not exist.
        """
        self._check_fitted()
        queries = np.asarray(Q)
        if not (queries.ndim == 2 and len(queries) == 0 and queries.shape[1] == self.rows_.shape[1]):
            queries = as_rows(queries, "Q", self.rows_.shape[1])
        if not 1 <= k <= len(self.rows_):
            raise ValueError(f"k must be between 1 and the number of rows, {len(self.rows_)}; got {k}")
        self._follow_parameters()
        n_threads = resolve_n_threads(self.n_jobs)
        distances, indices, complete = self._list.search(np.ascontiguousarray(queries), int(k), n_threads)
        rest = np.flatnonzero(~complete)
        if len(rest):
            distances[rest], indices[rest] = self._brute.nearest(queries[rest], int(k), n_threads)
        self.search_stats_ = {
            "queries": len(queries),
            "shortlist": self._list.length(k),
            "answered_exactly": len(rest),
        }
        return distances, indices

    def search_within(self, Q: Any, squared_radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All rows up to a distance, by the exact engine (built at the first call): see `ExactIndex.search_within`."""
        self._check_fitted()
        return self._exact_engine().search_within(Q, squared_radius)

    def tune(self, Q: Any, k: int, target_recall: float) -> float:
        """Choose the cheapest search parameter, and the shortlist, that reach a recall on the queries `Q`.

        Better than the held-out rows of `fit` where queries differ from rows. `recall_` stays what `fit` measured.

        Returns
        -------
        float
            The recall on `Q`, below the target where that is out of reach.
        """
        self._check_fitted()
        target = _in_range("target_recall", target_recall, Real, 0, 1)
        queries = as_rows(Q, "Q", self.rows_.shape[1])
        exact = self._exact_engine().search(queries, k)[0][:, -1]
        return self._tune(queries, k, exact, target, resolve_n_threads(self.n_jobs))

    def screen_to_save(self) -> dict[str, np.ndarray]:
        """What `restore` needs beside the rows: see `somknn.neighbors.faiss_arrays`.

        Raises ValueError for a factory string that a model file may not ask for.
        """
        self._check_fitted()
        faiss_factory.check_storable(self.index, *self.rows_.shape)
        arrays = faiss_arrays.to_arrays(self.index, self._list.engine)
        arrays["chosen"] = np.array([self._list.effort or 0, self._list.rerank], np.int64)
        arrays["recall"] = np.array([-1.0 if self.recall_ is None else self.recall_])
        if self._list.order is not None:
            arrays["order"] = self._list.order
        return {f"{_PREFIX}{name}": array for name, array in arrays.items()}

    def restore(self, X: np.ndarray, screen: dict[str, np.ndarray]) -> "FaissIndex":
        """As `fit`, with what `screen_to_save` gave in place of the work. Raises ValueError where it does not fit `X`."""
        n_threads = self._take(X)
        n, d = self.rows_.shape
        faiss_factory.check_storable(self.index, n, d)
        self._start()
        arrays = {name.removeprefix(_PREFIX): array for name, array in screen.items()}
        chosen, measured, order = (arrays.pop(name, None) for name in ("chosen", "recall", "order"))
        if chosen is None or chosen.shape != (2,) or measured is None or measured.shape != (1,):
            raise ValueError("the saved index is incomplete")
        if order is not None and not (order.dtype == np.int64 and np.array_equal(np.sort(order), np.arange(n))):
            raise ValueError("the saved index does not list each row once")
        effort, rerank = map(int, chosen)
        if not (1 <= rerank < 2**31 and (self._list.parameter is None or 1 <= effort <= self._list.limit)):
            raise ValueError("the saved index has search parameters out of range")
        self._list.order, self._list.rerank = order, rerank
        self._list.effort = None if self._list.parameter is None else effort
        with faiss_factory.faiss_threads(n_threads):
            n_first = n if order is None else n - len(recall.held_out(n))  # as `fit` added them
            faiss_arrays.from_arrays(self.index, self._list.engine, n, n_first, arrays, self._list.vectors_at)
        self.recall_ = None if measured[0] < 0 else float(measured[0])
        self._ready = True
        return self

    # What is in use

    @property
    def nprobe_(self) -> int | None:
        return self._list.effort if self._list.parameter == "nprobe" else None

    @property
    def ef_search_(self) -> int | None:
        return self._list.effort if self._list.parameter == "ef_search" else None

    @property
    def rerank_(self) -> int:
        return self._list.rerank

    @property
    def nbytes(self) -> int:
        """Bytes that FAISS's index keeps beyond the rows: its length in FAISS's own format."""
        self._check_fitted()
        return faiss_factory.n_bytes(self._list.engine)

    def _check_fitted(self) -> None:
        if not self._ready:
            raise ValueError("this index has no rows yet; call fit first")

    def _take(self, X: Any) -> int:
        """Check parameters and rows, keep what they determine; the number of threads."""
        faiss_factory.require_faiss()
        if not isinstance(self.index, str):
            raise TypeError(f"index must be a string, got {self.index!r}")
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}; got {self.algorithm!r}")
        for name in ("nlist", "nprobe", "ef_search", "rerank"):
            if getattr(self, name) is not None:
                _in_range(name, getattr(self, name), Integral, 1, 2**31 - 1)
        _in_range("n_neighbors", self.n_neighbors, Integral, 1, 2**31 - 1)
        if self.target_recall is not None:
            _in_range("target_recall", self.target_recall, Real, 0, 1)
            if self.nprobe is not None or self.ef_search is not None:
                raise ValueError("give target_recall, or nprobe or ef_search, not both: the first chooses the others")
        self._ready = False
        self.rows_ = as_rows(X, "X")
        self._brute = BruteSearch(self.rows_, isa_module.select())
        self._exact = None
        self.search_stats_ = {}
        self.recall_ = None
        return resolve_n_threads(self.n_jobs)

    def _start(self) -> None:
        """An empty index of FAISS, with the parameters given or untuned ones."""
        d = self.rows_.shape[1]
        vectors = FloatRows(self.rows_, self._brute)
        engine = faiss_factory.make(self.index, len(self.rows_), d, nlist=self.nlist, as_bytes=vectors.unchanged)
        self._list = Shortlist(self.index, engine, vectors, self._brute, isa_module.select())
        self._list.rerank = 10 if self._compressed() else 2
        self._given = {"nprobe": None, "ef_search": None, "rerank": None}
        self._follow_parameters()

    def _follow_parameters(self) -> None:
        """Parameters that were given count, also those that were set after `fit`."""
        for name, before in self._given.items():
            value = getattr(self, name)
            if value is None or value == before:
                continue
            _in_range(name, value, Integral, 1, 2**31 - 1)
            if name == "rerank":
                self._list.rerank = int(value)
            elif name == self._list.parameter:
                self._list.effort = min(int(value), self._list.limit)
            else:
                takes = f"; it takes {self._list.parameter}" if self._list.parameter else ""
                raise ValueError(f"index={self.index!r} has no search parameter {name}{takes}")
        self._given = {name: getattr(self, name) for name in self._given}

    def _compressed(self) -> bool:
        return self.index not in ("flat", "ivf", "hnsw", "sq8") and not self.index.endswith("Flat")

    def _target(self) -> float | None:
        if self.target_recall is not None:
            return float(self.target_recall)
        return _DEFAULT_TARGET if self.nprobe is None and self.ef_search is None else None

    # Tuning

    def _exact_engine(self) -> ExactIndex:
        with _LOCK:
            if self._exact is None:
                self._exact = ExactIndex(self.algorithm, n_jobs=self.n_jobs).fit(self.rows_)
        self._exact.n_jobs = self.n_jobs
        return self._exact

    def _tune_on(self, queries: np.ndarray, excluded: np.ndarray, target: float, n_threads: int) -> None:
        """Choose the parameters by every second query, and measure by the others; the rows `excluded` are not in the index yet."""
        k = min(int(self.n_neighbors), len(self.rows_) - len(excluded))
        exact, kth = ExactIndex(self.algorithm, n_jobs=self.n_jobs).fit(self.rows_), None
        listed = k
        while kth is None:
            distances, indices = exact.search(queries, listed)
            kth = recall.without(indices, distances, excluded, k)
            listed = min(2 * listed + 16, len(self.rows_))
        # Kernels read contiguous rows. A single query serves for both.
        second = min(1, len(queries) - 1)
        to_choose, to_measure = (np.ascontiguousarray(queries[part::2]) for part in (0, second))
        reached = self._tune(to_choose, k, kth[::2], target, n_threads)
        if reached < target:
            warnings.warn(
                f"target_recall={target} is out of reach of index={self.index!r} on these rows: {reached:.4f} is what it gives",
                stacklevel=3,
            )
        self.recall_ = float(self._recalls(to_measure, k, kth[second::2], n_threads).mean())

    def _recalls(self, queries: np.ndarray, k: int, exact_kth: np.ndarray, n_threads: int) -> np.ndarray:
        return recall.recalls(self._list.search(queries, k, n_threads)[0], exact_kth)

    def _tune(self, queries: np.ndarray, k: int, exact_kth: np.ndarray, target: float, n_threads: int) -> float:
        shortlist = self._list

        def at_least(effort: int | None) -> float:
            shortlist.effort = effort
            return recall.at_least(self._recalls(queries, k, exact_kth, n_threads))

        start = k if shortlist.parameter == "ef_search" else 1
        while True:
            if shortlist.parameter is None:
                reached = at_least(None)
            else:
                shortlist.effort, reached = recall.cheapest(at_least, start, shortlist.limit, target)
            longer = 2 * shortlist.rerank
            if reached >= target or self.rerank is not None or longer * k > min(_LONGEST_SHORTLIST, len(self.rows_)):
                return float(self._recalls(queries, k, exact_kth, n_threads).mean())
            # More cells do not help any more: what is missing was ranked too low by the compressed rows.
            shortlist.rerank = longer


def _in_range(name: str, value: Any, kind: type, lowest: float, highest: float) -> Any:
    """`value` of a parameter, checked; for a real number `lowest` itself is out of range."""
    right = isinstance(value, kind) and not isinstance(value, bool)
    if not right or not (lowest < value if kind is Real else lowest <= value) or value > highest:
        bounds = f"in ({lowest}, {highest}]" if kind is Real else f"an integer of {lowest} or more"
        raise ValueError(f"{name} must be {bounds}, got {value!r}")
    return value
