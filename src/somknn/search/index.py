"""The exact search index, which everything else in somknn asks for neighbours.

    KNeighbors*, SOM, KMeans, prototypes
              |
         ExactIndex                       validates, chooses the algorithm, the instruction set, the threads
        /     |     \\
 BruteSearch  |  PrunedSearch             prepare scratch, split the work over threads
        \\  TreeSearch  /
      somknn_kernels                      loops

The neighbours never depend on the algorithm, the instruction set, the threads, or how the queries are batched.
"""

from typing import Any, NamedTuple

import numpy as np

from somknn import machine
from somknn.fitted import turn
from somknn.machine import Isa, resolve_n_threads
from somknn.search import self_search, stored
from somknn.search.allowance import Allowance
from somknn.search.brute import NO_INDEX, BruteSearch
from somknn.search.costs import brute_search
from somknn.search.finite import check_finite
from somknn.search.judging import best_embedding, may_wait, tree_pays, worth_judging
from somknn.search.pruned import PrunedSearch
from somknn.search.signed_bytes import compared
from somknn.search.stored import StoredSearch
from somknn.search.tree import TreeSearch
from somknn.threads import single_threaded_blas

TREES = ("tree", "kd_tree", "ball_tree")  # scikit-learn's names mean the same
ALGORITHMS = ("auto", "brute", "pruned", *TREES)
_TREE_MARK = "screen_tree"  # in model files
DTYPES = (np.dtype(np.uint8), np.dtype(np.float32), np.dtype(np.float64))
ROW_DTYPES = tuple(map(np.dtype, (np.uint8, np.int8, np.int16, np.float16, np.float32, np.float64)))  # an exact index's


def as_rows(array: Any, name: str, n_features: int | None = None, dtypes: tuple[np.dtype, ...] = DTYPES) -> np.ndarray:
    """`array` as C-contiguous rows of one of `dtypes`, finite; copied only if needed.

    Raises TypeError for another dtype and ValueError for another shape, NaN or infinity (row and column named).
    """
    rows = np.asarray(array)
    if rows.dtype not in dtypes:
        names = ", ".join(map(str, dtypes[:-1]))
        raise TypeError(f"{name} must be {names} or {dtypes[-1]}, got {rows.dtype}")
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{name} must have the shape (rows, features), neither of them 0; got {rows.shape}")
    if n_features is not None and rows.shape[1] != n_features:
        raise ValueError(f"{name} has {rows.shape[1]} features, but the index was fitted with {n_features}")
    if rows.dtype.kind == "f":
        from sklearn import get_config  # not needed for integers: importing scikit-learn takes longer than their index

        if not get_config()["assume_finite"]:
            check_finite(rows)
    if type(rows) is np.ndarray and rows.flags.c_contiguous and rows.dtype.isnative:
        return rows
    # Native byte order and C order. Memory maps become plain arrays too, so that Numba sees one type.
    return np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("=")).view(np.ndarray)


class _Later:
    """A choice of "auto" that waits until brute force has taken long; copies of an index share it.

    If two threads come to that point together, both make the same choice, and that of one is kept.
    """

    def __init__(self) -> None:
        self.allowance = Allowance()
        self.made: _Fitted | None = None

    def choice(self, waiting: "_Fitted", n_threads: int) -> "_Fitted":
        if self.made is None:
            self.made = _choose(waiting.rows, waiting.isa, "auto", n_threads)
        return self.made


