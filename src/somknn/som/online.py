"""The classical online rule on validated rows, in blocks: exactly in row order, with matrix products for speed.

Kohonen, Self-Organizing Maps, 3rd edition, section 3.1: w_k += rate(t)·h(bmu, k)·(x - w_k), one row after the other.
Every row moves all units, so a plain loop reads and writes the whole codebook for each row. Here the codebook is
constant while a block of rows is presented; `som_blocks.train_block` tracks how far each row of the block has moved
each unit.
"""

import itertools
import time

import numpy as np

from somknn.progress import Passes
from somknn.scaling import check_squares
from somknn.search.best_units import Found, find
from somknn.som.blocks import BLOCK, ByteBlocks, FloatBlocks, MissingBlocks, blocks_at_once
from somknn.som.neighborhoods import evaluate
from somknn.som.quality import quantization_error_of, topographic_error_of
from somknn.som.training import Rows, Rule, settled

_SEGMENTS = 32  # most segments of an epoch, each with its own radius
_FEW = 8192  # up to this number of rows, units are found as in training, which is faster than starting a search


def _blocks(rows: Rows, codebook: np.ndarray, rule: Rule) -> ByteBlocks | FloatBlocks | MissingBlocks:
    """Choose integer arithmetic if weights stay within the range of the rows and the initial weights.

    This holds if no row pushes a unit away or moves it past the row.
    """
    if rule.missing:
        return MissingBlocks(rows.X, codebook, rule.grid)
    bounded = rule.neighborhood != "mexican_hat" and rule.rates.min() >= 0 and rule.rates.max() <= 1
    kind = ByteBlocks if rows.X.dtype == np.uint8 and codebook.dtype == np.float32 and bounded else FloatBlocks
    return kind(rows.X, codebook, rule.grid, rule.n_threads)


def _pieces(n: int) -> list[tuple[int, int, int]]:
    """(segment, first row, last row + 1) of the blocks of an epoch of n rows, as even as BLOCK allows."""
    cuts = np.linspace(0, n, min(-(-n // BLOCK), _SEGMENTS) + 1).astype(int).tolist()
    pieces = []
    for first, last in itertools.pairwise(cuts):
        edges = np.linspace(first, last, -(-(last - first) // BLOCK) + 1).astype(int).tolist()
        pieces += [(first, *edge) for edge in itertools.pairwise(edges)]
    return pieces


def train_online(
    rows: Rows, codebook: np.ndarray, rule: Rule, random: np.random.RandomState, report: Passes
) -> tuple[np.ndarray, Found]:
    """The classical rule over all rows, in a new random order every epoch.

    Returns (codebook, found): `found` holds units and distances for the returned codebook. The quantization and
    topographic errors of an epoch use each row's distance at the moment when it was presented.
    """
    n = len(rows.X)
    units = np.zeros((n, 2), np.int64)
    distances = np.zeros(n)
    squares = rule.grid.offset_squares()
    epochs = len(rule.radii)
    position = np.arange(epochs)
    blocks, dtype = _blocks(rows, codebook, rule), codebook.dtype
    pieces = _pieces(n)
    at_once = blocks_at_once(codebook)
    errors: list[float] = []
    following = random.permutation(n)
    for epoch in range(epochs):
        report.begin()
        began = time.perf_counter()
        order, following = following, random.permutation(n) if epoch + 1 < epochs else following[:0]
        rates = np.interp(epoch + np.arange(n) / n, position, rule.rates)
        if rows.weights is not None:
            rates = np.minimum(1.0, rates * rows.weights[order])
        for first in range(0, len(pieces), at_once):
            some = pieces[first : first + at_once]
            known = sorted({cut for cut, _, _ in some})
            radii = [float(np.interp(epoch + cut / n, position, rule.radii)) for cut in known]
            tables = np.stack([evaluate(rule.neighborhood, squares, radius, rule.compact_support) for radius in radii])
            edges = np.array([some[0][1], *(stop for _, _, stop in some)])
            span = slice(edges[0], edges[-1])
            which = np.array([known.index(cut) for cut, _, _ in some])
            if first + at_once < len(pieces):
                upcoming = order[slice(*pieces[first + at_once][1:])]
            else:
                upcoming = following[: pieces[0][2]]
            presented = blocks.present(order[span], edges - edges[0], tables, which, rates[span], upcoming)
            units[order[span]], distances[order[span]] = presented
        if rule.grid.size == 1:
            units[:] = 0
        check_squares(distances, rows.X, blocks.codebook(dtype))
        qe = quantization_error_of(distances, rows.weights)
        errors.append(qe)
        te = topographic_error_of(units, rule.grid, rows.weights)
        seconds = time.perf_counter() - began
        if report(lambda: blocks.codebook(dtype), units, qe, te, rule.radii[epoch], seconds) or settled(errors, rule):
            break
    codebook = blocks.codebook(dtype)
    finite = np.isfinite(codebook).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"the weights of unit {int(finite.argmin())} left the range of {dtype.name}: divide the data by a large "
            f"constant first, or take another neighborhood than {rule.neighborhood!r}"
        )
    if isinstance(blocks, ByteBlocks) and n <= _FEW:
        return codebook, Found(rows.X, *blocks.find(codebook))
    found = find(rows.X, codebook, rule.missing, rule.n_threads)
    check_squares(found.distances, rows.X, codebook)
    return codebook, found
