"""The FAISS backend: FAISS proposes an approximate shortlist; somknn computes exact distances and the order.

    FaissIndex                                validates, tunes, keeps the guarantees below
      |- Shortlist                            queries FAISS; exact order by a kernel (reranking)
      |    `- faiss_factory, faiss_rows       FAISS itself; the float32 vectors that it gets
      |- BruteSearch                          queries that a shortlist cannot answer
      |- faiss_tuning, recall, ExactIndex     reference answers for tuning, and the recall reached
      `- faiss_arrays                         the index in a model file

Every index guarantees k different rows for every query, with exact distances, in order of distance and then of row. It
may miss a neighbour that FAISS did not propose; `recall_` is the share that it finds. `index="flat"` misses none: a
bound on its rounding errors certifies each answer, and queries that cannot be certified are answered by exact search.
"""

import threading
from numbers import Integral, Real
from typing import Any

import numpy as np

from somknn import machine
from somknn.fitted import turn
from somknn.machine import resolve_n_threads
from somknn.neighbors import faiss_arrays, faiss_factory, faiss_tuning, recall
from somknn.neighbors.faiss_rows import FloatRows
from somknn.neighbors.faiss_shortlist import Setting, Shortlist
from somknn.search.brute import BruteSearch
from somknn.search.index import ALGORITHMS, ExactIndex, as_rows

_DEFAULT_TARGET = 0.99
_LOCK = threading.Lock()  # shared by all: a lock in each would prevent pickling an estimator
_PREFIX = "screen_faiss_"  # name prefix of the arrays in a model file
_FOLLOWED = ("nprobe", "ef_search", "rerank")


class _Fitted:
    """Rows and the engines that search them; after `fit` only its setting is replaced, as a whole."""

    def __init__(self, rows: np.ndarray, brute: BruteSearch, shortlist: Shortlist):
        self.rows, self.brute, self.list = rows, brute, shortlist
        self.recall: float | None = None
        # Parameters that the current setting takes into account.
        self.given: dict[str, int | None] = dict.fromkeys(_FOLLOWED)
        self._exact: ExactIndex | None = None

    def exact(self, algorithm: str, n_jobs: int | None) -> ExactIndex:
        """The exact engine over these rows, created on first use."""
        with _LOCK:
            if self._exact is None:
                self._exact = ExactIndex(algorithm, n_jobs=n_jobs).fit(self.rows)
        return self._exact


