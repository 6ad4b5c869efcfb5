"""Short vectors: a row along the principal axes, in few bytes, with a proven error.

Let Π be an orthogonal projection on the axes, and ρ(x) = ‖x - Πx‖. The map F(x) = (Πx, ρ(x)) never stretches a distance
(Cauchy-Schwarz): ‖F(q) - F(t)‖ ≤ ‖q - t‖. If the axes leave nothing out, there is no ρ. A short vector is F(x) in
several sections of its coordinates, leading axes first. Each section is rotated by Hadamard matrices, so that its
coordinates have about the same spread, and rounded to multiples of one step. `errors` bounds the distance between what
is stored and F(x) up to the end of each section: rounding, clipping, and every inexact operation on the way.
docs/concepts/bounds.md has the proof.
"""

from typing import Any, NamedTuple

import numpy as np

from somknn_kernels.bounds.codebook_codes import SHORT, load_row, square_of
from somknn_kernels.bounds.rest import rest_with_error
from somknn_kernels.ir.half_floats import number
from somknn_kernels.ir.shapes import tile_rows
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles.row_products import AXES, list_used, project_tile, project_used, row_product

_LANES = 8  # sums side by side, whatever the width of the registers
_MOSTLY_USED = 0.8  # if at least this share of the pairs of columns is used, a list of them saves nothing


@inlined
def _hadamard(isa, columns, first, stop):
    """Multiply columns[first:stop] by the orthonormal Hadamard matrix, in place; their number is a power of two.

    columns : float64 (…, tile): the rows of a tile side by side, so that the inner loops become vector instructions.
    """
    size = stop - first
    half = 1
    while half < size:
        for start in range(first, stop, 2 * half):
            for i in range(start, start + half):
                for j in range(tile_rows(isa)):
                    a, b = columns[i, j], columns[i + half, j]
                    columns[i, j], columns[i + half, j] = a + b, a - b
        half *= 2
    factor = 1.0 / np.sqrt(float(size))
    for i in range(first, stop):
        for j in range(tile_rows(isa)):
            columns[i, j] *= factor


@inlined
def _pack_int16(source, row, centre, unit_norm, out, slot):
    """out[slot] = (x - centre) / unit, rounded; returns (unit, squared norm, squared error) of what was packed.

    unit_norm : the norm that the packed integers may have.
    """
    d = source.shape[1]
    square = 0.0
    for c in range(d):
        value = number(source, row, c) - centre[c]
        square += value * value
    unit = np.sqrt(square) / unit_norm
    if not unit > 1e-290:  # also an overflow that became NaN: then nothing is certain, and the error says so
        unit = 1e-290
    inverse = 1.0 / unit
    square = 0.0
    error = 0.0
    for c in range(d):
        exact = number(source, row, c) - centre[c]
        scaled = exact * inverse
        rounded = np.rint(scaled) if abs(scaled) <= 32767.0 else 0.0
        out[slot, c] = np.int16(rounded)
        packed = rounded * unit
        square += packed * packed
        error += (exact - packed) * (exact - packed)
    return unit, square, error


@inlined
def _pack_bytes(isa, source, row, centre, packed_centre, out, slot):
    """out[slot] = the bytes as they are; returns their squared distance from the centre.

    packed_centre : int16; packed_centre[0] is the centre, of integers.
    """
    load_row(source, row, centre, 1.0, out, slot)
    if source.shape[1] > SHORT:
        return square_of(source, row, centre.astype(np.int32), centre, 1.0)
    square = row_product(isa, out, slot, out, slot) - 2 * row_product(isa, out, slot, packed_centre, 0)
    return np.float64(square + row_product(isa, packed_centre, 0, packed_centre, 0))


@inlined
def _project(isa, rows, pairs, count, axes, use_lists, seen, used, products):
    """products[p, j] = products of packed row j with the axes of panel p. Columns zero in all rows are left out."""
    n_panels, n_pairs = axes.shape[:2]
    if use_lists:
        list_used(pairs, 0, count, seen, used, 0)
    if use_lists and used[0, 0] < _MOSTLY_USED * n_pairs:
        for p in range(n_panels):
            project_used(isa, rows, 0, axes, p, products[p], used, 0)
    else:
        for p in range(n_panels):
            project_tile(isa, rows, 0, axes, p, products[p])


class Projection(NamedTuple):
    """Axes, and how rows are packed before they are multiplied with the axes.

    centre : float64 (d,), integers for bytes
    unit_norm : see `_pack_int16`; 0 for bytes, which are multiplied as they are
    axes : int16 (panels, d in whole pieces / 2, AXES, 2): the axes divided by inverse_scale, rounded
    shifts : int32 (panels·AXES,), products of the integer centre with the axes, to be subtracted for bytes
    spectrum : (smallest, largest) eigenvalue of the Gram matrix of the rounded axes (those that are not zero)
    blocks : int64 (blocks,), where each block of coordinates ends that a Hadamard matrix rotates: powers of two wide
    has_rest : whether the last coordinate is ρ; if not, it is the product with another axis
    """

    centre: Any
    unit_norm: Any
    axes: Any
    shifts: Any
    inverse_scale: Any
    spectrum: Any
    blocks: Any
    has_rest: Any


