"""Rows under a linear map to few coordinates, and the nearest of some vectors there, for a trained metric.

Bytes are mapped by 16-bit integers to integers, exactly: coordinate r of row x is

    code = clip((Σ_c axes[r, c]·(x[c] - centre[c]) + 2^shift / 2) >> shift, -128, 127) ,

the same on every machine. Floats are mapped in float64, in one order of additions.
"""

from typing import NamedTuple

import numpy as np

from somknn_kernels.ir.shapes import tile_rows
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles.packing import load_centred
from somknn_kernels.tiles.row_products import AXES, first_of, largest_of, project_tile, spread_tile


class ByteMap(NamedTuple):
    """A linear map of bytes to codes.

    centre : int16 (d,); axes : int16 (panels, d in whole fours / 2, AXES, 2); shift : int64 from 0 to 30
    No row of axes has a sum of absolute values above (2^31 - 1 - 2^shift / 2) / 255, so that 32 bits hold everything.
    """

    centre: np.ndarray
    axes: np.ndarray
    shift: int


@inlined
def _map_tile(isa, X, first, count, byte_map, rows, dots, codes):
    """codes[j] = codes of X[first + j] for j < count. Slots from `count` on keep some row's.

    rows : int16 (tile, d in whole pieces), scratch, zero beyond d; dots : int32 (tile, AXES), scratch
    codes : int16 (tile, panels·AXES)
    """
    centre, axes, shift = byte_map.centre, byte_map.axes, np.int32(byte_map.shift)
    for j in range(count):
        load_centred(X, first + j, centre, rows, j)
    half = np.int32(1) << shift >> np.int32(1)
    for p in range(axes.shape[0]):
        project_tile(isa, rows, 0, axes, p, dots)
        for j in range(count):
            for r in range(AXES):
                codes[j, p * AXES + r] = min(max((dots[j, r] + half) >> shift, np.int32(-128)), np.int32(127))


@kernel
def map_bytes(isa, X, start, stop, byte_map, out):
    """out[i] = codes of X[i] plus 128, for the rows in [start, stop).

    X : uint8 (n, d); byte_map : ByteMap; out : uint8 (n, at most panels·AXES). Exact.
    Cost per row: d multiply-adds of 16 bits for each axis.
    """
    axes = byte_map.axes
    tile = tile_rows(isa)
    rows = np.zeros((tile, 2 * axes.shape[1]), np.int16)
    dots = np.empty((tile, AXES), np.int32)
    codes = np.zeros((tile, axes.shape[0] * AXES), np.int16)
    for first in range(start, stop, tile):
        count = min(tile, stop - first)
        _map_tile(isa, X, first, count, byte_map, rows, dots, codes)
        for j in range(count):
            for r in range(out.shape[1]):
                out[first + j, r] = np.uint8(codes[j, r] + 128)


@kernel
def nearest_mapped(isa, X, start, stop, byte_map, panels, starts, distances, indices):
    """The nearest of some vectors to the codes of X[i], for the rows in [start, stop): `map_bytes` and search in one.

    X : uint8 (n, d); byte_map : ByteMap
    panels : int16 (panels, width / 2, panel rows, 2), twice the vectors' codes (without the 128); width is that of the
    axes, panels·AXES, at most 2^15
    starts : int32 (panels, panel rows), minus the vectors' squared norms, and -2^31 where there is no vector
    distances, indices : int64 (n,), the squared distance and the number of the nearest; filled. Exact; ties go to the
    lowest number.

    Cost per row: one multiply-add of 16 bits for each axis and vector besides the map.
    """
    axes = byte_map.axes
    tile, panel = tile_rows(isa), panels.shape[2]
    rows = np.zeros((tile, 2 * axes.shape[1]), np.int16)
    dots = np.empty((tile, AXES), np.int32)
    width = axes.shape[0] * AXES
    codes = np.zeros((tile, width), np.int16)
    query_slots = np.zeros((width // 2, tile), np.int32)
    queries = query_slots.view(np.int16).reshape(1, width // 2, tile, 2)
    code_pairs = codes.view(np.int32)
    values = np.empty((tile, panels.shape[0] * panel), np.int32)
    first_best = np.empty((tile, panel), np.int32)
    second_best = np.empty((tile, panel), np.int32)
    for first in range(start, stop, tile):
        count = min(tile, stop - first)
        _map_tile(isa, X, first, count, byte_map, rows, dots, codes)
        for j in range(count):
            for g in range(width // 2):
                query_slots[g, j] = code_pairs[j, g]
        first_best[:] = np.int32(-(2**31))
        second_best[:] = np.int32(-(2**31))
        for p in range(panels.shape[0]):
            spread_tile(isa, queries, 0, panels, starts, p, values, first_best, second_best)
        for j in range(count):
            largest = largest_of(first_best, j)
            best = first_of(isa, values, j, panel, largest)
            square = np.int32(0)
            for r in range(width):
                square += np.int32(codes[j, r]) * np.int32(codes[j, r])
            distances[first + j] = np.int64(square) - np.int64(largest)
            indices[first + j] = best


@kernel
def map_floats(X, start, stop, centre, columns, out):
    """out[i - start, r] = Σ_c columns[c, r]·(X[i, c] - centre[c]) in float64, added in ascending order of c.

    X : any number type (n, d); centre : float64 (d,); columns : float64 (d, rank); out : float64 (stop - start, rank).
    Products and sums are rounded separately. Cost per row: d·rank multiplications and additions.
    """
    for i in range(start, stop):
        total = out[i - start]
        total[:] = 0.0
        for c in range(X.shape[1]):
            value = np.float64(X[i, c]) - centre[c]
            for r in range(total.shape[0]):
                total[r] += columns[c, r] * value
