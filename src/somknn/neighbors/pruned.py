"""Pruned search: fits the screen, prepares the probes, splits the work over threads."""

import numpy as np

from somknn.neighbors.brute import collect_within
from somknn.neighbors.embedding import Embedding, ShortVectors, sample_rows
from somknn_kernels import pruned, selection, tiles
from somknn_kernels.isa import Isa
from somknn_kernels.parallel import run_tasks
from somknn_kernels.pruned import Probes, Screen
from somknn_kernels.selection import Nearest, Within

_LIFT = 90  # makes the rows' codes unsigned
_TASK_TILES = 40  # 240 queries: their codes stay in the level-1 and level-2 caches through a block of panels
_BLOCK_BYTES = 262_144  # of panels: half of a level-2 cache
_SPARE_SEEDS = 5  # candidates beyond k: the nearest by short vectors are not always the nearest


def _coarse_cells(coarse: np.ndarray, n_cells: int) -> np.ndarray:
    """Centres of a rough K-Means of a sample of short vectors, (n_cells, p); deterministic."""
    sample = sample_rows(coarse, 16 * n_cells).astype(np.float32)
    centres = sample[:: max(1, len(sample) // n_cells)][:n_cells].copy()
    for _ in range(4):
        label = nearest_cell(sample, centres)
        counts = np.bincount(label, minlength=len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, label, sample)
        filled = counts > 0
        centres[filled] = sums[filled] / counts[filled, None]
    return centres


def nearest_cell(coarse: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Cell of each short vector; a guess that only speed depends on."""
    half = (centres**2).sum(axis=1) / 2
    label = np.empty(len(coarse), np.int64)
    for start in range(0, len(coarse), 4096):
        at = slice(start, start + 4096)
        label[at] = np.argmax(coarse[at] @ centres.T - half, axis=1)
    return label


class PrunedSearch:
    """Exact search over `rows` (n, d) that a certified lower bound makes fast where the data has structure."""

    def __init__(self, rows: np.ndarray, isa: Isa, n_threads: int, embedding: Embedding | None = None):
        self.rows, self.isa = rows, isa
        self.embedding = embedding or Embedding(rows, isa)
        vectors = self.embedding.embed(rows, n_threads, probes=False)
        # A row whose codes had to be clipped would loosen the bound for all: such rows go last and are not screened.
        usual = np.median(vectors.short_errors)
        rare = ~(vectors.short_errors <= 1.2 * usual)
        n_cells = int(np.clip(np.sqrt(len(rows)), 1, 1024))
        self.cells = _coarse_cells(vectors.coarse, n_cells)
        label = nearest_cell(vectors.coarse, self.cells)
        label[rare] = len(self.cells)
        order = np.argsort(label, kind="stable")
        self.cell_edges = np.searchsorted(label[order], np.arange(len(self.cells) + 1))
        self._pack(vectors, order, int(rare.sum()))

    def _pack(self, vectors: ShortVectors, order: np.ndarray, n_rare: int) -> None:
        panel, g = tiles.scan_panel_rows(self.isa), tiles.scan_group(self.isa)
        n, n_screened = len(order), len(order) - n_rare
        first_rare = -(-n_screened // panel) * panel  # the rare rows begin a panel of their own
        n_places = -(-(first_rare + n_rare) // panel) * panel
        places = np.full(n_places, -1, np.int32)
        places[:n_screened] = order[:n_screened]
        places[first_rare : first_rare + n_rare] = order[n_screened:]
        taken = np.maximum(places, 0)
        half_type = np.int16 if g == 2 else np.int32
        groups = self.embedding.n_short // g
        panels = np.zeros((n_places // panel, groups, panel, g), np.uint8)
        half_norms = np.zeros((n_places // panel, panel), half_type)
        pruned.pack_screen(vectors.short[taken], places, _LIFT, panels, half_norms)
        errors = vectors.short_errors[order]
        self.screen = Screen(
            panels,
            half_norms,
            places,
            self.embedding.short_step,
            np.array([errors[:n_screened].max(initial=0.0), errors[n_screened:].max(initial=0.0)]),
            _LIFT,
            first_rare // panel,
            vectors.full[taken],
            np.nextafter(vectors.full_errors[taken].astype(np.float32), np.float32(np.inf)),
            self.embedding.full_step,
        )
        self.n_places = n_places

    @property
    def nbytes(self) -> int:
        """Bytes that the screen adds to the rows."""
        return sum(part.nbytes for part in self.screen if isinstance(part, np.ndarray))

    def probes(self, queries: np.ndarray, n_threads: int) -> tuple[Probes, np.ndarray]:
        """The queries' short vectors in the order of their cells, and the cell of each slot."""
        vectors = self.embedding.embed(queries, n_threads, probes=True)
        label = nearest_cell(vectors.coarse, self.cells)
        order = np.argsort(label, kind="stable")
        tile, g = tiles.query_tile(self.isa), tiles.scan_group(self.isa)
        n_slots = -(-len(queries) // tile) * tile
        slots = np.full(n_slots, -1, np.int64)
        slots[: len(order)] = order
        taken = np.maximum(slots, 0)
        packed = np.zeros((n_slots // tile, self.embedding.n_short // g, tile, 4), np.int8)
        sums = np.zeros(n_slots, np.int64)
        pruned.pack_probes(vectors.short, slots, g, packed, sums)
        probes = Probes(
            slots,
            packed,
            sums,
            vectors.short_squares[taken],
            vectors.short_errors[taken],
            vectors.full[taken],
            np.nextafter(vectors.full_errors[taken].astype(np.float32), np.float32(np.inf)),
        )
        return probes, label[taken]

    def _windows(self, labels: np.ndarray, k: int) -> np.ndarray:
        """Places to look for seeds: each slot's own cell and as many of the following places as it takes."""
        wanted = 2 * (k + _SPARE_SEEDS)
        start = np.minimum(self.cell_edges[labels], max(0, self.n_places - wanted))
        stop = np.minimum(np.maximum(self.cell_edges[labels + 1], start + wanted), self.n_places)
        return np.stack([start, stop], axis=1)

    def integers(self, queries: np.ndarray) -> bool:
        """Whether squared distances to these queries are integers."""
        return self.rows.dtype == np.uint8 and queries.dtype == np.uint8

    def nearest(
        self, queries: np.ndarray, k: int, n_threads: int, ceilings: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances (int64 or float64) and rows of the k nearest, both (m, k), ascending."""
        m = len(queries)
        dtype, worst = (np.int64, np.iinfo(np.int64).max) if self.integers(queries) else (np.float64, np.inf)
        distances, indices = np.full((m, k), worst, dtype), np.full((m, k), selection.NO_INDEX, np.int64)
        probes, labels = self.probes(queries, n_threads)
        windows = None
        if ceilings is None:
            ceilings = np.full(m, worst, dtype)
            windows = self._windows(labels, k)
        self._run(queries, probes, windows, k, ceilings, Nearest(distances, indices), n_threads)
        sorted_distances, sorted_indices = np.empty_like(distances), np.empty_like(indices)
        selection.merge_parts(distances[None], indices[None], sorted_distances, sorted_indices)
        return sorted_distances, sorted_indices

    def within(
        self, queries: np.ndarray, limits: np.ndarray, n_threads: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `BruteSearch.within`."""
        probes, _ = self.probes(queries, n_threads)

        def run(collector: Within) -> None:
            self._run(queries, probes, None, 0, limits, collector, n_threads)

        starts, distances, indices = collect_within(run, limits, np.int64 if self.integers(queries) else np.float64)
        owner = np.repeat(np.arange(len(queries)), np.diff(starts))
        order = np.lexsort((indices, owner))
        return starts, distances[order], indices[order]

    def _run(self, queries, probes, windows, k, ceilings, collector, n_threads) -> None:
        n_tiles = len(probes.packed)
        n_tasks = -(-n_tiles // _TASK_TILES)
        if n_tasks < 4 * n_threads:
            n_tasks = min(n_tiles, 4 * n_threads)
        edges = np.linspace(0, n_tiles, n_tasks + 1).astype(np.int64)
        counts = np.zeros((n_tasks, 2), np.int64)
        panels_per_block = max(1, _BLOCK_BYTES // self.screen.panels[0].nbytes)
        tile = probes.packed.shape[2]

        def work(task: int) -> None:
            first, last = edges[task], edges[task + 1]
            if windows is not None:
                pruned.seed(
                    self.isa,
                    queries,
                    self.rows,
                    self.screen,
                    probes,
                    windows,
                    first * tile,
                    last * tile,
                    k + _SPARE_SEEDS,
                    ceilings,
                    k,
                )
            pruned.search(
                self.isa,
                queries,
                self.rows,
                self.screen,
                probes,
                first,
                last,
                panels_per_block,
                ceilings,
                collector,
                counts[task],
            )

        run_tasks(work, n_tasks, n_threads)
        self.survivors = counts.sum(axis=0) / max(1, len(queries))
