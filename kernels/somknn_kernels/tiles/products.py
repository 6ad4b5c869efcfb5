"""Register-blocked inner products: float32, 16-bit and 8-bit integers.

A tile multiplies a few queries with a panel of rows and keeps every accumulator in a register. Both operands are
packed so that the loop over the columns reads memory strictly forward:

    panel     [groups][panel rows][g]     one vector load gives g columns of `lanes` rows
    queries   [groups][query tile][g]     one 4-byte broadcast gives the same g columns of one query

`g` elements make 4 bytes: 4 bytes (VNNI), 2 int16 (AVX2, portable) or 1 float32. No horizontal sum is ever needed.

Each tile is an `@intrinsic` at module level, which reads the instruction set from the type of its first argument (see
`isa`). If a factory made it, it would be a closure cell of the kernel that uses it. Numba never finds such kernels in
its cache again (tried).
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.ir.emit import (
    F32,
    I32,
    I64,
    Operands,
    call,
    pair_products_int16,
    quad_products_bytes,
    store,
    tile_loop,
)
from somknn_kernels.ir.shapes import TILE_SHAPES, marker_of
from somknn_kernels.isa import Portable


def _multiply(builder, marker, dtype):
    """The function that adds a group's products to a vector of sums, for panels of this type."""

    def of_floats(sums, query, row):
        if marker is Portable:  # without FMA in hardware, llvm.fma calls the C library
            return builder.fadd(sums, builder.fmul(query, row))
        return call(builder, f"llvm.fma.v{sums.type.count}f32", sums.type, query, row, sums)

    if dtype == types.float32:
        return of_floats
    products = pair_products_int16 if dtype == types.int16 else quad_products_bytes
    return lambda sums, query, row: products(builder, marker, sums, query, row)


@intrinsic
def dot_tile_of_groups(typing_context, isa, queries, tile, groups, counts, panels, panel, out):
    """out[j, r] = inner product of query j of one tile and row r of one panel.

    queries : (tiles, groups, query tile, g), C-contiguous; panels : (panels, groups, panel rows, g)
    tile, panel : int64; out : (query tile, panel rows), int32 or float32
    Elements of queries and panels: uint8 with int8 (VNNI), int16 with int16, or float32 with float32.
    groups : int32 (tiles, groups); counts : int64 (tiles,), at least 1. Only the first counts[tile] groups of a tile
    are left. They meet the groups groups[tile] of the panel. Groups that are zero in all queries of a tile add nothing
    and may be left out.

    Integer sums are exact modulo 2^32. A float32 sum is a chain over the groups, fused where the hardware has FMA. So
    its error is at most groups·2^-24/(1 - groups·2^-24) times the sum of absolute products.
    """
    signature = types.void(isa, queries, types.int64, groups, counts, panels, types.int64, out)
    marker = marker_of(isa)
    n_queries, n_vectors, width = TILE_SHAPES[marker]
    unit = F32 if panels.dtype == types.float32 else I32
    accumulator = ir.VectorType(unit, width // 4)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        tile, panel = given[2], given[6]
        which, count = given.pointer(3, I32, tile), builder.load(given.pointer(4, I64, tile))
        zero = ir.Constant(accumulator, None)
        sums = tile_loop(
            builder,
            count,
            given.pointer(1, unit, tile),
            given.pointer(5, accumulator, panel),
            [[zero] * n_vectors for _ in range(n_queries)],
            _multiply(builder, marker, panels.dtype),
            which=which,
        )
        target = given.pointer(7, accumulator)
        for j in range(n_queries):
            for v in range(n_vectors):
                store(builder, sums[j][v], builder.gep(target, [I64(j * n_vectors + v)]), 4)
        return context.get_dummy_value()

    return signature, codegen
