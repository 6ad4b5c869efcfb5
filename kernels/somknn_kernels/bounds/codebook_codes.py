"""What `codebook_search` multiplies: rows and units as 16-bit integers, and bounds on what the rounding changed.

docs/concepts/maps.md has the bounds in which these figures are used.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from somknn_kernels.bounds.rest import rest_code
from somknn_kernels.ir.emit import F64, I32, Operands, load, pairwise_sums, rounded_to_integers, splat, store
from somknn_kernels.ir.half_floats import number
from somknn_kernels.ir.shapes import tile_rows
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles.row_products import AXES, list_used, project_tile, project_used, row_product

LEAD = 32  # columns of stage 1: 31 axes and their rest
WIDTH = 64  # columns of stage 2: 31 axes, one column that is not used, 31 axes and the rest of all of them
CODE_LIMIT = 32000.0  # largest norm of a short vector: no product of two passes 2^30
PIECE = 32  # rows are padded to whole pieces of this many columns
NOWHERE = -(2**31)  # the start of an entry of a panel that holds no unit
SHORT = 32768  # number of columns up to which a sum of squared bytes fits 31 bits


class Short(NamedTuple):
    """Short vectors of the rows, and what turns them into numbers.

    codes : int16 (n, WIDTH); column LEAD - 1 is the rest of the leading axes
    norms : float64 (n,), of the centred rows
    centre : float64 (d,), integers for bytes; scale : a power of two: rows are (x - centre)·scale
    unit : float64, the step of the codes; rare : float64: rows with a larger norm have no codes
    loss : float64 (2,): the error of a row's short vector is at most loss[0]·norm + loss[1]
    used : uint16 (tiles, 1 + d in whole pieces / 2), the pairs of columns that the rows of a tile use (`list_used`); or
    (0, …): all pairs are used
    """

    codes: np.ndarray
    norms: np.ndarray
    centre: np.ndarray
    scale: float
    unit: float
    rare: float
    loss: np.ndarray
    used: np.ndarray


class RowAxes(NamedTuple):
    """Axes on which rows are embedded.

    panels : int16 (panels, d in whole pieces / 2, AXES, 2): the axes, divided by `inverse`; missing axes are zeros
    shifts : float64 (panels·AXES,), products of the centre (of bytes) with the axes
    deviation : float64, of the axes' Gram matrix from the identity
    """

    panels: np.ndarray
    shifts: np.ndarray
    inverse: float
    deviation: float


class Units(NamedTuple):
    """The codebook as short vectors and as 16-bit integers.

    panels : int16 (panels, columns / 2, panel rows, 2): LEAD columns, AXES columns for a few axes of the codebook's
    own, or WIDTH columns if all axes are scanned at once
    second : int16 (K, WIDTH), column LEAD - 1 is zero; or (0, WIDTH): there is no stage 2
    starts : int32 (panels, panel rows): minus half the squared norm, in products of the steps of both sides; the least
    integer beyond K
    unit : float64, the step of the codes
    own : int16 (1 or 2, d in whole pieces / 2, AXES, 2): axes of this codebook in place of the data's, divided by
    own_inverse. The last one is zeros; its column holds the rest. Or (0, …)
    own_shifts : float64 (panels·AXES,): products of the centre (of bytes) with these axes
    deviation : float64, of the Gram matrix of the leading axes from the identity
    high, low : int16 (K, d in whole pieces): w = step·(high + low·fine)
    offsets, rests : float64 (K,): ‖w‖²/2 and 0. Rows of bytes are multiplied without centring, so for them the products
    step·high·centre and step·fine·low·centre are added. Then what rounding leaves out of w meets the centred row only
    slack : float64 (2,): the error of the bounds of stages 1 and 2 is at most slack[0]·norm + slack[1], in scores
    blur : float64 (3,): the error of a score of stage 3 is at most blur[0]·norm + blur[2] with `high` alone, and
    blur[1]·norm + blur[2] with `high` and `low`
    """

    panels: np.ndarray
    second: np.ndarray
    starts: np.ndarray
    unit: float
    own: np.ndarray
    own_inverse: float
    own_shifts: np.ndarray
    deviation: float
    high: np.ndarray
    low: np.ndarray
    step: float
    fine: float
    offsets: np.ndarray
    rests: np.ndarray
    slack: np.ndarray
    blur: np.ndarray


def load_row(X, i, centre, factor, out, j):
    """out[j] = row i as 16-bit integers: bytes as they are, else (x - centre)·factor, rounded."""
    raise NotImplementedError("only inside kernels")


@overload(load_row, inline="never")
def _load_row(X, i, centre, factor, out, j):
    if X.dtype == types.uint8:

        def bytes_as_they_are(X, i, centre, factor, out, j):
            for c in range(X.shape[1]):
                out[j, c] = X[i, c]

        return bytes_as_they_are

    def rounded(X, i, centre, factor, out, j):
        for c in range(X.shape[1]):
            out[j, c] = np.int16(np.rint((number(X, i, c) - centre[c]) * factor))

    return rounded


@inlined
def row_factor(integers, norm):
    """The factor that turns a row of this norm into 16-bit integers."""
    if integers:
        return 1.0
    return CODE_LIMIT / norm if norm > 0.0 else 0.0


@intrinsic
def round_codes(typing_context, products, j, factor, shifts, from_shift, line):
    """line[a] = products[j, a]·factor - shifts[from_shift + a], rounded; returns the exact sum of their squares.

    products : int32 (…, AXES); shifts : float64; line : int32 (AXES,). A plain loop did not become vector instructions.
    """
    signature = types.float64(products, types.int64, types.float64, shifts, types.int64, line)
    numbers, integers = ir.VectorType(F64, AXES), ir.VectorType(I32, AXES)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        _, j, factor, _, from_shift, _ = arguments
        source, shift = given.pointer(0, I32, j), builder.gep(given.pointer(3, F64), [from_shift])
        products = builder.sitofp(load(builder, source, 4, integers), numbers)
        scaled = builder.fmul(products, splat(builder, factor, AXES))
        rounded = rounded_to_integers(builder, builder.fsub(scaled, load(builder, shift, 4, numbers)))
        store(builder, builder.fptosi(rounded, integers), given.pointer(5, I32), 4)
        return pairwise_sums(builder, builder.fmul(rounded, rounded))

    return signature, codegen


@inlined
def norm_beyond(square, inside, loss, deviation, unit):
    """The rest of a row as a multiple of `unit`, rounded up: it must not be too small.

    square : the row's squared norm; inside : that of its codes on the axes; loss, deviation : as in `Short` and `Units`
    """
    norm = np.sqrt(square)
    off = loss[0] * norm + loss[1]
    longest = (norm + off) * (1.0 + deviation)
    allowance = 2.0 * longest * off + deviation * longest * longest + 1e-12 * square
    return rest_code(square, inside, allowance, unit)


def square_of(X, i, whole, centre, scale):
    """The squared norm of (X[i] - centre)·scale.

    Bytes: exact, with whole : the centre as int32. Other types: four running sums.
    """
    raise NotImplementedError("only inside kernels")


@overload(square_of, inline="never")
def _square_of(X, i, whole, centre, scale):
    if X.dtype == types.uint8:

        def of_bytes(X, i, whole, centre, scale):
            square = np.int64(0)
            for c in range(X.shape[1]):
                difference = np.int32(X[i, c]) - whole[c]
                square += np.int64(difference * difference)
            return np.float64(square)

        return of_bytes

    def of_floats(X, i, whole, centre, scale):
        d = X.shape[1]
        s0 = 0.0
        s1 = 0.0
        s2 = 0.0
        s3 = 0.0
        for c in range(0, d - d % 4, 4):
            a = (number(X, i, c) - centre[c]) * scale
            b = (number(X, i, c + 1) - centre[c + 1]) * scale
            e = (number(X, i, c + 2) - centre[c + 2]) * scale
            f = (number(X, i, c + 3) - centre[c + 3]) * scale
            s0 += a * a
            s1 += b * b
            s2 += e * e
            s3 += f * f
        for c in range(d - d % 4, d):
            a = (number(X, i, c) - centre[c]) * scale
            s0 += a * a
        return (s0 + s2) + (s1 + s3)

    return of_floats


@kernel
def centre_rows(X, first, last, centre, scale, out, squares):
    """out[i - first] = (X[i] - centre)·scale and squares[i] = its squared norm, for the rows [first, last).

    X : uint8, float32 or float64 (n, d); out : float32 or float64 (at least last - first, d); squares : float64 (n,).
    Bytes come with an integer centre and a scale of 1, so their sums are exact.
    """
    whole = centre.astype(np.int32) if X.itemsize == 1 else np.zeros(1, np.int32)
    for i in range(first, last):
        for c in range(X.shape[1]):
            out[i - first, c] = (number(X, i, c) - centre[c]) * scale
        squares[i] = square_of(X, i, whole, centre, scale)


@kernel
def embed_rows(isa, X, first, last, axes, short):
    """Fill the codes, norms and lists of used pairs of `short` for the rows [first, last).

    X : uint8, float32 or float64 (n, d); axes : RowAxes; short : Short. Codes are multiples of short.unit. They are
    zeros where the norm is above `rare`. With lists of used pairs, `first` is a multiple of the rows of a tile.
    Cost per row: d·AXES·panels multiply-adds of 16 bits.
    """
    codes, norms, used, centre, scale = short.codes, short.norms, short.used, short.centre, short.scale
    unit, loss, limit = short.unit, short.loss, short.rare
    panels, shifts, inverse, deviation = axes.panels, axes.shifts, axes.inverse, axes.deviation
    integers = X.itemsize == 1
    whole_centre = centre.astype(np.int32) if integers else np.zeros(1, np.int32)
    tile = tile_rows(isa)
    n_panels, n_pairs = panels.shape[:2]
    d = X.shape[1]
    short_sums = integers and d <= SHORT
    whole = np.zeros((tile, 2 * n_pairs), np.int16)
    whole_pairs = whole.view(np.int32)
    listed = used.shape[0] > 0
    seen = np.empty(n_pairs, np.int32)
    centre_16 = np.zeros((1, 2 * n_pairs), np.int16)
    for c in range(d if short_sums else 0):
        centre_16[0, c] = np.int16(centre[c])
    centre_square = row_product(isa, centre_16, 0, centre_16, 0)
    products = np.empty((n_panels, tile, AXES), np.int32)
    factors = np.empty(tile)
    squares = np.empty(tile)
    line = np.empty(AXES, np.int32)
    inverse_unit = 1.0 / unit
    scaled_shifts = shifts * inverse_unit
    for start in range(first, last, tile):
        count = min(tile, last - start)
        for j in range(count):
            i = start + j
            if short_sums:
                load_row(X, i, centre, 1.0, whole, j)
                product = row_product(isa, whole, j, centre_16, 0)
                squares[j] = row_product(isa, whole, j, whole, j) - 2 * product + centre_square
                norms[i] = np.sqrt(squares[j])
                factors[j] = 1.0
            else:
                squares[j] = square_of(X, i, whole_centre, centre, scale)
                norms[i] = np.sqrt(squares[j])
                factors[j] = row_factor(integers, norms[i]) if norms[i] <= limit else 0.0
                load_row(X, i, centre, factors[j] * scale, whole, j)
        if listed:
            list_used(whole_pairs, 0, count, seen, used, start // tile)
        for p in range(n_panels):
            if listed:
                project_used(isa, whole, 0, panels, p, products[p], used, start // tile)
            else:
                project_tile(isa, whole, 0, panels, p, products[p])
        for j in range(count):
            i = start + j
            codes[i] = 0
            if not norms[i] <= limit:
                continue
            factor = inverse * inverse_unit / factors[j] if factors[j] > 0.0 else 0.0
            inside = 0.0
            for p in range(n_panels):
                inside_panel = round_codes(products[p], j, factor, scaled_shifts, p * AXES, line)
                for a in range(AXES):
                    axis = p * AXES + a
                    if axis == LEAD - 1:
                        part = np.float64(line[a]) * np.float64(line[a])
                        inside_lead = inside + inside_panel - part
                        codes[i, LEAD - 1] = norm_beyond(squares[j], inside_lead * unit * unit, loss, deviation, unit)
                    if axis < WIDTH - 2:
                        codes[i, axis if axis < LEAD - 1 else axis + 1] = np.int16(line[a])
                inside += inside_panel
            codes[i, WIDTH - 1] = norm_beyond(squares[j], inside * unit * unit, loss, deviation, unit)
            if n_panels * AXES < LEAD:
                codes[i, LEAD - 1] = codes[i, WIDTH - 1]
