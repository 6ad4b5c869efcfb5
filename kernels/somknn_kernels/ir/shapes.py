"""How many queries, rows and columns a tile takes, for each instruction set.

The widths come from two facts. On AVX2 a register tile is 6 queries by 2 vectors: 12 accumulators, 2 panel vectors,
1 broadcast and 1 product fill the 16 registers. On AMD Zen 3 this reaches 99% of two `vpmaddwd` a cycle (4×3 reaches
65%, 5×2 97%, 12×1 95%). With 32 registers (AVX-512) 6 by 4 was best on Cascade Lake; 12 by 2 and 14 by 2 were slower.
On AMD Zen 5 12 by 2 is a tenth quicker.
"""

import numpy as np
from numba.extending import overload

from somknn_kernels.isa import Avx2, Isa, Portable, Vnni256, Vnni512, Vnni512Emulated

# marker: (queries in a tile, vectors in a panel, bytes of a vector)
TILE_SHAPES = {
    Vnni512: (6, 4, 64),
    Vnni512Emulated: (6, 4, 64),
    Vnni256: (6, 2, 32),
    Avx2: (6, 2, 32),
    Portable: (4, 2, 16),
}


BYTE_PRODUCTS = (Vnni512, Vnni512Emulated, Vnni256)


def query_tile(isa: Isa) -> int:
    """Number of queries that a tile takes."""
    return TILE_SHAPES[type(isa)][0]


def panel_rows(isa: Isa) -> int:
    """Number of rows in a panel of `dot_tile_*`: each has a 4-byte accumulator."""
    _, vectors, width = TILE_SHAPES[type(isa)]
    return vectors * width // 4


def integer_group(isa: Isa) -> int:
    """Columns in a 4-byte group of the integer tile: 4 bytes with VNNI, else 2 int16."""
    return 4 if isinstance(isa, BYTE_PRODUCTS) else 2


def tile_rows(isa):
    """`query_tile`, for use inside kernels."""
    raise NotImplementedError("only inside kernels")


@overload(tile_rows, inline="never")
def _tile_rows(isa):
    rows = query_tile(isa.instance_class())
    return lambda isa: rows


def marker_of(isa_type):
    """The class of an instruction set (`isa.Avx2`, …) from the type of a kernel's argument."""
    return isa_type.instance_class


# Vectors of a panel, also where there are registers for four: a narrower tile is left sooner (5 to 10% less time on
# Zen 5).
SCAN_VECTORS = 2


def scan_panel_rows(isa: Isa) -> int:
    """Number of rows in a panel of `scan_tile`: int16 accumulators (int32 with VNNI)."""
    width = TILE_SHAPES[type(isa)][2]
    return SCAN_VECTORS * width // (4 if isinstance(isa, BYTE_PRODUCTS) else 2)


def scan_group(isa: Isa) -> int:
    """Columns in a group of `scan_tile`: 4 bytes with VNNI, else 2 bytes."""
    return 4 if isinstance(isa, BYTE_PRODUCTS) else 2


def code_limits(isa: Isa) -> tuple[int, int]:
    """The largest codes, on either side of 0, of rows and of queries in a scan.

    A row's codes become unsigned by adding its limit. Without VNNI no pair of byte products may pass 2^15 - 1:
    2·180·91 = 32,760.
    """
    return (127, 127) if isinstance(isa, BYTE_PRODUCTS) else (90, 91)


def scan_sums(isa: Isa) -> type:
    """Type of the sums in a scan, which wrap around beyond its range."""
    return np.int32 if isinstance(isa, BYTE_PRODUCTS) else np.int16
