"""What the tiles of the pruned searches share: products of bytes, section after section, and masks of survivors."""

from typing import Any

from llvmlite import ir

from somknn_kernels.ir.emit import (
    I16,
    I32,
    I64,
    Operands,
    joined_vectors,
    last_tested_loop,
    load,
    pair_products_bytes,
    quad_products_bytes,
    store_masks,
    tile_loop,
)
from somknn_kernels.ir.shapes import BYTE_PRODUCTS, SCAN_VECTORS, TILE_SHAPES, marker_of

SLACK = 3  # of `scan_pairs`: six half norms were rounded down, by up to 1/2 each


def byte_products(isa):
    """(element, lanes, multiply) of tiles of signed queries and unsigned rows in bytes.

    Sums are modulo 2^16, with VNNI modulo 2^32.
    """
    marker = marker_of(isa)
    _, _, width = TILE_SHAPES[marker]
    words = marker in BYTE_PRODUCTS
    multiply = quad_products_bytes if words else pair_products_bytes
    return I32 if words else I16, width // (4 if words else 2), multiply


def add_part(given, position, panel, queries, sums, multiply, part):
    """`sums` plus the products of one part (int64, from 0) of the columns of a panel.

    Argument `position` of the intrinsic holds the panels, in the shape that `scan_tile` takes.
    """
    builder = given.builder
    n_panels, groups = (given.length(position, axis) for axis in (1, 2))
    first = builder.mul(groups, part)
    # As if the panel's other parts lay before this one: then queries and panel number their groups alike.
    place = builder.sub(builder.add(builder.mul(n_panels, part), panel), part)
    vectors = given.pointer(position, sums[0][0].type)
    vectors = builder.gep(vectors, [builder.mul(builder.mul(place, groups), I64(len(sums[0])))])
    stop = builder.add(first, groups)
    return tile_loop(builder, stop, queries, vectors, sums, multiply, unroll=2, first=first)


def survivor_masks(builder, sums, tops, masks, compare):
    """Store masks[j], bits of the rows whose sum for query j is not above tops[j]; returns the masks or-ed together.

    tops[j] : a vector as wide as a panel.
    """

    def survive(j):
        # One comparison over the whole width of the panel: LLVM then packs the lanes before it takes their signs.
        bits = ir.IntType(tops[j].type.count)
        out = builder.bitcast(compare(">", joined_vectors(builder, sums[j]), tops[j]), bits)
        return builder.xor(out, bits(2**bits.width - 1))

    return store_masks(builder, map(survive, range(len(sums))), masks)


