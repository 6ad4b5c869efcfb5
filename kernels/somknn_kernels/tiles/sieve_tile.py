"""The tile that compares a few candidates with every row, in bytes: 4 candidates and a panel, a threshold for each row.

In `scan_tiles.scan_tile` each query has a threshold instead, and its six queries are too many for four to eight
candidates.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.ir.emit import I32, I64, Operands, load, load_vectors, splat, tile_loop
from somknn_kernels.ir.shapes import SCAN_VECTORS, marker_of
from somknn_kernels.tiles.sections import byte_products, survivor_masks

CANDIDATES = 4  # in a tile: two tiles make the eight candidates that k-means++ tries for 404 to 1,096 clusters


@intrinsic
def sieve_tile(typing_context, isa, candidates, tile, offsets, panels, starts, thresholds, panel, masks):
    """masks[j] = bits of the rows r of one panel that candidate j of one tile may be near; returns them or-ed together.

    Let A = (inner product of the signed candidate and the unsigned row) + starts[panel, r] + offsets[tile, j],
    modulo 2^16 (2^32 with VNNI) and signed. A row is ruled out if A > thresholds[panel, r].

    candidates : int8 (tiles, groups, CANDIDATES, 4); with two-byte groups each pair is stored twice
    panels : uint8 (panels, groups, panel rows, g), groups even; g is `scan_group`, panel rows `scan_panel_rows`
    offsets : int16, with VNNI int32 (tiles, CANDIDATES); starts, thresholds : the same type (panels, panel rows)
    tile, panel : int64; masks : uint64 (CANDIDATES,). No pair of products may pass 2^15.
    """
    signature = types.uint64(isa, candidates, types.int64, offsets, panels, starts, thresholds, types.int64, masks)
    marker = marker_of(isa)
    n_vectors = SCAN_VECTORS
    element, lanes, multiply_bytes = byte_products(isa)
    rows = lanes * n_vectors

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        tile, panel = given[2], given[7]
        accumulator = ir.VectorType(element, lanes)
        offset_pointer, start_pointer = given.pointer(3, element, tile), given.pointer(5, accumulator, panel)
        row_starts = load_vectors(builder, start_pointer, n_vectors, 2)
        initial = []
        for j in range(CANDIDATES):
            offset = splat(builder, load(builder, builder.gep(offset_pointer, [I64(j)]), 2), lanes)
            initial.append([builder.add(start, offset) for start in row_starts])
        sums = tile_loop(
            builder,
            given.length(4, 1),
            given.pointer(1, I32, tile),
            given.pointer(4, accumulator, panel),
            initial,
            lambda total, query, row: multiply_bytes(builder, marker, total, row, query),
            unroll=2,
        )
        top = load(builder, given.pointer(6, ir.VectorType(element, rows), panel), 2)
        return survivor_masks(builder, sums, [top] * CANDIDATES, given.pointer(8, I64), builder.icmp_signed)

    return signature, codegen