class _Fitted(NamedTuple):
    """Rows and what searches them. Never changed: `fit`, `add` and a choice that has waited make a new one."""

    rows: np.ndarray
    isa: Isa
    search: BruteSearch | TreeSearch
    pruned: PrunedSearch | StoredSearch | None = None
    later: _Later | None = None

    def comparable(self, queries: np.ndarray) -> tuple["_Fitted", np.ndarray]:
        """The searches that answer these queries, and the queries as they are compared.

        int8 rows are searched as bytes for int8 queries; other queries are compared with the rows as they were given,
        all of them. Queries of float16 become float32, as kernels take them.
        """
        if queries.dtype == np.float16:
            queries = queries.astype(np.float32)
        if self.rows.dtype != np.int8:
            return self, queries
        if queries.dtype == np.int8:
            return self, compared(queries)
        return self._replace(search=BruteSearch(self.rows, self.isa), pruned=None, later=None), queries

    def pruned_for(self, n_queries: int, n_threads: int) -> PrunedSearch | None:
        """The pruned search, if it is to answer so many queries; None means `search`."""
        if n_queries == 0 or (isinstance(self.pruned, StoredSearch) and not self.pruned.worth_building(n_queries)):
            return None
        return self.built(n_threads)

    def built(self, n_threads: int) -> PrunedSearch | None:
        """The pruned search, ready for use; None if there is none."""
        return self.pruned.built(n_threads) if isinstance(self.pruned, StoredSearch) else self.pruned


def _choose(given: np.ndarray, isa: Isa, algorithm: str, n_threads: int) -> _Fitted:
    """The searches of `algorithm`; of those of "auto" the one that promises to be the fastest."""
    rows, auto = compared(given), algorithm == "auto"
    if algorithm in TREES or (auto and tree_pays(rows, isa, n_threads)):
        return _Fitted(given, isa, TreeSearch(rows, isa, n_threads))
    pruned: PrunedSearch | None = None
    # Data beyond float32's range overflows in the short vectors. Their errors say so, and nothing is ruled out.
    with single_threaded_blas(), np.errstate(over="ignore", invalid="ignore"):
        if algorithm == "pruned" or (auto and worth_judging(rows)):
            embedding = best_embedding(rows, isa, n_threads, always=algorithm == "pruned")
            if embedding is not None:
                pruned = PrunedSearch(rows, embedding, n_threads)
    return _Fitted(given, isa, BruteSearch(rows, isa), pruned)


def _small(given: np.ndarray, isa: Isa) -> _Fitted | None:
    """Brute force for now, if the choice of "auto" among `given` can wait."""
    rows, later = compared(given), _Later()
    if not (later.allowance.covers(0.0) and may_wait(rows, isa)):
        return None
    return _Fitted(given, isa, BruteSearch(rows, isa), later=later)


