"""Register-blocked inner products: the few lines of LLVM IR on which everything else stands.

A tile multiplies a handful of queries with a panel of rows and keeps every accumulator in a register. Both operands
are packed so that the loop over the dimensions reads memory strictly forward:

    panel     [groups][panel rows][g]     one vector load gives g dimensions of `lanes` rows
    queries   [groups][query tile][g]     one 4-byte broadcast gives the same g dimensions of one query

`g` elements make 4 bytes: 4 bytes (VNNI), 2 int16 (AVX2, portable) or 1 float32. No horizontal sum is ever needed.

Each tile is an `@intrinsic` at module level that reads the instruction set from the type of its first argument (see
`isa`). Made inside a factory it would be a closure cell of the kernel that uses it, and such kernels are never found in Numba's
cache again (tried).

Two facts that the widths below come from. On AVX2 a register tile is 6 queries by 2 vectors: 12 accumulators, 2 panel
vectors, 1 broadcast and 1 product fill the 16 registers; on AMD Zen 3 it reaches 99% of two `vpmaddwd` a cycle (4×3 reaches 65%, 5×2 97%,
12×1 95%). With 32 registers (AVX-512) 6 by 4 was best on Cascade Lake, 12 and 14 by 2 slower; on AMD Zen 5 12 by 2 is a tenth quicker.
"""

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from somknn_kernels.isa import Avx2, Isa, Portable, Vnni256, Vnni512, Vnni512Emulated

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()

# marker: (queries in a tile, vectors in a panel, bytes of a vector)
_SHAPES = {
    Vnni512: (6, 4, 64),
    Vnni512Emulated: (6, 4, 64),
    Vnni256: (6, 2, 32),
    Avx2: (6, 2, 32),
    Portable: (4, 2, 16),
}
_BYTE_DOT = (Vnni512, Vnni512Emulated, Vnni256)


def query_tile(isa: Isa) -> int:
    """Number of queries that a tile takes."""
    return _SHAPES[type(isa)][0]


def panel_rows(isa: Isa) -> int:
    """Number of rows in a panel of `dot_tile_*`: one 4-byte accumulator for each."""
    _, vectors, width = _SHAPES[type(isa)]
    return vectors * width // 4


def integer_group(isa: Isa) -> int:
    """Dimensions per 4-byte group of the integer tile: 4 bytes with VNNI, else 2 int16."""
    return 4 if isinstance(isa, _BYTE_DOT) else 2


def tile_rows(isa):
    """`query_tile` inside kernels."""
    raise NotImplementedError("only inside kernels")


@overload(tile_rows, inline="never")
def _tile_rows(isa):
    rows = query_tile(isa.instance_class())
    return lambda isa: rows


def _marker(isa_type):
    return isa_type.instance_class


def _function(module, name, result, arguments):
    found = module.globals.get(name)
    return found or ir.Function(module, ir.FunctionType(result, arguments), name)


def _splat(builder, scalar, lanes):
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def _join(builder, a, b):
    """The lanes of a, then those of b."""
    mask = ir.Constant(ir.VectorType(I32, 2 * a.type.count), list(range(2 * a.type.count)))
    return builder.shuffle_vector(a, b, mask)


def _every(builder, vector, start, step):
    """Lanes start, start + step, … of a vector."""
    count = vector.type.count // step
    mask = ir.Constant(ir.VectorType(I32, count), [start + step * i for i in range(count)])
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _pair_products_int16(builder, marker, accumulator, a, b):
    """accumulator[i] + a[2i]·b[2i] + a[2i+1]·b[2i+1] for int16 vectors, int32 lanes."""
    lanes = accumulator.type.count
    shorts = ir.VectorType(I16, 2 * lanes)
    a, b = builder.bitcast(a, shorts), builder.bitcast(b, shorts)
    if marker is not Portable and lanes == 8:
        madd = _function(builder.module, "llvm.x86.avx2.pmadd.wd", accumulator.type, [shorts, shorts])
        return builder.add(accumulator, builder.call(madd, [a, b]))
    if marker is Vnni512:
        name = "llvm.x86.avx512.pmaddw.d.512"
        madd = _function(builder.module, name, accumulator.type, [shorts, shorts])
        return builder.add(accumulator, builder.call(madd, [a, b]))
    wide = accumulator.type
    for start in (0, 1):
        product = builder.mul(
            builder.sext(_every(builder, a, start, 2), wide), builder.sext(_every(builder, b, start, 2), wide)
        )
        accumulator = builder.add(accumulator, product)
    return accumulator


def _quad_products_bytes(builder, marker, accumulator, unsigned, signed):
    """accumulator[i] + the four products of bytes 4i … 4i+3, one operand unsigned: `vpdpbusd`."""
    lanes = accumulator.type.count
    octets = ir.VectorType(I8, 4 * lanes)
    if marker is Vnni512Emulated:
        wide = accumulator.type
        unsigned, signed = builder.bitcast(unsigned, octets), builder.bitcast(signed, octets)
        for start in range(4):
            product = builder.mul(
                builder.zext(_every(builder, unsigned, start, 4), wide),
                builder.sext(_every(builder, signed, start, 4), wide),
            )
            accumulator = builder.add(accumulator, product)
        return accumulator
    # LLVM 22 changed the operands of this intrinsic from int32 to int8 vectors.
    operand = octets if llvmlite.binding.llvm_version_info[0] >= 22 else accumulator.type
    name = f"llvm.x86.avx512.vpdpbusd.{lanes * 32}"
    instruction = _function(builder.module, name, accumulator.type, [accumulator.type, operand, operand])
    return builder.call(
        instruction, [accumulator, builder.bitcast(unsigned, operand), builder.bitcast(signed, operand)]
    )


