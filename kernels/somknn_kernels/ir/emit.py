"""What kernels are written in below Numba: vectors, loops, products and addresses in LLVM's language (IR).

Every function takes the builder of the function being compiled and appends instructions to it.
"""

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils

from somknn_kernels.isa import Portable, Vnni512, Vnni512Emulated

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))


F32, F64 = ir.FloatType(), ir.DoubleType()


def llvm_function(module, name, result, arguments):
    """The function of this name, declared in the module if it is not yet."""
    found = module.globals.get(name)
    return found or ir.Function(module, ir.FunctionType(result, arguments), name)


def splat(builder, scalar, lanes):
    """A vector that holds the scalar in each of its lanes."""
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def joined_lanes(builder, a, b):
    """The lanes of a, then those of b."""
    mask = ir.Constant(ir.VectorType(I32, 2 * a.type.count), list(range(2 * a.type.count)))
    return builder.shuffle_vector(a, b, mask)


def every_lane(builder, vector, start, step):
    """Lanes start, start + step, … of a vector."""
    count = vector.type.count // step
    mask = ir.Constant(ir.VectorType(I32, count), [start + step * i for i in range(count)])
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def signed_minimum(builder, a, b):
    """The smaller one, lane by lane, signed."""
    return builder.select(builder.icmp_signed("<", a, b), a, b)


def unsigned_minimum(builder, a, b):
    """The smaller one, unsigned."""
    return builder.select(builder.icmp_unsigned("<", a, b), a, b)


def unsigned_maximum(builder, a, b):
    """The larger one, unsigned."""
    return builder.select(builder.icmp_unsigned(">", a, b), a, b)


def saturated_sum(builder, a, b):
    """a + b, unsigned, and the largest number where that is beyond it."""
    name = f"llvm.uadd.sat.v{a.type.count}i{a.type.element.width}"
    return builder.call(llvm_function(builder.module, name, a.type, [a.type, a.type]), [a, b])


