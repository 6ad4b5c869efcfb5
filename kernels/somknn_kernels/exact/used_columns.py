"""Exact squared distances from one row of bytes to many others, through the columns that it uses.

‖a-b‖² = ‖a‖² + ‖b‖² - 2 a·b, all integers. Only where a is not zero must a·b be computed: in less than half of the
16-byte chunks of an image of a digit. So a comparison reads half of the other row, and takes 4 vector instructions a
chunk where `distances.py` takes 5. Dense rows lose nothing but the index of each chunk. Columns may be in any order: if
columns that are used together lie together, there are fewer chunks.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from somknn_kernels.exact.distances import squared_distance
from somknn_kernels.ir.emit import (
    I8,
    I16,
    I32,
    I64,
    Operands,
    counted_loop,
    every_lane,
    joined_lanes,
    load,
    pair_products_int16,
    pairwise_sums,
)
from somknn_kernels.ir.shapes import marker_of
from somknn_kernels.policy import inlined, kernel

CHUNK = 16  # columns
UNIT = 4  # columns that stay together when columns are put in another order
_AT_ONCE = 4096  # chunks whose sum of products fits 32 bits: 4096·16·255² < 2^32
_ROWS = 4  # rows that are compared at once


@inlined
def find_used(row, i, used, slot):
    """used[slot, 1:] = the chunks of row[i] that are not all zero; used[slot, 0] = their number.

    row : uint8 (…, d); used : uint16 or int32 (slots, 1 + d // CHUNK). Columns after the last whole chunk are not
    noted.
    """
    count = 0
    for chunk in range(row.shape[1] // CHUNK):
        any_bits = np.uint8(0)
        for c in range(chunk * CHUNK, chunk * CHUNK + CHUNK):
            any_bits |= row[i, c]
        used[slot, 1 + count] = chunk
        count += int(any_bits != 0)
    used[slot, 0] = count


@kernel
def copy_units(rows, order, units, first, last, out):
    """out[place] = rows[order[place]], with columns in the order of `units`, for the places [first, last).

    rows, out : uint8. Places without a row become zero.
    units : int32 (d // UNIT,), a permutation: unit i of `out` holds the columns of unit units[i]; the last d % UNIT
    columns stay where they are
    """
    d = rows.shape[1]
    for place in range(first, last):
        row = np.int64(order[place])
        if row < 0:
            out[place] = 0
            continue
        for i in range(units.shape[0]):
            at, to = np.int64(units[i]) * UNIT, i * UNIT
            a, b, c, e = rows[row, at], rows[row, at + 1], rows[row, at + 2], rows[row, at + 3]
            out[place, to], out[place, to + 1], out[place, to + 2], out[place, to + 3] = a, b, c, e
        for c in range(units.shape[0] * UNIT, d):
            out[place, c] = rows[row, c]


@kernel
def squared_norms(rows, start, stop, out):
    """out[i] = squared norm (int64) of rows[i] (uint8), for the rows [start, stop)."""
    for i in range(start, stop):
        total = np.int64(0)
        for first in range(0, rows.shape[1], 16384):  # the sum of that many squares fits 32 bits
            part = np.int32(0)
            for c in range(first, min(first + 16384, rows.shape[1])):
                part += np.int32(rows[i, c]) * np.int32(rows[i, c])
            total += np.int64(part)
        out[i] = total


@intrinsic
def _products(typing_context, isa, a, i, b, others, used, slot, first, last):
    """Inner products (int64) of a[i] with b[j] for each j in the tuple `others`, over chunks used[slot, first:last].

    At most _AT_ONCE chunks.
    """
    count = others.count
    signature = types.UniTuple(types.int64, count)(
        isa, a, types.int64, b, others, used, types.int64, types.int64, types.int64
    )
    marker = marker_of(isa)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        _, _, i, _, others, _, slot, first, last = arguments
        own_row = given.pointer(1, I8, i)
        rows = [given.pointer(3, I8, builder.extract_value(others, place)) for place in range(count)]
        chunks = given.pointer(5, context.get_data_type(given.types[5].dtype), slot)
        octets, shorts, words = ir.VectorType(I8, 16), ir.VectorType(I16, 16), ir.VectorType(I32, 8)
        unroll = _ROWS // count  # enough sums to hide the latency of an addition

        def body(index, sums):
            following = []
            for step in range(len(sums) // count):
                chunk = builder.zext(builder.load(builder.gep(chunks, [builder.add(index, I64(step))])), I64)
                at = builder.mul(chunk, I64(CHUNK))
                own = builder.zext(load(builder, builder.gep(own_row, [at]), 1, octets), shorts)
                for total, row in zip(sums[step * count : (step + 1) * count], rows, strict=True):
                    other = builder.zext(load(builder, builder.gep(row, [at]), 1, octets), shorts)
                    following.append(pair_products_int16(builder, marker, total, own, other))
            return following

        whole = builder.add(first, builder.and_(builder.sub(last, first), I64(-unroll)))
        zero = ir.Constant(words, None)
        sums = counted_loop(builder, first, whole, unroll, [zero] * (unroll * count), body)
        while len(sums) > count:
            half = len(sums) // 2
            sums = [builder.add(x, y) for x, y in zip(sums[:half], sums[half:], strict=True)]
        if unroll > 1:
            sums = counted_loop(builder, whole, last, 1, sums, body)
        # Put the lanes of all sums side by side and add neighbours, until one vector holds them.
        while len(sums) > 1:
            sums = [joined_lanes(builder, x, y) for x, y in zip(sums[::2], sums[1::2], strict=True)]
            sums = [builder.add(every_lane(builder, x, 0, 2), every_lane(builder, x, 1, 2)) for x in sums]
        (total,) = sums
        if count == 1:
            ends = [builder.zext(pairwise_sums(builder, total), I64)]
        else:
            total = pairwise_sums(builder, total, count)
            ends = [builder.zext(builder.extract_element(total, I32(place)), I64) for place in range(count)]
        return context.make_tuple(builder, signature.return_type, ends)

    return signature, codegen


def distances_through(isa, rows, i, others, count, used, squares, sums, out):
    """out[p] = squared distance of rows[i] and rows[others[p]], as `distances.squared_distance` gives it, p < count.

    Rows of bytes: through the chunks used[i] of rows[i] (`find_used`) and the squared norms `squares` of all rows.
    Other types do not use these two.
    others : int32 (…,); sums : float64 (8,), scratch. Four rows at a time share the loads of rows[i] and of the chunk
    numbers.
    """
    raise NotImplementedError("only inside kernels")


@overload(distances_through, inline="never")
def _distances_through(isa, rows, i, others, count, used, squares, sums, out):
    if rows.dtype != types.uint8:

        def of_numbers(isa, rows, i, others, count, used, squares, sums, out):
            for p in range(count):
                out[p] = squared_distance(isa, rows, i, rows, np.int64(others[p]), sums)

        return of_numbers

    def of_bytes(isa, rows, i, others, count, used, squares, sums, out):
        last, square = 1 + np.int64(used[i, 0]), squares[i]
        p = 0
        while p < count and count >= _ROWS:
            p = min(p, count - _ROWS)  # the last four may include some that are done already
            four = np.int64(others[p]), np.int64(others[p + 1]), np.int64(others[p + 2]), np.int64(others[p + 3])
            for place in range(_ROWS):
                out[p + place] = 0
            for first in range(1, last, _AT_ONCE):
                found = _products(isa, rows, i, rows, four, used, i, first, min(first + _AT_ONCE, last))
                out[p] += found[0]
                out[p + 1] += found[1]
                out[p + 2] += found[2]
                out[p + 3] += found[3]
            p += _ROWS
        while p < count:
            out[p] = 0
            for first in range(1, last, _AT_ONCE):
                one = (np.int64(others[p]),)
                out[p] += _products(isa, rows, i, rows, one, used, i, first, min(first + _AT_ONCE, last))[0]
            p += 1
        for p in range(count):
            other = np.int64(others[p])
            product = np.int64(out[p])
            for c in range(rows.shape[1] // CHUNK * CHUNK, rows.shape[1]):
                product += np.int64(rows[i, c]) * np.int64(rows[other, c])
            out[p] = square + squares[other] - 2 * product

    return of_bytes
