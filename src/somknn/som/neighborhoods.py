"""Neighbourhood functions: how strongly a row moves a neuron that did not win it, and smoothing of sums over the grid.

With δ the distance on the grid and σ the radius:

    gaussian      exp(-δ²/2σ²)
    mexican_hat   (1 - δ²/σ²)·exp(-δ²/2σ²)
    bubble        1 for δ <= σ
    triangle      max(0, 1 - δ/(σ + 1))
    epanechnikov  max(0, 1 - δ²/(σ + 1)²)

With `+ 1`, a radius of 0 means "the winner only" for every function, and the nearest neurons are within reach at 1.
With compact support, gaussian and mexican_hat are also 0 beyond σ.

Separable functions are smoothed by columns, then by rows: K·(rows + columns)·d products instead of K²·d. A Gaussian is
separable on hexagonal grids too, because δ² = dx² + dy²: a row is smoothed along x once for the target rows with the
same shift and once for the others. A Mexican hat is a sum of two such products.
"""

import functools
from typing import Any

import numpy as np

from somknn.machine import check_stopped, per_task, run_tasks
from somknn.som.grid import Grid
from somknn_kernels.maps.smoothing import Factors, smooth_columns
from somknn_kernels.maps.som_update import weighted_sums
from somknn_kernels.tiles.weighted_tiles import FEATURES, TARGETS

NEIGHBORHOODS = ("gaussian", "bubble", "mexican_hat", "triangle", "epanechnikov")
_COLUMNS = 256  # columns per task
_ROWS = 512
_FEATURES = 32  # features per task when smoothing with a separable neighbourhood
_BETWEEN = 2**23  # bytes between the two steps of a separable neighbourhood, per thread


def check_neighborhood(name: str) -> None:
    if name not in NEIGHBORHOODS:
        raise ValueError(f"neighborhood must be one of {', '.join(NEIGHBORHOODS)}; got {name!r}")


def evaluate(name: str, squared: np.ndarray, radius: float, compact_support: bool = False) -> np.ndarray:
    """The neighbourhood at squared grid distances (any shape); at radius 0 it is 1 at distance 0 and 0 elsewhere."""
    check_neighborhood(name)
    squared = np.asarray(squared, dtype=np.float64)
    if name == "triangle":
        return np.maximum(0.0, 1.0 - np.sqrt(squared) / (radius + 1.0))
    if name == "epanechnikov":
        return np.maximum(0.0, 1.0 - squared / (radius + 1.0) ** 2)
    inside = squared <= radius * radius * (1.0 + 1e-12)
    if name == "bubble" or radius == 0:
        return inside.astype(np.float64)
    with np.errstate(under="ignore"):
        values = np.exp(-squared / (2.0 * radius * radius))
    if name == "mexican_hat":
        values *= 1.0 - squared / (radius * radius)
    return np.where(inside, values, 0.0) if compact_support else values


def smooth(
    sums: np.ndarray, grid: Grid, name: str, radius: float, compact_support: bool = False, n_threads: int = 1,
    divisors: np.ndarray | None = None, dtype: Any = np.float64,
) -> np.ndarray:  # fmt: skip
    """Smooth sums over the grid: out[j] = Σ_i h(j, i)·sums[i] / divisors[j].

    sums (grid.size, C), divisors (grid.size,), by default 1; returns (grid.size, C) of `dtype`.
    """
    if divisors is None:
        divisors = np.ones(grid.size)
    if name in ("gaussian", "mexican_hat") and not compact_support and radius > 0:
        if sums.dtype != np.int64:
            sums = np.asarray(sums, np.float64)
        smoothed = _smooth_separably(np.ascontiguousarray(sums), _separated(grid, name, radius), n_threads, divisors)
        return smoothed.astype(dtype, copy=False)
    sums = np.ascontiguousarray(sums, dtype=np.float64)
    out: np.ndarray = np.empty(sums.shape, dtype)
    for first in range(0, grid.size, _ROWS):  # blocks of rows, so that K² numbers never exist at once
        stop = min(grid.size, first + _ROWS)
        H = evaluate(name, grid.squared_distances(first, stop), radius, compact_support)
        product = _product(H, sums, n_threads)
        np.divide(product, divisors[first:stop, None], out=out[first:stop], casting="same_kind")
    return out


