"""A codebook as 16-bit integers and as short vectors: what `codebook_search` needs of it before every search.

Units are centred and scaled once. Sums of integers are exact in float64, so no result depends on their order.
"""

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.bounds.codebook_codes import LEAD, WIDTH
from somknn_kernels.bounds.rest import rest_code
from somknn_kernels.ir.emit import (
    F32,
    F64,
    I16,
    I32,
    I64,
    Operands,
    call,
    counted_loop,
    every_lane,
    load,
    pairwise_sums,
    rounded_to_integers,
    splat,
    store,
)
from somknn_kernels.policy import kernel
from somknn_kernels.tiles.weighted_tiles import FEATURES, TARGETS, weighted_tile

_LANES = 8
_FLOATS = ir.VectorType(F64, _LANES)
_ZERO = ir.Constant(_FLOATS, [0.0] * _LANES)


class _Lines(Operands):
    """Vectors from the rows of arrays that an intrinsic was given."""

    def load(self, base, index):
        pointer = self.builder.gep(base, [index])
        if base.type.pointee is F32:
            return self.builder.fpext(load(self.builder, pointer, 4, ir.VectorType(F32, _LANES)), _FLOATS)
        return load(self.builder, pointer, 8, ir.VectorType(base.type.pointee, _LANES))

    def store(self, value, base, index):
        store(self.builder, value, self.builder.gep(base, [index]), 2 if base.type.pointee is I16 else 8)

    def largest(self, value):
        while value.type.count > 1:
            a, b = every_lane(self.builder, value, 0, 2), every_lane(self.builder, value, 1, 2)
            value = self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)
        return self.builder.extract_element(value, I32(0))


@intrinsic
def _centre_line(typing_context, W, k, centre, scale, columns, units):
    """units[k, c] = (W[k, c] - centre[c])·scale for c below `columns`, a multiple of a vector's lanes.

    Returns the sum of their squares and the largest magnitude.
    """
    signature = types.UniTuple(types.float64, 2)(W, types.int64, centre, types.float64, types.int64, units)
    element = F32 if W.dtype == types.float32 else F64

    def codegen(context, builder, signature, arguments):
        lines = _Lines(context, builder, signature, arguments)
        source, middle, target = (
            lines.pointer(0, element, arguments[1]),
            lines.pointer(2, F64),
            lines.pointer(5, F64, arguments[1]),
        )
        scale = splat(builder, arguments[3], _LANES)

        def body(index, results):
            square, top = results
            value = builder.fmul(builder.fsub(lines.load(source, index), lines.load(middle, index)), scale)
            lines.store(value, target, index)
            magnitude = call(builder, f"llvm.fabs.v{_LANES}f64", _FLOATS, value)
            larger = builder.select(builder.fcmp_ordered(">", magnitude, top), magnitude, top)
            return [builder.fadd(square, builder.fmul(value, value)), larger]

        square, top = counted_loop(builder, I64(0), arguments[4], _LANES, [_ZERO, _ZERO], body)
        return context.make_tuple(builder, signature.return_type, [pairwise_sums(builder, square), lines.largest(top)])

    return signature, codegen


@kernel
def centre_units(W, centre, scale, first, last, units, squares, tops):
    """units[k] = (W[k] - centre)·scale, its squared norm and its largest magnitude, for the units [first, last).

    W : float32 or float64 (K, d); centre : float64 (d,); units : float64 (at least K, d); squares, tops : float64 (K,).
    """
    d = W.shape[1]
    columns = d - d % 8
    for k in range(first, last):
        square = 0.0
        top = 0.0
        if columns > 0:
            square, top = _centre_line(W, k, centre, scale, columns, units)
        for c in range(columns, d):
            value = (np.float64(W[k, c]) - centre[c]) * scale
            units[k, c] = value
            square += value * value
            top = max(top, abs(value))
        squares[k] = square
        tops[k] = top


@intrinsic
def _round_line(typing_context, units, k, inverse, inverse_fine, centre, columns, high, low):
    """high[k], low[k] of the first `columns` columns; returns Σ low², Σ high·centre and Σ low·centre, exact.

    columns : a multiple of a vector's lanes.
    """
    number = types.float64
    signature = types.UniTuple(number, 3)(units, types.int64, number, number, centre, types.int64, high, low)

    def codegen(context, builder, signature, arguments):
        lines = _Lines(context, builder, signature, arguments)
        k = arguments[1]
        source, middle = lines.pointer(0, F64, k), lines.pointer(4, F64)
        high, low = lines.pointer(6, I16, k), lines.pointer(7, I16, k)
        inverse, inverse_fine = (splat(builder, arguments[at], _LANES) for at in (2, 3))
        shorts = ir.VectorType(I16, _LANES)

        def store(value, base, index):
            whole = builder.fptosi(value, ir.VectorType(I32, _LANES))
            lines.store(builder.trunc(whole, shorts), base, index)

        def body(index, results):
            square, of_high, of_low = results
            value = builder.fmul(lines.load(source, index), inverse)
            whole = rounded_to_integers(builder, value)
            rest = rounded_to_integers(builder, builder.fmul(builder.fsub(value, whole), inverse_fine))
            store(whole, high, index)
            store(rest, low, index)
            factor = lines.load(middle, index)
            return [
                builder.fadd(square, builder.fmul(rest, rest)),
                builder.fadd(of_high, builder.fmul(whole, factor)),
                builder.fadd(of_low, builder.fmul(rest, factor)),
            ]

        sums = counted_loop(builder, I64(0), arguments[5], _LANES, [_ZERO] * 3, body)
        return context.make_tuple(builder, signature.return_type, [pairwise_sums(builder, each) for each in sums])

    return signature, codegen