class Sections(Operands):
    """How `scan_tile` and `scan_pairs` go from section to section. Arguments 1 to 5 of the two are the same.

    A section is a number of parts of the columns. Sections and parts are int64 values, counted from 0.
    """

    def __init__(self, isa, context, builder, signature, arguments):
        super().__init__(context, builder, signature, arguments)
        self.marker = marker_of(isa)
        self.n_queries, self.n_vectors = TILE_SHAPES[self.marker][0], SCAN_VECTORS
        self.element, self.lanes, self.multiply_bytes = byte_products(isa)
        self.rows = self.lanes * self.n_vectors
        self.accumulator = ir.VectorType(self.element, self.lanes)
        self.tile, self.panel = arguments[2], arguments[5]
        self.queries = self.pointer(1, I32, self.tile)
        self.half_norms = self.pointer(4, self.accumulator)

    def of_panel(self, source, n_panels, section):
        """The panel's vectors of one section, from an array (sections, panels, panel rows)."""
        builder = self.builder
        first = builder.mul(builder.add(builder.mul(n_panels, section), self.panel), I64(self.n_vectors))
        return [load(builder, builder.gep(source, [builder.add(first, I64(v))]), 2) for v in range(self.n_vectors)]

    def start(self, section, offset, sums=None, lifts=None):
        """`sums` plus what a section starts with, so that the comparison needs nothing else.

        That is the section's offsets, minus its half norms, plus the `lifts` of each query and row.
        """
        norms = self.of_panel(self.half_norms, self.length(4, 1), section)
        started = []
        for j in range(self.n_queries):
            by = offset(section, j)
            moved = [self.builder.sub(by, norm) for norm in norms]
            if lifts is not None:
                moved = [self.builder.add(part, more) for part, more in zip(moved, lifts[j], strict=True)]
            if sums is not None:
                moved = [self.builder.add(total, part) for total, part in zip(sums[j], moved, strict=True)]
            started.append(moved)
        return started

    def add_part(self, sums, part):
        """`sums` plus the products of one part of the columns."""

        def multiply(total, query, row):
            return self.multiply_bytes(self.builder, self.marker, total, row, query)

        return add_part(self, 3, self.panel, self.queries, sums, multiply, part)

    def leave_if(self, out, done):
        """Emit a branch to `done` if all lanes of `out`, a vector of i1, are set; returns the block that it leaves."""
        builder = self.builder
        out = builder.bitcast(out, ir.IntType(self.lanes))
        on, leaving = builder.append_basic_block("scan_goes_on"), builder.block
        builder.cbranch(builder.icmp_unsigned("==", out, ir.IntType(self.lanes)(2**self.lanes - 1)), done, on)
        builder.position_at_end(on)
        return leaving

    def scan(self, stops, n_sections, offset, out_early, survivors):
        """Emit a scan of any number of sections; returns what the tile returns.

        stops : pointer to int64, the part at which each section ends, in ascending order; the last is all parts
        offset(section, j) : a vector
        out_early(sums, section) : a vector of i1: whether everything that a lane stands for is ruled out
        survivors(sums) : stores the masks and returns them or-ed together
        """
        builder, shape = self.builder, range(self.n_queries)

        def rows_of(flat):
            return [flat[j * self.n_vectors : (j + 1) * self.n_vectors] for j in shape]

        def add_parts(part, sums):
            return [total for row in self.add_part(rows_of(sums), part) for total in row]

        loop, last, test, done = (builder.append_basic_block(name) for name in ("section", "last", "test", "scan_done"))
        carried = [total for row in self.start(I64(0), offset) for total in row]
        before = builder.block
        builder.branch(loop)
        builder.position_at_end(loop)
        section, first = builder.phi(I64), builder.phi(I64)
        sums = [builder.phi(total.type) for total in carried]
        for phi, value in zip([section, first, *sums], [I64(0), I64(0), *carried], strict=True):
            phi.add_incoming(value, before)
        stop = builder.load(builder.gep(stops, [section]))
        totals = rows_of(last_tested_loop(builder, first, stop, 1, sums, add_parts))
        following = builder.add(section, I64(1))
        builder.cbranch(builder.icmp_signed("==", following, n_sections), last, test)
        builder.position_at_end(test)
        leaving = self.leave_if(out_early(totals, section), done)
        carried = [total for row in self.start(following, offset, totals) for total in row]
        for phi, value in zip([section, first, *sums], [following, stop, *carried], strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(loop)
        builder.position_at_end(last)
        combined = survivors(totals)
        at_end = builder.block
        builder.branch(done)
        builder.position_at_end(done)
        result = builder.phi(I64)
        result.add_incoming(I64(0), leaving)
        result.add_incoming(combined, at_end)
        return result

    def scan_three(self, offset, out_early, survivors, lift):
        """As `scan`, for sections of one part, one part and two parts, whose code may differ.

        lift(section) : for each query one vector for each vector of the panel, which is added to the sums; here and in
        `out_early` the section is a Python integer
        """
        builder = self.builder
        done = builder.append_basic_block("scan_done")
        leaving = []
        sums: Any = None
        for section in range(2):
            sums = self.add_part(self.start(I64(section), offset, sums, lift(section)), I64(section))
            leaving.append(self.leave_if(out_early(sums, section), done))
        sums = self.start(I64(2), offset, sums, lift(2))
        for part in (2, 3):
            sums = self.add_part(sums, I64(part))
        combined = survivors(sums)
        at_end = builder.block
        builder.branch(done)
        builder.position_at_end(done)
        result = builder.phi(I64)
        for block in leaving:
            result.add_incoming(I64(0), block)
        result.add_incoming(combined, at_end)
        return result
