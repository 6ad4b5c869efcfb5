"""What `codebook_search` multiplies: rows and units as 16-bit integers, each with what the rounding cost.

docs/som.md has the bounds that these figures go into.
"""

from typing import NamedTuple

import numpy as np

from somknn_kernels.policy import kernel

LEAD = 32  # columns of stage 1: 31 axes and the norm beyond them
WIDTH = 64  # columns of stage 2: 31 axes, one that is not used, 31 axes and the norm beyond all of them
CODE_LIMIT = 32000.0  # norm of a short vector: no product of two passes 2^30
PIECE = 32  # rows are padded to whole pieces of this many columns
NOWHERE = -(2**31)  # where a panel has no unit


class Short(NamedTuple):
    """Short vectors of the data's rows, and what makes numbers of them.

    codes : int16 (n, WIDTH); column LEAD - 1 is the norm beyond the leading axes
    norms : float64 (n,), of the centred rows
    centre : float64 (d,), integers for bytes; scale : a power of two: rows are (x - centre)·scale
    unit : float64, of the codes; rare : float64: rows with a larger norm have no codes
    loss : float64 (2,): a row's short vector is off by at most loss[0]·norm + loss[1]
    """

    codes: np.ndarray
    norms: np.ndarray
    centre: np.ndarray
    scale: float
    unit: float
    rare: float
    loss: np.ndarray


class Units(NamedTuple):
    """The codebook in short vectors and in 16-bit integers.

    panels : int16 (panels, LEAD / 2, panel rows, 2); second : int16 (K, WIDTH), column LEAD - 1 is zero
    starts : int32 (panels, panel rows): minus half the squared norm, in products of the units of both sides; the least
    integer beyond K. unit : float64, of the codes
    high, low : int16 (K, d in whole pieces): w = step·(high + low·fine)
    offsets, rests : float64 (K,): ‖w‖²/2 and 0; for bytes, which are multiplied as they are, plus what their centre adds to
    the products: step·high·centre and step·fine·low·centre, so that what rounding leaves out of w meets the centred row only
    slack : float64 (2,): the bounds of stages 1 and 2 are off by at most slack[0]·norm + slack[1], in scores
    blur : float64 (3,): a score of stage 3 is off by at most blur[0]·norm with `high`, blur[1]·norm with both, and blur[2] more
    """

    panels: np.ndarray
    second: np.ndarray
    starts: np.ndarray
    unit: float
    high: np.ndarray
    low: np.ndarray
    step: float
    fine: float
    offsets: np.ndarray
    rests: np.ndarray
    slack: np.ndarray
    blur: np.ndarray


@kernel
def centre_rows(X, first, last, centre, scale, out, squares):
    """out[i - first] = (X[i] - centre)·scale and squares[i] = its squared norm, for the rows [first, last).

    X : uint8, float32 or float64 (n, d); out : float32 or float64 (at least last - first, d); squares : float64 (n,).
    Bytes come with a centre of integers and a scale of 1: their sums are exact. Else four running sums of float64.
    """
    d = X.shape[1]
    if X.itemsize == 1:
        whole = centre.astype(np.int32)
        for i in range(first, last):
            square = np.int64(0)
            for c in range(d):
                difference = np.int32(X[i, c]) - whole[c]
                out[i - first, c] = difference
                square += np.int64(difference * difference)
            squares[i] = square
        return
    for i in range(first, last):
        s0 = 0.0
        s1 = 0.0
        s2 = 0.0
        s3 = 0.0
        for c in range(0, d - d % 4, 4):
            a = (np.float64(X[i, c]) - centre[c]) * scale
            b = (np.float64(X[i, c + 1]) - centre[c + 1]) * scale
            e = (np.float64(X[i, c + 2]) - centre[c + 2]) * scale
            f = (np.float64(X[i, c + 3]) - centre[c + 3]) * scale
            out[i - first, c] = a
            out[i - first, c + 1] = b
            out[i - first, c + 2] = e
            out[i - first, c + 3] = f
            s0 += a * a
            s1 += b * b
            s2 += e * e
            s3 += f * f
        for c in range(d - d % 4, d):
            a = (np.float64(X[i, c]) - centre[c]) * scale
            out[i - first, c] = a
            s0 += a * a
        squares[i] = (s0 + s2) + (s1 + s3)


@kernel
def encode_short(projected, first, squares, loss, deviation, unit, limit, codes):
    """Short vectors of the rows from `first` on, as multiples of `unit`.

    projected : float32 or float64 (m, at most 62): coordinates on the axes; squares : float64 (n,): squared norms.
    loss : float64 (2,): how far coordinates are from the exact ones before rounding (relative to the norm), and after it more.
    deviation : float64, of the axes' Gram matrix from the identity.
    codes : int16 (n, WIDTH), rows first … first + m - 1 are written; zeros where the norm is above `limit`.
    The norms beyond the axes are rounded up: they must not be too small.
    """
    axes = projected.shape[1]
    for i in range(projected.shape[0]):
        row = first + i
        square = squares[row]
        norm = np.sqrt(square)
        for c in range(WIDTH):
            codes[row, c] = 0
        if not norm <= limit:
            continue
        off = loss[0] * norm + loss[1]
        longest = (norm + off) * (1.0 + deviation)
        allowance = 2.0 * longest * off + deviation * longest * longest + 1e-12 * square
        inside = 0.0
        for a in range(axes):
            code = np.rint(projected[i, a] / unit)
            if a == LEAD - 1:
                beyond = np.sqrt(max(square - inside, 0.0) + allowance)
                codes[row, LEAD - 1] = np.int16(min(np.ceil(beyond / unit), 32767.0))
            codes[row, a if a < LEAD - 1 else a + 1] = np.int16(code)
            inside += (code * unit) * (code * unit)
        beyond = np.sqrt(max(square - inside, 0.0) + allowance)
        codes[row, WIDTH - 1] = np.int16(min(np.ceil(beyond / unit), 32767.0))
        if axes < LEAD:
            codes[row, LEAD - 1] = codes[row, WIDTH - 1]


@kernel
def measure_units(W, centre, scale, first, last, squares, largest):
    """Squared norms of w = (W - centre)·scale, and the largest entry, for the units [first, last).

    W : float32 or float64 (K, d); squares, largest : float64 (K,).
    """
    for k in range(first, last):
        square = 0.0
        top = 0.0
        for c in range(W.shape[1]):
            value = (np.float64(W[k, c]) - centre[c]) * scale
            square += value * value
            top = max(top, abs(value))
        squares[k] = square
        largest[k] = top


@kernel
def encode_units(W, centre, scale, step, fine, first, last, high, low, errors):
    """w = step·(high + low·fine) rounded, and how far step·high is from w, for the units [first, last).

    high, low : int16 (K, at least d), columns beyond d are left alone; errors : float64 (K,).
    """
    inverse = 1.0 / step
    for k in range(first, last):
        error = 0.0
        for c in range(W.shape[1]):
            value = (np.float64(W[k, c]) - centre[c]) * scale * inverse
            whole = np.rint(value)
            rest = value - whole
            high[k, c] = np.int16(whole)
            low[k, c] = np.int16(np.rint(rest / fine))
            error += rest * rest
        errors[k] = np.sqrt(error) * step
