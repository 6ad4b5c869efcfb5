"""Exact squared distances between single rows: the arithmetic that decides every list of neighbours.

Bytes: integers, exact in 64 bits for any number of columns. All other types: float64, in one order of summation that
is the same on every machine. There are eight running sums; sum l takes the columns l, l+8, l+16, … Then follow
((0+4)+(2+6)) + ((1+5)+(3+7)) and the last d mod 8 columns, one by one. Products are not fused, so the result does not
depend on whether the processor has FMA.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from somknn_kernels.ir.emit import (
    F64,
    I8,
    I16,
    I32,
    I64,
    Operands,
    counted_loop,
    load,
    pair_products_int16,
    pairwise_sums,
    store,
)
from somknn_kernels.ir.half_floats import doubles_of_halves, number
from somknn_kernels.ir.shapes import marker_of
from somknn_kernels.policy import inlined

_BLOCK = 16384  # columns whose squared byte differences fit an int32 lane: 16384 / 8 · 255² < 2^31


@intrinsic
def _byte_squares(typing_context, isa, a, i, b, j, start, length):
    """Sum of (a[i] - b[j])², int64, over `length` bytes (a multiple of 16, at most _BLOCK) from column `start` on."""
    signature = types.int64(isa, a, types.int64, b, types.int64, types.int64, types.int64)
    marker = marker_of(isa)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        _, _, i, _, j, start, length = arguments
        pa = builder.gep(given.pointer(1, I8, i), [start])
        pb = builder.gep(given.pointer(3, I8, j), [start])
        octets, shorts, words = ir.VectorType(I8, 16), ir.VectorType(I16, 16), ir.VectorType(I32, 8)

        def body(index, sums):
            """As many steps of 16 bytes as there are sums."""
            following = []
            for step, total in enumerate(sums):
                at = builder.add(index, I64(16 * step))
                bytes_a = builder.zext(load(builder, builder.gep(pa, [at]), 1, octets), shorts)
                bytes_b = builder.zext(load(builder, builder.gep(pb, [at]), 1, octets), shorts)
                difference = builder.sub(bytes_a, bytes_b)
                following.append(pair_products_int16(builder, marker, total, difference, difference))
            return following

        whole = builder.and_(length, I64(-64))
        sums = counted_loop(builder, I64(0), whole, 64, [ir.Constant(words, None)] * 4, body)
        total = builder.add(builder.add(sums[0], sums[1]), builder.add(sums[2], sums[3]))
        (total,) = counted_loop(builder, whole, length, 16, [total], body)
        total = pairwise_sums(builder, total, 2)
        ends = [builder.zext(builder.extract_element(total, I32(i)), I64) for i in range(2)]
        return builder.add(*ends)

    return signature, codegen


def _sums_over_columns(count):
    """The code of `_eight_sums` for the rows b[j], …, b[j + count - 1], with sums[r] for each."""

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        _, i, _, j, length, _ = arguments
        doubles = ir.VectorType(F64, 8)

        def row_of(position, row):
            dtype = given.types[position].dtype
            element = I16 if isinstance(dtype, types.Record) else context.get_data_type(dtype)
            return given.pointer(position, element, row), ir.VectorType(element, 8), dtype

        row_a, rows_b = row_of(0, i), [row_of(2, builder.add(j, I64(r))) for r in range(count)]

        def numbers(row, index):
            data, vector, dtype = row
            value = load(builder, builder.gep(data, [index]), 1, vector)
            if isinstance(dtype, types.Record):
                return doubles_of_halves(builder, value, 8)
            if isinstance(dtype, types.Integer):
                return builder.sitofp(value, doubles) if dtype.signed else builder.uitofp(value, doubles)
            return value if dtype == types.float64 else builder.fpext(value, doubles)

        def body(index, totals):
            value, following = numbers(row_a, index), []
            for total, row_b in zip(totals, rows_b, strict=True):
                difference = builder.fsub(value, numbers(row_b, index))
                following.append(builder.fadd(total, builder.fmul(difference, difference)))
            return following

        totals = counted_loop(builder, I64(0), length, 8, [ir.Constant(doubles, None)] * count, body)
        for r, total in enumerate(totals):
            store(builder, total, builder.gep(given.pointer(5, doubles), [I64(r)]), 8)
        return context.get_dummy_value()

    return codegen


@intrinsic
def _eight_sums(typing_context, a, i, b, j, length, sums):
    """sums[l] = sum of (a[i] - b[j])² over the columns l, l+8, … below `length` (a multiple of 8), in float64."""
    return types.void(a, types.int64, b, types.int64, types.int64, sums), _sums_over_columns(1)


@intrinsic
def _eight_sums_of_four(typing_context, a, i, b, j, length, sums):
    """sums[r] = `_eight_sums` of a[i] and b[j + r] for r below 4: no addition waits for the one before."""
    return types.void(a, types.int64, b, types.int64, types.int64, sums), _sums_over_columns(4)


@inlined
def squared_distance_bytes(isa, a, i, b, j):
    """Exact squared distance (int64) of rows a[i] and b[j]: uint8, C-contiguous."""
    d = a.shape[1]
    whole = d - d % 16
    total = np.int64(0)
    for start in range(0, whole, _BLOCK):
        length = min(_BLOCK, whole - start)
        total += _byte_squares(isa, a, i, b, j, start, length)
    for c in range(whole, d):
        difference = np.int64(a[i, c]) - np.int64(b[j, c])
        total += difference * difference
    return total


@inlined
def squared_distance_float64(a, i, b, j, sums):
    """Squared distance (float64, in the module's order of summation) of rows a[i] and b[j] of any two number types
    (float16 as `ir.half_floats.HALF`).

    sums : float64 (8,), scratch.
    """
    d = a.shape[1]
    whole = d - d % 8
    _eight_sums(a, i, b, j, whole, sums)
    total = ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))
    for c in range(whole, d):
        difference = number(a, i, c) - number(b, j, c)
        total += difference * difference
    return total


@inlined
def four_squared_distances(a, i, b, j, sums, out, row):
    """out[row, j + r] = `squared_distance_float64` of a[i] and b[j + r], for r below 4; sums : float64 (4, 8)."""
    d = a.shape[1]
    whole = d - d % 8
    _eight_sums_of_four(a, i, b, j, whole, sums)
    for r in range(4):
        total = ((sums[r, 0] + sums[r, 4]) + (sums[r, 2] + sums[r, 6])) + (
            (sums[r, 1] + sums[r, 5]) + (sums[r, 3] + sums[r, 7])
        )
        for c in range(whole, d):
            difference = number(a, i, c) - number(b, j + r, c)
            total += difference * difference
        out[row, j + r] = total


def squared_distance(isa, a, i, b, j, sums):
    """Squared distance of rows a[i] and b[j]: int64 if both are bytes, else float64. sums : float64 (8,), scratch."""
    raise NotImplementedError("only inside kernels")


@overload(squared_distance, inline="never")
def _squared_distance(isa, a, i, b, j, sums):
    if a.dtype == types.uint8 and b.dtype == types.uint8:
        return lambda isa, a, i, b, j, sums: squared_distance_bytes(isa, a, i, b, j)
    return lambda isa, a, i, b, j, sums: squared_distance_float64(a, i, b, j, sums)
