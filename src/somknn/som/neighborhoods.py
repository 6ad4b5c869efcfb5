"""How much a neuron learns from a row that another one won, and the smoothing of sums over the grid by it.

With δ the distance on the grid and σ the radius:

    gaussian      exp(-δ²/2σ²)
    mexican_hat   (1 - δ²/σ²)·exp(-δ²/2σ²)
    bubble        1 for δ <= σ
    triangle      max(0, 1 - δ/(σ + 1))
    epanechnikov  max(0, 1 - δ²/(σ + 1)²)

`+ 1` lets a radius of 0 mean "the winner only" for every function and keeps the nearest neurons in reach at 1. With
compact support, gaussian and mexican_hat are 0 beyond σ as well.

Separable ones are smoothed by columns, then by rows: K·(rows + columns)·d products in place of K²·d. A Gaussian is
separable on hexagonal grids too, because δ² = dx² + dy²: a row is smoothed along x once for target rows that are
shifted alike and once for those that are not. A Mexican hat is a sum of two such products.
"""

import numpy as np

from somknn.som.grid import Grid
from somknn_kernels.parallel import run_tasks
from somknn_kernels.som_update import weighted_sums

NEIGHBORHOODS = ("gaussian", "bubble", "mexican_hat", "triangle", "epanechnikov")
_COLUMNS = 256  # of a task
_ROWS = 512


def check_neighborhood(name: str) -> None:
    if name not in NEIGHBORHOODS:
        raise ValueError(f"neighborhood must be one of {', '.join(NEIGHBORHOODS)}; got {name!r}")


def evaluate(name: str, squared: np.ndarray, radius: float, compact_support: bool = False) -> np.ndarray:
    """The neighbourhood for squared grid distances (any shape); at radius 0 it is 1 at distance 0 and 0 elsewhere."""
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
    sums: np.ndarray, grid: Grid, name: str, radius: float, compact_support: bool = False, n_threads: int = 1
) -> np.ndarray:
    """out[j] = Σ_i h(j, i)·sums[i] for sums (grid.size, C): float64 (grid.size, C)."""
    sums = np.ascontiguousarray(sums, dtype=np.float64)
    separable = name in ("gaussian", "mexican_hat") and not compact_support and radius > 0
    if not separable:
        out = np.empty_like(sums)
        for first in range(0, grid.size, _ROWS):  # blocks of rows, so that K² numbers never exist at once
            stop = min(grid.size, first + _ROWS)
            H = evaluate(name, grid.squared_distances(first, stop), radius, compact_support)
            out[first:stop] = _product(H, sums, n_threads)
        return out
    out = _smooth_gaussian(sums, grid, radius, n_threads, 0, 0)
    if name == "mexican_hat":
        # (1 - (dx² + dy²)/σ²)·g(dx)·g(dy) = g·g - (dx²/σ²·g)·g - g·(dy²/σ²·g)
        out -= _smooth_gaussian(sums, grid, radius, n_threads, 1, 0)
        out -= _smooth_gaussian(sums, grid, radius, n_threads, 0, 1)
    return out


def _gaussian_factor(distance: np.ndarray, radius: float, power: int) -> np.ndarray:
    square = distance * distance / (radius * radius)
    with np.errstate(under="ignore"):
        return square**power * np.exp(-square / 2.0)


def _smooth_gaussian(sums, grid, radius, n_threads, x_power, y_power) -> np.ndarray:
    rows, columns = grid.n_rows, grid.n_columns
    width = sums.shape[1]
    y_factor = _gaussian_factor(grid.row_distances(), radius, y_power)
    if grid.topology == "rectangular":
        by_column = _along_columns(sums, grid, _gaussian_factor(grid.column_distances(), radius, x_power), n_threads)
        return _product(y_factor, by_column.reshape(rows, columns * width), n_threads).reshape(sums.shape)
    # For target rows of each parity: every source row smoothed along x with the shift between the two.
    out = np.empty((rows, columns, width))
    for parity in (0, 1):
        if parity >= rows:
            break
        by_column = np.empty((rows, columns, width))
        for source in (0, 1):
            if source >= rows:
                break
            factor = _gaussian_factor(grid.column_distances(0.5 * (parity - source)), radius, x_power)
            part = np.ascontiguousarray(sums.reshape(rows, columns, width)[source::2]).reshape(-1, width)
            by_column[source::2] = _along_columns(part, grid, factor, n_threads).reshape(-1, columns, width)
        target = np.ascontiguousarray(y_factor[parity::2])
        out[parity::2] = _product(target, by_column.reshape(rows, columns * width), n_threads).reshape(
            -1, columns, width
        )
    return out.reshape(sums.shape)


def _along_columns(sums, grid, factor, n_threads) -> np.ndarray:
    """Smooth every row of the grid along its columns."""
    columns, width = grid.n_columns, sums.shape[1]
    out = np.empty_like(sums)

    def work(row: int) -> None:
        part = slice(row * columns, (row + 1) * columns)
        for first in range(0, width, _COLUMNS):
            weighted_sums(factor, sums[part], 0, columns, first, min(width, first + _COLUMNS), out[part])

    run_tasks(work, len(sums) // columns, n_threads)
    return out


def _product(H: np.ndarray, S: np.ndarray, n_threads: int) -> np.ndarray:
    """H @ S in the kernel's fixed order of additions: BLAS may change its last bits with its number of threads."""
    out = np.empty((len(H), S.shape[1]))
    n_columns = -(-S.shape[1] // _COLUMNS)
    rows = len(H)

    def work(task: int) -> None:
        first = task * _COLUMNS
        weighted_sums(H, S, 0, rows, first, min(S.shape[1], first + _COLUMNS), out)

    run_tasks(work, n_columns, n_threads)
    return out
