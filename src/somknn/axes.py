"""Approximate principal axes of rows or of their covariance, for short vectors, SOMs and metrics."""

from collections.abc import Callable

import numpy as np

_SAMPLE = 4096  # rows from which accurate axes are made,
_SAMPLED = 2**24  # fewer where they are wide: so many values at most,
_FEWEST = 256  # but no fewer rows than these


def evenly_spaced(n: int, size: int) -> np.ndarray:
    """At most `size` numbers from 0 to n - 1, evenly spaced, int64."""
    return np.linspace(0, n - 1, min(size, n)).astype(np.int64)


def sample_rows(rows: np.ndarray, size: int) -> np.ndarray:
    """At most `size` rows (or items), evenly spaced, as float64."""
    return rows[evenly_spaced(len(rows), size)].astype(np.float64)


def sample_size(n_columns: int) -> int:
    """How many rows of this width are enough for accurate axes: 4,096, and fewer beyond 4,096 columns."""
    return min(_SAMPLE, max(_FEWEST, _SAMPLED // max(1, n_columns)))


def principal_axes(centred: np.ndarray, n_axes: int) -> np.ndarray:
    """The leading principal axes (columns) of centred rows, by subspace iteration; orthonormal, deterministic.

    Halko, Martinsson, Tropp (2011), "Finding structure with randomness", algorithm 4.4. The axes need not be
    accurate: any orthonormal columns give a valid bound, better ones a tighter one.
    """
    d = centred.shape[1]
    scale = float(np.abs(centred).max(initial=0.0)) or 1.0
    # Differences that overflow float64 carry no information.
    work = (centred / scale if np.isfinite(scale) else np.zeros_like(centred)).astype(np.float32)
    if d <= len(work):  # multiply by the rows once instead of seven times
        return leading_axes(work.T @ work, n_axes, turns=3).astype(np.float64)
    start = np.random.default_rng(0).standard_normal((d, min(d, n_axes + 16)), dtype=np.float32)
    basis, _ = np.linalg.qr(work.T @ (work @ start))
    for _ in range(2):
        basis, _ = np.linalg.qr(work.T @ (work @ basis))
    small = work @ basis
    _, vectors = np.linalg.eigh((small.T @ small).astype(np.float64))
    return basis.astype(np.float64) @ vectors[:, ::-1][:, :n_axes]


def leading_axes(covariance: np.ndarray, width: int, turns: int = 2) -> np.ndarray:
    """Orthonormal columns that span about the `width` leading eigenvectors, in their order.

    Exact for any orthonormal columns: a bound built on them holds, so block power iteration is enough. It takes a tenth
    of the time of a full eigendecomposition. More `turns` give more accurate eigenvectors.
    """
    d = len(covariance)
    if d <= 2 * width:
        return np.linalg.eigh(covariance)[1][:, ::-1][:, :width]
    basis = np.random.RandomState(0).normal(size=(d, min(d, width + 16))).astype(covariance.dtype)
    for _ in range(turns):
        basis = np.linalg.qr(covariance @ basis)[0]
    _, rotation = np.linalg.eigh(basis.T @ covariance @ basis)
    return basis @ rotation[:, ::-1][:, :width]


def _gram(rows: np.ndarray) -> np.ndarray:
    return rows.T @ rows


def axes_of_rows(
    rows: np.ndarray, width: int, turns: int = 2, gram: Callable[[np.ndarray], np.ndarray] = _gram
) -> np.ndarray:
    """As `leading_axes` of rowsᵀ·rows, for centred rows (n, d): (d, `width`), with `width` at most d.

    Where there are fewer rows than columns, rows·rowsᵀ has the same spectrum: its eigenvectors u give the axes rowsᵀ·u,
    and no matrix of d × d is made. If there are fewer rows than axes, the last axes are arbitrary.

    gram : computes aᵀ·a, for callers with several threads
    """
    n, d = rows.shape
    if d <= n:
        return leading_axes(gram(rows), width, turns)
    vectors = rows.T @ leading_axes(gram(rows.T), width, turns)
    others = np.eye(d, width - vectors.shape[1], dtype=vectors.dtype)
    return np.linalg.qr(np.concatenate([vectors, others], axis=1))[0]
