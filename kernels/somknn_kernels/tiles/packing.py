"""Packing of rows into the layout that `products.dot_tile_of_groups` reads.

Rows are packed block by block while the search runs, into scratch memory that stays in the level-2 cache. All queries
of a task share it, and no second copy of the data is kept.
"""

import numpy as np

from somknn_kernels.ir.half_floats import number
from somknn_kernels.policy import inlined


@inlined
def pack_bytes(source, first, count, flip, out):
    """out[c // g, r, c % g] = source[first + r, c] for r < count; zero beyond `count` and beyond the width.

    source : uint8 (n, d); out : int16, uint8 or int8 (groups, rows, g)
    flip : 0, or 128 to store value - 128 as int8
    """
    groups, rows, g = out.shape
    d = source.shape[1]
    for r in range(rows):
        if r < count:
            whole = d // g
            for c in range(whole):
                for e in range(g):
                    out[c, r, e] = np.int16(source[first + r, c * g + e]) - flip
            for c in range(whole, groups):
                for e in range(g):
                    column = c * g + e
                    out[c, r, e] = np.int16(source[first + r, column]) - flip if column < d else np.int16(-flip)
        else:
            for c in range(groups):
                for e in range(g):
                    out[c, r, e] = np.int16(-flip)


@inlined
def put_code(packed, t, column, j, g, code):
    """Write one code of query j of tile t, column `column`.

    packed : int8 (tiles, groups, queries, 4). A broadcast takes 4 bytes, so a pair (g = 2) is stored twice.
    """
    packed[t, column // g, j, column % g] = code
    if g == 2:
        packed[t, column // g, j, 2 + column % g] = code


@inlined
def load_centred(source, row, centre, out, slot):
    """out[slot] = bytes of source[row] minus `centre`, both 16-bit integers. Columns beyond the row's are left."""
    for c in range(source.shape[1]):
        out[slot, c] = np.int16(source[row, c]) - centre[c]


@inlined
def drop_zero_groups(packed, t, groups):
    """Remove the groups of packed[t] that are all zero; returns the number of groups left, at least 1.

    packed : (tiles, groups, rows, g); groups : int32 (tiles, groups), becomes the former number of each group left
    """
    _, n_groups, rows, g = packed.shape
    left = 0
    for c in range(n_groups):
        used = False
        for r in range(rows):
            for e in range(g):
                used |= packed[t, c, r, e] != 0
        if used or (left == 0 and c == n_groups - 1):
            for r in range(rows):
                for e in range(g):
                    packed[t, left, r, e] = packed[t, c, r, e]
            groups[t, left] = c
            left += 1
    return left


@inlined
def sum_bytes(source, row):
    """Sum of one row of bytes, int64."""
    total = np.int64(0)
    for c in range(source.shape[1]):
        total += np.int64(source[row, c])
    return total


@inlined
def square_bytes(source, row):
    """Squared norm of one row of bytes, int64."""
    total = np.int64(0)
    for c in range(source.shape[1]):
        value = np.int64(source[row, c])
        total += value * value
    return total


@inlined
def pack_centred(source, first, count, centre, scale, out, squared_norms, errors):
    """Pack (x - centre)·scale as float32, with bounds on how far each packed row is from the true one.

    source : any number type (n, d); centre : float64 (d,); scale : a power of two
    out : float32 (d, rows, 1), zero beyond `count`
    squared_norms : float64 (rows,), of the packed rows
    errors : float64 (rows,), bounds on the distance between the packed row and the exact (x - centre)·scale
    """
    d, rows, _ = out.shape
    for r in range(rows):
        square = 0.0
        error = 0.0
        if r < count:
            for c in range(d):
                exact = (number(source, first + r, c) - centre[c]) * scale
                packed = np.float32(exact)
                out[c, r, 0] = packed
                value = np.float64(packed)
                square += value * value
                error += (exact - value) * (exact - value)
        else:
            for c in range(d):
                out[c, r, 0] = np.float32(0.0)
        squared_norms[r] = square
        # 2^-52: the subtraction of the centre (half of that) and the rounding of this line. 1e-150: squares that are
        # smaller than the smallest float64.
        errors[r] = (np.sqrt(error) + np.sqrt(square) * 2.0**-52) * (1.0 + 1e-9 * d) + 1e-150
