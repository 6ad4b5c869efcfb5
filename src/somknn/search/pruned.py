"""Pruned search: fits the screen, prepares the probes, splits the work over threads."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from somknn.machine import Isa, Steps, per_task, run_tasks
from somknn.search.brute import collect_within, merged_lists, sorted_lists, squared_bounds
from somknn.search.cells import coarse_cells, nearest_cell, order_by_cells
from somknn.search.embedding import Embedding, ShortVectors, part_columns
from somknn_kernels.exact import selection
from somknn_kernels.exact.selection import Apart, Improved, Nearest, Within
from somknn_kernels.ir.half_floats import for_kernels
from somknn_kernels.ir.layout import aligned, scan_panels, scan_queries
from somknn_kernels.ir.shapes import scan_panel_rows, scan_sums
from somknn_kernels.search import cell_order, pruned
from somknn_kernels.search.pruned import Probes as Probes
from somknn_kernels.search.pruned import Screen, Tour

_TASK_TILES = 40  # 240 queries: their codes stay in the level-1 and level-2 caches during a block of panels
_BLOCK_BYTES = 524_288  # of panels, of which a quarter is read and half of that in use at once: half of a level-2 cache
_PART_BYTES = 16_000_000  # of panels, a scan of 0.8 ms; halving 4 MB lost time: waking a thread took 0.2 ms
_PACKED_TILES = 256  # tiles that a task packs
_PACKED_PLACES = 2048  # places that a task packs
_MEASURED = 4096  # queries of a task of `measured`
SCANNED = 32  # columns that a scan reads of every row
_ROOM, _MOST_ROOM = 128, 4096  # candidates that wait for each query: at least, and for any number of neighbours
_NEAR_SHARE, _LEAST_NEAR = 16, 4  # the share of the panels, and their number, that a tile of queries meets first
_NEAR_TILES = 64  # tiles of a task that finds them
_USUAL = 1.2  # rows whose error is larger than this times the median are screened apart


def build_screen(
    embedding: Embedding, vectors: ShortVectors, order: np.ndarray, n_rare: int, n_threads: int = 1
) -> Screen:
    """Panels of the rows in `order`. The last `n_rare` of them, with larger errors, lie in panels of their own."""
    n_usual = len(order) - n_rare
    errors = vectors.errors[order]
    largest = np.array([part.max(axis=0, initial=0.0) for part in (errors[:n_usual], errors[n_usual:])])
    return pack_codes(embedding, vectors.codes, order, order, n_usual, largest, n_threads)


def pack_codes(
    embedding: Embedding,
    codes: np.ndarray,
    lines: np.ndarray,
    order: np.ndarray,
    n_usual: int,
    errors: np.ndarray,
    n_threads: int = 1,
) -> Screen:
    """The screen of the rows in `order`, with the codes codes[lines] (n, P); errors : as in `Screen`."""
    part = part_columns(embedding.n_columns)
    layout = scan_panels(embedding.isa, embedding.n_columns // part)
    stops, lift = embedding.stops // part, embedding.limits[0]
    panel, n = layout.rows, len(order)
    first_rare = -(-n_usual // panel) * panel
    n_places = -(-(first_rare + n - n_usual) // panel) * panel
    places = np.full(n_places, -1, np.int32)
    source = np.zeros(n_places, np.int64)
    for start, stop, to in ((0, n_usual, 0), (n_usual, n, first_rare)):
        places[to : to + stop - start] = order[start:stop]
        source[to : to + stop - start] = lines[start:stop]
    panels = layout.zeros(n_places, embedding.n_columns)
    half_norms = aligned((len(stops), n_places // panel, panel), scan_sums(embedding.isa))

    def work(task: int) -> None:
        last = min((task + 1) * _PACKED_PLACES, n_places)
        pruned.pack_screen(codes, source, places, lift, task * _PACKED_PLACES, last, panels, half_norms, stops)

    run_tasks(work, -(-n_places // _PACKED_PLACES), n_threads)
    own = lift, first_rare // panel, embedding.stretch
    return Screen(panels, half_norms, stops, places, embedding.step, errors, *own)


def build_probes(embedding: Embedding, vectors: ShortVectors, order: np.ndarray, n_threads: int = 1) -> Probes:
    """The short vectors of the queries, in tiles, in the given order."""
    layout = scan_queries(embedding.isa)
    tile = layout.rows
    n_slots = -(-len(order) // tile) * tile
    slots = np.full(n_slots, -1, np.int64)
    slots[: len(order)] = order
    packed = np.zeros(layout.shape(n_slots, embedding.n_columns), layout.dtype)
    sums, squares = np.zeros((2, n_slots, len(embedding.stops)), np.int64)

    def work(task: int) -> None:
        first, last = task * _PACKED_TILES, min((task + 1) * _PACKED_TILES, len(packed))
        at = slice(first * tile, last * tile)
        given = sums[at], squares[at], embedding.stops
        pruned.pack_probes(vectors.codes, slots[at], layout.group, packed[first:last], *given)

    run_tasks(work, -(-len(packed) // _PACKED_TILES), n_threads)
    return Probes(slots, packed, sums, squares, vectors.errors[np.maximum(slots, 0)])


def split_rare(vectors: ShortVectors) -> np.ndarray:
    """Which rows have errors far above those of the others.

    Their codes had to be clipped, and they would loosen the bound for all.
    """
    return np.logical_not((vectors.errors <= _USUAL * np.median(vectors.errors, axis=0)).all(axis=1))


def _joined(a: Screen, b: Screen) -> Screen:
    """One screen of the rows of both: the usual panels of a, those of b, then the rare ones of both."""

    def joined(first: np.ndarray, second: np.ndarray, axis: int, per_panel: int = 1) -> np.ndarray:
        usual, rare = zip(np.split(first, [i * per_panel], axis), np.split(second, [j * per_panel], axis), strict=True)
        return np.concatenate([*usual, *rare], axis)

    i, j = a.n_usual, b.n_usual
    return a._replace(
        panels=joined(a.panels, b.panels, 1),
        half_norms=joined(a.half_norms, b.half_norms, 1),
        order=joined(a.order, b.order, 0, a.panels.shape[3]),
        errors=np.maximum(a.errors, b.errors),
        n_usual=i + j,
    )


def run_search(
    isa: Isa,
    queries: np.ndarray,
    rows: np.ndarray,
    screen: Screen,
    probes: Probes,
    upper_bounds: np.ndarray,
    collectors: Sequence[Nearest | Improved | Apart | Within],
    n_threads: int,
    near: np.ndarray | None = None,
) -> np.ndarray:
    """Run the search kernel over all tiles and panels.

    upper_bounds : squared distances (m,), may be lowered
    collectors : one for each part of the panels, which is split into as many equal parts
    near : int32 (tiles, W), different usual panels, or -1; each tile meets its own first
    Returns the mean numbers of survivors of the scan, and of exact comparisons, per query.
    """
    n_tiles, n_panels, n_parts = len(probes.packed), screen.panels.shape[1], len(collectors)
    n_tasks = -(-n_tiles // _TASK_TILES)
    if n_tasks < 4 * n_threads:
        n_tasks = min(n_tiles, 4 * n_threads)
    # Not by NumPy's `linspace`, which for one query would take a tenth of the time.
    edges = [task * n_tiles // n_tasks for task in range(n_tasks + 1)]
    panel_edges = [part * n_panels // n_parts for part in range(n_parts + 1)]
    counts = np.zeros((n_tasks * n_parts, 2), np.int64)
    per_block = max(1, _BLOCK_BYTES // (len(screen.panels) * screen.panels[0, 0].nbytes))
    n_queries = min(len(queries), -(-n_tiles // n_tasks) * probes.packed.shape[2])
    at_once = per_task(2, n_queries * len(screen.order) * (SCANNED + rows.shape[1] / 4)) == 2
    near = np.empty((n_tiles, 0), np.int32) if near is None else near
    wanted = 0 if isinstance(collectors[0], Within) else collectors[0].distances.shape[1]
    room = max(_ROOM, min(2 * wanted, _MOST_ROOM))
    if not at_once:
        rows_at_once = per_block * screen.panels.shape[3]
        steps = scan_steps(n_panels, n_queries * rows_at_once, rows.shape[1])
        tile_steps = scan_steps(n_tiles, probes.packed.shape[2] * rows_at_once, rows.shape[1])

    def scan(
        task: int, tiles: tuple[int, int], panels: tuple[int, int, int], part: int, turns: tuple[int, int]
    ) -> None:
        tour = Tour(*tiles, *panels[:2], per_block, panels[2], *turns, near, room)
        given = screen, probes, tour, upper_bounds, collectors[part], counts[task]
        pruned.search(isa, for_kernels(queries), for_kernels(rows), *given)

    if n_parts > 1:  # then there are few tiles, and what is near is not split
        scan(0, (0, n_tiles), (0, n_panels, 0), 0, (-1, 0))
        if not isinstance(collectors[0], Within):
            np.minimum(upper_bounds, collectors[0].distances[:, 0], out=upper_bounds)

    def work(task: int) -> None:
        group, part = divmod(task, n_parts)
        tiles = edges[group], edges[group + 1]
        # All calls for a task begin with the same panel: the numbers of the turns depend on it.
        panels = panel_edges[part], panel_edges[part + 1], int(near[tiles[0], 0]) if near.size else 0
        first_turn = -1 if n_parts == 1 else 0
        if at_once:
            scan(task, tiles, panels, part, (first_turn, n_panels))
            return
        between = min(max(screen.n_usual, panels[0]), panels[1])
        n_turns = sum(-(-n // per_block) for n in (between - panels[0], panels[1] - between))

        def scan_turns(first: int, last: int) -> None:  # returns no number: it would tell `steps` how far the scan came
            tile_steps.run(lambda *some: scan(task, some, panels, part, (first, last)), *tiles)

        if first_turn < 0:
            scan_turns(-1, 0)
        steps.run(scan_turns, 0, n_turns)

    run_tasks(work, len(counts), n_threads)
    return counts.sum(axis=0) / max(1, len(queries))


def measured(
    isa: Isa, queries: np.ndarray, rows: np.ndarray, likely: np.ndarray, dtype: type, n_threads: int
) -> Improved:
    """The rows `likely` (m, k) of every query, with their exact distances, as a collector to be improved."""
    indices = np.array(likely, np.int64, order="C").reshape(len(queries), -1)
    distances: np.ndarray = np.empty(indices.shape, dtype)
    chunk = per_task(_MEASURED, indices.shape[1] * rows.shape[1])

    def work(task: int) -> None:
        at = slice(task * chunk, min((task + 1) * chunk, len(indices)))
        pruned.distances_to(isa, queries, for_kernels(rows), indices, at.start, at.stop, distances)
        selection.make_heaps(distances[at], indices[at])

    run_tasks(work, -(-len(indices) // chunk), n_threads)
    return Improved(distances, indices)


def scan_steps(n: int, pairs: int, d: int) -> Steps:
    """Steps for scans of n units, each of `pairs` pairs of rows in d columns.

    How many pairs a scan cannot rule out shows on the way. The first call is as short as if it could rule out none.
    And no call becomes so long that it would take seconds if, further on, none can be ruled out.
    """
    return Steps(per_task(n, pairs * (SCANNED + d / 4)), most=4 * per_task(n, pairs * (SCANNED + d / 16)))


class Arrangement(NamedTuple):
    """How the rows lie in the panels.

    cells : float32 (cells, P / 4), centres of groups of short vectors
    cell_edges : int64 (cells + 1,), the places where the groups begin, and the end
    order : integers (n,), the row at each place; n_rare : how many rows, the last ones, are screened apart
    """

    cells: np.ndarray
    cell_edges: np.ndarray
    order: np.ndarray
    n_rare: int


def arrange(vectors: ShortVectors, panel_rows: int, n_threads: int) -> Arrangement:
    """An arrangement with similar rows side by side, and rows with large errors last."""
    rare = split_rare(vectors)
    cells = coarse_cells(vectors.coarse, int(np.clip(np.sqrt(len(rare)), 1, 1024)), n_threads)
    label = nearest_cell(vectors.coarse, cells, n_threads)
    label[rare] = len(cells)
    order, cell_edges = order_by_cells(vectors.coarse, label, len(cells), panel_rows, n_threads)
    return Arrangement(cells, cell_edges, order, int(rare.sum()))


class PrunedSearch:
    """Exact search over `rows` (n, d) that a certified lower bound makes fast if the data has structure.

    It is never changed once it is made. Where its searches have an argument `survivors`, (2,) float64, they fill it
    with the mean numbers of rows per query that passed the scan, and that were compared exactly.
    """

    def __init__(self, rows: np.ndarray, embedding: Embedding, n_threads: int, arrangement: Arrangement | None = None):
        self.rows, self.isa, self.embedding = rows, embedding.isa, embedding
        vectors = self.embedding.embed(rows, n_threads, probes=False)
        if arrangement is None:
            arrangement = arrange(vectors, scan_panel_rows(self.isa), n_threads)
        self.cells, self.cell_edges, order, n_rare = arrangement
        self.screen = build_screen(self.embedding, vectors, order, n_rare, n_threads)

    def with_rows(self, rows: np.ndarray, n_new: int, n_threads: int) -> "PrunedSearch":
        """A search over `rows`: the rows of this one, followed by `n_new` others, on the same axes and cells."""
        vectors = self.embedding.embed(rows[-n_new:], n_threads, probes=False)
        # New rows with larger errors than the rows so far would loosen the bound for all of them.
        rare = ~(vectors.errors <= self.screen.errors[0]).all(axis=1)
        added = build_screen(self.embedding, vectors, np.argsort(rare, kind="stable"), int(rare.sum()), n_threads)
        first = len(rows) - n_new
        order = np.where(added.order >= 0, added.order + np.int32(first), np.int32(-1)).astype(np.int32)
        more = copy.copy(self)
        more.rows, more.screen = rows, _joined(self.screen, added._replace(order=order))
        return more

    @property
    def nbytes(self) -> int:
        """Bytes that the screen takes besides the rows."""
        return sum(part.nbytes for part in self.screen if isinstance(part, np.ndarray))

    def integers(self, queries: np.ndarray) -> bool:
        """Whether squared distances to these queries are integers."""
        return self.rows.dtype == np.uint8 and queries.dtype == np.uint8

    def _probes(self, queries: np.ndarray, n_threads: int, k: int = 0) -> tuple[Probes, np.ndarray | None]:
        """Queries' short vectors in the order of their cells; for k > 0 also the panels that each tile meets first."""
        vectors = self.embedding.embed(queries, n_threads, probes=True)
        label = nearest_cell(vectors.coarse, self.cells, n_threads)
        probes = build_probes(self.embedding, vectors, np.argsort(label, kind="stable"), n_threads)
        return probes, self._near_panels(vectors.coarse, probes, k, n_threads) if k > 0 else None

    def _near_panels(self, coarse: np.ndarray, probes: Probes, k: int, n_threads: int) -> np.ndarray:
        """Panels of the cells nearest to the middle of each tile's queries, int32 (tiles, W), with -1 at the end."""
        n_tiles = len(probes.packed)
        panel_rows = self.screen.panels.shape[3]
        width = min(self.screen.n_usual, max(self.screen.n_usual // _NEAR_SHARE, -(-4 * k // panel_rows), _LEAST_NEAR))
        near = np.full((n_tiles, width), -1, np.int32)
        columns = np.ascontiguousarray(self.cells.T)

        def work(task: int) -> None:
            first, last = task * _NEAR_TILES, min((task + 1) * _NEAR_TILES, n_tiles)
            given = columns, self.cell_edges, panel_rows, self.screen.n_usual
            cell_order.near_panels(coarse, probes.order, first, last, *given, near)

        run_tasks(work, -(-n_tiles // _NEAR_TILES), n_threads)
        return near

    def search(
        self,
        queries: np.ndarray,
        k: int,
        upper_bounds: np.ndarray | None = None,
        *,
        n_threads: int,
        survivors: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Searcher.search`; distances are int64 if `integers`, else float64.

        upper_bounds : squared distances (m,); None: they are found in the nearest cells
        survivors : float64 (2,), filled with those of this search
        """
        m = len(queries)
        dtype, worst = (np.int64, np.iinfo(np.int64).max) if self.integers(queries) else (np.float64, np.inf)
        probes, near = self._probes(queries, n_threads, k if upper_bounds is None else 0)
        # Few queries: the panels are split among the threads, and every part keeps its own k best.
        few = len(probes.packed) < n_threads
        n_parts = max(1, min(n_threads, self.screen.panels.nbytes // _PART_BYTES)) if few else 1
        distances = np.full((n_parts, m, k), worst, dtype)
        indices = np.full((n_parts, m, k), selection.NO_INDEX, np.int64)
        bounds = np.full(m, worst, dtype) if upper_bounds is None else np.array(upper_bounds, dtype)
        collectors = [Nearest(*part) for part in zip(distances, indices, strict=True)]
        passed = run_search(self.isa, queries, self.rows, self.screen, probes, bounds, collectors, n_threads, near)
        if survivors is not None:
            survivors[:] = passed
        if n_parts == 1:
            return sorted_lists(distances[0], indices[0], n_threads)
        return merged_lists(distances, indices)

    @property
    def in_pairs(self) -> bool:
        """Whether the rows can be searched for themselves pair by pair: `self_search` knows short vectors only."""
        return len(self.screen.stops) == 3

    def search_apart(self, k: int, groups: np.ndarray, n_threads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `self_search.nearest_apart`, with the rows as queries of an ordinary search."""
        n = len(self.rows)
        integers = self.integers(self.rows)
        dtype, worst = (np.int64, np.iinfo(np.int64).max) if integers else (np.float64, np.inf)
        probes, near = self._probes(self.rows, n_threads, k)
        collector = Apart(np.full((n, k), worst, dtype), np.full((n, k), selection.NO_INDEX), groups.astype(np.int32))
        given = self.screen, probes, np.full(n, worst, dtype), [collector], n_threads, near
        survivors = run_search(self.isa, self.rows, self.rows, *given)
        return *sorted_lists(collector.distances, collector.indices, n_threads), survivors

    def search_within(
        self, queries: np.ndarray, squared_radius: float, *, n_threads: int, survivors: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `Searcher.search_within`; survivors : as in `search`."""
        bounds = squared_bounds(squared_radius, len(queries), self.integers(queries))
        probes, _ = self._probes(queries, n_threads)

        def run(collector: Within) -> None:
            passed = run_search(self.isa, queries, self.rows, self.screen, probes, bounds, [collector], n_threads)
            if survivors is not None:
                survivors[:] = passed

        starts, distances, indices = collect_within(run, bounds, np.int64 if self.integers(queries) else np.float64)
        owner = np.repeat(np.arange(len(queries)), np.diff(starts))
        order = np.lexsort((indices, owner))
        return starts, distances[order], indices[order]
