"""An order of the columns of bytes in which those that are used by the same rows lie together; only speed depends on it."""

from typing import Any

import numpy as np

from somknn.threads import single_threaded_blas

_SAMPLE = 512  # rows; with 4,096 the rows of MNIST use as many chunks
_WIDEST = 4096  # columns
_DENSE = 0.8


def used_together(rows: np.ndarray, unit: int, chunk_bytes: int) -> np.ndarray:
    """An order of the units of columns of `rows` : uint8 (n, d), int32 (d // unit,), for `used_columns.copy_units`.

    unit, chunk_bytes : columns of a unit, and of the chunks that whole units make up.

    Chunk by chunk, from the most used units on: each chunk takes the units whose use in a sample of the rows is most like its own so far
    (shared rows divided by rows of either). On MNIST a row uses 18 chunks of 49, of which 28 in the order of the columns.
    """
    n_units = rows.shape[1] // unit
    given = np.arange(n_units, dtype=np.int32)
    if not chunk_bytes < rows.shape[1] <= _WIDEST:
        return given
    sample = rows[np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE)).astype(np.int64), : n_units * unit]
    used: Any = sample.reshape(len(sample), n_units, unit).any(axis=2).astype(np.float32)
    if used.mean() > _DENSE:
        return given
    counts = used.sum(axis=0)
    left = np.ones(n_units, np.bool_)
    order = np.empty(n_units, np.int32)
    with single_threaded_blas():
        for i in range(n_units):
            if i % (chunk_bytes // unit) == 0:
                chunk = np.zeros(len(used), np.float32)
                likeness = counts
            else:
                shared = chunk @ used
                likeness = (shared + 1e-6) / (chunk.sum() + counts - shared + 1.0)
            order[i] = np.argmax(np.where(left, likeness, -1.0))
            left[order[i]] = False
            chunk = np.maximum(chunk, used[:, order[i]])
    return order
