"""Powers of two near the spread of some rows.

In these units squares and their sums fit into float64, and scaling does not round anything.
"""

import numpy as np

from somknn.axes import sample_rows

_SAMPLE = 1024
BEYOND = "squared distances are beyond float64; divide the data by a large constant first"
_FLOAT32 = 60  # up to this exponent, float32 holds numbers and their squares with full precision


def exponent_of(rows: np.ndarray) -> int:
    """e with 2^e about the largest spread of a column in a sample of the rows (n, d), from -1,000 to 1,000.

    NaN is ignored. 0 for bytes, and if no column has any spread. In these units the values are below 2^1000.
    """
    if rows.dtype == np.uint8:
        return 0
    sample = sample_rows(rows, _SAMPLE)
    low, high = (
        np.fmin.reduce(sample, axis=0) / 2,
        np.fmax.reduce(sample, axis=0) / 2,
    )  # halved, so that no difference overflows
    spread = float(np.fmax.reduce(high - low, initial=0.0))
    if not spread > 0:
        return 0
    largest = max(float(np.fmax.reduce(np.abs(high))), float(np.fmax.reduce(np.abs(low))))
    return int(np.clip(max(np.frexp(spread)[1] + 1, np.frexp(largest)[1] - 999), -1000, 1000))


def squares_scale(exponent: int) -> float:
    """The factor that scales squares of rows with this exponent to near one."""
    return 2.0 ** -min(1000, max(-1000, 2 * exponent))


def fits_float32(exponent: int) -> bool:
    """Whether float32 is suitable for rows with this exponent, about their centre."""
    return abs(exponent) <= _FLOAT32


def check_squares(
    squares: np.ndarray,
    rows: np.ndarray | None = None,
    units: np.ndarray | None = None,
    start: str = "initialization",
) -> None:
    """Raise ValueError if a squared distance (n,) of the rows overflows float64, so that it cannot be compared.

    rows (n, d), units (K, d) : what was compared, if units are no rows themselves. The error names a unit if no row is
    as far out, else the row.
    start : the parameter that units far out come from
    """
    finite = np.isfinite(squares)
    if finite.all():
        return
    reach = np.zeros(1) if units is None else np.nan_to_num(np.abs(units), nan=np.inf, posinf=np.inf).max(axis=1)
    if rows is not None and reach.max() > np.fmax.reduce(np.abs(rows), axis=None):
        unit = int(reach.argmax())
        raise ValueError(
            f"unit {unit} has weights of up to {reach[unit]:.3g}, far beyond the rows: squared distances to it are "
            f"beyond float64; check {start!r}"
        )
    raise ValueError(f"row {int(np.argmin(finite))} is too far from all others: {BEYOND}")
