"""The interval on which the scans stand: where the sum of a row that may be a neighbour lies, although sums wrap around.

A scan adds up A = c(q)·c(t) - ⌊‖c(t)‖²/2⌋ for the codes c of a query and a row, modulo 2^16 (2^32 with VNNI). What is of use to the query
has codes no farther apart than a radius R (in steps), so that with S = R²

    ‖c(q) - c(t)‖² <= S      =>      0 <= A + start <= top,      start = ⌊(S - ‖c(q)‖²) / 2⌋,      top = ⌊(‖c(q)‖² + 1) / 2⌋ + start .

A is the query's half norm less half the squared distance, so it is at least -start, and at most half of ‖c(q)‖² + 1, as the row's half norm is rounded down.
Hence a row may be ruled out if A + start, modulo the range of the sums and unsigned, is above `top`. Nothing of use is lost to the
wrap-around: its A + start lies in [0, top], below the range, and is itself. A row far away may seem to lie there, and is compared exactly.
"""

import numpy as np

from somknn_kernels.bounds.rounding import codes_within
from somknn_kernels.policy import inlined

_LARGE = 2.0**28  # squared distances of codes from which on all rows survive


@inlined
def range_of(itemsize):
    """(largest number that sums of this many bytes tell apart, half their range): there are no unsigned comparisons of vectors before
    AVX-512, so sums and what they are compared with are both moved by half the range."""
    if itemsize == 4:
        return np.int64(2**32 - 1), np.int64(2**31)
    return np.int64(65535), np.int64(32768)


@inlined
def sum_interval(radius, norm, rounded, largest):
    """(start, top), int64, for what is within `radius` : float64, in steps of the codes; see above.

    norm : int64, the squared norm of the codes of the side that A does not hold; rounded : in how many parts the other side's half norm
    was rounded down; largest : see `range_of`. NaN and large radii rule nothing out.
    """
    square = codes_within(radius)
    if square < _LARGE:
        start = (np.int64(square) - norm) // 2
        return start, min((norm + rounded) // 2 + start, largest)
    return np.int64(0), largest


@inlined
def half_square(radius, most):
    """Half the squared distance of codes within `radius`, rounded up, int64, at most `most`; NaN gives `most`: see `scan_pairs`."""
    half = codes_within(radius) * 0.5
    return np.int64(half) + 1 if half < most - 2 else most
