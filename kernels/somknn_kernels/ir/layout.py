"""Layouts: how rows lie in memory for a tile. What is a panel?

A tile multiplies a few queries with many rows at once, one row in each lane of a register. So the same columns of all
these rows must lie side by side. A panel is a block of rows in this order, one group of columns after the other:

    rows as they come            a panel of 4 rows, groups of 2 columns

    a0 a1 a2 a3                  a0 a1  b0 b1  c0 c1  d0 d1      group 0: one vector load
    b0 b1 b2 b3                  a2 a3  b2 b3  c2 c3  d2 d3      group 1: the next one
    c0 c1 c2 c3
    d0 d1 d2 d3

The queries of a tile lie in the same way. One group of one query is broadcast to all lanes.

Kernels pack with compiled loops of their own, block by block. `Layout.pack` says in NumPy what these loops must give.
It also packs small arrays.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from somknn_kernels.ir.shapes import integer_group, panel_rows, query_tile, scan_group, scan_panel_rows
from somknn_kernels.isa import Isa

_LINE = 64  # bytes of a cache line, and of the widest register


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros of a shape and dtype that begin with a cache line: an unaligned load of 64 bytes reads two lines."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.zeros(n_bytes + _LINE, np.uint8)
    first = -room.ctypes.data % _LINE
    return room[first : first + n_bytes].view(dtype).reshape(shape)


class Layout(NamedTuple):
    """The layout of an array: how it is packed.

    The shape is [blocks][groups][rows][group · copies], or [parts][blocks][groups / parts][rows][group · copies].

    Attributes
    ----------
    rows : int
        Rows of a block: of a panel, or the queries of a tile.
    group : int
        Neighbouring columns of a row that lie side by side.
    dtype : NumPy scalar type
        Of the elements.
    lift : int
        A number that is added to each value.
    copies : int
        How often each group is repeated, to fill the 4 bytes of a broadcast.
    parts : int
        More than 1 if parts of the columns lie apart from each other: most panels are left before the last ones.
    multiple : int
        Widths are padded to a multiple of this, with whole groups in each part.
    """

    rows: int
    group: int
    dtype: Any
    lift: int = 0
    copies: int = 1
    parts: int = 1
    multiple: int = 1

    def width(self, d: int) -> int:
        """Number of columns of packed rows that have `d` columns unpacked."""
        whole = math.lcm(self.multiple, self.group * self.parts)
        return -(-d // whole) * whole

    def shape(self, n: int, d: int) -> tuple[int, ...]:
        """The shape of `n` packed rows of `d` columns."""
        groups = self.width(d) // self.group // self.parts
        block = (-(-n // self.rows), groups, self.rows, self.group * self.copies)
        return block if self.parts == 1 else (self.parts, *block)

    def zeros(self, n: int, d: int) -> np.ndarray:
        """Zeros with room for `n` rows of `d` columns, beginning with a cache line."""
        return aligned(self.shape(n, d), self.dtype)

    def pack(self, values: np.ndarray) -> np.ndarray:
        """Pack rows of whole numbers or floats (n, d). What lies beyond n and d is zero before the lift."""
        n, d = values.shape
        n_blocks = -(-n // self.rows)
        padded = np.zeros((n_blocks * self.rows, self.width(d)), np.result_type(values, np.int16))
        padded[:n, :d] = values
        groups = self.width(d) // self.group // self.parts
        split = (padded + self.lift).reshape(n_blocks, self.rows, self.parts, groups, self.group)
        split = np.tile(split.transpose(2, 0, 3, 1, 4), self.copies)
        packed = self.zeros(n, d)
        packed[:] = split.reshape(packed.shape)
        return packed

    def unpack(self, packed: np.ndarray, n: int, d: int) -> np.ndarray:
        """The rows (n, d) that `pack` packed, without the lift."""
        split = packed.reshape(self.parts, *packed.shape[-4:])[..., : self.group]
        values = split.transpose(1, 3, 0, 2, 4).reshape(packed.shape[-4] * self.rows, self.width(d))[:n, :d]
        return values if self.lift == 0 else values.astype(np.int64) - self.lift


@functools.cache
def byte_queries(isa: Isa) -> Layout:
    """Queries of bytes for `products.dot_tile_of_groups`."""
    group = integer_group(isa)
    return Layout(query_tile(isa), group, np.uint8 if group == 4 else np.int16)


@functools.cache
def byte_panels(isa: Isa) -> Layout:
    """Rows of bytes for `products.dot_tile_of_groups`. VNNI needs one signed side, so 128 is subtracted here."""
    group = integer_group(isa)
    return Layout(panel_rows(isa), group, *((np.int8, -128) if group == 4 else (np.int16, 0)))


@functools.cache
def float_queries(isa: Isa) -> Layout:
    """Queries of float32 for `products.dot_tile_of_groups`."""
    return Layout(query_tile(isa), 1, np.float32)


@functools.cache
def float_panels(isa: Isa) -> Layout:
    """Rows of float32 for `products.dot_tile_of_groups`."""
    return Layout(panel_rows(isa), 1, np.float32)


@functools.cache
def scan_queries(isa: Isa, rows: int | None = None) -> Layout:
    """Codes of queries for the scans.

    rows : queries of a tile, if not as many as `shapes.query_tile` says.
    """
    group = scan_group(isa)
    return Layout(rows or query_tile(isa), group, np.int8, copies=4 // group)


@functools.cache
def scan_panels(isa: Isa, parts: int = 4) -> Layout:
    """Codes of rows for the scans, by parts of their columns.

    parts : 1 for scans that read all columns of a panel.
    """
    return Layout(scan_panel_rows(isa), scan_group(isa), np.uint8, parts=parts)


def pair_panels(rows: int, multiple: int = 4) -> Layout:
    """Rows of 16-bit integers for the tiles of `row_products`. rows : number of rows (axes or vectors) of a panel."""
    return Layout(rows, 2, np.int16, multiple=multiple)