def _complete(distances: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two arrays of a search. Raises ValueError if a list is not full, which only NaN can cause."""
    if len(indices) == 1 and indices.item(-1) != NO_INDEX:
        return distances, indices
    short = indices[:, -1] == NO_INDEX
    if short.any():
        raise ValueError(
            f"query {int(np.argmax(short))} has fewer than k={indices.shape[1]} neighbours: "
            "NaN among its values or those of the rows"
        )
    return distances, indices


class ExactIndex:
    """Exact k-nearest-neighbour and radius search under squared Euclidean distance.

    Parameters
    ----------
    algorithm : {"auto", "brute", "pruned", "tree", "kd_tree", "ball_tree"}
        "brute" compares every pair. "pruned" first rules out rows by a certified lower bound. "tree" looks only into
        boxes that are near enough, for up to about 15 columns; scikit-learn's names of trees mean the same. "auto"
        decides from a sample of the rows: at `fit`, or for small sets when brute force has taken long enough.
    n_jobs : int or None
        Number of threads; None and -1 mean all that `NUMBA_NUM_THREADS` allows.
    isa : str or None
        Instruction set: None (the best available, or `$SOMKNN_ISA`), "vnni", "avxvnni", "avx2", "portable".

    Attributes
    ----------
    algorithm_ : str
        "brute", "pruned" or "tree": what answers now. With algorithm "auto" a small set begins with "brute".
    isa_ : str
        The instruction set in use.
    search_stats_ : dict
        Of the last pruned search that ended: `queries`, and the means per query `rows_after_scan` and
        `rows_compared_exactly`.
    rows_ : ndarray (n, d)
        The fitted rows; the caller's own array if that was C-contiguous.

    Notes
    -----
    Rows and queries are uint8, int8, int16, float16, float32 or float64 (`ROW_DTYPES`). Rows are held as they come.
    uint8 queries and rows give int64 distances, exact for any number of columns. So do int8 queries and rows, which are
    searched as bytes: their index holds one more byte for each value, and queries of other types are compared with all
    rows. All other pairs of types give float64 distances, computed in one fixed order of summation
    (`somknn_kernels.exact.distances`); those of int16 are whole numbers, exact up to 2^53. Equal distances are ordered
    by row.

    Any number of threads may search one index while another thread fits it or adds rows: a search uses the rows that
    the index had when the search began. `copy.copy(index)` has the same rows, but statistics and threads of its own.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([[0, 0], [3, 4], [3, 4], [10, 0]], dtype=np.uint8)
    >>> distances, indices = ExactIndex().fit(rows).search(np.array([[3, 3]], dtype=np.uint8), k=3)
    >>> distances, indices
    (array([[ 1,  1, 18]]), array([[1, 2, 0]]))
    """

    search_stats_: dict[str, float]

    def __init__(self, algorithm: str = "auto", *, n_jobs: int | None = None, isa: str | None = None):
        self.algorithm = algorithm
        self.n_jobs = n_jobs
        self.isa = isa
        self._fitted: _Fitted | None = None
        self._of_an_estimator = False

    def fit(self, X: Any) -> "ExactIndex":
        """Take the rows `X` (n, d) of one of `ROW_DTYPES`. They must not change while the index is in use."""
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}; got {self.algorithm!r}")
        given, isa = as_rows(X, "X", dtypes=ROW_DTYPES), machine.select(self.isa)
        return self._become(self._ready(given, isa))

    def _ready(self, given: np.ndarray, isa: Isa) -> _Fitted:
        small = _small(given, isa) if self.algorithm == "auto" else None
        return small or _choose(given, isa, self.algorithm, resolve_n_threads(self.n_jobs))

    def add(self, X: Any) -> "ExactIndex":
        """Append rows (same dtype and width) without a new fit. They get the indices from n on.

        The algorithm and the axes stay those of `fit`; a tree is built anew. When the rows have become several times as
        many, or of another kind, a new `fit` searches faster.
        """
        with turn(self):  # two threads, one after the other: each adds to what the other has added
            fitted = self._taken()
            new = as_rows(X, "X", fitted.rows.shape[1], ROW_DTYPES)
            if new.dtype != fitted.rows.dtype:
                raise TypeError(f"X must have the dtype of the fitted rows, {fitted.rows.dtype}; got {new.dtype}")
            given = np.concatenate([fitted.rows, new])
            if fitted.later is not None:
                return self._become(self._ready(given, fitted.isa))
            rows = given if fitted.search.rows is fitted.rows else np.concatenate([fitted.search.rows, compared(new)])
            n_threads = resolve_n_threads(self.n_jobs)
            pruned = fitted.built(n_threads)
            if pruned is not None:
                pruned = pruned.with_rows(rows, len(new), n_threads)
            if isinstance(fitted.search, TreeSearch):
                return self._become(_Fitted(given, fitted.isa, fitted.search.with_rows(rows, n_threads)))
            return self._become(_Fitted(given, fitted.isa, BruteSearch(rows, fitted.isa), pruned))

    def _become(self, fitted: _Fitted) -> "ExactIndex":
        if self._of_an_estimator:
            raise ValueError("this index belongs to an estimator, whose labels go with its rows: fit the estimator")
        with turn(self):
            self._fitted, self.search_stats_ = fitted, {}
        return self

    def _taken(self) -> _Fitted:
        """The state that a call works with from beginning to end. Raises ValueError before `fit`."""
        if self._fitted is None:
            raise ValueError("this index has no rows yet; call fit first")
        return self._fitted

    def _for_queries(self, fitted: _Fitted, n_queries: int, n_threads: int) -> _Fitted:
        """The searches for so many queries more: if the choice of "auto" has waited long enough, it is made now."""
        if fitted.later is None or fitted.later.allowance.covers(
            brute_search(fitted.isa, n_queries, fitted.search.rows)
        ):
            return fitted
        return self._chosen(fitted, n_threads)

    def _chosen(self, fitted: _Fitted, n_threads: int) -> _Fitted:
        if fitted.later is None:
            return fitted
        made = fitted.later.choice(fitted, n_threads)
        with turn(self):
            if self._fitted is fitted:
                self._fitted = made
        return made

    def search(
        self, Q: Any, k: int, upper_bounds: Any = None, *, n_threads: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of every query.

        Parameters
        ----------
        Q : array (m, d) of one of `ROW_DTYPES`
        k : int, 1 to n
        upper_bounds : array (m,) or None
            For each query a squared distance within which at least k rows lie. Saves time, never changes the answer.
        n_threads : int or None
            Threads of this search; None means as many as `n_jobs` says.

        Raises
        ------
        ValueError
            For a k out of range, queries of another width, NaN or infinity, or an upper bound within which fewer than k
            rows lie.

        Returns
        -------
        squared_distances : ndarray (m, k), int64 or float64, ascending
        indices : ndarray (m, k), int64
        """
        fitted = self._taken()
        rows = fitted.rows
        queries = _as_queries(Q, rows.shape[1])
        if not 1 <= k <= len(rows):
            raise ValueError(f"k must be between 1 and the number of rows, {len(rows)}; got {k}")
        n_threads = n_threads or resolve_n_threads(self.n_jobs)
        fitted, queries = self._for_queries(fitted, len(queries), n_threads).comparable(queries)
        # If a large share of all rows is wanted, ruling rows out does not help.
        pruned = None if k > len(rows) // 8 else fitted.pruned_for(len(queries), n_threads)
        if pruned is None:
            return _complete(*fitted.search.search(queries, int(k), n_threads=n_threads))
        if upper_bounds is not None:
            upper_bounds = np.asarray(upper_bounds)
            if upper_bounds.shape != (len(queries),):
                raise ValueError(f"upper_bounds must have the shape ({len(queries)},), got {upper_bounds.shape}")
        survivors = np.empty(2)
        distances, indices = pruned.search(queries, int(k), upper_bounds, n_threads=n_threads, survivors=survivors)
        if upper_bounds is not None and (indices[:, -1] == NO_INDEX).any():
            query = int(np.argmax(indices[:, -1] == NO_INDEX))
            raise ValueError(f"upper_bounds[{query}] is too low: fewer than k={k} rows are that near")
        self._record(survivors, len(queries))
        return _complete(distances, indices)

    def search_rows(self, k: int, groups: Any) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of every fitted row among other groups' rows: across folds, or without the row itself.

        Needs a pruned index or a tree (`algorithm_`). A pruned index looks at each pair of rows once.

        Parameters
        ----------
        k : int
        groups : array (n,) of integers
            Rows of the same group are not each other's neighbours. np.arange(n) leaves out only the row itself.

        Raises
        ------
        ValueError
            For a brute-force index, groups of another shape or kind, or k above the number of rows outside some group.

        Returns
        -------
        squared_distances, indices : as those of `search`, (n, k)
        """
        n_threads = resolve_n_threads(self.n_jobs)
        fitted = self._chosen(self._taken(), n_threads)
        rows, groups = fitted.rows, np.asarray(groups)
        pruned = fitted.built(n_threads)
        if pruned is None and isinstance(fitted.search, BruteSearch):
            raise ValueError("search_rows needs a pruned index or a tree, but this one is brute force; use search")
        if groups.shape != (len(rows),) or groups.dtype.kind not in "iu":
            raise ValueError(f"groups must hold {len(rows)} integers, got {groups.dtype} of the shape {groups.shape}")
        _, apart, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        if not 1 <= k <= len(rows) - sizes.max():
            raise ValueError(
                f"k must be between 1 and the {len(rows) - sizes.max()} rows outside the largest group; got {k}"
            )
        if isinstance(fitted.search, TreeSearch):
            return _complete(*fitted.search.search_rows(int(k), apart, n_threads))
        assert pruned is not None
        *found, survivors = self_search.nearest_apart(pruned, int(k), apart, n_threads)
        self._record(survivors, len(rows))
        return _complete(*found)

    def search_within(
        self, Q: Any, squared_radius: float, *, n_threads: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All rows at a squared distance of at most `squared_radius` from each query; `n_threads` as in `search`.

        Returns
        -------
        starts : ndarray (m + 1,), int64
        squared_distances, indices : ndarrays (starts[-1],)
            Those of query i are at starts[i]:starts[i + 1], in ascending order of the rows.
        """
        fitted = self._taken()
        queries = _as_queries(Q, fitted.rows.shape[1])
        if not squared_radius >= 0:
            raise ValueError(f"squared_radius must not be negative or NaN, got {squared_radius}")
        n_threads = n_threads or resolve_n_threads(self.n_jobs)
        fitted, queries = self._for_queries(fitted, len(queries), n_threads).comparable(queries)
        pruned = fitted.pruned_for(len(queries), n_threads)
        if pruned is None:
            return fitted.search.search_within(queries, squared_radius, n_threads=n_threads)
        survivors = np.empty(2)
        found = pruned.search_within(queries, squared_radius, n_threads=n_threads, survivors=survivors)
        self._record(survivors, len(queries))
        return found

    def _record(self, survivors: np.ndarray, n_queries: int) -> None:
        scanned, exact = survivors.tolist()
        self.search_stats_ = {"queries": n_queries, "rows_after_scan": scanned, "rows_compared_exactly": exact}

    @property
    def rows_(self) -> np.ndarray:
        return self._attribute("rows")

    @property
    def isa_(self) -> str:
        return machine.name_of(self._attribute("isa"))

    @property
    def algorithm_(self) -> str:
        if isinstance(self._attribute("search"), TreeSearch):
            return "tree"
        return "brute" if self._attribute("pruned") is None else "pruned"

    def _attribute(self, name: str) -> Any:
        if self._fitted is None:
            raise AttributeError("this index has no rows yet; call fit first")
        return getattr(self._fitted, name)

    @property
    def nbytes(self) -> int:
        """Bytes that the index keeps besides the rows."""
        fitted = self._taken()
        flipped = 0 if fitted.search.rows is fitted.rows else fitted.search.rows.nbytes
        if isinstance(fitted.search, TreeSearch):
            return flipped + fitted.search.nbytes
        return flipped if fitted.pruned is None else flipped + fitted.pruned.nbytes

    def screen_to_save(self) -> dict[str, np.ndarray]:
        """What `fit` has prepared, as arrays that do not depend on the instruction set; empty for brute force.

        Of a tree only a mark: building it takes less time than reading it.
        """
        pruned = self._taken().pruned
        if isinstance(self._taken().search, TreeSearch):
            return {_TREE_MARK: np.zeros(1, np.uint8)}
        if isinstance(pruned, StoredSearch):
            return pruned.arrays
        return {} if pruned is None else stored.pack(pruned)

    def restore(self, X: np.ndarray, screen: dict[str, np.ndarray]) -> "ExactIndex":
        """As `fit`, but with what `screen_to_save` gave in place of the work.

        Raises ValueError if `screen` does not fit `X`. No answer depends on `screen`, which may come from a file: the
        codes of the rows are computed again, once there have been enough queries to make that worth while.
        """
        given, isa = as_rows(X, "X", dtypes=ROW_DTYPES), machine.select(self.isa)
        rows = compared(given)
        if _TREE_MARK in screen:
            return self._become(_Fitted(given, isa, TreeSearch(rows, isa, resolve_n_threads(self.n_jobs))))
        if not screen:
            small = _small(given, isa) if self.algorithm == "auto" else None
            return self._become(small or _Fitted(given, isa, BruteSearch(rows, isa)))
        with single_threaded_blas():
            return self._become(_Fitted(given, isa, BruteSearch(rows, isa), stored.unpack(screen, rows, isa)))


def _as_queries(Q: Any, n_features: int) -> np.ndarray:
    queries = np.asarray(Q)
    if queries.ndim == 2 and len(queries) == 0 and queries.shape[1] == n_features:
        return np.ascontiguousarray(queries)
    return as_rows(queries, "Q", n_features, ROW_DTYPES)
