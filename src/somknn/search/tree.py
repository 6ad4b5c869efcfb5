"""Search in a tree of boxes: builds it, takes the queries in an order that shares caches, splits the work."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from somknn.axes import evenly_spaced
from somknn.machine import Isa, Steps, check_stopped, per_task, run_tasks
from somknn.search.brute import sorted_lists, squared_bounds
from somknn_kernels.exact.selection import NO_INDEX, Nearest, Within
from somknn_kernels.ir.layout import aligned
from somknn_kernels.search import tree, tree_build
from somknn_kernels.search.tree import Ranked, Tree
from somknn_kernels.tiles.tree_tiles import FAN, LEAF_ROWS, RECORD

_FEW_COLUMNS, _MANY_ROWS = 10, 2000  # with so many, a tree always pays
_LONGEST_LIST = 128  # neighbours; from here on a heap is faster than a list
_FEW_QUERIES = 4  # are searched at once; four times as many they show how long the others will take
_WORTH_THREADS = 3e-4  # seconds of work; waking a thread takes up to 2e-4
_WORTH_ORDER = 64  # queries
_DESCENDED = 4096  # queries whose leaves a task finds
_TASKS_PER_THREAD = 8
_WIDEST_RECORD = 31  # columns by which rows are parted; a tree of 2^31 rows is parted 26 times from root to leaf
_JUDGED = 1024  # rows from which these columns are chosen
_FILLED_NUMBERS = 1 << 18  # of rows that a task copies
_PARTED_NUMBERS = 1 << 20  # of the records that a task orders
_ROOM, _ROOM_OF_FEW, _ROOM_OF_ALL = (
    16,
    1024,
    2**22,
)  # pairs kept at the first count: of a query; of all, at least, at most
_MOST_ROWS = 2**31 - 1

_no_groups = np.empty(0, np.int32)
_no_leaves, _no_seconds = np.empty(0, np.int64), np.empty((0, 1))
_first_query = np.zeros(1, np.int64)


def always_pays(rows: np.ndarray) -> bool:
    """Whether a tree beats every other search of such rows, whatever they are."""
    return rows.shape[1] <= _FEW_COLUMNS and len(rows) >= _MANY_ROWS


def build(rows: np.ndarray, n_threads: int) -> Tree:
    """The tree of the rows (n, d), uint8, float32 or float64."""
    n, d = rows.shape
    columns = _parting_columns(rows)
    records = _ordered_records(rows, columns, n_threads)
    n_leaves = -(-n // LEAF_ROWS)
    sizes = [n_leaves, -(-n_leaves // FAN)]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // FAN))
    starts = np.cumsum([0, *sizes[1:-1]])
    n_nodes = sum(sizes[1:])
    panels, numbers = aligned((n_leaves, d, LEAF_ROWS), np.float64), np.empty((n_leaves, LEAF_ROWS), np.int32)
    boxes, lowest = aligned((n_nodes, d, 2, FAN), np.float64), np.zeros((n_nodes, FAN), np.int32)
    per_task = max(FAN, _FILLED_NUMBERS // (d * LEAF_ROWS))

    def fill(task: int) -> None:
        first, last = task * per_task, min((task + 1) * per_task, n_leaves)
        some, number_at = records[first * LEAF_ROWS : last * LEAF_ROWS], len(columns)
        if len(columns) < d:
            some = _records_of(rows, some[:, number_at].astype(np.int64), np.arange(d))
            number_at = d
        tree_build.fill_leaves(some, number_at, first, last, panels, numbers, boxes, lowest)

    run_tasks(fill, -(-n_leaves // per_task), n_threads)
    tree_build.join_boxes(boxes, lowest, starts, np.array(sizes))
    return Tree(panels, numbers, boxes, lowest, starts, np.array(sizes))


def _parting_columns(rows: np.ndarray) -> np.ndarray:
    """The columns by which rows are parted: all, or those that vary most."""
    d = rows.shape[1]
    if d <= _WIDEST_RECORD:
        return np.arange(d)
    sample = rows[evenly_spaced(len(rows), _JUDGED)].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        spread = np.nan_to_num(sample.std(axis=0), nan=np.inf)
    return np.sort(np.argsort(-spread, kind="stable")[:_WIDEST_RECORD])


def _records_of(
    rows: np.ndarray, numbers: np.ndarray, columns: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """Records of some rows: their values in some columns, then their numbers."""
    if out is None:
        out = np.empty((len(numbers), _width(len(columns))))
    out[:, : len(columns)] = rows[numbers][:, columns] if len(columns) < rows.shape[1] else rows[numbers]
    out[:, len(columns)] = numbers
    return out


def _width(n_columns: int) -> int:
    return -(-(n_columns + 1) // RECORD) * RECORD


def _ordered_records(rows: np.ndarray, columns: np.ndarray, n_threads: int) -> np.ndarray:
    """The records of all rows, leaf by leaf."""
    n, n_columns = len(rows), len(columns)
    records, scratch = np.empty((n, _width(n_columns))), np.empty((n, _width(n_columns)))
    at_once = max(1, _FILLED_NUMBERS // n_columns)

    def make(task: int) -> None:
        at = slice(task * at_once, min((task + 1) * at_once, n))
        records[at, :n_columns] = rows[at] if n_columns == rows.shape[1] else rows[at][:, columns]
        records[at, n_columns] = np.arange(at.start, at.stop)

    run_tasks(make, -(-n // at_once), n_threads)
    n_leaves = -(-n // LEAF_ROWS)
    parts = [(0, n_leaves)]
    at_most = min(
        _PARTED_NUMBERS // records.shape[1] // LEAF_ROWS, max(64, n_leaves // (_TASKS_PER_THREAD * n_threads))
    )

    def split(task: int) -> None:
        first, last = parts[task]
        if last - first > at_most:
            middle = tree_build.split_node(records, n_columns, scratch, first, last)
            halves[task] = [(first, middle), (middle, last)]

    while max(last - first for first, last in parts) > at_most:
        halves = [[part] for part in parts]
        run_tasks(split, len(parts), n_threads)
        parts = [part for some in halves for part in some]
    run_tasks(lambda task: tree_build.split_all(records, n_columns, scratch, *parts[task]), len(parts), n_threads)
    return records


def _collect(run: Callable[..., None], bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs within the bounds (m,): starts (m + 1,), distances and indices (starts[-1],).

    run(collector, some) : offers the rows to a collector, for all queries or for some, bool (m,)

    Most queries find few rows. There is room for these from the start, so only the others are searched twice.
    """
    m = len(bounds)
    room = min(max(_ROOM, _ROOM_OF_FEW // max(1, m)), _ROOM_OF_ALL // max(1, m))
    counts = np.zeros(m, np.int64)
    found = np.empty((m, room)), np.empty((m, room), np.int64)
    run(Within(bounds, counts, np.arange(m + 1) * room, *(some.ravel() for some in found)))
    if m == 1 and counts[0] <= room:  # without what follows, which would take most of the time
        n = int(counts[0])
        return np.array([0, n]), found[0][0, :n], found[1][0, :n]
    starts = np.zeros(m + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    taken = np.arange(room) < counts[:, None]
    if room and counts.max(initial=0) <= room:
        return starts, found[0][taken], found[1][taken]
    distances, indices = np.empty(starts[-1]), np.empty(starts[-1], np.int64)
    few = counts <= room
    own, taken = np.repeat(few, counts), taken & few[:, None]
    distances[own], indices[own] = found[0][taken], found[1][taken]
    counts[~few] = 0
    run(Within(bounds, counts, starts, distances, indices), ~few)
    return starts, distances, indices


def leaves_within(tree: Tree, queries: np.ndarray, squared_distances: np.ndarray) -> float:
    """The mean number of leaves whose boxes lie within these distances (m,) of the queries (m, d)."""
    found = 0
    boxes = tree.boxes[int(tree.starts[0]) : int(tree.starts[0]) + int(tree.sizes[1])]
    low, high = (np.moveaxis(boxes[:, :, side], 1, -1).reshape(-1, boxes.shape[1])[: tree.sizes[0]] for side in (0, 1))
    for query, squared in zip(queries.astype(np.float64), squared_distances, strict=True):
        beside = np.maximum(np.maximum(low - query, query - high), 0.0)
        found += int(((beside**2).sum(axis=1) <= squared).sum())
    return found / len(queries)


class TreeSearch:
    """Exact search over `rows` (n, d) through a tree of boxes, for few columns. It is never changed once it is made.

    It keeps the rows as float64, whatever their type, and their boxes: about 8.6 d + 4 bytes a row. Any number of
    columns is right, but with more than some twenty most boxes are visited.
    """

    def __init__(self, rows: np.ndarray, isa: Isa, n_threads: int):
        if len(rows) > _MOST_ROWS:
            raise ValueError(f"a tree takes at most {_MOST_ROWS} rows, got {len(rows)}: use algorithm='brute'")
        self.rows, self.isa = rows, isa
        self.tree = build(rows, n_threads)
        self._at_once = per_task(_FEW_QUERIES, 4.0 * rows.size)  # queries of a call of which nothing is known yet

    def with_rows(self, rows: np.ndarray, n_threads: int) -> "TreeSearch":
        """A search over other rows. The tree is built anew: that takes less time than so many queries."""
        return TreeSearch(rows, self.isa, n_threads)

    @property
    def nbytes(self) -> int:
        """Bytes besides the rows."""
        return sum(array.nbytes for array in self.tree)

    def integers(self, queries: np.ndarray) -> bool:
        """Whether squared distances to these queries are integers."""
        return self.rows.dtype == np.uint8 and queries.dtype == np.uint8

    def search(self, queries: np.ndarray, k: int, *, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Searcher.search`; distances are int64 if `integers`, else float64."""
        return self._nearest(queries, k, n_threads)

    def search_rows(self, k: int, groups: np.ndarray, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of every row among those of other groups: squared distances and rows, both (n, k).

        groups : integers (n,), not negative, below 2^31: for every row there are at least k others
        """
        numbers = self.tree.numbers.ravel()[: len(self.rows)].astype(np.int64)
        return self._nearest(self.rows, k, n_threads, numbers, np.ascontiguousarray(groups, np.int32))

    def _nearest(
        self,
        queries: np.ndarray,
        k: int,
        n_threads: int,
        order: np.ndarray | None = None,
        groups: np.ndarray = _no_groups,
    ) -> tuple[np.ndarray, np.ndarray]:
        m = len(queries)
        if k <= _LONGEST_LIST:
            collector: Any = Ranked(np.empty((m, k)), np.empty((m, k), np.int64))
        else:
            collector = Nearest(np.full((m, k), np.inf), np.full((m, k), NO_INDEX))
        self._run(queries, order, n_threads, groups)(collector)
        distances, indices = collector
        if k > _LONGEST_LIST:
            distances, indices = sorted_lists(distances, indices, n_threads)
        return (distances.astype(np.int64) if self.integers(queries) else distances), indices

    def search_within(
        self, queries: np.ndarray, squared_radius: float, *, n_threads: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `Searcher.search_within`."""
        bounds = squared_bounds(squared_radius, len(queries), self.integers(queries)).astype(np.float64)
        run = self._run(queries, None, n_threads, _no_groups)
        starts, distances, indices = _collect(run, bounds)
        steps = Steps(_DESCENDED)

        def sort(task: int) -> None:
            first, last = task * _DESCENDED, min((task + 1) * _DESCENDED, len(queries))
            steps.run(lambda *some: tree.sort_by_row(starts, distances, indices, *some), first, last)

        if len(queries) <= _FEW_QUERIES:
            tree.sort_by_row(starts, distances, indices, 0, len(queries))
        else:
            run_tasks(sort, -(-len(queries) // _DESCENDED), n_threads)
        return starts, (distances.astype(np.int64) if self.integers(queries) else distances), indices

    def _run(
        self, queries: np.ndarray, order: np.ndarray | None, n_threads: int, groups: np.ndarray
    ) -> Callable[..., None]:
        """A function that offers the rows to a collector, for all queries or for some, bool (m,).

        order : of the queries, near ones together, if known
        """
        m = len(queries)
        queries = np.ascontiguousarray(queries, np.float64)
        leaves, seconds = _no_leaves, _no_seconds
        if m == 1:
            order = _first_query
        elif m < _WORTH_ORDER:
            order = np.arange(m)
        else:
            leaves, seconds = self._descend(queries, n_threads)
            if order is None:
                order = np.argsort(leaves)  # equal leaves in any order
        every = order

        def run(collector: Ranked | Nearest | Within, some: np.ndarray | None = None) -> None:
            order = every if some is None else every[some[every]]
            m = len(order)

            def search(first: int, last: int) -> None:
                tree.search_tree(self.tree, queries, order, leaves, seconds, first, last, collector, groups)

            if m <= self._at_once:
                search(0, m)
                return
            begin, first = time.perf_counter(), min(m, 4 * self._at_once)
            search(0, first)
            seconds_each = (time.perf_counter() - begin) / first
            steps = Steps(max(1, min(_DESCENDED, int(0.01 / max(seconds_each, 1e-9)))))
            if (m - first) * seconds_each < _WORTH_THREADS:
                steps.run(search, first, m)
                return
            per_task = max(1, min(_DESCENDED, math.ceil((m - first) / (_TASKS_PER_THREAD * n_threads))))

            def work(task: int) -> None:
                start = first + task * per_task
                steps.run(search, start, min(m, start + per_task))

            run_tasks(work, -(-(m - first) // per_task), n_threads)

        return run

    def _descend(self, queries: np.ndarray, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """The leaf of each query, and the least bounds beside the way there."""
        m = len(queries)
        leaves, seconds = np.empty(m, np.int64), np.empty((m, len(self.tree.starts)))

        def work(task: int) -> None:
            check_stopped()
            tree.descend(self.tree, queries, task * _DESCENDED, min((task + 1) * _DESCENDED, m), leaves, seconds)

        run_tasks(work, -(-m // _DESCENDED), n_threads)
        return leaves, seconds
