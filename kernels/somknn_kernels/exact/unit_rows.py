"""Rows scaled to unit length: what the cosine distance is computed from.

    s = Σ_c x[c]²          in the order of summation of `distances.py`
    u[c] = x[c] / √s       one division for each value; all in float64

Where s is above 2^900 the row is first multiplied by 2^-600, and where it is below 2^-900 by 2^600, and s is summed
again. So no norm overflows or vanishes. A power of two changes no bit of a value that stays a normal number; what
becomes subnormal is so small that its square is zero.
"""

import math

import numpy as np

from somknn_kernels.exact.distances import squared_distance_float64
from somknn_kernels.ir.half_floats import number
from somknn_kernels.policy import inlined, kernel

_MOST, _LEAST = 2.0**900, 2.0**-900
_DOWN, _UP = 2.0**-600, 2.0**600


@inlined
def _divided(rows, i, norm, out):
    """out[i] = rows[i] / norm; both may be the same array."""
    for c in range(rows.shape[1]):
        out[i, c] = number(rows, i, c) / norm


@kernel
def unit_rows(rows, origin, start, stop, out, is_zero):
    """out[i] = rows[i] / ‖rows[i]‖, as the module defines it, for the rows [start, stop).

    rows : (n, d) of any number type, C-contiguous
    origin : float64 (1, d), zeros
    out : float64 (n, d); a row of zeros stays one
    is_zero : bool (n,), whether a row is all zeros

    NaN and infinity give NaN. Cost per row: d multiply-adds and d divisions, d values read and 8·d bytes written.
    """
    sums = np.empty(8)
    for i in range(start, stop):
        square = squared_distance_float64(rows, i, origin, 0, sums)
        is_zero[i] = False
        if not (square < _LEAST or square > _MOST):
            _divided(rows, i, math.sqrt(square), out)
            continue
        factor = _UP if square < _LEAST else _DOWN
        for c in range(rows.shape[1]):
            out[i, c] = number(rows, i, c) * factor
        square = squared_distance_float64(out, i, origin, 0, sums)
        if square == 0.0:
            is_zero[i] = True
        else:
            _divided(out, i, math.sqrt(square), out)
