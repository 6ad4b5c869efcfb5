"""Weighted sums of float64 rows, in tiles whose sums stay in registers.

Products and sums are rounded one by one, in ascending order of the sources. So a result depends neither on blocks nor
on the width of the registers. A multiplication and an addition take no longer than a fused one on processors with
separate units for them, such as Zen 3.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.ir.emit import F64, I64, Operands, last_tested_loop, load, splat, store

TARGETS, FEATURES = 4, 8  # of a tile: 8 vectors of sums on AVX2, enough to keep two multiplications a cycle busy


@intrinsic
def weighted_tile(typing_context, factors, first, source, origin, start, stop, place, out, target, step, out_place):
    """out[target + q·step, out_place + v] = Σ factors[first + q, t]·source[origin + t, place + v] over t.

    For q below TARGETS and v below FEATURES; t ascends in [start, stop), start < stop. All arrays are float64, two
    dimensions, C-contiguous.
    """
    index = types.int64
    signature = types.void(factors, index, source, index, index, index, index, out, index, index, index)
    vector = ir.VectorType(F64, FEATURES)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        _, first, _, origin, start, stop, place, _, target, step, out_place = arguments
        weights = [given.pointer(0, F64, builder.add(first, I64(q))) for q in range(TARGETS)]
        sources, source_width = builder.gep(given.pointer(2, F64, origin), [place]), given.length(2, 1)

        def body(term, sums):
            value = load(builder, builder.gep(sources, [builder.mul(term, source_width)]), 8, vector)
            results = []
            for total, weight in zip(sums, weights, strict=True):
                factor = splat(builder, builder.load(builder.gep(weight, [term])), FEATURES)
                results.append(builder.fadd(total, builder.fmul(factor, value)))
            return results

        zeros = [ir.Constant(vector, [0.0] * FEATURES)] * TARGETS
        for q, result in enumerate(last_tested_loop(builder, start, stop, 1, zeros, body)):
            row = given.pointer(7, F64, builder.add(target, builder.mul(step, I64(q))))
            store(builder, result, builder.gep(row, [out_place]), 8)
        return context.get_dummy_value()

    return signature, codegen