def joined_vectors(builder, vectors):
    """The lanes of a power of two of vectors, one after the other."""
    while len(vectors) > 1:
        vectors = [joined_lanes(builder, a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


def pair_products_int16(builder, marker, accumulator, a, b):
    """accumulator[i] + a[2i]·b[2i] + a[2i+1]·b[2i+1] for int16 vectors, int32 lanes."""
    lanes = accumulator.type.count
    shorts = ir.VectorType(I16, 2 * lanes)
    a, b = builder.bitcast(a, shorts), builder.bitcast(b, shorts)
    if marker is not Portable and lanes == 8:
        madd = llvm_function(builder.module, "llvm.x86.avx2.pmadd.wd", accumulator.type, [shorts, shorts])
        return builder.add(accumulator, builder.call(madd, [a, b]))
    if marker is Vnni512:
        name = "llvm.x86.avx512.pmaddw.d.512"
        madd = llvm_function(builder.module, name, accumulator.type, [shorts, shorts])
        return builder.add(accumulator, builder.call(madd, [a, b]))
    wide = accumulator.type
    for start in (0, 1):
        product = builder.mul(
            builder.sext(every_lane(builder, a, start, 2), wide), builder.sext(every_lane(builder, b, start, 2), wide)
        )
        accumulator = builder.add(accumulator, product)
    return accumulator


def quad_products_bytes(builder, marker, accumulator, unsigned, signed):
    """accumulator[i] + the four products of bytes 4i … 4i+3, one operand unsigned: `vpdpbusd`."""
    lanes = accumulator.type.count
    octets = ir.VectorType(I8, 4 * lanes)
    if marker is Vnni512Emulated:
        wide = accumulator.type
        unsigned, signed = builder.bitcast(unsigned, octets), builder.bitcast(signed, octets)
        for start in range(4):
            product = builder.mul(
                builder.zext(every_lane(builder, unsigned, start, 4), wide),
                builder.sext(every_lane(builder, signed, start, 4), wide),
            )
            accumulator = builder.add(accumulator, product)
        return accumulator
    # LLVM 22 changed the operands of this intrinsic from int32 to int8 vectors.
    operand = octets if llvmlite.binding.llvm_version_info[0] >= 22 else accumulator.type
    name = f"llvm.x86.avx512.vpdpbusd.{lanes * 32}"
    instruction = llvm_function(builder.module, name, accumulator.type, [accumulator.type, operand, operand])
    return builder.call(
        instruction, [accumulator, builder.bitcast(unsigned, operand), builder.bitcast(signed, operand)]
    )


def tile_loop(builder, shape, groups, queries, panel, initial, multiply, unroll=1, which=None, first=None):
    """Emit the loop over the groups [first, groups); returns the accumulators [query][vector].

    `queries` points to 4-byte (or 2-byte) broadcast units, `panel` to whole vectors, `initial[query][vector]` are the
    starting values and `multiply(accumulator, query vector, panel vector)` adds one group's products. There are groups, and
    their number is a multiple of `unroll`. `which` points to int32: the panel's group for each of the queries'; without it, the same.
    """
    n_queries, n_vectors = shape
    before = builder.block
    loop = builder.append_basic_block("tile")
    done = builder.append_basic_block("tile_done")
    builder.branch(loop)
    builder.position_at_end(loop)
    group = builder.phi(I64)
    group.add_incoming(I64(0) if first is None else first, before)
    sums = [[builder.phi(value.type) for value in row] for row in initial]
    results = sums
    for step in range(unroll):
        here = builder.add(group, I64(step)) if step else group
        there = here if which is None else builder.zext(builder.load(builder.gep(which, [here])), I64)
        vector_index = builder.mul(there, I64(n_vectors))
        rows = []
        for v in range(n_vectors):
            row = builder.load(builder.gep(panel, [builder.add(vector_index, I64(v))]))
            row.align = 4
            rows.append(row)
        query_index = builder.mul(here, I64(n_queries))
        following_results = []
        for j in range(n_queries):
            unit = builder.load(builder.gep(queries, [builder.add(query_index, I64(j))]))
            unit.align = 1
            lanes = rows[0].type.count
            if unit.type != F32:
                lanes = lanes * rows[0].type.element.width // unit.type.width
            query = splat(builder, unit, lanes)
            following_results.append([multiply(results[j][v], query, rows[v]) for v in range(n_vectors)])
        results = following_results
    following = builder.add(group, I64(unroll))
    group.add_incoming(following, loop)
    for j in range(n_queries):
        for v in range(n_vectors):
            sums[j][v].add_incoming(initial[j][v], before)
            sums[j][v].add_incoming(results[j][v], loop)
    builder.cbranch(builder.icmp_signed("<", following, groups), loop, done)
    builder.position_at_end(done)
    return results


def array_pointer(context, builder, array_type, array, element_type, index=None):
    """Pointer to an array's data, or to its item `index` along the first axis, seen as elements of another type.

    Kernels hand over whole arrays and an index: a slice would be a new array object, and counting references to
    it, atomically and in every thread, costs as much as a tile of short vectors (measured).
    Raises TypeError, when the kernel is compiled, for an array whose type does not say that it is C-contiguous.
    """
    if array_type.layout != "C":
        raise TypeError(f"a tile was given {array_type}, but reads C-contiguous arrays only")
    struct = context.make_array(array_type)(context, builder, array)
    data = struct.data
    if index is not None:
        lengths = cgutils.unpack_tuple(builder, struct.shape, array_type.ndim)[1:]
        for length in lengths:
            index = builder.mul(index, length)
        data = builder.gep(data, [index])
    return builder.bitcast(data, element_type.as_pointer())


def array_length(context, builder, array_type, array, axis):
    """An array's length along one axis, int64."""
    return cgutils.unpack_tuple(
        builder, context.make_array(array_type)(context, builder, array).shape, array_type.ndim
    )[axis]


def counted_loop(builder, start, stop, step, carried, body):
    """for i in range(start, stop, step): carried = body(i, carried); returns the final values (stop >= start)."""
    before = builder.block
    head, inside, done = (builder.append_basic_block(name) for name in ("head", "inside", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(I64)
    index.add_incoming(start, before)
    values = [builder.phi(value.type) for value in carried]
    for phi, value in zip(values, carried, strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", index, stop), inside, done)
    builder.position_at_end(inside)
    results = body(index, values)
    following = builder.add(index, I64(step))
    index.add_incoming(following, builder.block)
    for phi, value in zip(values, results, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(done)
    return values
