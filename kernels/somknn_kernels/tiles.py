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
12×1 95%). With 32 registers (AVX-512) 6 by 4 is best; 12 and 14 by 2 were slower.
"""

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

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


def scan_panel_rows(isa: Isa) -> int:
    """Number of rows in a panel of `scan_tile`: int16 accumulators (int32 with VNNI)."""
    _, vectors, width = _SHAPES[type(isa)]
    return vectors * width // (4 if isinstance(isa, _BYTE_DOT) else 2)


def scan_group(isa: Isa) -> int:
    """Dimensions per group of `scan_tile`: 4 bytes with VNNI, else 2 bytes."""
    return 4 if isinstance(isa, _BYTE_DOT) else 2


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


def _smaller(builder, a, b):
    return builder.select(builder.icmp_signed("<", a, b), a, b)


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


def _pair_products_bytes(builder, marker, accumulator, unsigned, signed):
    """accumulator[i] + the two products of bytes 2i, 2i+1, modulo 2^16; the caller excludes saturation of a pair."""
    lanes = accumulator.type.count
    octets = ir.VectorType(I8, 2 * lanes)
    unsigned, signed = builder.bitcast(unsigned, octets), builder.bitcast(signed, octets)
    if marker is not Portable and lanes == 16:
        madd = _function(builder.module, "llvm.x86.avx2.pmadd.ub.sw", accumulator.type, [octets, octets])
        return builder.add(accumulator, builder.call(madd, [unsigned, signed]))
    wide = accumulator.type
    for start in (0, 1):
        product = builder.mul(
            builder.zext(_every(builder, unsigned, start, 2), wide),
            builder.sext(_every(builder, signed, start, 2), wide),
        )
        accumulator = builder.add(accumulator, product)
    return accumulator


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
    """
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


def _byte_products(isa):
    """(element, lanes, multiply) of tiles of signed queries and unsigned rows in bytes: sums modulo 2^16, with VNNI modulo 2^32."""
    marker = _marker(isa)
    _, _, width = _SHAPES[marker]
    words = marker in _BYTE_DOT
    multiply = _quad_products_bytes if words else _pair_products_bytes
    return I32 if words else I16, width // (4 if words else 2), multiply


def _add_quarter(context, builder, panels_type, panels, panel, queries, sums, multiply, quarter):
    """`sums` and the products of one quarter of the columns of a panel; panels : as `scan_tile` wants them."""
    n_panels, groups = (_length(context, builder, panels_type, panels, axis) for axis in (1, 2))
    first = builder.mul(groups, I64(quarter))
    # As if the panel's other quarters lay before this one: then queries and panel count their groups alike.
    place = builder.sub(builder.add(builder.mul(n_panels, I64(quarter)), panel), I64(quarter))
    vectors = _pointer(context, builder, panels_type, panels, sums[0][0].type)
    vectors = builder.gep(vectors, [builder.mul(builder.mul(place, groups), I64(len(sums[0])))])
    shape, stop = (len(sums), len(sums[0])), builder.add(first, groups)
    return _tile_loop(builder, shape, stop, queries, vectors, sums, multiply, unroll=2, first=first)


