"""Find, describe and reject rows that cannot be classified. No value is silently clipped, rounded or filled in."""

from typing import Any

import numpy as np

from somknn.datasets.chunks import BatchError, Chunk, Reject


class UsageError(BatchError):
    """A request that is wrong whatever the files contain, such as an output that is also an input."""


class ResumeError(BatchError):
    """A work folder that cannot be resumed: it belongs to a different run, or it is in use."""


class ColumnsWarning(UserWarning):
    """Column names that cannot be compared, since the model knows none."""


def _show(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _bad_cells(values: np.ndarray, target: np.dtype | None) -> np.ndarray | None:
    """Mask of the cells that cannot be converted to `target` exactly; None if there are none."""
    if values.dtype == np.uint8 or values.dtype == np.bool_:
        return None
    if target == np.uint8:
        if values.size and values.min() >= 0 and values.max() <= 255 and values.dtype.kind in "iu":
            return None
        with np.errstate(invalid="ignore"):
            bad = ~((values >= 0) & (values <= 255) & (values == np.floor(values)))
    elif values.dtype.kind == "f":
        # The usual case, all values finite, takes one pass: their sum is finite.
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(values.sum(dtype=np.float64)):
                return None
        bad = ~np.isfinite(values)
    else:
        return None
    return bad if bad.any() else None


def set_apart(chunk: Chunk, target: np.dtype | None, file: str) -> Chunk:
    """Move the rows with NaN, infinity or values outside the model's range from `chunk` to its rejects.

    `target` is the dtype that the model was fitted on; uint8 requires whole numbers from 0 to 255.
    """
    values = chunk.values
    bad = _bad_cells(values, target)
    if bad is not None:
        bad_rows = bad.any(axis=1)
        for i in np.flatnonzero(bad_rows):
            column = int(bad[i].argmax())
            value = values[i, column]
            reason = "out of range: the model takes whole numbers from 0 to 255"
            if not np.isfinite(value):
                reason = "missing value or not a finite number"
            column = column if chunk.columns is None else chunk.columns[column]
            chunk.rejects.append(Reject(file, int(chunk.numbers[i]), 0, column + 1, reason, _show(value)))
        values, chunk.numbers = values[~bad_rows], chunk.numbers[~bad_rows]
        chunk.rejects.sort(key=lambda reject: reject.row)
    if target == np.uint8:
        values = values.astype(np.uint8, copy=False)
    chunk.values = np.ascontiguousarray(values)
    return chunk
