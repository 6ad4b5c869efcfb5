"""Register-blocked inner products: float32, 16-bit and 8-bit integers.

A tile multiplies a handful of queries with a panel of rows and keeps every accumulator in a register. Both operands
are packed so that the loop over the dimensions reads memory strictly forward:

    panel     [groups][panel rows][g]     one vector load gives g dimensions of `lanes` rows
    queries   [groups][query tile][g]     one 4-byte broadcast gives the same g dimensions of one query

`g` elements make 4 bytes: 4 bytes (VNNI), 2 int16 (AVX2, portable) or 1 float32. No horizontal sum is ever needed.

Each tile is an `@intrinsic` at module level that reads the instruction set from the type of its first argument (see
`isa`). Made inside a factory it would be a closure cell of the kernel that uses it, and such kernels are never found in Numba's
cache again (tried).
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.ir.emit import (
    F32,
    I32,
    I64,
    array_length,
    array_pointer,
    llvm_function,
    pair_products_int16,
    quad_products_bytes,
    tile_loop,
)
from somknn_kernels.ir.shapes import TILE_SHAPES, marker_of
from somknn_kernels.isa import Portable


def _dot_tile(isa, panels, positions):
    """The code of a tile of inner products. positions : of queries, tile, panels, panel, out, and of (groups, counts) or None."""
    marker = marker_of(isa)
    n_queries, n_vectors, width = TILE_SHAPES[marker]
    lanes = width // 4
    floats = panels.dtype == types.float32

    def codegen(context, builder, signature, arguments):
        at_queries, at_tile, at_panels, at_panel, at_out, at_groups, at_counts = positions
        panels_type = signature.args[at_panels]
        tile, panel = arguments[at_tile], arguments[at_panel]
        accumulator = ir.VectorType(F32 if floats else I32, lanes)
        unit = F32 if floats else I32

        def pointer(position, element_type, index=None):
            return array_pointer(context, builder, signature.args[position], arguments[position], element_type, index)

        def multiply(total, query, row):
            if floats:
                if marker is Portable:  # without FMA in hardware llvm.fma is a call into the C library
                    return builder.fadd(total, builder.fmul(query, row))
                name = f"llvm.fma.v{lanes}f32"
                fma = llvm_function(builder.module, name, accumulator, [accumulator] * 3)
                return builder.call(fma, [query, row, total])
            if panels_type.dtype == types.int16:
                return pair_products_int16(builder, marker, total, query, row)
            return quad_products_bytes(builder, marker, total, query, row)

        if at_groups is None:
            which, groups = None, array_length(context, builder, panels_type, arguments[at_panels], 1)
        else:
            which, groups = pointer(at_groups, I32, tile), builder.load(pointer(at_counts, I64, tile))
        zero = ir.Constant(accumulator, None)
        sums = tile_loop(
            builder,
            (n_queries, n_vectors),
            groups,
            pointer(at_queries, unit, tile),
            pointer(at_panels, accumulator, panel),
            [[zero] * n_vectors for _ in range(n_queries)],
            multiply,
            which=which,
        )
        target = pointer(at_out, accumulator)
        for j in range(n_queries):
            for v in range(n_vectors):
                stored = builder.store(sums[j][v], builder.gep(target, [I64(j * n_vectors + v)]))
                stored.align = 4
        return context.get_dummy_value()

    return codegen


@intrinsic
def dot_tile(typing_context, isa, queries, tile, panels, panel, out):
    """out[j, r] = inner product of query j of one tile and row r of one panel.

    queries : (tiles, groups, query tile, g), C-contiguous; panels : (panels, groups, panel rows, g); tile, panel :
    int64; out : (query tile, panel rows). Elements: uint8 queries with int8 panels (VNNI), int16 with int16, float32 with float32;
    out is int32 or float32. Integer sums are exact modulo 2^32. A float32 sum is a chain over the groups (fused where
    the hardware fuses), so its error is at most groups·2^-24/(1 - groups·2^-24) times the sum of absolute products.
    """
    signature = types.void(isa, queries, types.int64, panels, types.int64, out)
    return signature, _dot_tile(isa, panels, (1, 2, 3, 4, 5, None, None))


@intrinsic
def dot_tile_of_groups(typing_context, isa, queries, tile, groups, counts, panels, panel, out):
    """As `dot_tile`, for tiles of which only some groups are left: the first counts[tile], from the panel's groups[tile].

    groups : int32 (tiles, groups); counts : int64 (tiles,), at least 1. Groups that are zero in all of a tile's queries add
    nothing and need not be there.
    """
    signature = types.void(isa, queries, types.int64, groups, counts, panels, types.int64, out)
    return signature, _dot_tile(isa, panels, (1, 2, 5, 6, 7, 3, 4))
