"""The tiles of the pruned searches: 6 queries and a panel of rows in bytes, left as soon as nobody in it can be a neighbour.

Built from the loop and the products of `tiles.py`; `pruned.py` and `self_search.py` pack what they multiply and set their thresholds.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.isa import Isa, Portable
from somknn_kernels.tiles import (
    _BYTE_DOT,
    _SHAPES,
    I8,
    I16,
    I32,
    I64,
    _every,
    _function,
    _join,
    _length,
    _marker,
    _pointer,
    _quad_products_bytes,
    _splat,
    _tile_loop,
)

_SLACK = 3  # of `scan_pairs`: six half norms, rounded down


def scan_panel_rows(isa: Isa) -> int:
    """Number of rows in a panel of `scan_tile`: int16 accumulators (int32 with VNNI)."""
    _, vectors, width = _SHAPES[type(isa)]
    return vectors * width // (4 if isinstance(isa, _BYTE_DOT) else 2)


def scan_group(isa: Isa) -> int:
    """Dimensions per group of `scan_tile`: 4 bytes with VNNI, else 2 bytes."""
    return 4 if isinstance(isa, _BYTE_DOT) else 2


def _smaller(builder, a, b):
    return builder.select(builder.icmp_signed("<", a, b), a, b)


def _lesser(builder, a, b):
    """The smaller one, unsigned."""
    return builder.select(builder.icmp_unsigned("<", a, b), a, b)


def _larger(builder, a, b):
    """The larger one, unsigned."""
    return builder.select(builder.icmp_unsigned(">", a, b), a, b)


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


def _survivors(builder, sums, top, masks):
    """Store masks[j], the bits of the rows whose sum for query j is not above top(j); returns them or-ed together."""
    combined = I64(0)
    for j, joined in enumerate(sums):
        # One comparison of the panel's whole width: LLVM then packs the lanes before it takes their signs.
        while len(joined) > 1:
            joined = [_join(builder, a, b) for a, b in zip(joined[::2], joined[1::2], strict=True)]
        bits = ir.IntType(joined[0].type.count)
        out = builder.bitcast(builder.icmp_signed(">", joined[0], top(j)), bits)
        alive = builder.xor(out, bits(2**bits.width - 1))
        mask = alive if bits.width == 64 else builder.zext(alive, I64)
        builder.store(mask, builder.gep(masks, [I64(j)]))
        combined = builder.or_(combined, mask)
    return combined


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
        combined = _survivors(builder, sums, lambda j: threshold(5, j, rows), pointer(8, I64))
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
def scan_pairs(typing_context, isa, queries, tile, panels, half_norms, panel, offsets, reaches, masks):
    """masks[j] = bits of the rows of one panel that may be neighbours of place j of one tile, or it of them; returns them or-ed together.

    The rows are searched for themselves: `queries` and `panels` hold the same codes, and place p is query p mod 6 of tile p div 6 and row
    p mod panel rows of panel p div panel rows. Sections as in `scan_tile`. With A = (inner product of signed query and unsigned row
    bytes up to the end of section i) + Σ offsets[tile, 0…i, j] - Σ half_norms[0…i, panel, row] and h the larger one of the two places'
    reaches[i], a pair is ruled out if A + h > h + 3, modulo 2^16 (2^32 with VNNI) and unsigned. After the first and
    the second section this is only asked of the tile as a whole, with the largest h in it; if no pair is left, 0 is returned and
    `masks` are not written. docs/engine.md, "Rows searched for themselves", shows that no true neighbour is lost.

    queries, panels, half_norms, tile, panel, masks : as in `scan_tile`; offsets : int16, with VNNI int32 (tiles, 3, query tile);
    reaches : uint16 or uint32 (3, panels, panel rows), at most 2^16 - 4 or 2^32 - 4, for all places of the tiles.
    """
    signature = types.uint64(isa, queries, types.int64, panels, half_norms, types.int64, offsets, reaches, masks)
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

        tile, panel = arguments[2], arguments[5]
        norm_pointer, offset_pointer = pointer(4, accumulator), pointer(6, element, tile)
        reach_pointer, reach_vectors = pointer(7, element), pointer(7, accumulator)
        query_pointer = pointer(1, I32, tile)
        n_norm_panels = _length(context, builder, signature.args[4], arguments[4], 1)
        n_reach_panels = _length(context, builder, signature.args[7], arguments[7], 1)

        def vectors(source, n_panels, section):
            found = []
            first = builder.mul(builder.add(builder.mul(n_panels, I64(section)), panel), I64(n_vectors))
            for v in range(n_vectors):
                loaded = builder.load(builder.gep(source, [builder.add(first, I64(v))]))
                loaded.align = 2
                found.append(loaded)
            return found

        def add_quarter(sums, quarter):
            return _add_quarter(
                context, builder, signature.args[3], arguments[3], panel, query_pointer, sums, multiply, quarter
            )

        def start(section, sums=None):
            """The sums with the section's offsets and half norms."""
            norms = vectors(norm_pointer, n_norm_panels, section)
            started = []
            for j in range(n_queries):
                offset = _splat(
                    builder, builder.load(builder.gep(offset_pointer, [I64(section * n_queries + j)])), lanes
                )
                moved = [builder.sub(offset, norm) for norm in norms]
                if sums is not None:
                    moved = [builder.add(total, by) for total, by in zip(sums[j], moved, strict=True)]
                started.append(moved)
            return started

        def own_reaches(section):
            first = builder.add(builder.mul(n_reach_panels, I64(section * rows)), builder.mul(tile, I64(n_queries)))
            return [builder.load(builder.gep(reach_pointer, [builder.add(first, I64(j))])) for j in range(n_queries)]

        done = builder.append_basic_block("pairs_done")
        leaving = []

        def leave_if_all_are_out(sums, section):
            own, panel_reaches = own_reaches(section), vectors(reach_vectors, n_reach_panels, section)
            smallest = None
            for j in range(n_queries):
                reach = _splat(builder, own[j], lanes)
                for total, other in zip(sums[j], panel_reaches, strict=True):
                    moved = builder.add(total, _larger(builder, reach, other))
                    smallest = moved if smallest is None else _lesser(builder, smallest, moved)
            largest = own[0]
            for reach in own[1:]:
                largest = _larger(builder, largest, reach)
            top = _splat(builder, largest, lanes)
            for other in panel_reaches:
                top = _larger(builder, top, other)
            top = builder.add(top, _splat(builder, element(_SLACK), lanes))
            out = builder.bitcast(builder.icmp_unsigned(">", smallest, top), ir.IntType(lanes))
            on = builder.append_basic_block("pairs_go_on")
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
        own, panel_reaches = own_reaches(2), vectors(reach_vectors, n_reach_panels, 2)
        for j in range(n_queries):
            reach = _splat(builder, own[j], lanes)
            larger = [_larger(builder, reach, other) for other in panel_reaches]
            joined = [builder.add(total, by) for total, by in zip(sums[j], larger, strict=True)]
            # One comparison of the panel's whole width: LLVM then packs the lanes before it takes their signs.
            while len(joined) > 1:
                joined = [_join(builder, a, b) for a, b in zip(joined[::2], joined[1::2], strict=True)]
                larger = [_join(builder, a, b) for a, b in zip(larger[::2], larger[1::2], strict=True)]
            top = builder.add(larger[0], _splat(builder, element(_SLACK), rows))
            out = builder.bitcast(builder.icmp_unsigned(">", joined[0], top), ir.IntType(rows))
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
def scan_tile_of_groups(
    typing_context, isa, queries, tile, groups, counts, panels, half_norms, panel, thresholds, which, masks
):
    """masks[j] = bits of the rows of one panel that query j of one tile cannot rule out; returns them or-ed together.

    With A = inner product - half_norms[panel, row] + thresholds[which, 0, j], modulo 2^16 (2^32 with VNNI) and signed, a row is ruled
    out if A > thresholds[which, 1, j].

    queries : int8 (tiles, groups, query tile, 4), with two-byte groups each pair stored twice, of which counts[tile] are left, that were
    groups[tile] before, as in `tiles.dot_tile_of_groups`; panels : uint8 (panels, groups, panel rows, g), or one word for every g bytes;
    half_norms : int16, with VNNI int32 (panels, panel rows); thresholds : as half_norms (…, 2, query tile); tile, panel, which : int64;
    masks : uint64 (query tile,).
    """
    signature = types.uint64(
        isa, queries, types.int64, groups, counts, panels, half_norms, types.int64, thresholds, types.int64, masks
    )
    marker = _marker(isa)
    n_queries, n_vectors, _ = _SHAPES[marker]
    element, lanes, multiply_bytes = _byte_products(isa)

    def codegen(context, builder, signature, arguments):
        accumulator = ir.VectorType(element, lanes)

        def pointer(position, element_type, index=None):
            return _pointer(context, builder, signature.args[position], arguments[position], element_type, index)

        tile, panel, which = arguments[2], arguments[7], arguments[9]
        norm_pointer, threshold_pointer = pointer(6, accumulator, panel), pointer(8, element, which)

        def threshold(line, j, count=lanes):
            return _splat(builder, builder.load(builder.gep(threshold_pointer, [I64(line * n_queries + j)])), count)

        norms = []
        for v in range(n_vectors):
            norms.append(builder.load(builder.gep(norm_pointer, [I64(v)])))
            norms[-1].align = 2
        sums = _tile_loop(
            builder,
            (n_queries, n_vectors),
            builder.load(pointer(4, I64, tile)),
            pointer(1, I32, tile),
            pointer(5, accumulator, panel),
            [[builder.sub(threshold(0, j), norm) for norm in norms] for j in range(n_queries)],
            lambda total, query, row: multiply_bytes(builder, marker, total, row, query),
            which=pointer(3, I32, tile),
        )
        return _survivors(builder, sums, lambda j: threshold(1, j, lanes * n_vectors), pointer(10, I64))

    return signature, codegen
