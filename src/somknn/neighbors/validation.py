"""Convert a caller's input to what the index takes: one dtype, C order, finite, nothing silently rounded.

uint8, float32 and float64 are kept as they are. Every other number type is converted to one that represents each of its
values exactly, so distances are those of the given values:

    bool                                      uint8
    integers whose values all fit 0 to 255    uint8 (an eighth of int64's memory, and the fast integer path)
    other int8, int16; float16                kept by the k-NN estimators with backend="numba"; float32 elsewhere
    uint16                                    float32
    other integers                            float64; values beyond ±2**53 are an error
    long double                               float64, rounded as by NumPy

Queries for rows that are held as int8 or int16 become that type if all their values fit it.
"""

from typing import Any

import numpy as np
import sklearn
from sklearn.utils.validation import validate_data

from somknn.search.finite import check_finite

_KEPT = (np.dtype(np.uint8), np.dtype(np.float32), np.dtype(np.float64))
_SIGNED = (np.dtype(np.int8), np.dtype(np.int16))
_LARGEST_INTEGER = 2**53


def validate_rows(
    estimator: Any, X: Any, *, reset: bool, compact: bool = False, held: np.dtype | None = None
) -> np.ndarray:
    """`X` as rows for the index; `reset` records number and names of features on `estimator`, otherwise compares them.

    compact, held : as in `prepare_rows`

    Raises
    ------
    ValueError
        For NaN or infinity (naming row and column), another number of features, or input that is empty or not
        two-dimensional.
    TypeError
        For sparse input, or cells that are not numbers.
    """
    X = validate_data(estimator, X, reset=reset, dtype="numeric", order="C", ensure_all_finite=False)
    return prepare_rows(X, getattr(estimator, "feature_names_in_", None), compact=compact, held=held)


def validate_rows_and_targets(
    estimator: Any, X: Any, y: Any, *, numeric_targets: bool, compact: bool = False
) -> tuple[np.ndarray, Any]:
    """As `validate_rows` for fitting, with targets of the same length (1-D or 2-D, finite)."""
    X, y = validate_data(
        estimator,
        X,
        y,
        dtype="numeric",
        order="C",
        ensure_all_finite=False,
        multi_output=True,
        y_numeric=numeric_targets,
    )
    return prepare_rows(X, getattr(estimator, "feature_names_in_", None), compact=compact), y


def prepare_rows(
    X: np.ndarray, feature_names: Any = None, *, compact: bool = False, held: np.dtype | None = None
) -> np.ndarray:
    """Two-dimensional numbers in a dtype of the index; checked to be finite unless `assume_finite` is set.

    compact : whether int8, int16 and float16 are dtypes of the index
    held : for queries, the dtype of the fitted rows
    """
    X = _as_exact_dtype(X, compact, held)
    if X.dtype.kind == "f" and not sklearn.get_config()["assume_finite"]:
        check_finite(X, feature_names)
    return X


def _as_exact_dtype(X: np.ndarray, compact: bool, held: np.dtype | None) -> np.ndarray:
    native = X.dtype.newbyteorder("=")
    if held in _SIGNED and native.kind in "biu" and _fits(X, held):
        return X.astype(held, copy=False)
    if native in _KEPT:
        return X.astype(native, copy=False)
    if native.kind == "b":
        return X.astype(np.uint8)
    if native.kind in "iu":
        low, high = int(X.min()), int(X.max())
        if low >= 0 and high <= 255:
            return X.astype(np.uint8)
        if compact and native in _SIGNED:
            return X.astype(native, copy=False)
        if native.itemsize <= 2:
            return X.astype(np.float32)
        if max(-low, high) > _LARGEST_INTEGER:
            worst = np.argmax((X < -_LARGEST_INTEGER) | (X > _LARGEST_INTEGER))
            row, column = divmod(int(worst), X.shape[1])
            raise ValueError(
                f"X holds the integer {X[row, column]} at row {row}, column {column}: float64 is not exact "
                "beyond 2**53; subtract an offset from that column first"
            )
    if native == np.float16:
        return X.astype(native if compact else np.float32, copy=False)
    return X.astype(np.float64)


def _fits(X: np.ndarray, dtype: Any) -> bool:
    limits = np.iinfo(dtype)
    return bool(limits.min <= X.min() and X.max() <= limits.max)


def check_n_neighbors(n_neighbors: Any, default: int) -> int:
    """`n_neighbors` (`default` if None) as an int of at least 1."""
    if n_neighbors is None:
        return int(default)
    if isinstance(n_neighbors, bool) or not hasattr(n_neighbors, "__index__"):
        raise TypeError(f"n_neighbors must be an integer, got {n_neighbors!r}")
    if n_neighbors < 1:
        raise ValueError(f"Expected n_neighbors > 0. Got {n_neighbors}")
    return n_neighbors.__index__()


def check_weights(weights: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The result of a user's weight function, as float64 in the shape of the neighbours.

    If a query has infinite weights (1/distance at distance zero), those neighbours count 1 and the others 0. Raises
    ValueError for another shape, NaN, negative weights, and a query whose weights are all zero.
    """
    weights = np.ascontiguousarray(weights, dtype=np.float64)
    if weights.shape != shape:
        raise ValueError(f"the weights function returned shape {weights.shape}, not that of the distances, {shape}")
    if not (weights >= 0).all():
        row, column = np.argwhere(~(weights >= 0))[0]
        raise ValueError(
            f"the weights function returned {weights[row, column]} for query {row}, neighbour {column}: "
            "weights must be 0 or greater"
        )
    infinite = np.isinf(weights)
    if infinite.any():
        weights = np.where(infinite.any(axis=1, keepdims=True), infinite.astype(np.float64), weights)
    empty = ~weights.any(axis=1)
    if empty.any():
        raise ValueError(
            f"all neighbours of query {int(np.argmax(empty))} have weight zero: change the weights function"
        )
    return weights
