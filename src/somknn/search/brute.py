"""Brute-force search: prepares the kernels' scratch, splits the work, merges the parts."""

from collections.abc import Callable
from typing import Any

import numpy as np

from somknn.axes import evenly_spaced
from somknn.machine import Isa, Steps, per_task, run_tasks
from somknn.search.brute_screen import Part, codes_may_pay, search_by_codes, search_in_steps, seed_rows
from somknn.search.cells import similar_first
from somknn.search.costs import FEW_QUERIES
from somknn_kernels.exact import reranking, selection
from somknn_kernels.exact.selection import NO_INDEX as NO_INDEX
from somknn_kernels.exact.selection import Nearest, Within
from somknn_kernels.ir.half_floats import for_kernels
from somknn_kernels.ir.layout import Layout, byte_panels, byte_queries, float_panels, float_queries
from somknn_kernels.search import brute
from somknn_kernels.search.brute import Span

WIDEST_BYTES = 33_025  # with more columns, a sum of squared differences of bytes can pass 2^31
_BLOCK_BYTES = 200_000  # of packed rows: they stay in the level-2 cache beside a tile of queries
_QUERIES_PER_TASK = (
    2560  # at most: packing a block of rows then costs 5% of its products, and the packed queries fit level 3
)
_WORTH_ORDER = 512  # rows from which an order pays: a query is compared with 64 leaders to find its place
_SAMPLE = 256  # rows in which zeros are counted
_LISTS, _SORTING = 16_384, 20  # lists that a task sorts, and operations for each of their pairs
_RERANKED = 128  # queries of a task


