"""Initial codebooks: rows of the data, random points, or the plane of the two principal axes."""

from typing import Any

import numpy as np

from somknn.axes import axes_of_rows, sample_size
from somknn.scaling import exponent_of
from somknn.som.grid import Grid
from somknn.threads import single_threaded_blas

INITIALIZATIONS = ("pca", "sample", "random")


def initial_codebook(
    X: np.ndarray, grid: Grid, initialization: Any, weights: np.ndarray | None, random: np.random.RandomState
) -> np.ndarray:
    """Return the initial codebook, (grid.size, d) float64.

    "pca": mean + a·s1·v1 + b·s2·v2, where a and b run evenly from -1 to 1 along the sides of the grid, the longer side
    along the first axis v1, and s1, s2 are standard deviations. "sample": rows of `X` with a weight above 0, without
    repeats if there are enough. "random": uniform between the extremes of each feature. An array of shape (n_rows,
    n_columns, d) is used as it is. NaN in `X` is ignored.
    """
    if not isinstance(initialization, str):
        codebook = np.asarray(initialization, dtype=np.float64)
        shape = (grid.n_rows, grid.n_columns, X.shape[1])
        if codebook.shape != shape or not np.isfinite(codebook).all():
            raise ValueError(f"initialization as an array must be finite and of shape {shape}, got {codebook.shape}")
        return codebook.reshape(grid.size, -1).copy()
    if initialization not in INITIALIZATIONS:
        raise ValueError(
            f"initialization must be an array or one of {', '.join(INITIALIZATIONS)}; got {initialization!r}"
        )
    if initialization == "sample":
        usable = np.arange(len(X)) if weights is None else np.flatnonzero(weights > 0)
        chosen = random.choice(usable, grid.size, replace=len(usable) < grid.size)
        return _filled(X[chosen].astype(np.float64), X)
    if initialization == "random":
        low, high = _extremes(X)
        return low + random.uniform(size=(grid.size, X.shape[1])) * (high - low)
    with single_threaded_blas():
        return _principal_plane(X, grid, weights)


def _extremes(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low = np.fmin.reduce(X, axis=0).astype(np.float64)
    high = np.fmax.reduce(X, axis=0).astype(np.float64)
    return np.nan_to_num(low), np.nan_to_num(high)


def _filled(rows: np.ndarray, X: np.ndarray) -> np.ndarray:
    missing = np.isnan(rows)
    if missing.any():
        low, high = _extremes(X)
        rows = np.where(missing, (low + high) / 2, rows)
    return rows


def _principal_plane(X: np.ndarray, grid: Grid, weights: np.ndarray | None) -> np.ndarray:
    step, unit = -(-len(X) // sample_size(X.shape[1])), 2.0 ** exponent_of(X)
    rows = X[::step].astype(np.float64) / unit  # in this unit squares fit into float64
    weight = np.ones(len(rows)) if weights is None else weights[::step]
    missing = np.isnan(rows)
    weight = np.where(missing.all(axis=1), 0.0, weight)
    if not weight.sum() > 0:
        weight = np.ones(len(rows))
    if missing.any():
        total = weight @ ~missing
        centre = weight @ np.where(missing, 0.0, rows) / np.where(total > 0, total, 1.0)
        rows = np.where(missing, centre, rows)
    else:
        centre = weight @ rows / weight.sum()
    rows -= centre
    rows *= np.sqrt(weight / weight.sum())[:, None]  # rowsᵀ·rows is the covariance now
    leading = axes_of_rows(rows, min(2, rows.shape[1]), turns=30)
    along = rows @ leading
    values = np.einsum("ij,ij->j", along, along)
    # The sign of an eigenvector is arbitrary; here its largest entry is made positive.
    leading = leading * np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(leading.shape[1])])
    spread = np.sqrt(np.maximum(values, 0.0)) * leading
    if spread.shape[1] == 1:
        spread = np.column_stack([spread[:, 0], np.zeros(len(spread))])
    along_rows, along_columns = (0, 1) if grid.n_rows > grid.n_columns else (1, 0)
    a = _even(grid.n_rows)[:, None, None] * spread[:, along_rows]
    b = _even(grid.n_columns)[None, :, None] * spread[:, along_columns]
    return ((centre + a + b) * unit).reshape(grid.size, -1)


def _even(count: int) -> np.ndarray:
    return np.linspace(-1.0, 1.0, count) if count > 1 else np.zeros(1)


def as_codebook(start: np.ndarray, rows: np.dtype) -> np.ndarray:
    """Initial weights (K, d) in the dtype that goes with rows of this dtype. Raises ValueError if they overflow it."""
    with np.errstate(over="ignore"):
        codebook = start.astype(np.float64 if rows == np.float64 else np.float32)
    finite = np.isfinite(codebook).all(axis=1)
    if not finite.all():
        unit = int(finite.argmin())
        raise ValueError(
            f"'initialization' gives unit {unit} a weight of {start[unit][~np.isfinite(codebook[unit])][0]:.3g}, "
            f"beyond {codebook.dtype}: take weights near the rows, or rows of float64"
        )
    return codebook
