"""Scores of the rows of whole panels by their codes, and how many a threshold leaves, for `search.place_seeds`."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.ir.emit import I32, I64, Operands, counted_loop, joined_vectors, load, pairwise_sums, splat, store
from somknn_kernels.ir.shapes import scan_panel_rows
from somknn_kernels.tiles.sections import SLACK, Sections


@intrinsic
def score_panel(typing_context, isa, queries, tile, panels, half_norms, panel, offsets, apart, scores, number):
    """scores[j, number · panel rows + r] = half the squared distance of the codes of place j of one tile and row r.

    Row r is that of one panel. The score is the largest number if the two are not to be each other's neighbours.
    Up to 3 too large, modulo 2^16 (2^32 with VNNI): a row far away may seem to be near.

    queries, panels, half_norms, offsets, tile, panel : as in `scan_pairs`
    apart : int32 (places,), at least a tile's: places with equal numbers are not each other's neighbours, and a place
    with a negative number holds no row
    scores : uint16, with VNNI uint32 (query tile, …); number : int64
    """
    signature = types.void(
        isa, queries, types.int64, panels, half_norms, types.int64, offsets, apart, scores, types.int64
    )

    def codegen(context, builder, signature, arguments):
        sections = Sections(isa, context, builder, signature, arguments)
        n_queries, lanes, rows, element = sections.n_queries, sections.lanes, sections.rows, sections.element
        offset_pointer = sections.pointer(6, element, sections.tile)

        def offset(section, j):
            place = builder.add(builder.mul(section, I64(n_queries)), I64(j))
            return splat(builder, builder.load(builder.gep(offset_pointer, [place])), lanes)

        sums: Any = None
        for section in range(3):
            sums = sections.start(I64(section), offset, sums)
        for part in range(4):
            sums = sections.add_part(sums, I64(part))
        own_groups = sections.pointer(7, I32)
        last = builder.sub(sections.length(7, 0), I64(1))
        groups = sections.pointer(7, ir.VectorType(I32, rows))
        groups = load(builder, builder.gep(groups, [sections.panel]), 4)
        nobody = builder.icmp_signed("<", groups, ir.Constant(groups.type, None))
        whole = ir.VectorType(element, rows)
        never, slack = (splat(builder, element(value), rows) for value in (-1, SLACK))
        for j in range(n_queries):
            place = builder.add(builder.mul(sections.tile, I64(n_queries)), I64(j))
            place = builder.select(builder.icmp_signed("<", place, last), place, last)
            own = splat(builder, builder.load(builder.gep(own_groups, [place])), rows)
            out = builder.or_(builder.icmp_signed("==", groups, own), nobody)
            score = builder.select(out, never, builder.sub(slack, joined_vectors(builder, sums[j])))
            target = sections.pointer(8, whole, I64(j))
            store(builder, score, builder.gep(target, [arguments[9]]), element.width // 8)
        return context.get_dummy_value()

    return signature, codegen


def _score_vectors(given):
    """(not_above, vector type), for `count_up_to` and `bits_up_to`.

    not_above(panel) tells which scores of a panel are not above the threshold.
    """
    builder, scores = given.builder, given.types[1]
    lanes = scan_panel_rows(given.types[0].instance_class())
    element = given.context.get_data_type(scores.dtype)
    vector = ir.VectorType(element, lanes)
    pointer = given.pointer(1, vector, given[2])
    threshold = splat(builder, builder.trunc(given[4], element), lanes)

    def not_above(panel):
        return builder.icmp_unsigned("<=", load(builder, builder.gep(pointer, [panel]), 2), threshold)

    return not_above, vector


@intrinsic
def count_up_to(typing_context, isa, scores, line, n_panels, threshold):
    """How many of the scores of the first `n_panels` panels of a line are not above the threshold.

    scores : uint16, with VNNI uint32 (lines, panels · panel rows)
    line, n_panels, threshold : int64; fewer than 2^16 panels
    """
    signature = types.int64(isa, scores, types.int64, types.int64, types.int64)

    def codegen(context, builder, signature, arguments):
        not_above, vector = _score_vectors(Operands(context, builder, signature, arguments))

        def body(panel, counts):
            return [builder.sub(counts[0], builder.sext(not_above(panel), vector))]

        (counts,) = counted_loop(builder, I64(0), arguments[3], 1, [ir.Constant(vector, None)], body)
        if vector.element != I32:
            counts = builder.zext(counts, ir.VectorType(I32, vector.count))
        return builder.zext(pairwise_sums(builder, counts), I64)

    return signature, codegen


@intrinsic
def bits_up_to(typing_context, isa, scores, line, panel, threshold):
    """Bits (uint64) of the scores of one panel of a line that are not above the threshold; see `count_up_to`."""
    signature = types.uint64(isa, scores, types.int64, types.int64, types.int64)

    def codegen(context, builder, signature, arguments):
        not_above, vector = _score_vectors(Operands(context, builder, signature, arguments))
        bits = builder.bitcast(not_above(arguments[3]), ir.IntType(vector.count))
        return bits if vector.count == 64 else builder.zext(bits, I64)

    return signature, codegen