class BruteSearch:
    """Every query against every row of `rows` (n, d), uint8, float32 or float64, C-contiguous and finite."""

    def __init__(self, rows: np.ndarray, isa: Isa):
        self.rows = rows
        self.isa = isa
        self.centre = np.zeros(rows.shape[1])
        self.scale = 1.0
        if rows.dtype != np.uint8 or rows.shape[1] > WIDEST_BYTES:
            # Any point is correct. The middle of the range cannot overflow. Zeros that stay zeros are skipped.
            low, high = (extreme.astype(np.float64) for extreme in _extremes(rows))
            sparse = (rows[:: max(1, len(rows) // _SAMPLE)] == 0).mean(axis=0) > 0.5
            self.centre = np.where(sparse, 0.0, low / 2 + high / 2)
            largest = float(np.max(np.maximum(high / 2 - self.centre / 2, self.centre / 2 - low / 2), initial=0.0))
            if largest > 0:
                self.scale = float(2.0 ** -np.clip(np.frexp(largest)[1], -1000, 1000))

    def integers(self, queries: np.ndarray) -> bool:
        """Whether squared distances to these queries are computed, and returned, as integers."""
        return self.rows.dtype == np.uint8 and queries.dtype == np.uint8

    def search(self, queries: np.ndarray, k: int, *, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Searcher.search`; distances are int64 if `integers`, else float64."""
        order = None
        if len(self.rows) >= _WORTH_ORDER:
            order = similar_first(queries, 0 if self.integers(queries) else self.centre, n_threads)
        if order is None:
            return self._nearest(queries, k, n_threads)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        distances, indices = self._nearest(queries[order], k, n_threads)
        return distances[back], indices[back]

    def _nearest(self, queries: np.ndarray, k: int, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        m, n = len(queries), len(self.rows)
        dtype, worst = (np.int64, np.iinfo(np.int64).max) if self.integers(queries) else (np.float64, np.inf)
        query_edges = self._query_edges(m, n_threads)
        n_chunks = len(query_edges) - 1
        # Few queries: the rows are split instead, and every part keeps its own k best.
        n_parts = 1 if n_chunks >= n_threads or m == 0 else max(1, min(n_threads // n_chunks, n // max(64, k)))
        distances = np.full((n_parts, m, k), worst, dtype)
        indices = np.full((n_parts, m, k), NO_INDEX, np.int64)
        row_edges = np.linspace(0, n, n_parts + 1).astype(np.int64).tolist()

        def work(task: int) -> None:
            chunk, part = divmod(task, n_parts)
            self._search(
                queries,
                (query_edges[chunk], query_edges[chunk + 1]),
                (row_edges[part], row_edges[part + 1]),
                Nearest(distances[part], indices[part]),
            )

        run_tasks(work, n_chunks * n_parts, n_threads)
        if n_parts == 1:
            return sorted_lists(distances[0], indices[0], n_threads)
        return merged_lists(distances, indices)

    def search_within(
        self, queries: np.ndarray, squared_radius: float, *, n_threads: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `Searcher.search_within`."""
        m, upper_bounds = len(queries), squared_bounds(squared_radius, len(queries), self.integers(queries))
        edges = self._query_edges(m, n_threads)

        def run(collector: Within) -> None:
            def work(task: int) -> None:
                self._search(queries, (edges[task], edges[task + 1]), (0, len(self.rows)), collector)

            run_tasks(work, len(edges) - 1, n_threads)

        return collect_within(run, upper_bounds, np.int64 if self.integers(queries) else np.float64)

    def rerank(
        self, queries: np.ndarray, candidates: np.ndarray, distances: np.ndarray, indices: np.ndarray, n_threads: int
    ) -> np.ndarray:
        """Fill `distances` and `indices` (m, k) with the nearest among `candidates`.

        Returns how many of the k entries of each query hold a row, (m,), or -1 for a query that names a row twice.
        candidates : int64 (m, s), rows that another engine proposes; -1 stands for no row
        """
        m = len(queries)
        found = np.empty(m, np.int64)
        at_once = per_task(_RERANKED, candidates.shape[1] * queries.shape[1])

        def work(task: int) -> None:
            first, last = task * at_once, min((task + 1) * at_once, m)
            reranking.rerank(
                self.isa, queries, for_kernels(self.rows), candidates, first, last, distances, indices, found
            )

        run_tasks(work, -(-m // at_once), n_threads)
        return found

    @staticmethod
    def _query_edges(m: int, n_threads: int) -> list[int]:
        n_chunks = -(-m // _QUERIES_PER_TASK)
        if m > 32 * n_threads:
            n_chunks = n_threads * -(-n_chunks // n_threads)
        return np.linspace(0, m, n_chunks + 1).astype(np.int64).tolist()

    def _search(
        self, queries: np.ndarray, query_range: tuple[int, int], row_range: tuple[int, int], collector: Nearest | Within
    ) -> None:
        part = Part(queries, *query_range, for_kernels(self.rows), *row_range)
        d, n_queries = self.rows.shape[1], part.q_stop - part.q_start
        if n_queries <= FEW_QUERIES:
            steps = Steps(per_task(part.r_stop - part.r_start, n_queries * d))
            steps.run(lambda *rows: brute.rowwise(self.isa, *part[:4], *rows, collector), part.r_start, part.r_stop)
        elif self.integers(queries) and d <= WIDEST_BYTES:
            self._search_bytes(part, collector)
        else:
            self._multiply_floats(part, collector)

    def _search_bytes(self, part: Part, collector: Nearest | Within) -> None:
        upper_bounds = self._upper_bounds(part, collector)
        if upper_bounds is not None:
            part = part._replace(r_start=search_by_codes(self.isa, part, upper_bounds, collector))
        if part.r_start < part.r_stop:
            self._multiply_bytes(part, collector)

    def _multiply_bytes(self, part: Part, collector: Nearest | Within) -> None:
        queries, q_start, q_stop, rows, r_start, r_stop = part
        layouts = byte_queries(self.isa), byte_panels(self.isa)
        packed, panels = self._scratch(layouts, q_stop - q_start, r_stop - r_start)
        norms = np.zeros((len(packed), layouts[0].rows), np.int64)
        scratch = brute.ByteScratch(packed, panels, *_used(packed), np.zeros(norms.shape, np.int32), norms)

        def search(first: int, last: int, *to_pack: int) -> None:
            span = Span(q_start, q_stop, first, last, *to_pack)
            brute.brute_bytes(self.isa, queries, rows, span, scratch, -layouts[1].lift, collector)

        search_in_steps(search, packed, panels.shape[0] * panels.shape[2], r_start, r_stop)

    def _multiply_floats(self, part: Part, collector: Nearest | Within) -> None:
        queries, q_start, q_stop, rows, r_start, r_stop = part
        layouts = float_queries(self.isa), float_panels(self.isa)
        packed, panels = self._scratch(layouts, q_stop - q_start, r_stop - r_start)
        squares = np.zeros((len(packed), layouts[0].rows))
        scratch = brute.FloatScratch(packed, panels, *_used(packed), squares, np.zeros(squares.shape))

        def search(first: int, last: int, *to_pack: int) -> None:
            span = Span(q_start, q_stop, first, last, *to_pack)
            brute.brute_floats(self.isa, queries, rows, span, scratch, self.centre, self.scale, collector)

        search_in_steps(search, packed, panels.shape[0] * panels.shape[2], r_start, r_stop)

    def _upper_bounds(self, part: Part, collector: Nearest | Within) -> np.ndarray | None:
        """Squared distances (m,) beyond which no row is of use, found among a few rows; None if codes would not pay."""
        queries, q_start, q_stop, _, r_start, r_stop = part
        if isinstance(collector, Within):
            return collector.upper_bounds if codes_may_pay(self.isa, q_stop - q_start) else None
        k = collector.distances.shape[1]
        n_seeds = seed_rows(k)
        if not codes_may_pay(self.isa, q_stop - q_start) or n_seeds > (r_stop - r_start) // 8:
            return None
        seeds = self.rows[r_start + evenly_spaced(r_stop - r_start, n_seeds)]
        m = q_stop - q_start
        best = Nearest(np.full((m, k), np.iinfo(np.int64).max), np.full((m, k), NO_INDEX))
        self._multiply_bytes(Part(queries[q_start:q_stop], 0, m, seeds, 0, n_seeds), best)
        upper_bounds = np.empty(len(queries), np.int64)
        upper_bounds[q_start:q_stop] = best.distances[:, 0]
        return upper_bounds

    def _scratch(self, layouts: tuple[Layout, Layout], n_queries: int, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Room for all queries, and for a block of the rows."""
        queries, rows = layouts
        d = self.rows.shape[1]
        groups = rows.width(d) // rows.group
        n_panels = max(1, min(_BLOCK_BYTES // (groups * rows.rows * 4), -(-n_rows // rows.rows)))
        return queries.zeros(n_queries, d), rows.zeros(n_panels * rows.rows, d)


def _extremes(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest value of every column, block by block of rows: the second pass reads the cache."""
    block = max(1, 2**20 // max(1, rows[0].nbytes))
    dtype = np.float32 if rows.dtype == np.float16 else rows.dtype  # NumPy compares float16 ten times as slowly
    low, high = rows[0].astype(dtype), rows[0].astype(dtype)
    for start in range(0, len(rows), block):
        some = rows[start : start + block].astype(dtype, copy=False)
        np.minimum(low, some.min(axis=0), out=low)
        np.maximum(high, some.max(axis=0), out=high)
    return low, high


def _used(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Room for the groups of columns that each tile of queries uses, and for their number."""
    return np.empty(packed.shape[:2], np.int32), np.empty(len(packed), np.int64)


def sorted_lists(distances: np.ndarray, indices: np.ndarray, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn heaps (m, k) into ascending lists, in place."""
    if distances.shape[1] == 1:  # K-Means and LVQ ask for no more: one kernel less to compile
        return distances, indices
    rows = per_task(_LISTS, distances.shape[1] * _SORTING)
    if len(distances) <= rows:
        return selection.sorted_heaps(distances, indices)

    def work(task: int) -> None:
        at = slice(task * rows, (task + 1) * rows)
        selection.sorted_heaps(distances[at], indices[at])

    run_tasks(work, -(-len(distances) // rows), n_threads)
    return distances, indices


def merged_lists(distances: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge the heaps of several parts of the rows (parts, m, k) into one ascending list for each query."""
    merged = np.empty(distances.shape[1:], distances.dtype), np.empty(indices.shape[1:], np.int64)
    selection.merge_parts(distances, indices, *merged)
    return merged


def squared_bounds(squared_radius: float, m: int, integers: bool) -> np.ndarray:
    """The squared radius for each of m queries, in the type of their distances."""
    if integers:
        return np.full(m, min(np.floor(squared_radius), 2**62), np.int64)
    return np.full(m, squared_radius, np.float64)


def collect_within(
    run: Callable[[Within], None], upper_bounds: np.ndarray, dtype: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Call `run(collector)` twice: first to count, then to fill arrays of exactly the right size."""
    counts, starts = np.zeros(len(upper_bounds), np.int64), np.zeros(len(upper_bounds) + 1, np.int64)
    nothing = np.empty(0, dtype), np.empty(0, np.int64)
    run(Within(upper_bounds, counts, starts, *nothing))
    np.cumsum(counts, out=starts[1:])
    distances, indices = np.empty(starts[-1], dtype), np.empty(starts[-1], np.int64)
    if starts[-1]:
        counts[:] = 0
        run(Within(upper_bounds, counts, starts, distances, indices))
    return starts, distances, indices
