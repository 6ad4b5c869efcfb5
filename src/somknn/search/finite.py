"""The check for NaN and infinity, for code that does without scikit-learn."""

import math
from typing import Any

import numpy as np

_FEW = 256  # numbers
_CHECK_BYTES = 1 << 20  # of rows summed at a time: they stay in cache


def check_finite(X: np.ndarray, feature_names: Any = None) -> None:
    """Raise ValueError for NaN or infinity in `X`. The error names the first such row and column."""
    if X.size <= _FEW and math.isfinite(np.vdot(X, X)):  # of few numbers the steps below take longer than their search
        return
    rows_at_once = max(1, _CHECK_BYTES // max(1, X.itemsize * X.shape[1]))
    for start in range(0, len(X), rows_at_once):
        block = X[start : start + rows_at_once]
        with np.errstate(over="ignore", invalid="ignore"):
            # A finite sum proves finite terms, at the speed of memory. A sum that overflowed proves nothing.
            if np.isfinite(block.sum(dtype=np.float32 if block.dtype == np.float16 else None)):
                continue
        finite = np.isfinite(block)
        if finite.all():
            continue
        row, column = divmod(int(np.argmin(finite)), X.shape[1])
        what = "NaN" if np.isnan(block[row, column]) else "infinity"
        name = "" if feature_names is None else f" ({feature_names[column]!r})"
        raise ValueError(
            f"X contains {what} at row {start + row}, column {column}{name}: "
            "drop such rows or fill them in first, with sklearn.impute for example"
        )
