"""Online SOM training in blocks: a codebook, and working memory for presenting blocks of rows one row at a time.

`FloatBlocks` multiplies with BLAS in float64; `ByteBlocks` multiplies 16-bit integers, in about a third of the time.
"""

import itertools
from collections.abc import Callable

import numpy as np

from somknn.axes import sample_rows
from somknn.machine import Isa, Steps, per_task, run_tasks, select
from somknn.scaling import exponent_of
from somknn.som.grid import Grid
from somknn.threads import single_threaded_blas
from somknn_kernels.bounds import codebook_codes
from somknn_kernels.ir.shapes import panel_rows, query_tile
from somknn_kernels.maps import som_blocks, som_byte_blocks, som_update
from somknn_kernels.maps.som_block_tiles import LANES
from somknn_kernels.maps.som_blocks import Block, Codebook, Moves, Neighborhood
from somknn_kernels.maps.som_byte_blocks import SECTION, Neighborhoods, Packed, Panels, Schedule

BLOCK = 96  # most rows of a block; 64 and 128 took as long
_PART = 200  # units per task, for any number of threads: BLAS may round a product of another shape differently
_SAMPLE = 2048
_GATHERED = 1024  # rows per task


_AT_ONCE = 64  # most blocks presented in one call


def blocks_at_once(codebook: np.ndarray) -> int:
    """Number of blocks presented to a codebook (K, d) in one call: about 0.1 s, so that Ctrl-C takes effect."""
    return per_task(_AT_ONCE, BLOCK * codebook.size / 2)


def mean_square(centred: np.ndarray) -> float:
    """Mean squared norm of some rows; infinity beyond float64. A row pushes units away up to this squared distance."""
    with np.errstate(over="ignore"):
        return float(np.einsum("ij,ij->", centred, centred)) / len(centred)