@kernel
def embed(isa, source, start, stop, projection, vectors, errors):
    """Short vectors of source[start:stop], not yet rounded to codes.

    source : any number type (n, d); projection : Projection
    vectors : float32 (stop - start, P): filled. The last coordinate is ρ, before the rotation, if there is one
    errors : float64 (stop - start,): filled with bounds on the distances from F(x)
    Cost per row: P·d int16 multiply-adds. They are exact: `unit_norm` and the scale are such that sums fit 32 bits.
    """
    centre, unit_norm, axes, shifts = projection.centre, projection.unit_norm, projection.axes, projection.shifts
    inverse_scale, spectrum = projection.inverse_scale, projection.spectrum
    blocks, has_rest = projection.blocks, projection.has_rest
    n_panels, n_pairs = axes.shape[:2]
    tile = tile_rows(isa)
    integers = unit_norm == 0.0
    packed_centre = np.zeros((1, 2 * n_pairs), np.int16)
    for c in range(source.shape[1] if integers else 0):
        packed_centre[0, c] = np.int16(centre[c])
    rows = np.zeros((tile, 2 * n_pairs), np.int16)
    pairs = rows.view(np.int32)
    use_lists = integers and n_pairs < 2**16
    seen, used = np.empty(n_pairs, np.int32), np.empty((1, 1 + n_pairs), np.uint16)
    products = np.empty((n_panels, tile, AXES), np.int32)
    smallest, largest = spectrum
    shrink = 1.0 / np.sqrt(largest)
    middle = 0.5 * (1.0 / largest + 1.0 / smallest)
    spread = 0.5 * (1.0 / smallest - 1.0 / largest)
    width = vectors.shape[1]
    columns = np.zeros((width, tile))
    factors, projected, rest_errors = np.zeros(tile), np.empty(tile), np.zeros(tile)
    units = np.ones(tile)
    squares = np.empty(tile)
    packed_errors = np.zeros(tile)
    for first in range(start, stop, tile):
        count = min(tile, stop - first)
        for j in range(count):
            if integers:
                squares[j] = _pack_bytes(isa, source, first + j, centre, packed_centre, rows, j)
            else:
                units[j], squares[j], packed_errors[j] = _pack_int16(source, first + j, centre, unit_norm, rows, j)
            factors[j] = units[j] * inverse_scale
        _project(isa, rows, pairs, count, axes, use_lists, seen, used, products)
        projected[:] = 0.0
        for a in range(width - 1 if has_rest else width):
            for j in range(tile_rows(isa)):
                product = products[a // AXES, j, a % AXES]
                y = np.float64(product - shifts[a] if integers else product) * factors[j]
                columns[a, j] = y * shrink
                projected[j] += y * y
        for j in range(count if has_rest else 0):
            columns[width - 1, j], rest_errors[j] = rest_with_error(squares[j], projected[j], middle, spread)
        begin = 0
        for block in range(blocks.shape[0]):
            _hadamard(isa, columns, begin, blocks[block])
            begin = blocks[block]
        for j in range(count):
            place = first + j - start
            # 2^-23: twice the rounding to float32 below, which covers the float64 operations above as well.
            # 2^-145: the same for 128 coordinates below float32's smallest normal number, where steps are 2^-149.
            # Squares that are lost in float64 are smaller.
            lost = 2.0**-145 * np.sqrt(width / 128.0)
            errors[place] = rest_errors[j] + np.sqrt(packed_errors[j]) + 2.0**-23 * np.sqrt(squares[j]) + lost
            for a in range(width):
                vectors[place, a] = np.float32(columns[a, j])


@kernel
def quantise(vectors, errors, middle, step, limit, stops, codes, totals):
    """codes = (vectors - middle) / step, rounded and clipped to ±limit; totals = errors with what this changes added.

    vectors : float32 (m, P), P a multiple of 32; errors : float64 (m,); middle : float64 (P,); codes : int8 (m, P)
    stops : int64 (S,), the column at which each section ends, multiples of 8
    totals : float64 (m, S), the errors of the coordinates up to the end of each section
    """
    inverse = 1.0 / step
    lanes = np.empty(_LANES)
    for i in range(vectors.shape[0]):
        lanes[:] = 0.0
        start = 0
        for section in range(stops.shape[0]):
            stop = stops[section]
            for a in range(start, stop, _LANES):
                for lane in range(_LANES):
                    exact = np.float64(vectors[i, a + lane]) - middle[a + lane]
                    code = np.rint(min(max(exact * inverse, -limit), limit))
                    lanes[lane] += (exact - code * step) * (exact - code * step)
                    codes[i, a + lane] = np.int8(code)
            moved = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
            totals[i, section] = (errors[i] + np.sqrt(moved)) * (1.0 + 1e-9)
            start = stop


@kernel
def nearest_centres(vectors, start, stop, centres, half_squares, labels):
    """labels[i] = the centre nearest to vectors[i], for the rows [start, stop); by float32, so near ties go either way.

    vectors : float32 (m, p); centres : float32 (p, centres), one per column
    half_squares : float32 (centres,), half the squared norms of the centres; labels : int64 (m,)
    """
    n_centres, whole = centres.shape[1], vectors.shape[1] // 4 * 4
    scores = np.empty(n_centres, np.float32)
    for i in range(start, stop):
        for c in range(n_centres):
            scores[c] = -half_squares[c]
        for a in range(0, whole, 4):  # each score is loaded and stored once for four coordinates
            v, w, x, y = vectors[i, a], vectors[i, a + 1], vectors[i, a + 2], vectors[i, a + 3]
            for c in range(n_centres):
                scores[c] += (v * centres[a, c] + w * centres[a + 1, c]) + (
                    x * centres[a + 2, c] + y * centres[a + 3, c]
                )
        for a in range(whole, vectors.shape[1]):
            value = vectors[i, a]
            for c in range(n_centres):
                scores[c] += value * centres[a, c]
        best = 0
        for c in range(1, n_centres):
            if scores[c] > scores[best]:
                best = c
        labels[i] = best
