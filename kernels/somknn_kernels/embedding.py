"""Short vectors: what a row looks like along the principal axes, in few bytes, with a proven error.

For an orthogonal projection Π on the axes and ρ(x) = ‖x - Πx‖, the map F(x) = (Πx, ρ(x)) never stretches a distance (Cauchy-Schwarz):
‖F(q) - F(t)‖ ≤ ‖q - t‖. A short vector is F(x) in three sections, the leading quarter of the
coordinates, the next, and the other half, each rotated by a Hadamard matrix so that its coordinates have about the same spread, and
rounded to multiples of one step. `errors` bounds the distance between what is stored and F(x), up to the end of each section: rounding,
clipping, and every inexact operation on the way. docs/engine.md has the proof.
"""

import numpy as np

from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles import dot_tile


@inlined
def _hadamard(vector, first, stop):
    """Multiply vector[first:stop] by the orthonormal Hadamard matrix, in place; the length is a power of two."""
    size = stop - first
    half = 1
    while half < size:
        for start in range(first, stop, 2 * half):
            for i in range(start, start + half):
                a, b = vector[i], vector[i + half]
                vector[i], vector[i + half] = a + b, a - b
        half *= 2
    factor = 1.0 / np.sqrt(float(size))
    for i in range(first, stop):
        vector[i] *= factor