def _gaussian_factor(distance: np.ndarray, radius: float, power: int) -> np.ndarray:
    square = distance * distance / (radius * radius)
    with np.errstate(under="ignore"):
        return square**power * np.exp(-square / 2.0)


@functools.lru_cache(maxsize=2)
def _separated(grid: Grid, name: str, radius: float) -> Factors:
    """For target rows of each parity, smooth every source row along x with the shift between the two."""
    parities = 2 if grid.topology == "hexagonal" and grid.n_rows > 1 else 1
    powers = (0, 1) if name == "mexican_hat" else (0,)
    distances = [[grid.column_distances(0.5 * (t - s)) for s in range(parities)] for t in range(parities)]
    across = np.array([[[_gaussian_factor(dx, radius, power) for power in powers] for dx in row] for row in distances])
    dy = grid.row_distances()
    down = _gaussian_factor(dy, radius, 0)
    if name == "mexican_hat":
        # (1 - (dx² + dy²)/σ²)·g(dx)·g(dy) = g·(g - dy²/σ²·g) - (dx²/σ²·g)·g
        down = np.concatenate([down - _gaussian_factor(dy, radius, 1), -down], axis=1)
    padded = np.zeros((parities, -(-grid.n_rows // parities), down.shape[1]))
    for parity in range(parities):
        padded[parity, : len(down[parity::parities])] = down[parity::parities]
    return Factors(*_in_blocks(across), *_in_blocks(padded))


def _in_blocks(factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factors (…, targets, sources), zero-padded to whole blocks of targets, and each block's non-zero range."""
    *outer, targets, sources = factors.shape
    blocks = -(-targets // TARGETS)
    padded = np.zeros((*outer, blocks * TARGETS, sources))
    padded[..., :targets, :] = factors
    used = (padded != 0.0).reshape(*outer, blocks, TARGETS, sources).any(axis=-2)
    used[..., 0] |= ~used.any(axis=-1)  # a tile needs at least one
    spans = np.stack([used.argmax(axis=-1), sources - used[..., ::-1].argmax(axis=-1)], axis=-1)
    return padded, np.ascontiguousarray(spans, np.int64)


def _smooth_separably(sums: np.ndarray, factors: Factors, n_threads: int, divisors: np.ndarray) -> np.ndarray:
    width, out = sums.shape[1], np.empty(sums.shape)
    parities, columns = len(factors.across), factors.across.shape[-1]
    between = 8 * parities * columns * factors.down.shape[2]  # bytes per feature; the last length is terms·rows
    features = int(np.clip(_BETWEEN // (between * FEATURES), 1, _FEATURES // FEATURES)) * FEATURES

    def work(task: int) -> None:
        first = task * features
        smooth_columns(sums, factors, divisors, first, min(width, first + features), out)

    run_tasks(work, -(-width // features), n_threads)
    return out


def _product(H: np.ndarray, S: np.ndarray, n_threads: int) -> np.ndarray:
    """H @ S with the kernel's fixed order of summation: BLAS may change its last bits with its number of threads."""
    out = np.empty((len(H), S.shape[1]))
    n_columns = -(-S.shape[1] // _COLUMNS)
    rows = per_task(len(H), len(S) * min(_COLUMNS, S.shape[1]) / 4)

    def work(task: int) -> None:
        columns = task * _COLUMNS, min(S.shape[1], (task + 1) * _COLUMNS)
        for first in range(0, len(H), rows):
            check_stopped()
            weighted_sums(H, S, first, min(len(H), first + rows), *columns, out)

    run_tasks(work, n_columns, n_threads)
    return out
