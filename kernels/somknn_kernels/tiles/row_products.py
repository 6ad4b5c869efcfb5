"""Inner products of 16-bit integers: two rows, rows and axes, and tiles that compare their sums in the registers.

Exact as long as no sum leaves 32 bits. The caller makes sure of that: by Cauchy-Schwarz, no sum does if the product
of the two norms is below 2^31.
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
    Operands,
    call,
    counted_loop,
    every_lane,
    joined_lanes,
    joined_vectors,
    last_tested_loop,
    load,
    load_vectors,
    pair_products_int16,
    splat,
    store,
    store_masks,
    tile_loop,
)
from somknn_kernels.ir.operations import trailing_zeros
from somknn_kernels.ir.shapes import TILE_SHAPES, marker_of
from somknn_kernels.policy import inlined

AXES = 16  # axes in a panel of `project_tile`, whatever the width of the registers


def _row_products(marker, given, others):
    """Inner products of row a[i] with the rows b[j] for j in `others`, as vectors of sums.

    The arguments of the intrinsic are (isa, a, i, b, …).
    """
    builder, count = given.builder, len(others)
    columns = max(16, TILE_SHAPES[marker][2] // 2)  # columns of a vector
    shorts, words = ir.VectorType(I16, columns), ir.VectorType(I32, columns // 2)
    own = given.pointer(1, I16, given[2])
    rows = [given.pointer(3, I16, j) for j in others]
    length = given.length(1, 1)

    def steps(parts):
        def body(index, sums):
            results = []
            for part in range(parts):
                at = builder.add(index, I64(columns * part))
                value = load(builder, builder.gep(own, [at]), 2, shorts)
                for place, row in enumerate(rows):
                    total, other = sums[part * count + place], load(builder, builder.gep(row, [at]), 2, shorts)
                    results.append(pair_products_int16(builder, marker, total, value, other))
            return results + sums[parts * count :]

        return body

    # Several sums that do not wait for each other: an instruction that adds its products up takes four cycles.
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
    return builder.sext(call(builder, f"llvm.vector.reduce.add.v{sums.type.count}i32", I32, sums), I64)


@intrinsic
def row_product(typing_context, isa, a, i, b, j):
    """Inner product (int64) of rows a[i] and b[j], int16 (…, d), C-contiguous, with the same d, a multiple of 32."""
    signature = types.int64(isa, a, types.int64, b, types.int64)
    marker = marker_of(isa)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        return _total(builder, *_row_products(marker, given, arguments[4:]))

    return signature, codegen


@intrinsic
def two_row_products(typing_context, isa, a, i, b, j, k):
    """`row_product` of a[i] with b[j] and with b[k]. Reads a[i] once: two thirds of the time of two calls."""
    signature = types.UniTuple(types.int64, 2)(isa, a, types.int64, b, types.int64, types.int64)
    marker = marker_of(isa)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        sums = _row_products(marker, given, arguments[4:])
        return context.make_tuple(builder, signature.return_type, [_total(builder, each) for each in sums])

    return signature, codegen


@intrinsic
def four_row_products(typing_context, isa, a, i, b, rows, row, place, out):
    """out[row, place + p] = `row_product` of a[i] with b[rows[row, place + p]] for p below 4, as int32.

    rows, out : int32 (…, …). The four sums are added up together: half the time of four calls for short rows.
    """
    index = types.int64
    signature = types.void(isa, a, index, b, rows, index, index, out)
    marker = marker_of(isa)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        row, place = arguments[5:7]

        def at(position):
            return builder.gep(given.pointer(position, I32, row), [place])

        chosen = [builder.sext(builder.load(builder.gep(at(4), [I64(p)])), I64) for p in range(4)]
        sums = _row_products(marker, given, chosen)
        while sums[0].type.count > 4:
            half = sums[0].type.count // 2
            low, high = (ir.Constant(ir.VectorType(I32, half), [start + i for i in range(half)]) for start in (0, half))
            sums = [builder.add(builder.shuffle_vector(x, x, low), builder.shuffle_vector(x, x, high)) for x in sums]
        while len(sums) > 1:
            joined = [joined_lanes(builder, x, y) for x, y in zip(sums[::2], sums[1::2], strict=True)]
            sums = [builder.add(every_lane(builder, each, 0, 2), every_lane(builder, each, 1, 2)) for each in joined]
        store(builder, sums[0], at(7), 4)
        return context.get_dummy_value()

    return signature, codegen


def _panel_sums(marker, given):
    """starts[panel, r] + (query j)·(row r), for an intrinsic of (isa, queries, tile, panels, starts, panel, …)."""
    builder = given.builder
    n_queries, n_vectors, width = TILE_SHAPES[marker]
    accumulator = ir.VectorType(I32, width // 4)
    initial = load_vectors(builder, given.pointer(4, accumulator, given[5]), n_vectors, 4)
    return tile_loop(
        builder,
        given.length(3, 1),
        given.pointer(1, I32, given[2]),
        given.pointer(3, accumulator, given[5]),
        [initial] * n_queries,
        lambda sums, query, row: pair_products_int16(builder, marker, sums, query, row),
        unroll=2,
    )


@intrinsic
def screen_tile(typing_context, isa, queries, tile, panels, starts, panel, thresholds, masks):
    """masks[j] = bits of the rows r of one panel with starts[panel, r] + (query j)·(row r) >= thresholds[j].

    Returns the masks or-ed together.
    queries : int16 (tiles, groups, query tile, 2), C-contiguous
    panels : int16 (panels, groups, panel rows, 2), groups even; starts : int32 (panels, panel rows)
    tile, panel : int64; thresholds : int32 (query tile,); masks : uint64 (query tile,)
    """
    signature = types.uint64(isa, queries, types.int64, panels, starts, types.int64, thresholds, masks)
    marker = marker_of(isa)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        sums = _panel_sums(marker, given)
        threshold_pointer, mask_pointer = given.pointer(6, I32), given.pointer(7, I64)

        def reached(j):
            values = joined_vectors(builder, sums[j])
            rows = values.type.count
            threshold = splat(builder, builder.load(builder.gep(threshold_pointer, [I64(j)])), rows)
            return builder.bitcast(builder.icmp_signed(">=", values, threshold), ir.IntType(rows))

        return store_masks(builder, map(reached, range(len(sums))), mask_pointer)

    return signature, codegen


@intrinsic
def spread_tile(typing_context, isa, queries, tile, panels, starts, panel, values, first, second):
    """values[j, panel·panel rows + r] = the sums of `screen_tile`; first, second = the two largest of each lane so far.

    values : int32 (query tile, panels·panel rows); first, second : int32 (query tile, panel rows), updated in place.
    """
    signature = types.void(isa, queries, types.int64, panels, starts, types.int64, values, first, second)
    marker = marker_of(isa)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)

        def larger(a, b):
            return builder.select(builder.icmp_signed(">", a, b), a, b)

        sums = _panel_sums(marker, given)
        n_vectors, accumulator = len(sums[0]), sums[0][0].type
        first_pointer, second_pointer = given.pointer(7, accumulator), given.pointer(8, accumulator)
        for j in range(len(sums)):
            row = given.pointer(6, accumulator, I64(j))
            for v in range(n_vectors):
                value = sums[j][v]
                place = builder.add(builder.mul(given[5], I64(n_vectors)), I64(v))
                store(builder, value, builder.gep(row, [place]), 4)
                first_place = builder.gep(first_pointer, [I64(j * n_vectors + v)])
                second_place = builder.gep(second_pointer, [I64(j * n_vectors + v)])
                top = load(builder, first_place, 4)
                lower = builder.select(builder.icmp_signed("<", value, top), value, top)
                store(builder, larger(value, top), first_place, 4)
                store(builder, larger(load(builder, second_place, 4), lower), second_place, 4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def two_largest_lanes(typing_context, isa, first, second, j):
    """(lane, value, lane, value) of the two largest numbers among first[j] and second[j]; lanes int64, values int32.

    first, second : int32 (query tile, panel rows), second[j, r] <= first[j, r]. The two lanes are equal if one lane
    holds both numbers.
    """
    lane, value = types.int64, types.int32
    signature = types.Tuple((lane, value, lane, value))(isa, first, second, types.int64)
    _, n_vectors, width = TILE_SHAPES[marker_of(isa)]
    rows = n_vectors * width // 4
    vector = ir.VectorType(I32, rows)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)

        def largest(values):
            top = call(builder, f"llvm.vector.reduce.smax.v{rows}i32", I32, values)
            bits = builder.bitcast(builder.icmp_signed("==", values, splat(builder, top, rows)), ir.IntType(rows))
            lane = builder.cttz(bits, ir.Constant(I1, 1))
            return lane if rows == 64 else builder.zext(lane, I64), top

        values = load(builder, given.pointer(1, I32, given[3]), 4, vector)
        lane, top = largest(values)
        lanes = ir.Constant(vector, list(range(rows)))
        taken = builder.icmp_signed("==", lanes, splat(builder, builder.trunc(lane, I32), rows))
        others = load(builder, given.pointer(2, I32, given[3]), 4, vector)
        next_lane, next_top = largest(builder.select(taken, others, values))
        return context.make_tuple(builder, signature.return_type, [lane, top, next_lane, next_top])

    return signature, codegen


def _project(marker, given, used):
    """The body of `project_tile` and of `project_used`, which has two more arguments, `used` and `tile`."""
    builder = given.builder
    n_queries, _, width = TILE_SHAPES[marker]
    lanes = width // 4
    n_vectors = AXES // lanes
    accumulator = ir.VectorType(I32, lanes)
    row_pointers = [given.pointer(1, I32, builder.add(given[2], I64(j))) for j in range(n_queries)]
    panel_pointer = given.pointer(3, accumulator, given[4])
    if used:
        numbers = given.pointer(6, I16, given[7])
        turns = builder.zext(builder.load(numbers), I64)
    else:
        turns = given.length(3, 1)

    def body(index, sums):
        following = builder.add(index, I64(1))
        group = builder.zext(builder.load(builder.gep(numbers, [following])), I64) if used else index
        vectors = []
        place = builder.mul(group, I64(n_vectors))
        for v in range(n_vectors):
            vectors.append(load(builder, builder.gep(panel_pointer, [builder.add(place, I64(v))]), 2))
        results = []
        for j, row in enumerate(row_pointers):
            query = splat(builder, load(builder, builder.gep(row, [group]), 2), lanes)
            for v, vector in enumerate(vectors):
                results.append(pair_products_int16(builder, marker, sums[j * n_vectors + v], query, vector))
        return results

    zeros = [ir.Constant(accumulator, None)] * (n_queries * n_vectors)
    results = last_tested_loop(builder, I64(0), turns, 1, zeros, body)
    target = given.pointer(5, accumulator)
    for place, value in enumerate(results):
        store(builder, value, builder.gep(target, [I64(place)]), 4)
    return given.context.get_dummy_value()


@intrinsic
def project_tile(typing_context, isa, rows, first, axes, panel, out):
    """out[j, a] = inner product of rows[first + j] and axis a of one panel, for as many rows as a tile has queries.

    rows : int16 (…, d), C-contiguous, not interleaved; first, panel : int64
    axes : int16 (panels, d / 2, AXES, 2), d a multiple of 4; out : int32 (query tile, AXES)
    Sixteen axes fill the tile of AVX2. With wider registers they are one vector.
    """
    signature = types.void(isa, rows, types.int64, axes, types.int64, out)
    marker = marker_of(isa)

    def codegen(context, builder, signature, arguments):
        return _project(marker, Operands(context, builder, signature, arguments), used=False)

    return signature, codegen


@intrinsic
def project_used(typing_context, isa, rows, first, axes, panel, out, used, tile):
    """`project_tile` over those pairs of columns only that used[tile] lists. In the others all of these rows are zero.

    used : uint16 (tiles, 1 + d / 2), see `list_used`.
    """
    signature = types.void(isa, rows, types.int64, axes, types.int64, out, used, types.int64)
    marker = marker_of(isa)

    def codegen(context, builder, signature, arguments):
        return _project(marker, Operands(context, builder, signature, arguments), used=True)

    return signature, codegen


@inlined
def list_used(pairs, first, count, seen, used, tile):
    """used[tile] = the pairs of columns that are not zero in all of some rows: first how many (at least 1), then which.

    pairs : int32 (…, d / 2): 16-bit integers, two at a time; the rows are [first, first + count)
    seen : int32 (d / 2,), scratch
    """
    n_pairs = seen.shape[0]
    seen[:] = 0
    for j in range(first, first + count):
        for g in range(n_pairs):
            seen[g] |= pairs[j, g]
    found = np.int64(0)
    for g in range(n_pairs):  # no branch: a number that is not kept is overwritten by the next one
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
        given = Operands(context, builder, signature, arguments)
        _, _, row, panel, limit = arguments
        pointer = builder.gep(given.pointer(1, I32, row), [builder.mul(panel, I64(rows))])
        value = load(builder, pointer, 4, ir.VectorType(I32, rows))
        bits = builder.bitcast(builder.icmp_signed(">=", value, splat(builder, limit, rows)), ir.IntType(rows))
        return bits if rows == 64 else builder.zext(bits, I64)

    return signature, codegen


@inlined
def largest_of(values, j):
    """The largest of values[j]. Numba's own `max` of an array takes a seventh of a second to compile."""
    largest = values[j, 0]
    for place in range(1, values.shape[1]):
        largest = max(largest, values[j, place])
    return largest


@inlined
def first_of(isa, values, j, panel, top):
    """The first k with values[j, k] >= top. There is at least one. values : int32 (…, panels·panel rows)."""
    place = 0
    while True:
        mask = at_least(isa, values, j, place, top)
        if mask != 0:
            return place * panel + trailing_zeros(mask)
        place += 1
