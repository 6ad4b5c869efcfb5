"""Exact squared distances of one row of bytes to many, through the columns that it uses.

‖a-b‖² = ‖a‖² + ‖b‖² - 2 a·b, all integers, and only where a is not zero does a·b need a look: of the 16-byte chunks of an
image of a digit less than half. So a comparison reads half of the row it is compared with, and takes 4 vector instructions a
chunk where `distances.py` takes 5. Dense rows lose nothing but the index of each chunk.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from somknn_kernels.distances import _counted_loop, squared_distance
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles import I8, I16, I32, I64, _every, _marker, _pair_products_int16, _pointer

CHUNK = 16  # columns
_AT_ONCE = 8192  # chunks whose products fit an int32 lane of two: 8192 / 2 · 2 · 255² < 2^31


@inlined
def find_used(row, i, used, slot):
    """used[slot, 1:] = the chunks in which row[i] : uint8 is not zero throughout, used[slot, 0] their number.

    used : uint16 or int32 (slots, 1 + d // CHUNK); what lies behind the last whole chunk is not noted.
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
def squared_norms(rows, start, stop, out):
    """out[i] = squared norm (int64) of rows[i] : uint8, for the rows [start, stop)."""
    for i in range(start, stop):
        total = np.int64(0)
        for first in range(0, rows.shape[1], 16384):  # a sum of that many squares fits 32 bits
            part = np.int32(0)
            for c in range(first, min(first + 16384, rows.shape[1])):
                part += np.int32(rows[i, c]) * np.int32(rows[i, c])
            total += np.int64(part)
        out[i] = total


@intrinsic
def _products(typing_context, isa, a, i, b, j, used, slot, first, last):
    """Inner product (int64) of a[i] and b[j] : uint8 over the chunks used[slot, first:last], at most _AT_ONCE of them."""
    signature = types.int64(isa, a, types.int64, b, types.int64, used, types.int64, types.int64, types.int64)
    marker = _marker(isa)

    def codegen(context, builder, signature, arguments):
        _, a, i, b, j, used, slot, first, last = arguments
        index_type = context.get_data_type(signature.args[5].dtype)
        pa = _pointer(context, builder, signature.args[1], a, I8, i)
        pb = _pointer(context, builder, signature.args[3], b, I8, j)
        pu = _pointer(context, builder, signature.args[5], used, index_type, slot)
        octets, shorts, words = ir.VectorType(I8, 16), ir.VectorType(I16, 16), ir.VectorType(I32, 8)

        def body(index, sums):
            """As many chunks as there are sums."""
            following = []
            for step, total in enumerate(sums):
                chunk = builder.zext(builder.load(builder.gep(pu, [builder.add(index, I64(step))])), I64)
                at = builder.mul(chunk, I64(CHUNK))

                def load(pointer, at=at):
                    value = builder.load(builder.bitcast(builder.gep(pointer, [at]), octets.as_pointer()))
                    value.align = 1
                    return builder.zext(value, shorts)

                following.append(_pair_products_int16(builder, marker, total, load(pa), load(pb)))
            return following

        whole = builder.add(first, builder.and_(builder.sub(last, first), I64(-4)))
        sums = _counted_loop(builder, first, whole, 4, [ir.Constant(words, None)] * 4, body)
        total = builder.add(builder.add(sums[0], sums[1]), builder.add(sums[2], sums[3]))
        (total,) = _counted_loop(builder, whole, last, 1, [total], body)
        while total.type.count > 2:
            total = builder.add(_every(builder, total, 0, 2), _every(builder, total, 1, 2))
        ends = [builder.zext(builder.extract_element(total, I32(i)), I64) for i in range(2)]
        return builder.add(*ends)

    return signature, codegen


def distance_through(isa, a, i, b, j, used, slot, a_square, b_squares, sums):
    """Squared distance of rows a[i] and b[j], as `distances.squared_distance` gives it.

    Between bytes by the chunks used[slot] of a[i] (`find_used`), its squared norm and b_squares[j]; else those play no part.
    """
    raise NotImplementedError("only inside kernels")


@overload(distance_through, inline="always")
def _distance_through(isa, a, i, b, j, used, slot, a_square, b_squares, sums):
    if a.dtype != types.uint8 or b.dtype != types.uint8:
        return lambda isa, a, i, b, j, used, slot, a_square, b_squares, sums: squared_distance(isa, a, i, b, j, sums)

    def of_bytes(isa, a, i, b, j, used, slot, a_square, b_squares, sums):
        product = np.int64(0)
        last = 1 + np.int64(used[slot, 0])
        for first in range(1, last, _AT_ONCE):
            product += _products(isa, a, i, b, j, used, slot, first, min(first + _AT_ONCE, last))
        for c in range(a.shape[1] // CHUNK * CHUNK, a.shape[1]):
            product += np.int64(a[i, c]) * np.int64(b[j, c])
        return a_square + b_squares[j] - 2 * product

    return of_bytes
