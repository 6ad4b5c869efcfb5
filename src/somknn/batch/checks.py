"""Find, describe and reject rows that cannot be classified. No value is silently clipped, rounded or filled in."""

from typing import Any

import numpy as np

from somknn.datasets.chunks import BatchError, Chunk, Reject

_MOST_WHOLE = 1 << 53


class UsageError(BatchError):
    """A request that is wrong whatever the files contain, such as an output that is also an input."""


class ResumeError(BatchError):
    """A work folder that cannot be resumed: it belongs to a different run, or it is in use."""


class ColumnsWarning(UserWarning):
    """Column names that cannot be compared, since the model knows none."""


def _show(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _bad_cells(values: np.ndarray, target: np.dtype | None, missing: bool) -> np.ndarray | None:
    """Mask of the cells that cannot be converted to `target` exactly; None if there are none.

    NaN is none of them where the model takes `missing` values.
    """
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
        bad = np.isinf(values) if missing else ~np.isfinite(values)
    elif values.dtype.itemsize == 8 and values.size and max(-int(values.min()), int(values.max())) > _MOST_WHOLE:
        bad = (values > _MOST_WHOLE) | (values.astype(np.float64) < -_MOST_WHOLE)
    else:
        return None
    return bad if bad.any() else None


def set_apart(chunk: Chunk, target: np.dtype | None, file: str, missing: bool = False) -> Chunk:
    """Move the rows with NaN, infinity or values outside the model's range from `chunk` to its rejects.

    `target` is the dtype that the model was fitted on; uint8 requires whole numbers from 0 to 255. `missing` says that
    the model takes NaN, such as one that begins with an imputer.
    """
    values = chunk.values
    bad = _bad_cells(values, target, missing)
    if bad is not None:
        bad_rows = bad.any(axis=1)
        for i in np.flatnonzero(bad_rows):
            column = int(bad[i].argmax())
            value = values[i, column]
            reason = "out of range: the model takes whole numbers from 0 to 255"
            if not np.isfinite(value):
                reason = "not a finite number" if missing else "missing value or not a finite number"
            elif target != np.uint8:
                reason = "a whole number beyond 2^53, which float64 does not keep"
            column = column if chunk.columns is None else chunk.columns[column]
            chunk.rejects.append(Reject(file, int(chunk.numbers[i]), 0, column + 1, reason, _show(value)))
        values, chunk.numbers = values[~bad_rows], chunk.numbers[~bad_rows]
        chunk.marks = {name: mark[~bad_rows] for name, mark in chunk.marks.items()}
        chunk.rejects.sort(key=lambda reject: reject.row)
    if target == np.uint8:
        values = values.astype(np.uint8, copy=False)
    chunk.values = np.ascontiguousarray(values)
    return chunk