class FloatBlocks:
    """Rows of any dtype and a codebook (K, d), both centred and in float64."""

    def __init__(self, X: np.ndarray, codebook: np.ndarray, grid: Grid, n_threads: int):
        K, d = codebook.shape
        sample = sample_rows(X, _SAMPLE)
        centre = sample.mean(axis=0)
        self.X, self.centre, self.n_threads = X, np.rint(centre) if X.dtype == np.uint8 else centre, n_threads
        self.hexagonal, self.columns = grid.topology == "hexagonal", grid.n_columns
        self.scale = 2.0 ** -exponent_of(X)  # scales squares of the rows to near one
        self.W = (codebook.astype(np.float64) - self.centre) * self.scale
        self.pushed_within = mean_square((sample - self.centre) * self.scale)
        self.rows, self.squares = np.empty((BLOCK, d)), np.empty(BLOCK)
        # Updates of float32 weights need no more precision than float32.
        self.product_type = np.float32 if codebook.dtype == np.float32 else np.float64
        padded = -(-K // LANES) * LANES
        self.dots, self.pulls, self.shares = (np.empty((BLOCK, padded)) for _ in range(3))
        self.moved, self.factors, self.halves = np.empty((K, d), self.product_type), np.empty(padded), np.zeros(padded)
        self.halves[:K] = 0.5 * np.einsum("ij,ij->i", self.W, self.W)
        # At least two parts: with two threads, each product of a quarter of 400 units took a third longer than of half
        # of them.
        edges = np.unique(np.linspace(0, K, max(2, K // _PART) + 1).astype(int)).tolist()
        self.parts = [slice(first, last) for first, last in itertools.pairwise(edges)]

    def _each_part(self, work: Callable[[slice], None]) -> None:
        run_tasks(lambda task: work(self.parts[task]), len(self.parts), self.n_threads)

    def codebook(self, dtype: np.dtype) -> np.ndarray:
        with np.errstate(over="ignore"):  # for neurons that a Mexican hat pushes away
            return (self.W / self.scale + self.centre).astype(dtype)

    def present(
        self,
        order: np.ndarray,
        edges: np.ndarray,
        tables: np.ndarray,
        which: np.ndarray,
        rates: np.ndarray,
        upcoming: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Train with the rows `order`; return their two units (n, 2) and squared distances (n,) in that order.

        Parameters
        ----------
        order : (n,) int64
        edges : (blocks + 1,) int64
            Start of each block, of at most BLOCK rows, and n.
        tables : (tables, 2R - 1, 3, 2C - 1) float64
            Neighbourhoods by grid offset; see `som_blocks.Neighborhood`.
        which : (blocks,) int64
            The table used by each block.
        rates : (n,) float64
        upcoming : (m,) int64
            The first block of the next call, which may be prepared ahead; empty at the end.
        """
        units, distances = np.empty((len(order), 2), np.int64), np.empty(len(order))
        with single_threaded_blas():
            for piece, table in zip(itertools.pairwise(edges.tolist()), which.tolist(), strict=True):
                rows = slice(*piece)
                self._present(order[rows], tables[table], rates[rows], units[rows], distances[rows])
        return units, distances / self.scale / self.scale

    def _present(
        self, which: np.ndarray, table: np.ndarray, rates: np.ndarray, units: np.ndarray, distances: np.ndarray
    ) -> None:
        n = len(which)
        rows, dots, shares = self.rows[:n], self.dots[:n], self.shares[:n]
        block = np.ascontiguousarray(self.X[which])
        codebook_codes.centre_rows(block, 0, n, self.centre, self.scale, rows, self.squares)

        def multiply(part: slice) -> None:
            np.matmul(rows, self.W[part].T, out=dots[:, part])

        self._each_part(multiply)
        gram = rows @ rows.T
        codebook = Codebook(self.W.reshape(*self.W.shape, 1), len(self.W), self.halves)
        pushed_within = self.pushed_within if table.min() < 0 else np.inf
        neighborhood = Neighborhood(table, self.hexagonal, self.columns, pushed_within)
        moving = Moves(self.pulls, shares, self.factors)
        som_blocks.train_block(Block(rows, dots, gram, 0.0), codebook, neighborhood, rates, moving, units, distances)
        movers, moves = rows.astype(self.product_type, copy=False), shares.astype(self.product_type, copy=False)

        def move(part: slice) -> None:
            np.matmul(moves[:, part].T, movers, out=self.moved[part])
            som_blocks.finish_block(self.W, self.factors, self.moved, self.halves, part.start, part.stop)

        self._each_part(move)


class MissingBlocks:
    """Rows with NaN, and a codebook (K, d) that is updated immediately after every row."""

    def __init__(self, X: np.ndarray, codebook: np.ndarray, grid: Grid):
        self.X, self.W = X, codebook.copy()
        sample = sample_rows(X, _SAMPLE)
        present = ~np.isnan(sample)
        centre = np.where(present, sample, 0.0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
        self.pushed_within = mean_square(np.where(present, sample - centre, 0.0))
        self.hexagonal, self.columns = grid.topology == "hexagonal", grid.n_columns

    def codebook(self, dtype: np.dtype) -> np.ndarray:
        return self.W.astype(dtype)

    def present(
        self,
        order: np.ndarray,
        edges: np.ndarray,
        tables: np.ndarray,
        which: np.ndarray,
        rates: np.ndarray,
        upcoming: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `FloatBlocks.present`."""
        units, distances = np.empty((len(order), 2), np.int64), np.empty(len(order))
        steps = Steps(per_task(BLOCK, self.W.size))
        for (first, stop), table in zip(itertools.pairwise(edges.tolist()), which.tolist(), strict=True):
            given = self.W, Neighborhood(tables[table], self.hexagonal, self.columns, self.pushed_within)

            def train(first: int, stop: int, given: tuple = given) -> None:
                rows = slice(first, stop)
                som_update.train_online_missing(self.X, order[rows], *given, rates[rows], units[rows], distances[rows])

            steps.run(train, first, stop)
        return units, distances


class ByteBlocks:
    """Rows of uint8, and a codebook (K, d) in panels of units.

    All threads stay in one kernel for many blocks, see `som_byte_blocks.train_bytes`.
    """

    def __init__(self, X: np.ndarray, codebook: np.ndarray, grid: Grid, n_threads: int):
        K, d = codebook.shape
        self.X, self.n_threads, self.shape = X, n_threads, codebook.shape
        self.hexagonal, self.columns = grid.topology == "hexagonal", grid.n_columns
        self._isa: Isa = select()
        length, tile = panel_rows(self._isa), query_tile(self._isa)
        sections = -(-d // (2 * SECTION))
        width = -(-d // (2 * sections))
        padded = -(-K // max(LANES, length)) * max(LANES, length)
        n_panels, n_columns = padded // length, 2 * sections * width
        self.panels = Panels(
            weights=np.zeros((n_panels, n_columns, length)),
            n_units=K,
            largest=0.0,
            halves=np.zeros(padded),
            factors=np.ones(padded),
            dots=np.zeros((BLOCK, padded)),
            pulls=np.zeros((BLOCK, padded)),
            shares=np.zeros((BLOCK + BLOCK % 2, padded)),
            scales=np.zeros((2, 3)),
            panel=np.zeros((sections, width, length), np.int32),
        )
        n_tiles, column_tiles, pairs = -(-BLOCK // tile), -(-n_columns // tile), -(-BLOCK // 2)

        def packed() -> Packed:
            return Packed(
                rows=np.zeros((max(n_tiles * tile, 2 * pairs), column_tiles * tile), np.int16),
                queries=np.zeros((n_tiles * sections, width, tile), np.int32),
                groups=np.zeros((n_tiles * sections, width), np.int32),
                counts=np.zeros(n_tiles * sections, np.int64),
                columns=np.zeros((column_tiles, pairs, tile), np.int32),
                row_groups=np.zeros((column_tiles, pairs), np.int32),
                row_counts=np.zeros(column_tiles, np.int64),
                gram=np.zeros((BLOCK, BLOCK)),
            )

        self.slots = packed(), packed()
        self.rows = np.empty((0, d), np.uint8)
        self.presented = 0  # number of blocks so far
        self._fill(codebook)

    def _fill(self, codebook: np.ndarray) -> None:
        W = self.panels.weights
        length = W.shape[2]
        for first in range(0, len(codebook), length):
            units = codebook[first : first + length]
            W[first // length, : codebook.shape[1], : len(units)] = units.T
        self.ready = False  # whether the next block has been packed and multiplied
        # Weights stay within the range of the initial weights and the rows.
        self.panels = self.panels._replace(largest=max(255.0, float(np.abs(codebook).max())))

    def find(self, codebook: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Units (n, 2) and squared distances (n,) of all rows for `codebook`, which replaces this one."""
        self._fill(codebook)
        n, grid_rows = len(self.X), len(codebook) // self.columns
        edges = np.append(np.arange(0, n, BLOCK), n)
        still = np.zeros((1, 2 * grid_rows - 1, 3, 2 * self.columns - 1))
        units, distances, at_once = np.empty((n, 2), np.int64), np.empty(n), blocks_at_once(codebook)
        for first in range(0, len(edges) - 1, at_once):
            some = edges[first : first + at_once + 1]
            order, upcoming = np.arange(some[0], some[-1]), np.arange(some[-1], min(n, some[-1] + BLOCK))
            which = np.zeros(len(some) - 1, np.int64)
            found = self.present(order, some - some[0], still, which, np.zeros(len(order)), upcoming)
            units[order], distances[order] = found
        return units, distances

    def codebook(self, dtype: np.dtype) -> np.ndarray:
        W, codebook = self.panels.weights, np.empty(self.shape, dtype)
        length = W.shape[2]
        for first in range(0, len(codebook), length):
            units = codebook[first : first + length]
            units[:] = W[first // length, : units.shape[1], : len(units)].T
        return codebook

    def present(
        self,
        order: np.ndarray,
        edges: np.ndarray,
        tables: np.ndarray,
        which: np.ndarray,
        rates: np.ndarray,
        upcoming: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `FloatBlocks.present`."""
        units, distances = np.empty((len(order), 2), np.int64), np.empty(len(order))
        order = np.concatenate([order, upcoming])
        n = len(order)
        if len(upcoming):
            edges = np.append(edges, n)
        if len(self.rows) < n:
            self.rows = np.empty((n, self.X.shape[1]), np.uint8)
        rows = self.rows[:n]

        def gather(task: int) -> None:
            some = slice(task * _GATHERED, min(n, (task + 1) * _GATHERED))
            np.take(self.X, order[some], axis=0, out=rows[some], mode="clip")  # mode "clip" needs no buffer

        run_tasks(gather, -(-n // _GATHERED), self.n_threads)
        parts = 2 * self.n_threads
        counters = som_byte_blocks.first_counters(len(which), parts, self.ready)
        schedule = Schedule(edges, self.presented, counters, parts)
        neighborhoods = Neighborhoods(tables, which, self.hexagonal, self.columns)
        given = self._isa, rows, schedule, self.panels, self.slots, neighborhoods, rates, units, distances

        def work(task: int) -> None:
            som_byte_blocks.train_bytes(*given)

        run_tasks(work, self.n_threads, self.n_threads)
        self.presented, self.ready = self.presented + len(which), len(upcoming) > 0
        return units, distances
