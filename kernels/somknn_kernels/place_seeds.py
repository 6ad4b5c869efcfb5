"""First upper bounds on the k-th distances of rows that are searched for themselves (`self_search.py`).

The rows of the panels nearest to a row's own are ranked by their codes, the best are measured, and the k-th of them bounds what is of
use. Ranking is two comparisons of vectors: how many scores lie below a threshold, until the threshold is right, and which ones. A heap of the best
took ten times as long.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.distances import _counted_loop
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.scan_tiles import _SLACK, _joined, _Sections, scan_panel_rows
from somknn_kernels.selection import push, sort_heap
from somknn_kernels.tiles import I32, I64, _every, _length, _pointer, _splat, trailing_zeros
from somknn_kernels.used_columns import distances_through


@intrinsic
def score_panel(typing_context, isa, queries, tile, panels, half_norms, panel, offsets, apart, scores, number):
    """scores[j, number · panel rows + r] = half the squared distance of the codes of place j of one tile and row r of one panel, or the largest score
    where they are not each other's neighbours.

    Up to 3 too large, modulo 2^16 (2^32 with VNNI): a row far away may seem to be near. queries … offsets : as `scan_pairs` takes them; apart :
    int32 (places,), at least a tile's; scores : uint16, with VNNI uint32 (query tile, …); number : int64.
    """
    signature = types.void(
        isa, queries, types.int64, panels, half_norms, types.int64, offsets, apart, scores, types.int64
    )

    def codegen(context, builder, signature, arguments):
        sections = _Sections(isa, context, builder, signature, arguments)
        n_queries, lanes, rows, element = sections.n_queries, sections.lanes, sections.rows, sections.element
        offset_pointer = sections.pointer(6, element, sections.tile)

        def offset(section, j):
            return _splat(builder, builder.load(builder.gep(offset_pointer, [I64(section * n_queries + j)])), lanes)

        sums: Any = None
        for section in range(3):
            sums = sections.start(section, offset, sums)
        for quarter in range(4):
            sums = sections.add_quarter(sums, quarter)
        own_groups = sections.pointer(7, I32)
        last = builder.sub(_length(context, builder, signature.args[7], arguments[7], 0), I64(1))
        groups = sections.pointer(7, ir.VectorType(I32, rows))
        groups = builder.load(builder.gep(groups, [sections.panel]))
        groups.align = 4
        nobody = builder.icmp_signed("<", groups, ir.Constant(groups.type, None))
        whole = ir.VectorType(element, rows)
        never, slack = (_splat(builder, element(value), rows) for value in (-1, _SLACK))
        for j in range(n_queries):
            place = builder.add(builder.mul(sections.tile, I64(n_queries)), I64(j))
            place = builder.select(builder.icmp_signed("<", place, last), place, last)
            own = _splat(builder, builder.load(builder.gep(own_groups, [place])), rows)
            out = builder.or_(builder.icmp_signed("==", groups, own), nobody)
            score = builder.select(out, never, builder.sub(slack, _joined(builder, sums[j])))
            target = sections.pointer(8, whole, I64(j))
            builder.store(score, builder.gep(target, [arguments[9]])).align = element.width // 8
        return context.get_dummy_value()

    return signature, codegen


def _score_vectors(context, builder, signature, arguments):
    """(function that loads a panel's scores of a line, lanes, limit as a vector) of `count_up_to` and `bits_up_to`."""
    scores = signature.args[1]
    lanes = scan_panel_rows(signature.args[0].instance_class())
    element = context.get_data_type(scores.dtype)
    vector = ir.VectorType(element, lanes)
    pointer = _pointer(context, builder, scores, arguments[1], vector, arguments[2])
    limit = _splat(builder, builder.trunc(arguments[4], element), lanes)

    def not_above(panel):
        value = builder.load(builder.gep(pointer, [panel]))
        value.align = 2
        return builder.icmp_unsigned("<=", value, limit)

    return not_above, vector


@intrinsic
def count_up_to(typing_context, isa, scores, line, n_panels, limit):
    """How many of the scores of the first panels of a line are not above the limit.

    scores : uint16, with VNNI uint32 (lines, panels · panel rows); line, n_panels, limit : int64; fewer than 2^16 panels.
    """
    signature = types.int64(isa, scores, types.int64, types.int64, types.int64)

    def codegen(context, builder, signature, arguments):
        not_above, vector = _score_vectors(context, builder, signature, arguments)

        def body(panel, counts):
            return [builder.sub(counts[0], builder.sext(not_above(panel), vector))]

        (counts,) = _counted_loop(builder, I64(0), arguments[3], 1, [ir.Constant(vector, None)], body)
        if vector.element != I32:
            counts = builder.zext(counts, ir.VectorType(I32, vector.count))
        while counts.type.count > 1:
            counts = builder.add(_every(builder, counts, 0, 2), _every(builder, counts, 1, 2))
        return builder.zext(builder.extract_element(counts, I32(0)), I64)

    return signature, codegen


@intrinsic
def bits_up_to(typing_context, isa, scores, line, panel, limit):
    """Bits of the scores of one panel of a line that are not above the limit, uint64; arguments as of `count_up_to`."""
    signature = types.uint64(isa, scores, types.int64, types.int64, types.int64)

    def codegen(context, builder, signature, arguments):
        not_above, vector = _score_vectors(context, builder, signature, arguments)
        bits = builder.bitcast(not_above(arguments[3]), ir.IntType(vector.count))
        return bits if vector.count == 64 else builder.zext(bits, I64)

    return signature, codegen


@kernel
def nearest_panels(centres, half_squares, first, last, near):
    """near[panel] = the panels whose centres are nearest to that of `panel`, nearest first, for panels in [first, last).

    centres : float32 (p, panels), one per column; half_squares : float32 (panels,), half their squared norms; near : int32 (panels, width),
    width at most the number of panels. A guess that only speed depends on.
    """
    width, n_panels = near.shape[1], centres.shape[1]
    scores = np.empty(n_panels, np.float32)
    best, numbers = np.empty((1, width), np.float32), np.empty((1, width), np.int64)
    for panel in range(first, last):
        for other in range(n_panels):
            scores[other] = half_squares[other]
        for a in range(centres.shape[0]):
            value = centres[a, panel]
            for other in range(n_panels):
                scores[other] -= value * centres[a, other]
        best[:] = np.inf
        for i in range(width):
            numbers[0, i] = i
        for other in range(n_panels):
            if scores[other] < best[0, 0]:
                push(best, numbers, 0, scores[other], other)
        sort_heap(best, numbers, 0)
        for i in range(width):
            near[panel, i] = numbers[0, i]


@inlined
def _threshold(isa, scores, line, n_panels, wanted, most):
    """A limit that `wanted` to `most` scores of a line do not exceed; more where scores are equal, all that are scores where they are fewer."""
    low, high = np.int64(0), np.int64(2**16 - 2) if scores.itemsize == 2 else np.int64(2**32 - 2)
    while low < high:
        middle = (low + high) // 2
        count = count_up_to(isa, scores, line, n_panels, middle)
        if count < wanted:
            low = middle + 1
        else:
            high = middle
            if count <= most:
                break
    return high


@kernel
def seed_places(isa, places, limits, near, k, wanted, first_tile, last_tile):
    """Lower the limits of the places of some tiles to the k-th smallest distance to `wanted` rows of near panels, the nearest by their codes.

    places, limits : as in `self_search.py`; near : int32 (panels, width), see `nearest_panels`; wanted : from k to the rows of `width` panels.
    """
    rows, apart, packed, panels = places.rows, places.apart, places.packed, places.panels
    half_norms, offsets, squares, used = places.half_norms, places.offsets, places.squares, places.used
    panel_rows, tile, n_near = panels.shape[3], packed.shape[2], near.shape[1]
    most = wanted + wanted // 8
    scores = np.empty((tile, n_near * panel_rows), places.reaches.dtype)
    others, distances = np.empty(most, np.int32), np.empty(most, limits.dtype)
    largest = np.empty(most - k + 1, limits.dtype)
    sums = np.empty(8)
    for t in range(first_tile, last_tile):
        if t * tile >= len(apart):
            break
        own = t * tile // panel_rows
        for i in range(n_near):
            panel = np.int64(near[own, i])
            score_panel(isa, packed, t, panels, half_norms, panel, offsets, apart, scores, i)
        for j in range(tile):
            one = t * tile + j
            if one >= len(apart) or apart[one] < 0:
                continue
            limit = _threshold(isa, scores, j, n_near, wanted, most)
            count = 0
            for i in range(n_near):
                mask = bits_up_to(isa, scores, j, i, limit)
                while mask != 0 and count < most:
                    others[count] = np.int64(near[own, i]) * panel_rows + trailing_zeros(mask)
                    mask &= mask - np.uint64(1)
                    count += 1
            if count < k:
                continue
            distances_through(isa, rows, one, rows, others, count, used, one, squares[one], squares, sums, distances)
            size = count - k + 1
            largest[:size] = -1
            for p in range(count):
                distance, position = distances[p], size - 1
                if distance > largest[position]:
                    while position > 0 and largest[position - 1] < distance:
                        largest[position] = largest[position - 1]
                        position -= 1
                    largest[position] = distance
            limits[one] = min(limits[one], largest[size - 1])
