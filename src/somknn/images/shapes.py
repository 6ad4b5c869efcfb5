"""Convert rows of pixels to images and back, and split them into blocks for the threads."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from somknn.machine import per_task, resolve_n_threads, run_tasks

_IMAGES_PER_TASK = 256


def resolve_image_shape(image_shape: Any, n_features: int) -> tuple[int, int]:
    """(rows, columns) of images with `n_features` pixels; None means square, or one row if that is not possible.

    Raises ValueError for a shape with another number of pixels, TypeError for anything but a pair of integers.
    """
    if image_shape is None:
        side = math.isqrt(n_features)
        return (side, side) if side * side == n_features else (1, n_features)
    try:
        rows, columns = (side.__index__() for side in image_shape)
    except (TypeError, ValueError, AttributeError):
        raise TypeError(f"image_shape must be a pair (rows, columns), got {image_shape!r}") from None
    if rows < 1 or columns < 1 or rows * columns != n_features:
        raise ValueError(f"image_shape {rows} × {columns} has {rows * columns} pixels, but X has {n_features} features")
    return rows, columns


def for_blocks(
    work: Callable[[slice], object], n: int, n_jobs: int | None, operations: float, most: int = _IMAGES_PER_TASK
) -> None:
    """Call `work(slice)` for consecutive blocks of `n` images, at most `most` at a time, from several threads.

    operations : approximate number of multiply-adds per image.
    """
    block = per_task(most, operations)
    run_tasks(
        lambda task: work(slice(task * block, min(n, (task + 1) * block))),
        -(-n // block),
        resolve_n_threads(n_jobs),
    )


def gaussian_matrix(n: int, sigma: float, centers: np.ndarray | None = None) -> np.ndarray:
    """Band matrix (len(centers), n), float32, of a sampled Gaussian about each centre, cut at 4σ as in SciPy.

    Weights are normalised over the whole kernel, so pixels beyond the border count as zero.
    """
    centers = np.arange(n) if centers is None else centers
    offsets = np.arange(n)[None, :] - centers[:, None]
    if sigma == 0:
        return (offsets == 0).astype(np.float32)
    radius = int(4.0 * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2) / taps.sum()
    return np.where(np.abs(offsets) <= radius, weights, 0.0).astype(np.float32)
