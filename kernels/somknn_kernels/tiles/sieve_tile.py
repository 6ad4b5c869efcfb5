"""The tile that sets a few rows of bytes against every row: 4 candidates and a panel, each row with a limit of its own.

`scan_tiles.scan_tile` gives the limit to the other side, and its six queries are too many for four to eight candidates.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.ir.emit import I32, I64, array_length, array_pointer, joined_lanes, splat, tile_loop
from somknn_kernels.ir.shapes import SCAN_VECTORS, marker_of
from somknn_kernels.tiles.sections import byte_products

CANDIDATES = 4  # in a tile: two make the eight that k-means++ tries for 404 to 1,096 clusters


@intrinsic
def sieve_tile(typing_context, isa, candidates, tile, offsets, panels, starts, tops, panel, masks):
    """masks[j] = bits of the rows r of one panel that candidate j of one tile may come near; returns them or-ed together.

    With A = (inner product of the signed candidate and the unsigned row) + starts[panel, r] + offsets[tile, j], modulo 2^16 (2^32 with VNNI)
    and signed, a row is ruled out if A > tops[panel, r].

    candidates : int8 (tiles, groups, CANDIDATES, 4), with two-byte groups each pair stored twice; panels : uint8 (panels, groups, panel
    rows, g), groups even; offsets : int16, with VNNI int32 (tiles, CANDIDATES); starts, tops : the same type (panels, panel rows); tile,
    panel : int64; masks : uint64 (CANDIDATES,). Panels have `scan_panel_rows` rows and g is `scan_group`; no pair of products may pass 2^15.
    """
    signature = types.uint64(isa, candidates, types.int64, offsets, panels, starts, tops, types.int64, masks)
    marker = marker_of(isa)
    n_vectors = SCAN_VECTORS
    element, lanes, multiply_bytes = byte_products(isa)
    rows = lanes * n_vectors

    def codegen(context, builder, signature, arguments):
        _, _, tile, _, panels, _, _, panel, _ = arguments
        accumulator = ir.VectorType(element, lanes)

        def pointer(position, element_type, index=None):
            return array_pointer(context, builder, signature.args[position], arguments[position], element_type, index)

        def load(place, align=2):
            value = builder.load(place)
            value.align = align
            return value

        offset_pointer, start_pointer = pointer(3, element, tile), pointer(5, accumulator, panel)
        row_starts = [load(builder.gep(start_pointer, [I64(v)])) for v in range(n_vectors)]
        initial = []
        for j in range(CANDIDATES):
            offset = splat(builder, load(builder.gep(offset_pointer, [I64(j)])), lanes)
            initial.append([builder.add(start, offset) for start in row_starts])
        sums = tile_loop(
            builder,
            (CANDIDATES, n_vectors),
            array_length(context, builder, signature.args[4], panels, 1),
            pointer(1, I32, tile),
            pointer(4, accumulator, panel),
            initial,
            lambda total, query, row: multiply_bytes(builder, marker, total, row, query),
            unroll=2,
        )
        top = load(pointer(6, ir.VectorType(element, rows), panel))
        every = ir.IntType(rows)(2**rows - 1)
        combined, mask_pointer = I64(0), pointer(8, I64)
        for j in range(CANDIDATES):
            joined = sums[j]
            while len(joined) > 1:
                joined = [joined_lanes(builder, a, b) for a, b in zip(joined[::2], joined[1::2], strict=True)]
            out = builder.bitcast(builder.icmp_signed(">", joined[0], top), ir.IntType(rows))
            alive = builder.xor(out, every)
            mask = alive if rows == 64 else builder.zext(alive, I64)
            builder.store(mask, builder.gep(mask_pointer, [I64(j)]))
            combined = builder.or_(combined, mask)
        return combined

    return signature, codegen
