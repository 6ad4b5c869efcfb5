"""Single instructions that Python has no word for, for use in any kernel."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from somknn_kernels.ir.emit import I1, I8, I32, I64, Operands, call


@intrinsic
def prefetch_row(typing_context, array, row):
    """Prefetch the cache lines of array[row] (two dimensions); changes nothing.

    Does nothing for an array whose type does not say that it is C-contiguous.
    """
    signature = types.void(array, types.int64)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        array_type = signature.args[0]
        if array_type.layout != "C":
            return context.get_dummy_value()
        element_size = context.get_abi_sizeof(context.get_data_type(array_type.dtype))
        size = builder.mul(given.length(0, 1), I64(element_size))
        pointer = given.pointer(0, I8, given[1])
        with cgutils.for_range_slice(builder, I64(0), size, I64(64), intp=I64) as (offset, _):
            call(builder, "llvm.prefetch.p0", ir.VoidType(), builder.gep(pointer, [offset]), I32(0), I32(3), I32(1))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def trailing_zeros(typing_context, mask):
    """Position of the lowest 1 bit of a uint64, int64."""

    def codegen(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(I1, 1))

    return types.int64(types.uint64), codegen
