"""The classical online rule on validated rows, in blocks: exact in its order, with matrix products for speed.

Kohonen, Self-Organizing Maps, 3rd edition, section 3.1: w_k += rate(t)·h(bmu, k)·(x - w_k), one row after the other. All units move at
every row, so a plain loop reads and writes the whole codebook for each. Here the codebook rests while a block of rows is
presented; `som_update.train_block` keeps by how much each row of the block has drawn each unit.
"""

import itertools
import time

import numpy as np

from somknn.axes import sample_rows
from somknn.som.neighborhoods import evaluate
from somknn.som.quality import quantization_error_of, topographic_error_of
from somknn.som.search import find
from somknn.som.training import Rows, Rule, settled
from somknn.threads import single_threaded_blas
from somknn_kernels import codebook_codes, som_update
from somknn_kernels.parallel import run_tasks

_SEGMENTS = 32  # of an epoch at most, each with its radius
_BLOCK = 96  # rows at most; 64 and 128 took as long
_PART = 200  # units of a task, whatever the number of threads: BLAS may round a product of another shape differently
_SAMPLE = 2048
_FADED = 90.0  # minus the logarithm of what a block's rows but the last may leave of a unit


class _Blocks:
    """A codebook, centred and in float64, and the scratch to present blocks of rows to it."""

    def __init__(self, X: np.ndarray, codebook: np.ndarray, n_threads: int):
        K, d = codebook.shape
        sample = sample_rows(X, _SAMPLE)
        centre = sample.mean(axis=0)
        self.X, self.centre, self.n_threads = X, np.rint(centre) if X.dtype == np.uint8 else centre, n_threads
        self.W = codebook.astype(np.float64) - self.centre
        self.rows, self.squares = np.empty((_BLOCK, d)), np.empty(_BLOCK)
        # What is added to float32 weights need not be more exact than they are.
        self.product_type = np.float32 if codebook.dtype == np.float32 else np.float64
        self.products, self.moved = np.empty((_BLOCK, K)), np.empty((K, d), self.product_type)
        self.shares, self.factors = np.empty((_BLOCK, K)), np.zeros(K)
        self.norms = np.einsum("ij,ij->i", self.W, self.W)
        # Two parts at least: each product of a quarter of 400 units took a third longer than of half of them, by two threads.
        edges = np.unique(np.linspace(0, K, max(2, K // _PART) + 1).astype(int)).tolist()
        self.parts = [slice(first, last) for first, last in itertools.pairwise(edges)]

    def _each_part(self, work) -> None:
        run_tasks(lambda task: work(self.parts[task]), len(self.parts), self.n_threads)

    def codebook(self, dtype) -> np.ndarray:
        return (self.W + self.centre).astype(dtype)

    def present(self, which: np.ndarray, offsets, table, rates, units: np.ndarray, distances: np.ndarray) -> None:
        """Train with the rows `which`, at most _BLOCK; units and distances of these rows, in their order, are filled."""
        rows = self.rows[: len(which)]
        block = np.ascontiguousarray(self.X[which])
        codebook_codes.centre_rows(block, 0, len(block), self.centre, 1.0, rows, self.squares)
        products, shares = self.products[: len(rows)], self.shares[: len(rows)]

        def multiply(part: slice) -> None:
            np.matmul(rows, self.W[part].T, out=products[:, part])

        self._each_part(multiply)
        gram = rows @ rows.T
        som_update.train_block(
            rows, self.W, products, gram, self.norms, offsets, table, rates, shares, self.factors, units, distances
        )
        movers, moves = rows.astype(self.product_type, copy=False), shares.astype(self.product_type, copy=False)

        def move(part: slice) -> None:
            np.matmul(moves[:, part].T, movers, out=self.moved[part])
            som_update.finish_block(self.W, self.factors, self.moved, self.norms, part.start, part.stop)

        self._each_part(move)


def _cut_blocks(rates: np.ndarray, start: int) -> list[tuple[int, int]]:
    """Blocks of a segment's rows, from row `start` on: as even as _BLOCK allows, shorter where rates are high (see `train_block`)."""
    even = -(-len(rates) // -(-len(rates) // _BLOCK))
    with np.errstate(divide="ignore"):
        faded = -np.log1p(-rates)
    blocks, first, total = [], 0, 0.0
    for row in range(len(rates)):
        if row > first and (row - first == even or total > _FADED):
            blocks.append((start + first, start + row))
            first, total = row, 0.0
        total += faded[row]
    return [*blocks, (start + first, start + len(rates))]


def train_online(rows: Rows, codebook: np.ndarray, rule: Rule, random: np.random.RandomState, report):
    """The classical rule over all rows in a new random order every epoch.

    Returns (codebook, found): units and distances for the returned codebook.

    QE and TE of an epoch are those of each row at the moment it was presented.
    """
    n = len(rows.X)
    units = np.zeros((n, 2), np.int64)
    distances = np.zeros(n)
    squares = rule.grid.offset_squares()
    r, c = np.divmod(np.arange(rule.grid.size), rule.grid.n_columns)
    offsets = np.column_stack([r, r % 2 if rule.grid.topology == "hexagonal" else 0 * r, c]).astype(np.int64)
    epochs = len(rule.radii)
    position = np.arange(epochs)
    blocks = None if rule.missing else _Blocks(rows.X, codebook, rule.n_threads)
    errors: list[float] = []
    for epoch in range(epochs):
        began = time.perf_counter()
        order = random.permutation(n)
        rates = np.empty(n)
        cuts = np.linspace(0, n, min(-(-n // _BLOCK), _SEGMENTS) + 1).astype(int)
        for start, stop in itertools.pairwise(cuts):
            at = epoch + np.arange(start, stop) / n
            radius = float(np.interp(at[0], position, rule.radii))
            rates[start:stop] = np.interp(at, position, rule.rates)
            if rows.weights is not None:
                rates[start:stop] = np.minimum(1.0, rates[start:stop] * rows.weights[order[start:stop]])
            table = evaluate(rule.neighborhood, squares, radius, rule.compact_support)
            if blocks is None:
                arguments = (rows.X, order, codebook, offsets, table, rates, start, stop, units, distances)
                som_update.train_online_missing(*arguments)
                continue
            with single_threaded_blas():
                for first, last in _cut_blocks(rates[start:stop], start):
                    which = order[first:last]
                    found, measured = np.empty((len(which), 2), np.int64), np.empty(len(which))
                    blocks.present(which, offsets, table, rates[first : first + len(which)], found, measured)
                    units[which], distances[which] = found, measured
        if blocks is not None:
            codebook = blocks.codebook(codebook.dtype)
        if rule.grid.size == 1:
            units[:] = 0
        qe = quantization_error_of(distances, rows.weights)
        errors.append(qe)
        te = topographic_error_of(units, rule.grid, rows.weights)
        seconds = time.perf_counter() - began
        if report(codebook, units, qe, te, rule.radii[epoch], seconds) or settled(errors, rule):
            break
    return codebook, find(rows.X, codebook, rule.missing, rule.n_threads)
