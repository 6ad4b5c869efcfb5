"""The nearest rows of every row among the other rows of a pruned index.

This takes half the work of a search with the rows as queries.
"""

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable

import numpy as np

from somknn.machine import check_stopped, run_tasks
from somknn.search.column_order import used_together
from somknn.search.pruned import PrunedSearch, scan_steps
from somknn_kernels.exact import selection, used_columns
from somknn_kernels.ir.half_floats import for_kernels
from somknn_kernels.ir.layout import aligned, scan_queries
from somknn_kernels.search import place_seeds, self_search
from somknn_kernels.search.self_search import Lists, Places

_BLOCK_BYTES = 131_072  # of the panels' first quarters
_NEAR_ROWS = 768  # rows of the panels in which seeds are sought
_SPARE = 5  # seeds beyond k: the nearest by short vectors are not always the nearest
_SEEDED_TILES = 256  # tiles whose places a task seeds
_PANELS = 64  # panels whose near panels a task finds
_RANGES_PER_THREAD = 6
_LEAST_PANELS = 6  # of a range
_PACKED_TILES = 1024  # tiles that a task packs
_LOOK = 0.05  # seconds after which a waiting thread checks whether there is still something to wait for


def _places(search: PrunedSearch, apart: np.ndarray, n_threads: int) -> Places:
    screen, layout = search.screen, scan_queries(search.isa)
    _, n_panels, groups, panel_rows, _ = screen.panels.shape
    n_places = n_panels * panel_rows
    packed = layout.zeros(n_places, 4 * groups * layout.group)
    n_tiles, _, tile, _ = packed.shape
    offsets = np.zeros((n_tiles, 3, tile), screen.half_norms.dtype)
    d, integers = search.rows.shape[1], search.rows.dtype == np.uint8
    rows = np.empty((n_places, d), search.rows.dtype)
    half_squares = aligned(
        (3, -(-n_tiles * tile // panel_rows), panel_rows), np.uint16 if offsets.itemsize == 2 else np.uint32
    )
    squares = np.zeros(n_places, np.int64)
    used = np.zeros((n_places if integers else 0, 1 + d // used_columns.CHUNK), np.uint16 if d < 2**20 else np.int32)
    units = used_together(search.rows, used_columns.UNIT, used_columns.CHUNK) if integers else None

    def work(task: int) -> None:
        first, last = task * _PACKED_TILES, min((task + 1) * _PACKED_TILES, n_tiles)
        self_search.pack_places(screen.panels, screen.half_norms, screen.lift, packed, offsets, first, last)
        at = slice(first * tile, last * tile)
        if units is None:
            np.take(search.rows, np.maximum(screen.order[at], 0), axis=0, out=rows[at])
        else:
            start, stop = at.start, min(at.stop, n_places)
            used_columns.copy_units(search.rows, screen.order, units, start, stop, rows)
            used_columns.squared_norms(rows, start, stop, squares)
            self_search.find_all_used(rows, start, stop, used)

    run_tasks(work, -(-n_tiles // _PACKED_TILES), n_threads)
    return Places(
        rows=for_kernels(rows),
        order=screen.order,
        apart=np.where(screen.order >= 0, apart[np.maximum(screen.order, 0)], -1).astype(np.int32),
        packed=packed,
        panels=screen.panels,
        half_norms=screen.half_norms,
        offsets=offsets,
        half_squares=half_squares,
        errors=np.maximum(screen.errors, 0.0),
        step=float(screen.step),
        squares=squares,
        used=used,
        first_rare=screen.n_usual * panel_rows,
    )


def _seed(search: PrunedSearch, places: Places, upper_bounds: np.ndarray, k: int, n_threads: int) -> None:
    """Lower every row's upper bound to the k-th distance among the rows of the nearest panels."""
    n_panels, panel_rows = places.panels.shape[1], places.panels.shape[3]
    width = min(n_panels, -(-max(_NEAR_ROWS, 4 * (k + _SPARE)) // panel_rows))
    centres = places.panels[0].mean(axis=2, dtype=np.float32).reshape(n_panels, -1)
    columns, half_squares = np.ascontiguousarray(centres.T), (centres**2).sum(axis=1) / 2
    near = np.empty((n_panels, width), np.int32)
    n_tiles = len(places.packed)

    def find_near(task: int) -> None:
        first, last = task * _PANELS, min((task + 1) * _PANELS, n_panels)
        place_seeds.nearest_panels(columns, half_squares, first, last, near)

    def seed(task: int) -> None:
        first, last = task * _SEEDED_TILES, min((task + 1) * _SEEDED_TILES, n_tiles)
        place_seeds.seed_places(search.isa, places, upper_bounds, near, k, k + _SPARE, first, last)

    run_tasks(find_near, -(-n_panels // _PANELS), n_threads)
    run_tasks(seed, -(-n_tiles // _SEEDED_TILES), n_threads)


def nearest_apart(
    search: PrunedSearch, k: int, apart: np.ndarray, n_threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k nearest rows of every row: squared distances (int64 or float64) and rows, both (n, k), ascending.

    Also returns the survivors (2,).
    apart : integers (n,), not negative: rows with equal numbers are not each other's neighbours. For every row there
    are at least k others.
    """
    if not search.in_pairs:
        return search.search_apart(k, apart, n_threads)
    places = _places(search, apart, n_threads)
    integers = search.integers(search.rows)
    dtype, worst = (np.int64, np.iinfo(np.int64).max) if integers else (np.float64, np.inf)
    n_places = len(places.order)
    lists = _empty_lists(n_places, k, dtype, worst, places.rows.shape[1])
    n_panels = places.panels.shape[1]
    n_usual = search.screen.n_usual
    n_ranges = _RANGES_PER_THREAD * n_threads
    counts = []
    per_block, panel_rows = max(1, _BLOCK_BYTES // places.panels[0, 0].nbytes), places.panels.shape[3]
    steps = scan_steps(n_panels, per_block * panel_rows**2, places.rows.shape[1])

    def run(ranges: list[tuple[int, int]], pairs: list[tuple[int, int]], kind: int) -> None:
        def work(a: int, b: int) -> None:
            count = np.zeros(2, np.int64)
            counts.append(count)
            for block in range(*ranges[b], per_block):
                others = block, min(block + per_block, ranges[b][1]), kind, per_block, count

                def call(first: int, last: int, others: tuple = others) -> None:
                    self_search.search_pairs(search.isa, places, lists, first, last, *others)

                steps.run(call, *ranges[a])

        _run_pairs(work, pairs, n_threads)

    _seed(search, places, lists.upper_bounds, k, n_threads)
    self_search.set_half_squares(places, lists, 0, 0, n_places)
    usual = _ranges(0, n_usual, n_ranges)
    run(usual, _rounds(len(usual)), 0)
    if n_usual < n_panels:
        rare = _ranges(n_usual, n_panels, n_threads, 1)
        every, n = usual + rare, len(usual)
        self_search.set_half_squares(places, lists, 1, 0, n_places)
        run(every, [(a, b) for b in range(n, len(every)) for a in range(b + 1)], 1)
    total = np.sum(counts, axis=0)
    distances, indices = np.empty((len(search.rows), k), dtype), np.empty((len(search.rows), k), np.int64)

    def hand_over(task: int) -> None:
        first, last = task * _PACKED_TILES, min((task + 1) * _PACKED_TILES, n_places)
        self_search.hand_over(lists, places.order, first, last, distances, indices)

    run_tasks(hand_over, -(-n_places // _PACKED_TILES), n_threads)
    return distances, indices, total / max(1, len(search.rows))


def _empty_lists(n_places: int, k: int, dtype: type, worst: float, d: int) -> Lists:
    """Empty lists with upper bounds that rule nothing out. A pair is one number if it fits."""
    upper_bounds: np.ndarray = np.full(n_places, worst, dtype)
    if dtype == np.int64 and d * 255**2 < 2**31:
        return Lists(np.full((n_places, k), 2**64 - 1, np.uint64), np.zeros((0, k), np.int64), upper_bounds)
    return Lists(
        np.full((n_places, k), worst, dtype), np.full((n_places, k), selection.NO_INDEX, np.int64), upper_bounds
    )


def _ranges(start: int, stop: int, most: int, least: int = _LEAST_PANELS) -> list[tuple[int, int]]:
    """[start, stop) in at most `most` parts of about the same length, none of them empty.

    If there are several, none is shorter than `least`.
    """
    n = min(most, max(1, (stop - start) // least))
    edges = np.linspace(start, stop, n + 1).astype(int).tolist()
    return [(a, b) for a, b in itertools.pairwise(edges) if a < b]


def _rounds(n: int) -> list[tuple[int, int]]:
    """All pairs (a, b), a <= b, of n numbers: first each with itself, then each with the next one, and so on.

    The number after the last is 0. Every round uses all numbers alike, so that threads find free ones to the end.
    """
    pairs = [(a, (a + ahead) % n) for ahead in range(n // 2 + 1) for a in range(n if 2 * ahead < n else n // 2)]
    return [(min(pair), max(pair)) for pair in pairs]


def _run_pairs(work: Callable[[int, int], object], pairs: list[tuple[int, int]], n_threads: int) -> None:
    """Call work(a, b) for all pairs, in about their order, but never for two pairs at once that share a number."""
    left, busy, lock = list(pairs), set[int](), threading.Lock()
    ended: queue.SimpleQueue[None] = queue.SimpleQueue()  # gets an entry for each thread whenever numbers become free

    def take() -> tuple[int, int] | None:
        with lock:
            for place, (a, b) in enumerate(left):
                if a not in busy and b not in busy:
                    busy.update((a, b))
                    return left.pop(place)
        return None

    def drain(_: int) -> None:
        while left:
            pair = take()
            if pair is None:
                with contextlib.suppress(queue.Empty):
                    ended.get(timeout=_LOOK)
                check_stopped()
                continue
            work(*pair)
            with lock:
                busy.difference_update(pair)
            for _ in range(n_threads - 1):
                ended.put(None)

    run_tasks(drain, n_threads, n_threads)
