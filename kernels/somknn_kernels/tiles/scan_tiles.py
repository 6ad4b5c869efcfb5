"""Tiles of the pruned searches: 6 queries and a panel of rows, in bytes, left once no row can be a neighbour.

`search/pruned.py` and `search/self_search.py` pack what these tiles multiply, and set the thresholds.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.ir.emit import (
    I32,
    I64,
    Operands,
    joined_vectors,
    load_vectors,
    saturated_sum,
    signed_minimum,
    splat,
    store,
    tile_loop,
    unsigned_maximum,
    unsigned_minimum,
)
from somknn_kernels.ir.shapes import SCAN_VECTORS, TILE_SHAPES, marker_of
from somknn_kernels.tiles.sections import SLACK, Sections, byte_products, survivor_masks


@intrinsic
def scan_tile(typing_context, isa, queries, tile, panels, half_norms, panel, thresholds, which, masks, stops, out):
    """masks[j] = bits of the rows of one panel that query j of one tile cannot rule out; returns them or-ed together.

    The columns come in S sections, each of one or several parts. Let

        A = (inner product of signed query and unsigned row bytes up to the end of section i)
            - Σ half_norms[0…i, panel, row] + Σ thresholds[which, 0…i, j]

    modulo 2^16 (2^32 with VNNI) and signed. A row is ruled out if A > thresholds[which, S + i, j]. After every section
    but the last, only the tile as a whole is tested, with the i-th number from thresholds[which, 2·S] on: if no row is
    left for any query, the tile returns 0 and does not write `masks`. docs/concepts/scan.md shows that the wrap-around
    loses no true neighbour.

    queries : int8 (tiles, groups, query tile, 4); with two-byte groups each pair is stored twice
    panels : uint8 (parts, panels, groups / parts, panel rows, g), part by part, groups / parts even. Most panels are
    left after the first section, so the first parts of all panels lie side by side.
    half_norms : int16, with VNNI int32 (S, panels, panel rows); thresholds : the same type (…, lines, query tile)
    tile, panel, which : int64; masks : uint64 (query tile,); stops : int64 (S,), the part at which each section ends
    out : as half_norms (query tile, panel rows), filled with A of the last section, but not if the tile is left before
    """
    signature = types.uint64(
        isa, queries, types.int64, panels, half_norms, types.int64, thresholds, types.int64, masks, stops, out
    )

    def codegen(context, builder, signature, arguments):
        sections = Sections(isa, context, builder, signature, arguments)
        threshold_pointer = sections.pointer(6, sections.element, arguments[7])

        n_sections = sections.length(9, 0)

        def threshold(line, j, count=sections.lanes):
            place = builder.add(builder.mul(line, I64(sections.n_queries)), j)
            return splat(builder, builder.load(builder.gep(threshold_pointer, [place])), count)

        def offset(section, j):
            return threshold(section, I64(j))

        def out_early(sums, section):
            # One comparison: the smallest sums with the largest threshold. A comparison for each query spilled
            # registers and cost half of what it saved.
            smallest = sums[0][0]
            for total in [total for row in sums for total in row][1:]:
                smallest = signed_minimum(builder, smallest, total)
            return builder.icmp_signed(">", smallest, threshold(builder.mul(n_sections, I64(2)), section))

        def survivors(sums):
            line = builder.sub(builder.mul(n_sections, I64(2)), I64(1))
            tops = [threshold(line, I64(j), sections.rows) for j in range(sections.n_queries)]
            target = sections.pointer(10, sections.accumulator)
            for place, total in enumerate(total for row in sums for total in row):
                store(builder, total, builder.gep(target, [I64(place)]), 2)
            return survivor_masks(builder, sums, tops, sections.pointer(8, I64), builder.icmp_signed)

        return sections.scan(sections.pointer(9, I64), n_sections, offset, out_early, survivors)

    return signature, codegen


@intrinsic
def scan_pairs(typing_context, isa, queries, tile, panels, half_norms, panel, offsets, half_squares, largest, masks):
    """masks[j] = bits of the rows of one panel that may be neighbours of place j of one tile, or it of them.

    Returns the masks or-ed together. The rows are searched for themselves: `queries` and `panels` hold the same codes.
    Place p is query p mod 6 of tile p div 6, and row p mod panel rows of panel p div panel rows. There are three
    sections, of one part, one part and two parts. Let h be the larger of the two places' half_squares[i], and

        A = (inner product of signed query and unsigned row bytes up to the end of section i)
            + Σ offsets[tile, 0…i, j] - Σ half_norms[0…i, panel, row]

    A pair is ruled out if A + h > h + 3, modulo 2^16 (2^32 with VNNI) and unsigned. After the first and the second
    section, A + h' with some h' >= h is compared with the largest h' + 3 of the row and all places of the tile, and
    only the tile as a whole is tested: if no pair is left, the tile returns 0 and does not write `masks`.
    docs/concepts/scan.md, "Rows searched for themselves", shows that no true neighbour is lost.

    queries, panels, half_norms, tile, panel, masks : as in `scan_tile`
    offsets : int16, with VNNI int32 (tiles, 3, query tile)
    half_squares : uint16 or uint32 (3, panels, panel rows), ascending along the first axis, at most 2^16 - 4 or
    2^32 - 4, for all places of the tiles
    largest : as half_squares (2,): the largest half_squares[0], and the largest half_squares[1] - half_squares[0], of
    the places of the tile
    """
    signature = types.uint64(
        isa, queries, types.int64, panels, half_norms, types.int64, offsets, half_squares, largest, masks
    )

    def codegen(context, builder, signature, arguments):
        sections = Sections(isa, context, builder, signature, arguments)
        n_queries, lanes, rows = sections.n_queries, sections.lanes, sections.rows
        offset_pointer = sections.pointer(6, sections.element, sections.tile)
        half_pointer, half_vectors = sections.pointer(7, sections.element), sections.pointer(7, sections.accumulator)
        n_half_panels, top_pointer = sections.length(7, 1), sections.pointer(8, sections.element)
        thresholds = []

        def offset(section, j):
            place = builder.add(builder.mul(section, I64(n_queries)), I64(j))
            return splat(builder, builder.load(builder.gep(offset_pointer, [place])), lanes)

        def of_rows(section):
            return sections.of_panel(half_vectors, n_half_panels, I64(section))

        def of_pairs(section):
            """The larger of the half squares of each place of the tile and each row."""
            first = builder.mul(n_half_panels, I64(section * rows))
            first = builder.add(first, builder.mul(sections.tile, I64(n_queries)))
            others, found = of_rows(section), []
            for j in range(n_queries):
                own = builder.load(builder.gep(half_pointer, [builder.add(first, I64(j))]))
                found.append([unsigned_maximum(builder, splat(builder, own, lanes), other) for other in others])
            return found

        def top(section):
            return splat(builder, builder.load(builder.gep(top_pointer, [I64(section)])), lanes)

        def rises():
            """How much half squares rise at most from the first section to the second.

            For each row: the larger of its own rise and the largest rise of the tile's places.
            """
            rises = [builder.sub(after, before) for before, after in zip(of_rows(0), of_rows(1), strict=True)]
            return [unsigned_maximum(builder, top(1), rise) for rise in rises]

        slack = splat(builder, sections.element(SLACK), lanes)

        def lift(section):
            """What is added to a pair's sum.

            The half square of the first section stays in the sum to the end of the second section. There, adding
            the largest rise is enough.
            """
            if section == 0:
                thresholds.append(
                    [saturated_sum(builder, unsigned_maximum(builder, top(0), other), slack) for other in of_rows(0)]
                )
                return of_pairs(0)
            if section == 1:
                thresholds.append([saturated_sum(builder, *both) for both in zip(thresholds[0], rises(), strict=True)])
                return [rises()] * n_queries
            moved = []
            for last, first in zip(of_pairs(2), of_pairs(0), strict=True):
                moved.append([builder.sub(a, builder.add(b, c)) for a, b, c in zip(last, first, rises(), strict=True)])
            return moved

        def out_early(sums, section):
            out = None
            for v, threshold in enumerate(thresholds[section]):
                smallest = sums[0][v]
                for row in sums[1:]:
                    smallest = unsigned_minimum(builder, smallest, row[v])
                beyond = builder.icmp_unsigned(">", smallest, threshold)
                out = beyond if out is None else builder.and_(out, beyond)
            return out

        def survivors(sums):
            tops = [joined_vectors(builder, [builder.add(half, slack) for half in halves]) for halves in of_pairs(2)]
            return survivor_masks(builder, sums, tops, sections.pointer(9, I64), builder.icmp_unsigned)

        return sections.scan_three(offset, out_early, survivors, lift)

    return signature, codegen


@intrinsic
def scan_tile_of_groups(
    typing_context, isa, queries, tile, groups, counts, panels, half_norms, panel, thresholds, which, masks
):
    """masks[j] = bits of the rows of one panel that query j of one tile cannot rule out; returns them or-ed together.

    Let A = inner product - half_norms[panel, row] + thresholds[which, 0, j], modulo 2^16 (2^32 with VNNI) and signed.
    A row is ruled out if A > thresholds[which, 1, j].

    queries : int8 (tiles, groups, query tile, 4); with two-byte groups each pair is stored twice
    groups, counts : as in `products.dot_tile_of_groups`: counts[tile] groups are left, with old numbers groups[tile]
    panels : uint8 (panels, groups, panel rows, g), or one word for every g bytes
    half_norms : int16, with VNNI int32 (panels, panel rows); thresholds : the same type (…, 2, query tile)
    tile, panel, which : int64; masks : uint64 (query tile,)
    """
    signature = types.uint64(
        isa, queries, types.int64, groups, counts, panels, half_norms, types.int64, thresholds, types.int64, masks
    )
    marker = marker_of(isa)
    n_queries, n_vectors = TILE_SHAPES[marker][0], SCAN_VECTORS
    element, lanes, multiply_bytes = byte_products(isa)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        accumulator = ir.VectorType(element, lanes)
        tile, panel, which = given[2], given[7], given[9]
        norm_pointer, threshold_pointer = given.pointer(6, accumulator, panel), given.pointer(8, element, which)

        def threshold(line, j, count=lanes):
            return splat(builder, builder.load(builder.gep(threshold_pointer, [I64(line * n_queries + j)])), count)

        norms = load_vectors(builder, norm_pointer, n_vectors, 2)
        sums = tile_loop(
            builder,
            builder.load(given.pointer(4, I64, tile)),
            given.pointer(1, I32, tile),
            given.pointer(5, accumulator, panel),
            [[builder.sub(threshold(0, j), norm) for norm in norms] for j in range(n_queries)],
            lambda total, query, row: multiply_bytes(builder, marker, total, row, query),
            which=given.pointer(3, I32, tile),
        )
        tops = [threshold(1, j, lanes * n_vectors) for j in range(n_queries)]
        return survivor_masks(builder, sums, tops, given.pointer(10, I64), builder.icmp_signed)

    return signature, codegen
