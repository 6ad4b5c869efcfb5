"""Sums of rows of float64 with factors, in tiles whose sums stay in registers.

Products and sums are rounded one by one, in ascending order of the sources: a result depends on neither blocks nor the width of the
registers. A multiplication and an addition take no longer than a fused one where the two have units of their own, as on Zen 3.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.ir.emit import F64, I64, array_length, array_pointer, splat

TARGETS, FEATURES = 4, 8  # of a tile: 8 vectors of sums on AVX2, which is what two multiplications a cycle keep busy


@intrinsic
def weighted_tile(typing_context, factors, first, source, origin, start, stop, place, out, target, step, out_place):
    """out[target + q·step, out_place + v] = Σ factors[first + q, t]·source[origin + t, place + v] over t in [start, stop), ascending.

    For q below TARGETS and v below FEATURES. All arrays float64, two dimensions, C-contiguous; start < stop.
    """
    index = types.int64
    signature = types.void(factors, index, source, index, index, index, index, out, index, index, index)
    vector = ir.VectorType(F64, FEATURES)

    def codegen(context, builder, signature, arguments):
        _, first, _, origin, start, stop, place, _, target, step, out_place = arguments

        def base(position, row):
            return array_pointer(context, builder, signature.args[position], arguments[position], F64, row)

        def width(position):
            return array_length(context, builder, signature.args[position], arguments[position], 1)

        weights = [base(0, builder.add(first, I64(q))) for q in range(TARGETS)]
        sources, source_width = builder.gep(base(2, origin), [place]), width(2)
        before = builder.block
        loop, done = builder.append_basic_block("weighted"), builder.append_basic_block("weighted_done")
        builder.branch(loop)
        builder.position_at_end(loop)
        term = builder.phi(I64)
        term.add_incoming(start, before)
        sums = [builder.phi(vector) for _ in range(TARGETS)]
        pointer = builder.gep(sources, [builder.mul(term, source_width)])
        value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
        value.align = 8
        for total, weight in zip(sums, weights, strict=True):
            factor = splat(builder, builder.load(builder.gep(weight, [term])), FEATURES)
            total.add_incoming(ir.Constant(vector, [0.0] * FEATURES), before)
            total.add_incoming(builder.fadd(total, builder.fmul(factor, value)), loop)
        following = builder.add(term, I64(1))
        term.add_incoming(following, loop)
        results = [total.incomings[1][0] for total in sums]
        builder.cbranch(builder.icmp_signed("<", following, stop), loop, done)
        builder.position_at_end(done)
        for q, result in enumerate(results):
            row = base(7, builder.add(target, builder.mul(step, I64(q))))
            pointer = builder.bitcast(builder.gep(row, [out_place]), vector.as_pointer())
            builder.store(result, pointer).align = 8
        return context.get_dummy_value()

    return signature, codegen