class FaissIndex:
    """k-nearest-neighbour search by FAISS, re-ranked exactly.

    Parameters
    ----------
    index : str
        "flat" (compares all rows in float32), "ivf" (inverted file: compares the rows of the `nprobe` nearest cells),
        "ivfpq" (the same with rows compressed to 64 bytes), "hnsw" (a graph of neighbours, 32 links), "sq8" (all rows,
        at one byte per feature), or any string for FAISS's `index_factory`, such as "IVF1024,PQ32x4fs".
    nlist : int or None
        Cells of "ivf" and "ivfpq". None: a power of two near 4·√n.
    nprobe, ef_search : int or None
        The search parameter of an inverted file or of a graph. None: the cheapest value that reaches `target_recall`.
        If set on a fitted index, they apply from the next search on.
    rerank : int or None
        The shortlist has rerank·k rows. None: 2, or 10 for an index of compressed rows, or more if `target_recall`
        needs it.
    target_recall : float or None
        Recall to reach on held-out rows, in (0, 1], with one standard error of margin. None: 0.99, unless `nprobe` or
        `ef_search` is given.
    n_neighbors : int
        The k for which `target_recall` and `recall_` are defined.
    algorithm : {"auto", "brute", "pruned", "tree"}
        Search method of the exact engine, which provides the reference answers for tuning and serves `search_within`.
    n_jobs : int or None
        Threads, also of FAISS while it works for this index; None and -1 mean all that `NUMBA_NUM_THREADS` allows.

    Attributes
    ----------
    recall_ : float or None
        Share of the `n_neighbors` nearest rows that are found. Measured on up to 500 held-out rows that were not used
        to choose the parameters; 1.0 for "flat", None if nothing was tuned.
    nprobe_, ef_search_, rerank_ : int or None
        The values in use.
    search_stats_ : dict
        About the last search: `queries`, rows in each `shortlist`, and the number of queries `answered_exactly`.
    rows_ : ndarray (n, d)
        The fitted rows; the caller's own array if it was C-contiguous.

    Notes
    -----
    Exact search answers a query if FAISS proposes fewer than k rows (it returns -1 for the others), if float32 cannot
    represent its values, or, for "sq8" on bytes, if its values are not bytes. Inverted files, "sq8" and "flat" are the
    same for every fit; the graph of "hnsw" depends on the order in which threads insert rows, so only a fit with
    `n_jobs=1` is reproducible.

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

    search_stats_: dict[str, int]

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
        self._fitted: _Fitted | None = None
        self._of_an_estimator = False

    def fit(self, X: Any, queries: Any = None) -> "FaissIndex":
        """Build and tune FAISS's index for the rows `X` (n, d), uint8, float32 or float64.

        The rows must not change while the index is in use: distances are computed from them.

        Parameters
        ----------
        X : array (n, d)
        queries : array (m, d) or None
            Rows like the future queries, for tuning and for measuring `recall_`: alternate rows are used for each.
            None: rows of `X`, which are held out of the index meanwhile.

        Raises
        ------
        ImportError
            In one line, if FAISS is not installed.
        ValueError
            For parameters that are out of range or contradict each other, NaN, infinity, or an error of FAISS.
        """
        fitted = self._empty(X)
        n, shortlist = len(fitted.rows), fitted.list
        n_threads = resolve_n_threads(self.n_jobs)
        target = None if self.index == "flat" else self._target()
        asked = None if queries is None else as_rows(queries, "queries", fitted.rows.shape[1])
        # The held-out rows are added to the index last: it is tuned without them.
        sample = recall.held_out(n) if target is not None and asked is None else np.empty(0, np.int64)
        if len(sample):
            shortlist.order = np.concatenate([np.setdiff1d(np.arange(n), sample, assume_unique=True), sample])
            asked = fitted.rows[sample]
        engine, vectors_at = shortlist.engine, shortlist.vectors_at
        with faiss_factory.faiss_threads(n_threads):
            faiss_factory.train(engine, n, vectors_at)
            faiss_factory.fill(engine, 0, n - len(sample), vectors_at)
            if target is not None and asked is not None:
                k = min(int(self.n_neighbors), n - len(sample))
                kth = self._kth_distances(fitted.rows, asked, sample, k)
                shortlist.setting, fitted.recall = faiss_tuning.tune_and_measure(
                    shortlist, asked, k, kth, target, n_threads, longer_lists=self.rerank is None
                )
            elif target is not None and shortlist.parameter is not None:  # too few rows to hold any out: compare all
                shortlist.setting = shortlist.setting._replace(effort=shortlist.limit)
            faiss_factory.fill(engine, n - len(sample), n, vectors_at)
        if self.index == "flat":
            fitted.recall = 1.0
        return self._become(fitted)

    def search(self, Q: Any, k: int, *, n_threads: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest of the rows that FAISS proposes, for every query.

        Parameters
        ----------
        Q : array (m, d), uint8, float32 or float64
        k : int, 1 to n
        n_threads : int or None
            Threads of this search; None: as set by `n_jobs`.

        Returns
        -------
        squared_distances : ndarray (m, k), int64 (uint8 queries and rows) or float64, exact, ascending
        indices : ndarray (m, k), int64; ties to the lowest row

        Raises
        ------
        ValueError
            For a k out of range, queries of another width, NaN or infinity.
        RuntimeError
            If FAISS returns a row that does not exist.
        """
        fitted = self._taken()
        rows, shortlist = fitted.rows, fitted.list
        queries = np.asarray(Q)
        if not (queries.ndim == 2 and len(queries) == 0 and queries.shape[1] == rows.shape[1]):
            queries = as_rows(queries, "Q", rows.shape[1])
        if not 1 <= k <= len(rows):
            raise ValueError(f"k must be between 1 and the number of rows, {len(rows)}; got {k}")
        setting = self._follow_parameters(fitted)
        n_threads = n_threads or resolve_n_threads(self.n_jobs)
        distances, indices, complete = shortlist.search(np.ascontiguousarray(queries), int(k), n_threads, setting)
        rest = np.flatnonzero(~complete)
        if len(rest):
            distances[rest], indices[rest] = fitted.brute.search(queries[rest], int(k), n_threads=n_threads)
        self.search_stats_ = {
            "queries": len(queries),
            "shortlist": shortlist.length(k, setting),
            "answered_exactly": len(rest),
        }
        return distances, indices

    def search_within(
        self, Q: Any, squared_radius: float, *, n_threads: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All rows up to a distance, by the exact engine (built at the first call): see `ExactIndex.search_within`."""
        exact = self._taken().exact(self.algorithm, self.n_jobs)
        return exact.search_within(Q, squared_radius, n_threads=n_threads or resolve_n_threads(self.n_jobs))

    def tune(self, Q: Any, k: int, target_recall: float) -> float:
        """Choose the cheapest search parameter and shortlist length that reach a recall on the queries `Q`.

        Preferable to the held-out rows of `fit` if queries differ from rows. `recall_` stays what `fit` measured.

        Returns
        -------
        float
            The recall on `Q`; below the target if that cannot be reached.
        """
        fitted = self._taken()
        target = _in_range("target_recall", target_recall, Real, 0, 1)
        queries = as_rows(Q, "Q", fitted.rows.shape[1])
        n_threads = resolve_n_threads(self.n_jobs)
        exact = fitted.exact(self.algorithm, self.n_jobs).search(queries, k, n_threads=n_threads)[0][:, -1]
        fitted.list.setting, reached = faiss_tuning.tuned(
            fitted.list, queries, k, exact, target, n_threads, longer_lists=self.rerank is None
        )
        return reached

    def screen_to_save(self) -> dict[str, np.ndarray]:
        """The arrays that `restore` needs in addition to the rows: see `somknn.neighbors.faiss_arrays`.

        Raises ValueError for a factory string that is not allowed in a model file.
        """
        fitted = self._taken()
        faiss_factory.check_storable(fitted.list.spec, *fitted.rows.shape)
        shortlist, setting = fitted.list, fitted.list.setting
        arrays = faiss_arrays.to_arrays(shortlist.spec, shortlist.engine)
        arrays["chosen"] = np.array([setting.effort or 0, setting.rerank], np.int64)
        arrays["recall"] = np.array([-1.0 if fitted.recall is None else fitted.recall])
        if shortlist.order is not None:
            arrays["order"] = shortlist.order
        return {f"{_PREFIX}{name}": array for name, array in arrays.items()}

    def restore(self, X: np.ndarray, screen: dict[str, np.ndarray]) -> "FaissIndex":
        """As `fit`, but from the arrays of `screen_to_save`. Raises ValueError if they do not match `X`."""
        if isinstance(self.index, str):  # before FAISS creates anything from it
            faiss_factory.check_storable(self.index, *X.shape)
        fitted = self._empty(X)
        n, shortlist = len(fitted.rows), fitted.list
        arrays = {name.removeprefix(_PREFIX): array for name, array in screen.items()}
        chosen, measured, order = (arrays.pop(name, None) for name in ("chosen", "recall", "order"))
        if chosen is None or chosen.shape != (2,) or measured is None or measured.shape != (1,):
            raise ValueError("the saved index is incomplete")
        if order is not None and not (order.dtype == np.int64 and np.array_equal(np.sort(order), np.arange(n))):
            raise ValueError("the saved index does not list each row once")
        effort, rerank = map(int, chosen)
        if not (1 <= rerank < 2**31 and (shortlist.parameter is None or 1 <= effort <= shortlist.limit)):
            raise ValueError("the saved index has search parameters out of range")
        shortlist.order, shortlist.setting = order, Setting(None if shortlist.parameter is None else effort, rerank)
        with faiss_factory.faiss_threads(resolve_n_threads(self.n_jobs)):
            n_first = n if order is None else n - len(recall.held_out(n))  # in the order in which `fit` added them
            faiss_arrays.from_arrays(self.index, shortlist.engine, n, n_first, arrays, shortlist.vectors_at)
        fitted.recall = None if measured[0] < 0 else float(measured[0])
        return self._become(fitted)

    # The values in use

    @property
    def rows_(self) -> np.ndarray:
        return self._attributes().rows

    @property
    def recall_(self) -> float | None:
        return self._attributes().recall

    @property
    def nprobe_(self) -> int | None:
        return self._list.setting.effort if self._list.parameter == "nprobe" else None

    @property
    def ef_search_(self) -> int | None:
        return self._list.setting.effort if self._list.parameter == "ef_search" else None

    @property
    def rerank_(self) -> int:
        return self._list.setting.rerank

    @property
    def nbytes(self) -> int:
        """Bytes of FAISS's index beyond the rows: its length in FAISS's own format."""
        return faiss_factory.n_bytes(self._taken().list.engine)

    @property
    def _list(self) -> Shortlist:
        return self._attributes().list

    def _attributes(self) -> _Fitted:
        if self._fitted is None:
            raise AttributeError("this index has no rows yet; call fit first")
        return self._fitted

    def _taken(self) -> _Fitted:
        """The state that one call uses from beginning to end. Raises ValueError before `fit`."""
        if self._fitted is None:
            raise ValueError("this index has no rows yet; call fit first")
        return self._fitted

    def _become(self, fitted: _Fitted) -> "FaissIndex":
        if self._of_an_estimator:
            raise ValueError("this index belongs to an estimator, whose labels go with its rows: fit the estimator")
        with turn(self):
            self._fitted, self.search_stats_ = fitted, {}
        return self

    def _empty(self, X: Any) -> _Fitted:
        """An empty FAISS index for the rows `X`, with the given parameters, which are checked, or untuned ones."""
        faiss_factory.require_faiss()
        if not isinstance(self.index, str):
            raise TypeError(f"index must be a string, got {self.index!r}")
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}; got {self.algorithm!r}")
        for name in ("nlist", *_FOLLOWED):
            if getattr(self, name) is not None:
                _in_range(name, getattr(self, name), Integral, 1, 2**31 - 1)
        _in_range("n_neighbors", self.n_neighbors, Integral, 1, 2**31 - 1)
        if self.target_recall is not None:
            _in_range("target_recall", self.target_recall, Real, 0, 1)
            if self.nprobe is not None or self.ef_search is not None:
                raise ValueError("give target_recall, or nprobe or ef_search, not both: the first chooses the others")
        rows, isa = as_rows(X, "X"), machine.select()
        brute = BruteSearch(rows, isa)
        vectors = FloatRows(rows, brute)
        engine = faiss_factory.make(self.index, *rows.shape, nlist=self.nlist, as_bytes=vectors.unchanged)
        fitted = _Fitted(rows, brute, Shortlist(self.index, engine, vectors, brute, isa))
        fitted.list.setting = fitted.list.setting._replace(rerank=10 if self._compressed() else 2)
        self._follow_parameters(fitted)
        return fitted

    def _follow_parameters(self, fitted: _Fitted) -> Setting:
        """The setting in use. Given parameters take precedence, also if they were set after `fit`."""
        setting, shortlist = fitted.list.setting, fitted.list
        given = {name: getattr(self, name) for name in _FOLLOWED}
        if given == fitted.given:
            return setting
        for name, value in given.items():
            if value is None or value == fitted.given[name]:
                continue
            _in_range(name, value, Integral, 1, 2**31 - 1)
            if name == "rerank":
                setting = setting._replace(rerank=int(value))
            elif name == shortlist.parameter:
                setting = setting._replace(effort=min(int(value), shortlist.limit))
            else:
                takes = f"; it takes {shortlist.parameter}" if shortlist.parameter else ""
                raise ValueError(f"index={self.index!r} has no search parameter {name}{takes}")
        shortlist.setting, fitted.given = setting, given
        return setting

    def _compressed(self) -> bool:
        return self.index not in ("flat", "ivf", "hnsw", "sq8") and not self.index.endswith("Flat")

    def _target(self) -> float | None:
        if self.target_recall is not None:
            return float(self.target_recall)
        return _DEFAULT_TARGET if self.nprobe is None and self.ef_search is None else None

    def _kth_distances(self, rows: np.ndarray, queries: np.ndarray, excluded: np.ndarray, k: int) -> np.ndarray:
        """Each query's k-th smallest squared distance to the rows except those `excluded`."""
        exact, listed = ExactIndex(self.algorithm, n_jobs=self.n_jobs).fit(rows), k
        while True:
            distances, indices = exact.search(queries, listed)
            kth = recall.without(indices, distances, excluded, k)
            if kth is not None:
                return kth
            listed = min(2 * listed + 16, len(rows))


def _in_range(name: str, value: Any, kind: type, lowest: float, highest: float) -> Any:
    """Check the value of a parameter and return it; for a real number `lowest` itself is out of range."""
    right = isinstance(value, kind) and not isinstance(value, bool)
    if not right or not (lowest < value if kind is Real else lowest <= value) or value > highest:
        bounds = f"in ({lowest}, {highest}]" if kind is Real else f"an integer of {lowest} or more"
        raise ValueError(f"{name} must be {bounds}, got {value!r}")
    return value
