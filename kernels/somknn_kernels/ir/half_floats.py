"""Numbers of rows, float16 among them, as float64.

Numba has no float16 on processors. Rows of float16 come to kernels as records of their bits (`HALF`, a view of the
same memory), and are converted where they are read, exactly. x86 processors with AVX2 have an instruction for it
(F16C). For others integers do it: the bits are shifted to where float32 has them, and a product with
2^112 sets the exponent right, that of subnormal numbers too.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from somknn_kernels.ir.emit import F32, F64, I16, I32
from somknn_kernels.isa import host_features

HALF = np.dtype([("half", np.uint16)])


def for_kernels(rows):
    """The rows as kernels take them: float16 as `HALF`, others as they are."""
    return rows.view(HALF) if rows.dtype == np.float16 else rows


def doubles_of_halves(builder, bits, lanes, by_instruction=None):
    """The float64 numbers, a vector of `lanes`, whose float16 bits are the vector `bits` of int16.

    by_instruction : whether to use F16C; None asks the processor
    """
    words, floats = ir.VectorType(I32, lanes), ir.VectorType(F32, lanes)
    if "f16c" in host_features() if by_instruction is None else by_instruction:
        halves = builder.bitcast(bits, ir.VectorType(ir.HalfType(), lanes))
        return builder.fpext(builder.fpext(halves, floats), ir.VectorType(F64, lanes))

    def every(value):
        return ir.Constant(words, [value] * lanes)

    wide = builder.zext(bits, words)
    magnitude = builder.shl(builder.and_(wide, every(0x7FFF)), every(13))
    sign = builder.shl(builder.and_(wide, every(0x8000)), every(16))
    scaled = builder.fmul(builder.bitcast(magnitude, floats), ir.Constant(floats, [2.0**112] * lanes))
    is_finite = builder.icmp_unsigned("<", magnitude, every(0x7C00 << 13))
    endless = builder.or_(magnitude, every(0x7F800000))  # infinity and NaN
    result = builder.or_(builder.select(is_finite, builder.bitcast(scaled, words), endless), sign)
    return builder.fpext(builder.bitcast(result, floats), ir.VectorType(F64, lanes))


@intrinsic
def _double_of_half(typing_context, bits):
    """The float64 number whose float16 bits are a uint16."""

    def codegen(context, builder, signature, arguments):
        one = ir.VectorType(I16, 1)
        vector = builder.insert_element(ir.Constant(one, ir.Undefined), arguments[0], I32(0))
        return builder.extract_element(doubles_of_halves(builder, vector, 1), I32(0))

    return types.float64(types.uint16), codegen


def number(rows, i, c):
    """rows[i, c] as float64."""
    raise NotImplementedError("only inside kernels")


@overload(number, inline="never")
def _number(rows, i, c):
    if isinstance(rows.dtype, types.Record):
        return lambda rows, i, c: _double_of_half(rows[i, c].half)
    return lambda rows, i, c: np.float64(rows[i, c])
