"""The interval that the scans compare with: where the sum of a possible neighbour lies, although sums wrap around.

A scan computes A = c(q)·c(t) - ⌊‖c(t)‖²/2⌋ for the codes c of a query and a row, modulo 2^16 (2^32 with VNNI). If a
row is of use to the query, its codes are within a radius R (in steps) of the query's. So, with S = R²,

    ‖c(q) - c(t)‖² <= S  =>  0 <= A + start <= top,   start = ⌊(S - ‖c(q)‖²) / 2⌋,   top = ⌊(‖c(q)‖² + 1) / 2⌋ + start .

A is half of the query's squared norm less half the squared distance, plus at most 1/2, as the row's half norm is
rounded down. So A is at least -start, and at most half of ‖c(q)‖² + 1. Hence a row may be ruled out if A + start,
modulo the range of the sums and unsigned, is above `top`. The wrap-around loses nothing of use: for a row of use,
A + start lies in [0, top], below the range, so the remainder is the number itself. A row far away may seem to lie
there. It is then compared exactly.
"""

import numpy as np

from somknn_kernels.bounds.rounding import codes_within
from somknn_kernels.policy import inlined

_LARGE = 2.0**28  # if the squared radius is at least this, all rows survive


@inlined
def range_of(itemsize):
    """(largest number that sums of this many bytes can tell apart, half their range).

    Before AVX-512 vectors have no unsigned comparison. So sums, and what they are compared with, are both moved by half
    the range.
    """
    if itemsize == 4:
        return np.int64(2**32 - 1), np.int64(2**31)
    return np.int64(65535), np.int64(32768)


@inlined
def sum_interval(radius, norm, rounded, largest):
    """(start, top), int64, for rows within `radius` : float64, in steps of the codes. See the module's docstring.

    norm : int64, the squared norm of the codes of the side whose half norm is not in A
    rounded : in how many parts the half norm of the other side was rounded down
    largest : see `range_of`. NaN and large radii rule nothing out.
    """
    square = codes_within(radius)
    if square < _LARGE:
        start = (np.int64(square) - norm) // 2
        return start, min((norm + rounded) // 2 + start, largest)
    return np.int64(0), largest


@inlined
def half_square(radius, most):
    """Half the largest squared distance of codes within `radius`, rounded up, int64, at most `most`. See `scan_pairs`.

    NaN gives `most`.
    """
    half = codes_within(radius) * 0.5
    return np.int64(half) + 1 if half < most - 2 else most