class WholeUnits(NamedTuple):
    """A codebook as 16-bit integers.

    step, fine : float64: a unit is step·(high + low·fine)
    high, low : int16 (K, at least d); columns beyond d are not touched
    errors : float64 (K,), at most how far step·high is from the unit
    offsets, rests : float64 (K,): the products of the centre with step·high and step·fine·low are added to them
    """

    step: Any
    fine: Any
    high: Any
    low: Any
    errors: Any
    offsets: Any
    rests: Any


@kernel
def encode_units(units, centre, first, last, out):
    """units[k] = step·(high + low·fine), rounded, and at most how far step·high is off, for the units [first, last).

    units : float64 (at least K, d), centred
    centre : float64 (d,), integers: the centre that rows of bytes still contain, or zeros; out : WholeUnits
    """
    step, fine, high, low = out.step, out.fine, out.high, out.low
    errors, offsets, rests = out.errors, out.offsets, out.rests
    inverse = 1.0 / step
    inverse_fine = 1.0 / fine
    d = centre.shape[0]
    columns = d - d % 8
    for k in range(first, last):
        total = 0.0
        of_high = 0.0
        of_low = 0.0
        if columns > 0:
            total, of_high, of_low = _round_line(units, k, inverse, inverse_fine, centre, columns, high, low)
        for c in range(columns, d):
            value = units[k, c] * inverse
            whole = np.rint(value)
            rest = np.rint((value - whole) * inverse_fine)
            high[k, c] = np.int16(whole)
            low[k, c] = np.int16(rest)
            total += rest * rest
            of_high += whole * centre[c]
            of_low += rest * centre[c]
        errors[k] = step * fine * (np.sqrt(total) + 0.51 * np.sqrt(np.float64(d)))
        offsets[k] += step * of_high
        rests[k] += step * fine * of_low


class Basis(NamedTuple):
    """Axes of a codebook's short vectors.

    axes : float64 (panels·d, FEATURES), axis a in column a % FEATURES of panel a // FEATURES
    gram, inverse : float64 (p, panels·FEATURES): the axes' Gram matrix and its inverse, padded with zeros
    """

    axes: Any
    inverse: Any
    gram: Any


@kernel
def find_codes(units, squares, first, last, basis, unit, uncertain, codes):
    """Codes of the units [first, last) on some axes, as multiples of `unit`.

    Returns the largest norm, over all units, of the products of the axes with what they leave out of a unit.

    The codes are the coordinates on the axes, by the inverse of the axes' Gram matrix, rounded. Behind those of the
    leading axes, and behind all of them, stands the rest, rounded up.
    units : float64 (a multiple of TARGETS, d); first : a multiple of TARGETS; squares : float64 (K,); basis : Basis
    uncertain : float64, the rounding of a squared rest; codes : int16 (K, WIDTH), zeros.
    Cost per unit: d·p multiply-adds in float64.
    """
    axes, inverse, gram = basis.axes, basis.inverse, basis.gram
    d = units.shape[1]
    p, padded = inverse.shape
    lead = min(p, LEAD - 1)
    products = np.empty((TARGETS, padded))
    whole = np.empty((TARGETS, padded))
    held = np.empty((TARGETS, padded))
    inverse_unit = 1.0 / unit
    largest = 0.0
    for start in range(first, last, TARGETS):
        for panel in range(padded // FEATURES):
            weighted_tile(units, start, axes, panel * d, 0, d, 0, products, 0, 1, panel * FEATURES)
        for place in range(0, padded, FEATURES):
            weighted_tile(products, 0, inverse, 0, 0, p, place, whole, 0, 1, place)
        for q in range(TARGETS):
            for a in range(padded):
                whole[q, a] = np.rint(whole[q, a] * inverse_unit) * unit
        for step in range(1 if lead == p else 2):
            used = lead if step == 0 else p
            for place in range(0, used, FEATURES):
                weighted_tile(whole, 0, gram, 0, 0, used, place, held, 0, 1, place)
            for q in range(min(TARGETS, last - start)):
                k = start + q
                inside = 0.0
                leaning = 0.0
                for a in range(used):
                    lean = products[q, a] - held[q, a]
                    inside += whole[q, a] * (products[q, a] + lean)
                    leaning += lean * lean
                largest = max(largest, leaning)
                codes[k, WIDTH - 1 if used == p else LEAD - 1] = rest_code(squares[k], inside, uncertain, unit)
        for q in range(min(TARGETS, last - start)):
            k = start + q
            for a in range(p):
                codes[k, a if a < LEAD - 1 else a + 1] = np.int16(np.rint(whole[q, a] * inverse_unit))
            if p < LEAD:
                codes[k, LEAD - 1] = codes[k, WIDTH - 1]
    return np.sqrt(largest)
