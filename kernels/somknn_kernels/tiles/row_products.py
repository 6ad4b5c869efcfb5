"""Inner products of 16-bit integers: two rows, rows and axes, and tiles that compare their sums in the registers.

Exact as long as no sum leaves 32 bits, which is up to the caller: by Cauchy-Schwarz it cannot when the product of
the two norms is below 2^31.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.ir.emit import (
    I1,
    I16,
    I32,
    I64,
    array_length,
    array_pointer,
    counted_loop,
    every_lane,
    joined_lanes,
    llvm_function,
    pair_products_int16,
    splat,
    tile_loop,
)
from somknn_kernels.ir.operations import trailing_zeros
from somknn_kernels.ir.shapes import TILE_SHAPES, marker_of
from somknn_kernels.policy import inlined

AXES = 16  # axes in a panel of `project_tile`, whatever the width of the registers


def _row_products(marker, context, builder, signature, arguments, others):
    """Inner products of row a[i] with the rows b[j] for j in `others`, as vectors of sums: arguments (isa, a, i, b, …)."""
    count = len(others)
    columns = max(16, TILE_SHAPES[marker][2] // 2)  # of a vector
    shorts, words = ir.VectorType(I16, columns), ir.VectorType(I32, columns // 2)
    pa = array_pointer(context, builder, signature.args[1], arguments[1], I16, arguments[2])
    rows = [array_pointer(context, builder, signature.args[3], arguments[3], I16, j) for j in others]
    length = array_length(context, builder, signature.args[1], arguments[1], 1)

    def steps(parts):
        def body(index, sums):
            results = []
            for part in range(parts):
                at = builder.add(index, I64(columns * part))

                def load(pointer, at=at):
                    value = builder.load(builder.bitcast(builder.gep(pointer, [at]), shorts.as_pointer()))
                    value.align = 2
                    return value

                value = load(pa)
                for place, row in enumerate(rows):
                    total = sums[part * count + place]
                    results.append(pair_products_int16(builder, marker, total, value, load(row)))
            return results + sums[parts * count :]

        return body

    # Sums that do not wait for each other: a product that is added up by one instruction takes four cycles
    parts = 2 if columns == 16 else 4 if count < 4 else 1
    sums = [ir.Constant(words, None)] * (parts * count)
    whole = builder.and_(length, I64(-columns * parts))
    sums = counted_loop(builder, I64(0), whole, columns * parts, sums, steps(parts))
    if columns * parts > 32:
        sums = counted_loop(builder, whole, length, columns, sums, steps(1))
    while len(sums) > count:
        half = len(sums) // 2
        sums = [builder.add(a, b) for a, b in zip(sums[:half], sums[half:], strict=True)]
    return sums


def _total(builder, sums):
    name = f"llvm.vector.reduce.add.v{sums.type.count}i32"
    return builder.sext(builder.call(llvm_function(builder.module, name, I32, [sums.type]), [sums]), I64)


@intrinsic
def row_product(typing_context, isa, a, i, b, j):
    """Inner product (int64) of rows a[i] and b[j], int16 (…, d), C-contiguous, d a multiple of 32 and the same for both."""
    signature = types.int64(isa, a, types.int64, b, types.int64)
    marker = marker_of(isa)

    def codegen(context, builder, signature, arguments):
        return _total(builder, *_row_products(marker, context, builder, signature, arguments, arguments[4:]))

    return signature, codegen


@intrinsic
def two_row_products(typing_context, isa, a, i, b, j, k):
    """`row_product` of a[i] with b[j] and with b[k], which reads a[i] once: two thirds of the time of two calls."""
    signature = types.UniTuple(types.int64, 2)(isa, a, types.int64, b, types.int64, types.int64)
    marker = marker_of(isa)

    def codegen(context, builder, signature, arguments):
        sums = _row_products(marker, context, builder, signature, arguments, arguments[4:])
        return context.make_tuple(builder, signature.return_type, [_total(builder, each) for each in sums])

    return signature, codegen


@intrinsic
def four_row_products(typing_context, isa, a, i, b, rows, row, place, out):
    """out[row, place + p] = `row_product` of a[i] with b[rows[row, place + p]] for p below 4, as int32.

    rows, out : int32 (…, …). The four are added up together: for short rows half of the time of four calls.
    """
    index = types.int64
    signature = types.void(isa, a, index, b, rows, index, index, out)
    marker = marker_of(isa)

    def codegen(context, builder, signature, arguments):
        row, place = arguments[5:7]

        def at(position):
            pointer = array_pointer(context, builder, signature.args[position], arguments[position], I32, row)
            return builder.gep(pointer, [place])

        chosen = [builder.sext(builder.load(builder.gep(at(4), [I64(p)])), I64) for p in range(4)]
        sums = _row_products(marker, context, builder, signature, arguments, chosen)
        while sums[0].type.count > 4:
            half = sums[0].type.count // 2
            low, high = (ir.Constant(ir.VectorType(I32, half), [start + i for i in range(half)]) for start in (0, half))
            sums = [builder.add(builder.shuffle_vector(x, x, low), builder.shuffle_vector(x, x, high)) for x in sums]
        while len(sums) > 1:
            joined = [joined_lanes(builder, x, y) for x, y in zip(sums[::2], sums[1::2], strict=True)]
            sums = [builder.add(every_lane(builder, each, 0, 2), every_lane(builder, each, 1, 2)) for each in joined]
        builder.store(sums[0], builder.bitcast(at(7), sums[0].type.as_pointer())).align = 4
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def screen_tile(typing_context, isa, queries, tile, panels, starts, panel, limits, masks):
    """masks[j] = bits of the rows r of one panel with starts[panel, r] + (query j)·(row r) >= limits[j]; returns them or-ed.

    queries : int16 (tiles, groups, query tile, 2), C-contiguous; panels : int16 (panels, groups, panel rows, 2), groups even;
    starts : int32 (panels, panel rows); tile, panel : int64; limits : int32 (query tile,); masks : uint64 (query tile,).
    """
    signature = types.uint64(isa, queries, types.int64, panels, starts, types.int64, limits, masks)
    marker = marker_of(isa)
    n_queries, n_vectors, width = TILE_SHAPES[marker]
    lanes = width // 4

    def codegen(context, builder, signature, arguments):
        accumulator = ir.VectorType(I32, lanes)

        def pointer(position, element_type, index=None):
            return array_pointer(context, builder, signature.args[position], arguments[position], element_type, index)

        def multiply(total, query, row):
            return pair_products_int16(builder, marker, total, query, row)

        start_pointer = pointer(4, accumulator, arguments[5])
        initial = []
        for v in range(n_vectors):
            loaded = builder.load(builder.gep(start_pointer, [I64(v)]))
            loaded.align = 4
            initial.append(loaded)
        sums = tile_loop(
            builder,
            (n_queries, n_vectors),
            array_length(context, builder, signature.args[3], arguments[3], 1),
            pointer(1, I32, arguments[2]),
            pointer(3, accumulator, arguments[5]),
            [initial] * n_queries,
            multiply,
            unroll=2,
        )
        combined = I64(0)
        limit_pointer, mask_pointer = pointer(6, I32), pointer(7, I64)
        rows = lanes * n_vectors
        for j in range(n_queries):
            joined = sums[j]
            while len(joined) > 1:
                joined = [joined_lanes(builder, a, b) for a, b in zip(joined[::2], joined[1::2], strict=True)]
            limit = splat(builder, builder.load(builder.gep(limit_pointer, [I64(j)])), rows)
            bits = builder.bitcast(builder.icmp_signed(">=", joined[0], limit), ir.IntType(rows))
            mask = bits if rows == 64 else builder.zext(bits, I64)
            builder.store(mask, builder.gep(mask_pointer, [I64(j)]))
            combined = builder.or_(combined, mask)
        return combined

    return signature, codegen


@intrinsic
def spread_tile(typing_context, isa, queries, tile, panels, starts, panel, values, first, second):
    """The sums of `screen_tile` to values[j, panel·panel rows + r], and the two largest of each lane so far to first and second.

    values : int32 (query tile, panels·panel rows); first, second : int32 (query tile, panel rows), in and out.
    """
    signature = types.void(isa, queries, types.int64, panels, starts, types.int64, values, first, second)
    marker = marker_of(isa)
    n_queries, n_vectors, width = TILE_SHAPES[marker]
    lanes = width // 4

    def codegen(context, builder, signature, arguments):
        accumulator = ir.VectorType(I32, lanes)

        def pointer(position, element_type, index=None):
            return array_pointer(context, builder, signature.args[position], arguments[position], element_type, index)

        def load(place):
            loaded = builder.load(place)
            loaded.align = 4
            return loaded

        def larger(a, b):
            return builder.select(builder.icmp_signed(">", a, b), a, b)

        start_pointer = pointer(4, accumulator, arguments[5])
        initial = [load(builder.gep(start_pointer, [I64(v)])) for v in range(n_vectors)]
        sums = tile_loop(
            builder,
            (n_queries, n_vectors),
            array_length(context, builder, signature.args[3], arguments[3], 1),
            pointer(1, I32, arguments[2]),
            pointer(3, accumulator, arguments[5]),
            [initial] * n_queries,
            lambda total, query, row: pair_products_int16(builder, marker, total, query, row),
            unroll=2,
        )
        first_pointer, second_pointer = pointer(7, accumulator), pointer(8, accumulator)
        for j in range(n_queries):
            row = pointer(6, accumulator, I64(j))
            for v in range(n_vectors):
                value = sums[j][v]
                place = builder.add(builder.mul(arguments[5], I64(n_vectors)), I64(v))
                builder.store(value, builder.gep(row, [place])).align = 4
                first_place = builder.gep(first_pointer, [I64(j * n_vectors + v)])
                second_place = builder.gep(second_pointer, [I64(j * n_vectors + v)])
                top = load(first_place)
                lower = builder.select(builder.icmp_signed("<", value, top), value, top)
                builder.store(larger(value, top), first_place).align = 4
                builder.store(larger(load(second_place), lower), second_place).align = 4
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def two_largest_lanes(typing_context, isa, first, second, j):
    """The lanes (int64) of the largest and the next largest of first[j] and second[j], and these two (int32): (lane, value, lane, value).

    first, second : int32 (query tile, panel rows), second[j, r] <= first[j, r]. Both lanes are the same where both are of one lane.
    """
    lane, value = types.int64, types.int32
    signature = types.Tuple((lane, value, lane, value))(isa, first, second, types.int64)
    _, n_vectors, width = TILE_SHAPES[marker_of(isa)]
    rows = n_vectors * width // 4
    vector = ir.VectorType(I32, rows)

    def codegen(context, builder, signature, arguments):
        _, first, second, j = arguments

        def load(position, array):
            pointer = array_pointer(context, builder, signature.args[position], array, I32, j)
            value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
            value.align = 4
            return value

        def largest(values):
            reduce = llvm_function(builder.module, f"llvm.vector.reduce.smax.v{rows}i32", I32, [vector])
            top = builder.call(reduce, [values])
            bits = builder.bitcast(builder.icmp_signed("==", values, splat(builder, top, rows)), ir.IntType(rows))
            lane = builder.cttz(bits, ir.Constant(I1, 1))
            return lane if rows == 64 else builder.zext(lane, I64), top

        values = load(1, first)
        lane, top = largest(values)
        lanes = ir.Constant(vector, list(range(rows)))
        taken = builder.icmp_signed("==", lanes, splat(builder, builder.trunc(lane, I32), rows))
        next_lane, next_top = largest(builder.select(taken, load(2, second), values))
        return context.make_tuple(builder, signature.return_type, [lane, top, next_lane, next_top])

    return signature, codegen


def _project(marker, context, builder, signature, arguments, used):
    """The body of `project_tile` and of `project_used`, which has the places of its `used` and `tile` among the arguments."""
    n_queries, _, width = TILE_SHAPES[marker]
    lanes = width // 4
    n_vectors = AXES // lanes
    accumulator = ir.VectorType(I32, lanes)

    def pointer(position, element_type, index=None):
        return array_pointer(context, builder, signature.args[position], arguments[position], element_type, index)

    row_pointers = [pointer(1, I32, builder.add(arguments[2], I64(j))) for j in range(n_queries)]
    panel_pointer = pointer(3, accumulator, arguments[4])
    if used:
        numbers = pointer(6, I16, arguments[7])
        turns = builder.zext(builder.load(numbers), I64)
    else:
        turns = array_length(context, builder, signature.args[3], arguments[3], 1)
    before = builder.block
    loop, done = builder.append_basic_block("project"), builder.append_basic_block("project_done")
    builder.branch(loop)
    builder.position_at_end(loop)
    index = builder.phi(I64)
    index.add_incoming(I64(0), before)
    totals = [builder.phi(accumulator) for _ in range(n_queries * n_vectors)]
    following = builder.add(index, I64(1))
    group = builder.zext(builder.load(builder.gep(numbers, [following])), I64) if used else index
    place = builder.mul(group, I64(n_vectors))
    vectors = []
    for v in range(n_vectors):
        vector = builder.load(builder.gep(panel_pointer, [builder.add(place, I64(v))]))
        vector.align = 2
        vectors.append(vector)
    results = []
    for j, row in enumerate(row_pointers):
        pair = builder.load(builder.gep(row, [group]))
        pair.align = 2
        query = splat(builder, pair, lanes)
        for v, vector in enumerate(vectors):
            results.append(pair_products_int16(builder, marker, totals[j * n_vectors + v], query, vector))
    index.add_incoming(following, loop)
    for total, result in zip(totals, results, strict=True):
        total.add_incoming(ir.Constant(accumulator, None), before)
        total.add_incoming(result, loop)
    # At the end, as in `tile_loop`: a test at the head keeps the sums alive twice, and they no longer fit the registers.
    builder.cbranch(builder.icmp_signed("<", following, turns), loop, done)
    builder.position_at_end(done)
    target = pointer(5, accumulator)
    for place, value in enumerate(results):
        builder.store(value, builder.gep(target, [I64(place)])).align = 4
    return context.get_dummy_value()


@intrinsic
def project_tile(typing_context, isa, rows, first, axes, panel, out):
    """out[j, a] = inner product of rows[first + j] and axis a of one panel, for as many rows as a tile has queries.

    rows : int16 (…, d), C-contiguous, not interleaved; axes : int16 (panels, d / 2, AXES, 2), d a multiple of 4; first, panel : int64;
    out : int32 (query tile, AXES). Sixteen axes fill the tile of AVX2; wider registers take one vector of them.
    """
    signature = types.void(isa, rows, types.int64, axes, types.int64, out)
    marker = marker_of(isa)

    def codegen(context, builder, signature, arguments):
        return _project(marker, context, builder, signature, arguments, used=False)

    return signature, codegen


@intrinsic
def project_used(typing_context, isa, rows, first, axes, panel, out, used, tile):
    """`project_tile` over those pairs of columns alone that used[tile] lists: in the others all of these rows are zero.

    used : uint16 (tiles, 1 + d / 2), see `list_used`.
    """
    signature = types.void(isa, rows, types.int64, axes, types.int64, out, used, types.int64)
    marker = marker_of(isa)

    def codegen(context, builder, signature, arguments):
        return _project(marker, context, builder, signature, arguments, used=True)

    return signature, codegen


@inlined
def list_used(pairs, first, count, seen, used, tile):
    """used[tile] = how many pairs of columns are not zero in all of some rows, at least 1, then which.

    pairs : int32 (…, d / 2), rows [first, first + count) of 16-bit integers, two at a time; seen : int32 (d / 2,), scratch.
    """
    n_pairs = seen.shape[0]
    seen[:] = 0
    for j in range(first, first + count):
        for g in range(n_pairs):
            seen[g] |= pairs[j, g]
    found = np.int64(0)
    for g in range(n_pairs):  # without a branch: a number that is not kept is written over
        used[tile, 1 + found] = g
        found += np.int64(seen[g] != 0)
    used[tile, 0] = max(found, 1)


@intrinsic
def at_least(typing_context, isa, values, row, panel, limit):
    """Bits of the entries r of one panel with values[row, panel·panel rows + r] >= limit, as uint64.

    values : int32 (…, panels·panel rows), C-contiguous; row, panel : int64; limit : int32.
    """
    signature = types.uint64(isa, values, types.int64, types.int64, types.int32)
    _, n_vectors, width = TILE_SHAPES[marker_of(isa)]
    rows = n_vectors * width // 4

    def codegen(context, builder, signature, arguments):
        _, _, row, panel, limit = arguments
        vector = ir.VectorType(I32, rows)
        pointer = array_pointer(context, builder, signature.args[1], arguments[1], I32, row)
        pointer = builder.gep(pointer, [builder.mul(panel, I64(rows))])
        value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
        value.align = 4
        bits = builder.bitcast(builder.icmp_signed(">=", value, splat(builder, limit, rows)), ir.IntType(rows))
        return bits if rows == 64 else builder.zext(bits, I64)

    return signature, codegen


@inlined
def first_of(isa, values, j, panel, top):
    """The first k with values[j, k] >= top, of which there are some. values : int32 (…, panels·panel)."""
    place = 0
    while True:
        mask = at_least(isa, values, j, place, top)
        if mask != 0:
            return place * panel + trailing_zeros(mask)
        place += 1