@inlined
def _pack_int16(source, row, centre, unit_norm, out, slot):
    """out[0, c // 2, slot, c % 2] = rounded (x - centre) / unit; returns (unit, squared norm, squared error) of what was packed.

    unit_norm : the norm that the packed integers may have, or 0 for integers as they are (bytes, integer centre).
    """
    d = source.shape[1]
    unit = 1.0
    if unit_norm > 0.0:
        square = 0.0
        for c in range(d):
            value = np.float64(source[row, c]) - centre[c]
            square += value * value
        unit = np.sqrt(square) / unit_norm
        if not unit > 1e-290:  # also catches an overflow that became NaN: then nothing is certain and error says so
            unit = 1e-290
    inverse = 1.0 / unit
    square = 0.0
    error = 0.0
    for c in range(d):
        exact = np.float64(source[row, c]) - centre[c]
        scaled = exact * inverse
        rounded = np.rint(scaled) if abs(scaled) <= 32767.0 else 0.0
        out[0, c // 2, slot, c % 2] = np.int16(rounded)
        packed = rounded * unit
        square += packed * packed
        error += (exact - packed) * (exact - packed)
    return unit, square, error


@inlined
def _pack_bytes(source, row, centre, line, pairs, out, slot):
    """As `_pack_int16` for bytes and an integer centre, where nothing is rounded: returns the squared norm.

    centre : int16 (d,); line : int16, scratch of whole pairs, its last one zero beyond d; pairs : the same memory as int32;
    out : int32 (groups, slots). Two loops, of which the first becomes vector instructions and the second moves both values of a
    pair at once: a third of the time of one loop that stores value by value.
    """
    square = np.int64(0)
    for c in range(source.shape[1]):
        value = np.int32(source[row, c]) - np.int32(centre[c])
        line[c] = value
        square += np.int64(value * value)
    for group in range(pairs.shape[0]):
        out[group, slot] = pairs[group]
    return square


@kernel
def embed(isa, source, start, stop, centre, unit_norm, axes, inverse_scale, spectrum, vectors, errors):
    """Short vectors, not yet rounded, of source[start:stop].

    source : any number type (n, d). centre : float64 (d,), integers for bytes. unit_norm : see `_pack_int16`.
    axes : int16 (panels, ceil(d / 2), panel rows, 2), the axes times 1 / inverse_scale, rounded, as `dot_tile` wants them.
    spectrum : (smallest, largest) eigenvalue of the rounded axes' Gram matrix (those axes that are not zero).
    vectors : float32 (stop - start, P) for P - 1 axes: filled, the last coordinate is ρ before the rotation.
    errors : float64 (stop - start,): bounds on their distances from F(x).
    Cost per row: P·d int16 multiply-adds, exact (their sum fits 32 bits by the choice of `unit_norm` and the scale).
    """
    n_panels, groups, panel, _ = axes.shape
    tile = 4 if panel == 8 else 6
    whole = centre.astype(np.int16) if unit_norm == 0.0 else np.zeros(1, np.int16)
    line = np.zeros(2 * groups, np.int16)
    pairs = line.view(np.int32)
    packed_pairs = np.zeros((groups, tile), np.int32)
    queries = packed_pairs.view(np.int16).reshape(1, groups, tile, 2)
    dots = np.empty((tile, panel), np.int32)
    products = np.empty((tile, n_panels * panel), np.int32)
    smallest, largest = spectrum
    shrink = 1.0 / np.sqrt(largest)
    middle = 0.5 * (1.0 / largest + 1.0 / smallest)
    spread = 0.5 * (1.0 / smallest - 1.0 / largest)
    width = vectors.shape[1]
    buffer = np.empty(width)
    units = np.empty(tile)
    squares = np.empty(tile)
    packed_errors = np.empty(tile)
    for first in range(start, stop, tile):
        count = min(tile, stop - first)
        for j in range(count):
            if unit_norm == 0.0:
                units[j], squares[j], packed_errors[j] = (
                    1.0,
                    float(_pack_bytes(source, first + j, whole, line, pairs, packed_pairs, j)),
                    0.0,
                )
            else:
                units[j], squares[j], packed_errors[j] = _pack_int16(source, first + j, centre, unit_norm, queries, j)
        for p in range(n_panels):
            dot_tile(isa, queries, 0, axes, p, dots)
            products[:, p * panel : (p + 1) * panel] = dots
        for j in range(count):
            place = first + j - start
            factor = units[j] * inverse_scale
            projected = 0.0
            for a in range(width - 1):
                y = products[j, a] * factor
                buffer[a] = y * shrink
                projected += y * y
            rest = squares[j] - projected * middle
            uncertain = projected * spread + 1e-12 * squares[j]
            residual = np.sqrt(max(rest, 0.0))
            buffer[width - 1] = residual
            error = np.sqrt(uncertain)
            if residual > 0.0:
                error = min(error, uncertain / residual)
            _hadamard(buffer, 0, width // 4)
            _hadamard(buffer, width // 4, width // 2)
            _hadamard(buffer, width // 2, width)
            # 2^-23: rounding to float32 below, twice over; it covers the float64 operations above as well.
            errors[place] = error + np.sqrt(packed_errors[j]) + 2.0**-23 * np.sqrt(squares[j])
            for a in range(width):
                vectors[place, a] = np.float32(buffer[a])


@kernel
def quantise(vectors, errors, middle, step, limit, codes, totals):
    """codes = rounded (vectors - middle) / step, clipped to ±limit; adds what that moves to the errors.

    vectors : float32 (m, P); errors : float64 (m,); middle : float64 (P,); codes : int8 (m, P);
    totals : float64 (m, 3), the total errors of the coordinates up to the end of each section.
    """
    inverse = 1.0 / step
    width = vectors.shape[1]
    for i in range(vectors.shape[0]):
        moved = 0.0
        start = 0
        for section in range(3):
            stop = width >> (2 - section)
            for a in range(start, stop):
                exact = np.float64(vectors[i, a]) - middle[a]
                code = np.rint(min(max(exact * inverse, -limit), limit))
                moved += (exact - code * step) * (exact - code * step)
                codes[i, a] = np.int8(code)
            totals[i, section] = (errors[i] + np.sqrt(moved)) * (1.0 + 1e-9)
            start = stop


@kernel
def nearest_centres(vectors, start, stop, centres, half_squares, labels):
    """labels[i] = the centre nearest to vectors[i], for the rows in [start, stop); in float32, near ties as they fall.

    vectors : float32 (m, p); centres : float32 (p, centres), one per column; half_squares : float32 (centres,), half the
    centres' squared norms; labels : int64 (m,).
    """
    n_centres, whole = centres.shape[1], vectors.shape[1] // 4 * 4
    scores = np.empty(n_centres, np.float32)
    for i in range(start, stop):
        for c in range(n_centres):
            scores[c] = -half_squares[c]
        for a in range(0, whole, 4):  # a score is loaded and stored once for four coordinates
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
