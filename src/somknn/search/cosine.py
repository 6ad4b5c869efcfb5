"""Search under the cosine distance: an index of the rows scaled to unit length.

For unit vectors ½·‖u - v‖² = 1 - cos. So the nearest rows by cosine distance are the nearest unit rows by squared
Euclidean distance, and any index of those finds them. The difference of two nearly equal unit vectors loses no digits,
where 1 - cos would lose nearly all. `somknn_kernels.exact.unit_rows` says how a row is scaled.

A row of zeros has no direction. As in scikit-learn its cosine distance is 1 to every row, another row of zeros
included. Such rows are kept apart and merged into the lists, in order of (distance, row).
"""

import copy
from typing import Any, NamedTuple

import numpy as np

from somknn import machine
from somknn.fitted import turn
from somknn.machine import per_task, resolve_n_threads, run_tasks
from somknn.search.index import ROW_DTYPES, ExactIndex, as_rows
from somknn_kernels.exact import unit_rows as kernels
from somknn_kernels.ir.half_floats import for_kernels

ORTHOGONAL = 2.0  # squared distance of unit vectors at a right angle: that of a row of zeros to any row
_ROWS = 2048  # that a task scales
_COST = 8  # operations for each value
_MOVED = 4096  # rows that are moved at a time


def unit_rows(rows: np.ndarray, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows scaled to unit length, float64 (n, d), and which of them are all zeros, bool (n,)."""
    given, units, is_zero = for_kernels(rows), np.empty(rows.shape), np.empty(len(rows), np.bool_)
    origin = np.zeros((1, rows.shape[1]))
    at_once = per_task(_ROWS, _COST * rows.shape[1])

    def work(task: int) -> None:
        first, last = task * at_once, min((task + 1) * at_once, len(rows))
        kernels.unit_rows(given, origin, first, last, units, is_zero)

    run_tasks(work, -(-len(rows) // at_once), n_threads)
    return units, is_zero


class _Fitted(NamedTuple):
    """Rows and what searches them. Never changed: `fit` and `add` make a new one.

    rows : as given
    zeros, others : int64, the numbers of the rows that are all zeros, and of the others, ascending
    inner : index of the others' unit rows; None if there are none
    """

    rows: np.ndarray
    zeros: np.ndarray
    others: np.ndarray
    inner: Any

    def named(self, indices: np.ndarray) -> np.ndarray:
        """Row numbers for those of `inner`."""
        return self.others[indices] if len(self.zeros) else indices


class CosineIndex:
    """Exact k-nearest-neighbour and radius search under the cosine distance.

    It answers as an `ExactIndex` of the rows scaled to unit length would: with squared distances between unit rows,
    which are **twice the cosine distances**. The estimators (`metric="cosine"`) return cosine distances.

    Parameters
    ----------
    algorithm, n_jobs, isa
        As for `ExactIndex`.

    Attributes
    ----------
    rows_ : ndarray (n, d)
        The fitted rows; the caller's own array if that was C-contiguous.
    unit_index_ : ExactIndex, FaissIndex or None
        The index of the unit rows, without rows of zeros; None if all rows are zeros.
    algorithm_, isa_, search_stats_
        Those of `unit_index_`.

    Notes
    -----
    Rows and queries are of the types that `ExactIndex` takes. Unit rows are float64: the index holds 8 bytes for each
    value besides the rows themselves. The contract is that of `ExactIndex`: float64 in one documented order of
    summation, equal values by row.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.array([[1.0, 0.0], [0.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
    >>> squared_distances, indices = CosineIndex().fit(rows).search(np.array([[6.0, 0.0]]), k=4)
    >>> squared_distances / 2, indices
    (array([[0. , 0.4, 1. , 1. ]]), array([[0, 2, 1, 3]]))
    """

    def __init__(self, algorithm: str = "auto", *, n_jobs: int | None = None, isa: str | None = None):
        self.algorithm = algorithm
        self.n_jobs = n_jobs
        self.isa = isa
        self._template: Any = None
        self._fitted: _Fitted | None = None
        self._of_an_estimator = False

    @classmethod
    def over(cls, template: Any) -> "CosineIndex":
        """An index whose unit rows are searched by a copy of `template`, an index that has not been fitted."""
        made = cls(template.algorithm, n_jobs=template.n_jobs, isa=getattr(template, "isa", None))
        made._template = template
        return made

    def __copy__(self) -> "CosineIndex":
        """The same rows, but statistics and threads of its own."""
        made = object.__new__(type(self))
        made.__dict__ = vars(self).copy()
        if self._fitted is not None:
            made._fitted = self._fitted._replace(inner=copy.copy(self._fitted.inner))
        return made

    def fit(self, X: Any) -> "CosineIndex":
        """Take the rows `X` (n, d). They must not change while the index is in use."""
        return self.restore(X, {})

    def restore(self, X: Any, screen: dict[str, np.ndarray]) -> "CosineIndex":
        """As `fit`, but with what `screen_to_save` gave in place of the work. Raises ValueError if it does not fit."""
        rows = as_rows(X, "X", dtypes=ROW_DTYPES)
        units, is_zero = unit_rows(rows, resolve_n_threads(self.n_jobs))
        zeros, others = np.flatnonzero(is_zero), np.flatnonzero(~is_zero)
        inner: Any = None
        if len(others):
            inner = self._new_inner()
            units = _only(units, others)
            inner = inner.restore(units, screen) if screen else inner.fit(units)
            inner._of_an_estimator = True
        elif screen:
            raise ValueError("the saved index is of other rows: these are all zeros")
        return self._become(_Fitted(rows, zeros, others, inner))

    def add(self, X: Any) -> "CosineIndex":
        """Append rows (same dtype and width) without a new fit. They get the indices from n on."""
        with turn(self):
            fitted = self._taken()
            n = len(fitted.rows)
            new = as_rows(X, "X", fitted.rows.shape[1], ROW_DTYPES)
            if new.dtype != fitted.rows.dtype:
                raise TypeError(f"X must have the dtype of the fitted rows, {fitted.rows.dtype}; got {new.dtype}")
            units, is_zero = unit_rows(new, resolve_n_threads(self.n_jobs))
            zeros, others = (np.concatenate([a, n + np.flatnonzero(b)]) for a, b in zip(
                (fitted.zeros, fitted.others), (is_zero, ~is_zero), strict=True
            ))  # fmt: skip
            inner = fitted.inner
            if not is_zero.all():
                inner = self._new_inner() if inner is None else copy.copy(inner)
                inner._of_an_estimator = False
                inner = (inner.fit if fitted.inner is None else inner.add)(units[~is_zero])
                inner._of_an_estimator = True
            return self._become(_Fitted(np.concatenate([fitted.rows, new]), zeros, others, inner))

    def _new_inner(self) -> Any:
        if self._template is None:
            return ExactIndex(self.algorithm, n_jobs=self.n_jobs, isa=self.isa)
        inner = copy.copy(self._template)
        inner.n_jobs = self.n_jobs
        return inner

    def _become(self, fitted: _Fitted) -> "CosineIndex":
        if self._of_an_estimator:
            raise ValueError("this index belongs to an estimator, whose labels go with its rows: fit the estimator")
        with turn(self):
            self._fitted = fitted
        return self

    def _taken(self) -> _Fitted:
        """The state that a call works with from beginning to end. Raises ValueError before `fit`."""
        if self._fitted is None:
            raise ValueError("this index has no rows yet; call fit first")
        return self._fitted

    def search(self, Q: Any, k: int, *, n_threads: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of every query.

        Parameters
        ----------
        Q : array (m, d)
        k : int, 1 to n
        n_threads : int or None
            Threads of this search; None means as many as `n_jobs` says.

        Raises
        ------
        ValueError
            For a k out of range, queries of another width, NaN or infinity.

        Returns
        -------
        squared_distances : ndarray (m, k), float64, ascending
            Between unit rows: twice the cosine distances.
        indices : ndarray (m, k), int64
            A query of zeros gets the first k rows.
        """
        fitted = self._taken()
        n_threads = n_threads or resolve_n_threads(self.n_jobs)
        queries = _as_queries(Q, fitted.rows.shape[1])
        if not 1 <= k <= len(fitted.rows):
            raise ValueError(f"k must be between 1 and the number of rows, {len(fitted.rows)}; got {k}")
        k = int(k)
        units, is_zero = unit_rows(queries, n_threads)
        if len(fitted.zeros) == 0 and not is_zero.any():
            return fitted.inner.search(units, k, n_threads=n_threads)
        distances = np.full((len(queries), k), ORTHOGONAL)
        indices = np.tile(np.arange(k), (len(queries), 1))
        if fitted.inner is not None and not is_zero.all():
            asked = np.flatnonzero(~is_zero)
            near, rows = fitted.inner.search(units[asked], min(k, len(fitted.others)), n_threads=n_threads)
            distances[asked], indices[asked] = _merged(near, fitted.named(rows), fitted.zeros, k)
        return distances, indices

    def search_within(
        self, Q: Any, squared_radius: float, *, n_threads: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All rows at a squared distance of at most `squared_radius`, between unit rows, from each query.

        Returns
        -------
        starts : ndarray (m + 1,), int64
        squared_distances, indices : ndarrays (starts[-1],)
            Those of query i are at starts[i]:starts[i + 1], in ascending order of the rows.
        """
        fitted = self._taken()
        n_threads = n_threads or resolve_n_threads(self.n_jobs)
        queries = _as_queries(Q, fitted.rows.shape[1])
        if not squared_radius >= 0:
            raise ValueError(f"squared_radius must not be negative or NaN, got {squared_radius}")
        units, is_zero = unit_rows(queries, n_threads)
        if len(fitted.zeros) == 0 and not is_zero.any():
            return fitted.inner.search_within(units, squared_radius, n_threads=n_threads)
        asked, without = np.flatnonzero(~is_zero), np.flatnonzero(is_zero)
        near, found, owners = np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64)
        if fitted.inner is not None and len(asked):
            starts, near, found = fitted.inner.search_within(units[asked], squared_radius, n_threads=n_threads)
            found, owners = fitted.named(found), np.repeat(asked, np.diff(starts))
        if squared_radius >= ORTHOGONAL:
            every = np.arange(len(fitted.rows))
            found = np.concatenate([found, np.tile(fitted.zeros, len(asked)), np.tile(every, len(without))])
            owners = np.concatenate([owners, np.repeat(asked, len(fitted.zeros)), np.repeat(without, len(fitted.rows))])
            near = np.concatenate([near, np.full(len(found) - len(near), ORTHOGONAL)])
        order = np.lexsort((found, owners))
        starts = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(queries)))])
        return starts, near[order], found[order]

    def search_rows(self, k: int, groups: Any) -> tuple[np.ndarray, np.ndarray]:
        """As `ExactIndex.search_rows`: the k nearest of every fitted row among the rows of other groups."""
        fitted = self._taken()
        if fitted.inner is not None:
            fitted.inner.n_jobs = self.n_jobs
        if len(fitted.zeros) == 0:
            return fitted.inner.search_rows(k, groups)
        groups = np.asarray(groups)
        n = len(fitted.rows)
        if groups.shape != (n,) or groups.dtype.kind not in "iu":
            raise ValueError(f"groups must hold {n} integers, got {groups.dtype} of the shape {groups.shape}")
        apart = n - np.unique(groups, return_counts=True)[1].max()
        if not 1 <= k <= apart:
            raise ValueError(f"k must be between 1 and the {apart} rows outside the largest group; got {k}")
        distances, indices = np.empty((n, k)), np.empty((n, k), np.int64)
        left, length = np.arange(n), min(n, 2 * k)
        while len(left):  # ask for longer lists until each holds k rows of other groups
            near, found = self.search(fitted.rows[left], length)
            allowed = groups[found] != groups[left][:, None]
            enough = allowed.sum(axis=1) >= k
            first = allowed & (np.cumsum(allowed, axis=1) <= k)
            first[~enough] = False
            distances[left[enough]], indices[left[enough]] = near[first].reshape(-1, k), found[first].reshape(-1, k)
            left, length = left[~enough], min(n, 2 * length)
        return distances, indices

    @property
    def rows_(self) -> np.ndarray:
        return self._attributes().rows

    @property
    def unit_index_(self) -> Any:
        return self._attributes().inner

    @property
    def isa_(self) -> str:
        inner = self._attributes().inner
        return machine.name_of(machine.select(self.isa)) if inner is None else inner.isa_

    @property
    def algorithm_(self) -> str:
        return getattr(self._attributes().inner, "algorithm_", "brute")

    @property
    def search_stats_(self) -> dict[str, Any]:
        return getattr(self._attributes().inner, "search_stats_", {})

    @property
    def recall_(self) -> float | None:
        """Share of the true neighbours that the index of unit rows finds: 1.0, or what `FaissIndex` has measured."""
        return getattr(self._attributes().inner, "recall_", 1.0)

    def _attributes(self) -> _Fitted:
        if self._fitted is None:
            raise AttributeError("this index has no rows yet; call fit first")
        return self._fitted

    @property
    def nbytes(self) -> int:
        """Bytes that the index keeps besides the rows: the unit rows, and what their index keeps."""
        fitted = self._taken()
        own = fitted.zeros.nbytes + fitted.others.nbytes
        return own if fitted.inner is None else own + fitted.inner.rows_.nbytes + fitted.inner.nbytes

    def screen_to_save(self) -> dict[str, np.ndarray]:
        """As `ExactIndex.screen_to_save`, of the index of unit rows. The unit rows are computed anew from the rows."""
        inner = self._taken().inner
        return {} if inner is None else inner.screen_to_save()


def _as_queries(Q: Any, n_features: int) -> np.ndarray:
    queries = np.asarray(Q)
    if queries.ndim == 2 and len(queries) == 0 and queries.shape[1] == n_features:
        return np.empty((0, n_features))
    return as_rows(queries, "Q", n_features, ROW_DTYPES)


def _only(units: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The rows `others` (ascending) of `units`, moved to its beginning: no second copy of the whole."""
    if len(others) < len(units):
        for first in range(0, len(others), _MOVED):
            part = others[first : first + _MOVED]
            units[first : first + len(part)] = units[part]
    return units[: len(others)]


def _merged(distances: np.ndarray, indices: np.ndarray, zeros: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The first k of ascending lists (m, l), l <= k, and of the rows `zeros`, by (distance, row)."""
    if len(zeros) == 0:
        return distances, indices
    m, length = distances.shape
    shared = np.broadcast_to(zeros[:k], (m, min(k, len(zeros))))
    every = np.concatenate([distances, np.full(shared.shape, ORTHOGONAL)], axis=1)
    rows = np.concatenate([indices, shared], axis=1)
    changed = slice(None) if length < k else np.flatnonzero(distances[:, -1] >= ORTHOGONAL)
    order = np.lexsort((rows[changed], every[changed]), axis=1)
    every[changed] = np.take_along_axis(every[changed], order, axis=1)
    rows[changed] = np.take_along_axis(rows[changed], order, axis=1)
    return every[:, :k], rows[:, :k]
