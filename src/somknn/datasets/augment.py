"""More rows derived from given images: shifted, rotated, noisy. For measurements with millions of realistic rows."""

from collections.abc import Iterator

import numpy as np

_BLOCK = 1000  # rows that share a random stream: the values do not depend on how the caller splits the rows
_SHIFT = 2.0  # pixels, in each direction
_ANGLE = np.deg2rad(15.0)
_NOISE = 8.0  # standard deviation, grey levels


def _variants(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image rotated and shifted (bilinear, zeros outside), with Gaussian noise where it is not blank."""
    n, height, width = images.shape
    angle = rng.uniform(-_ANGLE, _ANGLE, (n, 1, 1)).astype(np.float32)
    move = rng.uniform(-_SHIFT, _SHIFT, (2, n, 1, 1)).astype(np.float32)
    noise = rng.normal(0, _NOISE, images.shape).astype(np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    from_y = np.cos(angle) * y - np.sin(angle) * x + move[0] + (height - 1) / 2
    from_x = np.sin(angle) * y + np.cos(angle) * x + move[1] + (width - 1) / 2
    # With a border of zeros, every clipped position reads a zero.
    framed = np.pad(images, ((0, 0), (1, 2), (1, 2)))
    from_y = np.clip(from_y, -1, height) + 1
    from_x = np.clip(from_x, -1, width) + 1
    top, left = from_y.astype(np.int32), from_x.astype(np.int32)
    part_y, part_x = from_y - top, from_x - left
    row = width + 3
    place = (np.arange(n, dtype=np.int64) * ((height + 3) * row))[:, None, None] + top * row + left
    flat = framed.ravel()
    upper = flat[place] * (1 - part_x) + flat[place + 1] * part_x
    lower = flat[place + row] * (1 - part_x) + flat[place + row + 1] * part_x
    values = upper * (1 - part_y) + lower * part_y
    values += noise * (values > 0)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def iter_augmented(X: np.ndarray, n_rows: int, image_shape: tuple[int, int], seed: int = 0) -> Iterator[np.ndarray]:
    """Yield `augmented` in blocks of at most 1,000 rows, for arrays larger than memory."""
    X = np.asarray(X)
    if X.dtype != np.uint8 or X.ndim != 2 or X.shape[1] != image_shape[0] * image_shape[1] or len(X) == 0:
        raise ValueError(f"X must be uint8 rows of {image_shape} images, got shape {X.shape}, dtype {X.dtype}")
    for start in range(0, n_rows, _BLOCK):
        rows = np.arange(start, start + _BLOCK)
        block = X[rows % len(X)]
        first = len(X) - start  # of the variants in this block
        if first < _BLOCK:
            # The whole block is generated even if less is needed: a row never depends on n_rows.
            first = max(first, 0)
            rng = np.random.default_rng([seed, start // _BLOCK])
            images = block[first:].reshape(-1, *image_shape)
            block[first:] = _variants(images, rng).reshape(len(images), -1)
        yield block[: n_rows - start]


def augmented(X: np.ndarray, n_rows: int, image_shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """The rows of X, then variants of them.

    Variants are shifted by up to 2 pixels, rotated by up to 15 degrees, with noise of 8 grey levels (standard
    deviation).

    Parameters
    ----------
    X : ndarray of uint8, shape (n, height * width)
    n_rows : int
        Rows to return. Row i is derived from row `i % n` of X.
    image_shape : (height, width)
    seed : int
        The same seed gives the same rows.

    Returns
    -------
    ndarray of uint8, shape (n_rows, height * width)

    Examples
    --------
    >>> from somknn import datasets
    >>> import numpy as np
    >>> X = np.zeros((2, 9), dtype=np.uint8)
    >>> datasets.augmented(X, 5, (3, 3)).shape
    (5, 9)
    """
    result = np.empty((n_rows, image_shape[0] * image_shape[1]), dtype=np.uint8)
    position = 0
    for block in iter_augmented(X, n_rows, image_shape, seed):
        result[position : position + len(block)] = block
        position += len(block)
    return result
