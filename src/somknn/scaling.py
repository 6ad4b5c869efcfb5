"""Powers of two near the spread of some rows: in such units squares and their sums stay within float64, and nothing is rounded."""

import numpy as np

from somknn.axes import sample_rows

_SAMPLE = 1024
BEYOND = "squared distances are beyond float64; divide the data by a large constant first"
_FLOAT32 = 60  # exponents up to which float32 holds numbers, and their squares, with all their digits


def exponent_of(rows: np.ndarray) -> int:
    """e with 2^e about the largest spread of a column among a sample of the rows (n, d), from -1,000 to 1,000; NaN is left out.

    0 for bytes, and where no column has any spread. Values themselves are below 2^1000 in such units.
    """
    if rows.dtype == np.uint8:
        return 0
    sample = sample_rows(rows, _SAMPLE)
    low, high = (
        np.fmin.reduce(sample, axis=0) / 2,
        np.fmax.reduce(sample, axis=0) / 2,
    )  # halves: no difference overflows
    spread = float(np.fmax.reduce(high - low, initial=0.0))
    if not spread > 0:
        return 0
    largest = max(float(np.fmax.reduce(np.abs(high))), float(np.fmax.reduce(np.abs(low))))
    return int(np.clip(max(np.frexp(spread)[1] + 1, np.frexp(largest)[1] - 999), -1000, 1000))


def squares_scale(exponent: int) -> float:
    """What brings squares of rows of this exponent near one."""
    return 2.0 ** -min(1000, max(-1000, 2 * exponent))


def fits_float32(exponent: int) -> bool:
    """Whether float32 is for rows of this exponent, about their centre."""
    return abs(exponent) <= _FLOAT32


def check_squares(squares: np.ndarray) -> None:
    """Raise ValueError where a squared distance of the rows (n,) is beyond float64, and so cannot be compared with others."""
    finite = np.isfinite(squares)
    if not finite.all():
        raise ValueError(f"row {int(np.argmin(finite))} is too far from all others: {BEYOND}")
