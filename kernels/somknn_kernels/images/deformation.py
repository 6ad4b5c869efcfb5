"""Image distortion model (IDM): how badly one image explains another when every pixel may move a little.

D. Keysers, T. Deselaers, C. Gollan, H. Ney, "Deformation models for image recognition", IEEE PAMI 29(8), 2007,
section 3.4. Each pixel of the query has a context: the square of side 2·context + 1 around it, in two gradient
channels. The pixel looks for the best match of its context in a window of ±warp around its own place in the reference.
The cost is the sum of these matches:

    D(q, t) = Σ_(r,c) min_(|dr|,|dc| ≤ warp) Σ_(|u|,|v| ≤ context) Σ_channel (q[r+u, c+v] − t[r+u+dr, c+v+dc])²

Images are zero beyond their borders. All arithmetic is on integers. With |level| ≤ L a context sum is at most
2 · (2·context + 1)² · (2L)². The caller keeps that below 2¹⁶, so 16-bit lanes hold it exactly, and an AVX2 register
works on 16 pixels at a time.

The model is asymmetric: the query's pixels move. The other direction recognises far fewer digits.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.ir.emit import I16, I64, Operands, last_tested_loop, load, store, unsigned_minimum
from somknn_kernels.policy import inlined, kernel

BLOCKED = np.iinfo(np.int64).max
"""The cost of a place in the list of the best that no candidate has taken."""


@inlined
def load_planes(image, border, planes):
    """Copy int8 channels (2, rows, columns) into the middle of zeroed int16 planes."""
    channels, rows, columns = image.shape
    for k in range(channels):
        for r in range(rows):
            for c in range(columns):
                planes[k, r + border, c + border] = image[k, r, c]


LANES = 16
_VECTOR = ir.VectorType(I16, LANES)


class _Pixels(Operands):
    """LANES 16-bit numbers from flat positions of C-contiguous arrays."""

    def at(self, position, offset):
        return self.builder.gep(self.pointer(position, I16), [offset])

    def load(self, pointer):
        return load(self.builder, pointer, 2, _VECTOR)

    def store(self, vector, pointer):
        store(self.builder, vector, pointer, 2)


@intrinsic
def take_in_row(typingctx, query, query_at, reference, reference_at, next_channel, ring, ring_at, total, total_at):
    """total += d − ring, ring = d, for LANES pixels; d = squared differences, summed over both channels.

    query, reference : int16, next_channel numbers from one channel to the next; ring, total : uint16. All are read and
    written from flat positions on: query_at, reference_at, ring_at, total_at.

    Vectors of LLVM, for every processor. As a plain loop it is not vectorised: too many arrays that may overlap, rows
    too short for the unrolled loop.
    """
    int64 = types.int64
    signature = types.void(query, int64, reference, int64, int64, ring, int64, total, int64)

    def codegen(context, builder, sig, args):
        pixels = _Pixels(context, builder, sig, args)
        _, query_at, _, reference_at, next_channel, _, ring_at, _, total_at = args
        squared = ir.Constant(_VECTOR, None)
        for channel in range(2):
            if channel:
                query_at = builder.add(query_at, next_channel)
                reference_at = builder.add(reference_at, next_channel)
            q = pixels.load(pixels.at(0, query_at))
            t = pixels.load(pixels.at(2, reference_at))
            difference = builder.sub(q, t)
            squared = builder.add(squared, builder.mul(difference, difference))
        ring, total = pixels.at(5, ring_at), pixels.at(7, total_at)
        pixels.store(builder.add(pixels.load(total), builder.sub(squared, pixels.load(ring))), total)
        pixels.store(squared, ring)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def lower_best(typingctx, total, total_at, span, best, best_at):
    """best = min(best, total[c] + … + total[c + span − 1]) for LANES pixels c; uint16, from flat positions on."""
    signature = types.void(total, types.int64, types.int64, best, types.int64)

    def codegen(context, builder, sig, args):
        pixels = _Pixels(context, builder, sig, args)
        _, total_at, span, _, best_at = args

        def body(u, sums):
            return [builder.add(sums[0], pixels.load(pixels.at(0, builder.add(total_at, u))))]

        (summed,) = last_tested_loop(builder, I64(0), span, 1, [ir.Constant(_VECTOR, None)], body)
        place = pixels.at(3, best_at)
        pixels.store(unsigned_minimum(builder, summed, pixels.load(place)), place)
        return context.get_dummy_value()

    return signature, codegen


@inlined
def distortion(query, reference, columns, warp, context, upper_bound, ring, total, best):
    """IDM cost of two padded images, or any number above `upper_bound` as soon as the cost is known to be above it.

    query, reference : int16 (2, rows + 2·border, row length), zeros beyond the image; columns : of the image
    ring, total, best : uint16, scratch, as `idm_rerank` makes them
    """
    span = 2 * context + 1
    side = 2 * warp + 1
    width = best.size
    row_length = query.shape[2]
    next_channel = query.shape[1] * row_length
    steps = query.shape[1] - 2 * warp
    ring[:] = 0
    total[:] = 0
    cost = np.int64(0)
    for step in range(steps):
        best[:] = 65535
        for dr in range(side):
            for dc in range(side):
                shift = dr * side + dc
                total_at = shift * total.shape[1]
                ring_at = (shift * span + step % span) * width
                for c in range(0, width, LANES):
                    take_in_row(
                        query,
                        (step + warp) * row_length + warp + c,
                        reference,
                        (step + dr) * row_length + dc + c,
                        next_channel,
                        ring,
                        ring_at + c,
                        total,
                        total_at + c,
                    )
                for c in range(0, width, LANES):
                    lower_best(total, total_at + c, span, best, c)
        if step >= span - 1:
            for c in range(columns):
                cost += best[c]
            if cost > upper_bound:
                return cost
    return cost


@kernel
def idm_rerank(queries, references, candidates, warp, context, costs, indices):
    """The candidates of least IDM cost, ascending, ties by the lowest reference index.

    A candidate is given up when its partial cost is above the k-th best so far. Costs only grow, so this never changes
    the result.

    queries : (m, 2, rows, columns) int8 gradient levels; references : (n, 2, rows, columns) int8
    candidates : (m, c) int64 positions in references. With the likely best first, more are given up early
    warp, context : pixels, see the module. The caller bounds the levels so that context sums fit in 16 bits
    costs : (m, k) int64, k ≤ c; indices : (m, k) int64; filled

    Bit-exact. Cost per pair that is not given up: rows · columns · (2·warp + 1)² · about 12 16-bit operations.
    """
    m, channels, rows, columns = queries.shape
    k = costs.shape[1]
    border = warp + context
    displacements = (2 * warp + 1) ** 2
    width = (columns + 2 * context + LANES - 1) // LANES * LANES
    query = np.zeros((channels, rows + 2 * border, width + 2 * warp), np.int16)
    reference = np.zeros_like(query)
    ring = np.zeros((displacements, 2 * context + 1, width), np.uint16)
    # A context sum at the last lane reads past the row: into zeros.
    total = np.zeros((displacements, width + 2 * context), np.uint16)
    best = np.zeros(width, np.uint16)
    for i in range(m):
        load_planes(queries[i], border, query)
        costs[i] = BLOCKED
        indices[i] = -1
        for j in range(candidates.shape[1]):
            index = candidates[i, j]
            load_planes(references[index], border, reference)
            cost = distortion(query, reference, columns, warp, context, costs[i, k - 1], ring, total, best)
            place = k
            while place > 0 and (
                cost < costs[i, place - 1] or (cost == costs[i, place - 1] and index < indices[i, place - 1])
            ):
                place -= 1
            for later in range(k - 1, place, -1):
                costs[i, later] = costs[i, later - 1]
                indices[i, later] = indices[i, later - 1]
            if place < k:
                costs[i, place] = cost
                indices[i, place] = index