def _tile_loop(builder, shape, groups, queries, panel, initial, multiply, unroll=1, which=None, first=None):
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
            query = _splat(builder, unit, lanes)
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


def _pointer(context, builder, array_type, array, element_type, index=None):
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


def _length(context, builder, array_type, array, axis):
    return cgutils.unpack_tuple(
        builder, context.make_array(array_type)(context, builder, array).shape, array_type.ndim
    )[axis]


def _dot_tile(isa, panels, positions):
    """The code of a tile of inner products. positions : of queries, tile, panels, panel, out, and of (groups, counts) or None."""
    marker = _marker(isa)
    n_queries, n_vectors, width = _SHAPES[marker]
    lanes = width // 4
    floats = panels.dtype == types.float32

    def codegen(context, builder, signature, arguments):
        at_queries, at_tile, at_panels, at_panel, at_out, at_groups, at_counts = positions
        panels_type = signature.args[at_panels]
        tile, panel = arguments[at_tile], arguments[at_panel]
        accumulator = ir.VectorType(F32 if floats else I32, lanes)
        unit = F32 if floats else I32

        def pointer(position, element_type, index=None):
            return _pointer(context, builder, signature.args[position], arguments[position], element_type, index)

        def multiply(total, query, row):
            if floats:
                if marker is Portable:  # without FMA in hardware llvm.fma is a call into the C library
                    return builder.fadd(total, builder.fmul(query, row))
                name = f"llvm.fma.v{lanes}f32"
                fma = _function(builder.module, name, accumulator, [accumulator] * 3)
                return builder.call(fma, [query, row, total])
            if panels_type.dtype == types.int16:
                return _pair_products_int16(builder, marker, total, query, row)
            return _quad_products_bytes(builder, marker, total, query, row)

        if at_groups is None:
            which, groups = None, _length(context, builder, panels_type, arguments[at_panels], 1)
        else:
            which, groups = pointer(at_groups, I32, tile), builder.load(pointer(at_counts, I64, tile))
        zero = ir.Constant(accumulator, None)
        sums = _tile_loop(
            builder,
            (n_queries, n_vectors),
            groups,
            pointer(at_queries, unit, tile),
            pointer(at_panels, accumulator, panel),
            [[zero] * n_vectors for _ in range(n_queries)],
            multiply,
            which=which,
        )
        target = pointer(at_out, accumulator)
        for j in range(n_queries):
            for v in range(n_vectors):
                stored = builder.store(sums[j][v], builder.gep(target, [I64(j * n_vectors + v)]))
                stored.align = 4
        return context.get_dummy_value()

    return codegen


@intrinsic
def dot_tile(typing_context, isa, queries, tile, panels, panel, out):
    """out[j, r] = inner product of query j of one tile and row r of one panel.

    queries : (tiles, groups, query tile, g), C-contiguous; panels : (panels, groups, panel rows, g); tile, panel :
    int64; out : (query tile, panel rows). Elements: uint8 queries with int8 panels (VNNI), int16 with int16, float32 with float32;
    out is int32 or float32. Integer sums are exact modulo 2^32. A float32 sum is a chain over the groups (fused where
    the hardware fuses), so its error is at most groups·2^-24/(1 - groups·2^-24) times the sum of absolute products.
    """
    signature = types.void(isa, queries, types.int64, panels, types.int64, out)
    return signature, _dot_tile(isa, panels, (1, 2, 3, 4, 5, None, None))


@intrinsic
def dot_tile_of_groups(typing_context, isa, queries, tile, groups, counts, panels, panel, out):
    """As `dot_tile`, for tiles of which only some groups are left: the first counts[tile], from the panel's groups[tile].

    groups : int32 (tiles, groups); counts : int64 (tiles,), at least 1. Groups that are zero in all of a tile's queries add
    nothing and need not be there.
    """
    signature = types.void(isa, queries, types.int64, groups, counts, panels, types.int64, out)
    return signature, _dot_tile(isa, panels, (1, 2, 5, 6, 7, 3, 4))


@intrinsic
def prefetch_row(typing_context, array, row):
    """Ask for the cache lines of array[row] (two dimensions), if its type says that it is C-contiguous; changes nothing."""
    signature = types.void(array, types.int64)

    def codegen(context, builder, signature, arguments):
        array, row = arguments
        array_type = signature.args[0]
        if array_type.layout != "C":
            return context.get_dummy_value()
        element_size = context.get_abi_sizeof(context.get_data_type(array_type.dtype))
        size = builder.mul(_length(context, builder, array_type, array, 1), I64(element_size))
        pointer = _pointer(context, builder, array_type, array, I8, row)
        fetch = _function(builder.module, "llvm.prefetch.p0", ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
        with cgutils.for_range_slice(builder, I64(0), size, I64(64), intp=I64) as (offset, _):
            builder.call(fetch, [builder.gep(pointer, [offset]), I32(0), I32(3), I32(1)])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def trailing_zeros(typing_context, mask):
    """Position of the lowest bit of a uint64 that is not zero, int64."""

    def codegen(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(I1, 1))

    return types.int64(types.uint64), codegen