@intrinsic
def scan_tile(typing_context, isa, queries, tile, panels, half_norms, panel, thresholds, which, masks):
    """masks[j] = bits of the rows of one panel that query j of one tile cannot rule out; returns them or-ed together.

    The columns come in three sections: the first quarter, the second, and the other half. With A = (inner product of signed query
    and unsigned row bytes up to the end of section i) - Σ half_norms[0…i, panel, row] + Σ thresholds[which, 0…i, j], modulo 2^16 (2^32 with
    VNNI) and signed, a row is ruled out if A > thresholds[which, 3 + i, j]. After the first and the second section this is only asked of
    the tile as a whole, with thresholds[which, 6, i]: if no row is left for anyone, 0 is returned and `masks` are not
    written. docs/engine.md shows that no true neighbour is lost to the wrap-around.

    queries : int8 (tiles, groups, query tile, 4), with two-byte groups each pair stored twice; panels : uint8 (4, panels,
    groups / 4, panel rows, g), quarter by quarter: most panels are left after the first, and those lie side by side; groups / 4 is even;
    half_norms : int16, with VNNI int32 (3, panels, panel rows); thresholds : as
    half_norms (…, 7, query tile); tile, panel, which : int64; masks : uint64 (query tile,).
    """
    signature = types.uint64(isa, queries, types.int64, panels, half_norms, types.int64, thresholds, types.int64, masks)
    marker = _marker(isa)
    n_queries, n_vectors, _ = _SHAPES[marker]
    element, lanes, multiply_bytes = _byte_products(isa)
    rows = lanes * n_vectors

    def codegen(context, builder, signature, arguments):
        accumulator = ir.VectorType(element, lanes)

        def multiply(total, query, row):
            return multiply_bytes(builder, marker, total, row, query)

        def pointer(position, element_type, index=None):
            return _pointer(context, builder, signature.args[position], arguments[position], element_type, index)

        tile, panel, which = arguments[2], arguments[5], arguments[7]
        norm_pointer, threshold_pointer = pointer(4, accumulator), pointer(6, element, which)
        query_pointer = pointer(1, I32, tile)
        n_panels = _length(context, builder, signature.args[3], arguments[3], 1)

        def norms(section):
            found = []
            first = builder.mul(builder.add(builder.mul(n_panels, I64(section)), panel), I64(n_vectors))
            for v in range(n_vectors):
                loaded = builder.load(builder.gep(norm_pointer, [builder.add(first, I64(v))]))
                loaded.align = 2
                found.append(loaded)
            return found

        def threshold(line, j, count=lanes):
            return _splat(builder, builder.load(builder.gep(threshold_pointer, [I64(line * n_queries + j)])), count)

        def add_quarter(sums, quarter):
            return _add_quarter(
                context, builder, signature.args[3], arguments[3], panel, query_pointer, sums, multiply, quarter
            )

        def start(section, sums=None):
            """The sums with the section's thresholds and half norms, so that the comparison needs nothing else."""
            section_norms = norms(section)
            started = []
            for j in range(n_queries):
                offset = threshold(section, j)
                moved = [builder.sub(offset, norm) for norm in section_norms]
                if sums is not None:
                    moved = [builder.add(total, by) for total, by in zip(sums[j], moved, strict=True)]
                started.append(moved)
            return started

        done = builder.append_basic_block("scan_done")
        leaving = []

        def leave_if_all_are_out(sums, section):
            # One comparison, of the smallest sums with the largest top. Each query's own comparison spilled registers and
            # cost half of what it saved.
            smallest = sums[0][0]
            for total in [total for row in sums for total in row][1:]:
                smallest = _smaller(builder, smallest, total)
            out = builder.icmp_signed(">", smallest, threshold(6, section))
            out = builder.bitcast(out, ir.IntType(lanes))
            on = builder.append_basic_block("scan_goes_on")
            leaving.append(builder.block)
            builder.cbranch(builder.icmp_unsigned("==", out, ir.IntType(lanes)(2**lanes - 1)), done, on)
            builder.position_at_end(on)

        sums = add_quarter(start(0), 0)
        leave_if_all_are_out(sums, 0)
        sums = add_quarter(start(1, sums), 1)
        leave_if_all_are_out(sums, 1)
        sums = add_quarter(add_quarter(start(2, sums), 2), 3)
        every = ir.IntType(rows)(2**rows - 1)
        combined = I64(0)
        mask_pointer = pointer(8, I64)
        for j in range(n_queries):
            # One comparison of the panel's whole width: LLVM then packs the lanes before it takes their signs.
            joined = sums[j]
            while len(joined) > 1:
                joined = [_join(builder, a, b) for a, b in zip(joined[::2], joined[1::2], strict=True)]
            out = builder.bitcast(builder.icmp_signed(">", joined[0], threshold(5, j, rows)), ir.IntType(rows))
            alive = builder.xor(out, every)
            mask = alive if rows == 64 else builder.zext(alive, I64)
            builder.store(mask, builder.gep(mask_pointer, [I64(j)]))
            combined = builder.or_(combined, mask)
        at_end = builder.block
        builder.branch(done)

        builder.position_at_end(done)
        result = builder.phi(I64)
        for block in leaving:
            result.add_incoming(I64(0), block)
        result.add_incoming(combined, at_end)
        return result

    return signature, codegen


@intrinsic
def scan_products(typing_context, isa, queries, tile, panels, panel, out):
    """out[j, r] = inner product of query j of one tile and row r of one panel, as `scan_tile` forms it over all columns.

    queries, panels : as there; tile, panel : int64; out : int16, with VNNI int32 (query tile, panel rows), modulo its range.
    """
    signature = types.void(isa, queries, types.int64, panels, types.int64, out)
    marker = _marker(isa)
    n_queries, n_vectors, _ = _SHAPES[marker]
    element, lanes, multiply_bytes = _byte_products(isa)

    def codegen(context, builder, signature, arguments):
        accumulator = ir.VectorType(element, lanes)

        def pointer(position, element_type, index=None):
            return _pointer(context, builder, signature.args[position], arguments[position], element_type, index)

        sums = [[ir.Constant(accumulator, None)] * n_vectors for _ in range(n_queries)]
        for quarter in range(4):
            sums = _add_quarter(
                context,
                builder,
                signature.args[3],
                arguments[3],
                arguments[4],
                pointer(1, I32, arguments[2]),
                sums,
                lambda total, query, row: multiply_bytes(builder, marker, total, row, query),
                quarter,
            )
        target = pointer(5, accumulator)
        for j in range(n_queries):
            for v in range(n_vectors):
                stored = builder.store(sums[j][v], builder.gep(target, [I64(j * n_vectors + v)]))
                stored.align = 2
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def prefetch_row(typing_context, array, row):
    """Ask for the cache lines of array[row] (two dimensions, C-contiguous); changes nothing."""
    signature = types.void(array, types.int64)

    def codegen(context, builder, signature, arguments):
        array, row = arguments
        array_type = signature.args[0]
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
