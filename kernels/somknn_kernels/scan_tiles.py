"""The tiles of the pruned searches: 6 queries and a panel of rows in bytes, left as soon as nobody in it can be a neighbour.

Built from the loop and the products of `tiles.py`; `pruned.py` and `self_search.py` pack what they multiply and set their thresholds.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.isa import Isa, Portable
from somknn_kernels.tiles import (
    _BYTE_DOT,
    _SHAPES,
    I8,
    I16,
    I32,
    I64,
    _every,
    _function,
    _join,
    _length,
    _marker,
    _pointer,
    _quad_products_bytes,
    _splat,
    _tile_loop,
)

VECTORS = 2  # of a panel, also where there are registers for four: a narrower tile is left sooner (5 to 10% less time on Zen 5)
_SLACK = 3  # of `scan_pairs`: six half norms, rounded down


def scan_panel_rows(isa: Isa) -> int:
    """Number of rows in a panel of `scan_tile`: int16 accumulators (int32 with VNNI)."""
    width = _SHAPES[type(isa)][2]
    return VECTORS * width // (4 if isinstance(isa, _BYTE_DOT) else 2)


def scan_group(isa: Isa) -> int:
    """Dimensions per group of `scan_tile`: 4 bytes with VNNI, else 2 bytes."""
    return 4 if isinstance(isa, _BYTE_DOT) else 2


def _smaller(builder, a, b):
    return builder.select(builder.icmp_signed("<", a, b), a, b)


def _lesser(builder, a, b):
    """The smaller one, unsigned."""
    return builder.select(builder.icmp_unsigned("<", a, b), a, b)


def _larger(builder, a, b):
    """The larger one, unsigned."""
    return builder.select(builder.icmp_unsigned(">", a, b), a, b)


def _raised(builder, a, b):
    """a + b, unsigned, and the largest number where that is beyond it."""
    name = f"llvm.uadd.sat.v{a.type.count}i{a.type.element.width}"
    return builder.call(_function(builder.module, name, a.type, [a.type, a.type]), [a, b])


def _pair_products_bytes(builder, marker, accumulator, unsigned, signed):
    """accumulator[i] + the two products of bytes 2i, 2i+1, modulo 2^16; the caller excludes saturation of a pair."""
    lanes = accumulator.type.count
    octets = ir.VectorType(I8, 2 * lanes)
    unsigned, signed = builder.bitcast(unsigned, octets), builder.bitcast(signed, octets)
    if marker is not Portable and lanes == 16:
        madd = _function(builder.module, "llvm.x86.avx2.pmadd.ub.sw", accumulator.type, [octets, octets])
        return builder.add(accumulator, builder.call(madd, [unsigned, signed]))
    wide = accumulator.type
    for start in (0, 1):
        product = builder.mul(
            builder.zext(_every(builder, unsigned, start, 2), wide),
            builder.sext(_every(builder, signed, start, 2), wide),
        )
        accumulator = builder.add(accumulator, product)
    return accumulator


def _byte_products(isa):
    """(element, lanes, multiply) of tiles of signed queries and unsigned rows in bytes: sums modulo 2^16, with VNNI modulo 2^32."""
    marker = _marker(isa)
    _, _, width = _SHAPES[marker]
    words = marker in _BYTE_DOT
    multiply = _quad_products_bytes if words else _pair_products_bytes
    return I32 if words else I16, width // (4 if words else 2), multiply


def _add_quarter(context, builder, panels_type, panels, panel, queries, sums, multiply, quarter):
    """`sums` and the products of one quarter of the columns of a panel; panels : as `scan_tile` wants them."""
    n_panels, groups = (_length(context, builder, panels_type, panels, axis) for axis in (1, 2))
    first = builder.mul(groups, I64(quarter))
    # As if the panel's other quarters lay before this one: then queries and panel count their groups alike.
    place = builder.sub(builder.add(builder.mul(n_panels, I64(quarter)), panel), I64(quarter))
    vectors = _pointer(context, builder, panels_type, panels, sums[0][0].type)
    vectors = builder.gep(vectors, [builder.mul(builder.mul(place, groups), I64(len(sums[0])))])
    shape, stop = (len(sums), len(sums[0])), builder.add(first, groups)
    return _tile_loop(builder, shape, stop, queries, vectors, sums, multiply, unroll=2, first=first)


def _joined(builder, vectors):
    """The lanes of a power of two of vectors, one after the other."""
    while len(vectors) > 1:
        vectors = [_join(builder, a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


def _survivors(builder, sums, tops, masks, compare):
    """Store masks[j], the bits of the rows whose sum for query j is not above tops[j], a vector as wide as a panel; returns them or-ed."""
    combined = I64(0)
    for j, (parts, top) in enumerate(zip(sums, tops, strict=True)):
        # One comparison of the panel's whole width: LLVM then packs the lanes before it takes their signs.
        bits = ir.IntType(top.type.count)
        out = builder.bitcast(compare(">", _joined(builder, parts), top), bits)
        alive = builder.xor(out, bits(2**bits.width - 1))
        mask = alive if bits.width == 64 else builder.zext(alive, I64)
        builder.store(mask, builder.gep(masks, [I64(j)]))
        combined = builder.or_(combined, mask)
    return combined


class _Sections:
    """The way of `scan_tile` and `scan_pairs` from section to section; their arguments 1 to 5 are the same."""

    def __init__(self, isa, context, builder, signature, arguments):
        self.context, self.builder, self.types, self.arguments = context, builder, signature.args, arguments
        self.marker = _marker(isa)
        self.n_queries, self.n_vectors = _SHAPES[self.marker][0], VECTORS
        self.element, self.lanes, self.multiply_bytes = _byte_products(isa)
        self.rows = self.lanes * self.n_vectors
        self.accumulator = ir.VectorType(self.element, self.lanes)
        self.tile, self.panel = arguments[2], arguments[5]
        self.queries = self.pointer(1, I32, self.tile)
        self.half_norms = self.pointer(4, self.accumulator)

    def pointer(self, position, element_type, index=None):
        """To the data of an argument, or to its item `index`."""
        return _pointer(self.context, self.builder, self.types[position], self.arguments[position], element_type, index)

    def panels_of(self, position):
        """Number of panels in an argument whose second axis they are."""
        return _length(self.context, self.builder, self.types[position], self.arguments[position], 1)

    def of_panel(self, source, n_panels, section):
        """The panel's vectors of one section from an array (3, panels, panel rows)."""
        first = self.builder.mul(
            self.builder.add(self.builder.mul(n_panels, I64(section)), self.panel), I64(self.n_vectors)
        )
        found = []
        for v in range(self.n_vectors):
            found.append(self.builder.load(self.builder.gep(source, [self.builder.add(first, I64(v))])))
            found[-1].align = 2
        return found

    def start(self, section, offset, sums=None, lift=None):
        """`sums` with the section's offsets, half norms and, for each query and row, `lift(section)`, so that the comparison needs nothing else."""
        norms = self.of_panel(self.half_norms, self.panels_of(4), section)
        lifts = None if lift is None else lift(section)
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

    def add_quarter(self, sums, quarter):
        """`sums` and the products of one quarter of the columns."""

        def multiply(total, query, row):
            return self.multiply_bytes(self.builder, self.marker, total, row, query)

        given = self.types[3], self.arguments[3], self.panel, self.queries, sums, multiply, quarter
        return _add_quarter(self.context, self.builder, *given)

    def scan(self, offset, out_early, survivors, lift=None):
        """Emit the scan; returns what the tile returns.

        offset(section, j) : a vector; lift(section) : for each query a vector for each of the panel's, added to its sums; out_early(sums, section) : a vector of i1, whether all that a lane stands for is ruled out;
        survivors(sums) : stores the masks and returns them or-ed together.
        """
        builder = self.builder
        done = builder.append_basic_block("scan_done")
        leaving = []
        sums: Any = None
        for section in range(2):
            sums = self.add_quarter(self.start(section, offset, sums, lift), section)
            out = builder.bitcast(out_early(sums, section), ir.IntType(self.lanes))
            on = builder.append_basic_block("scan_goes_on")
            leaving.append(builder.block)
            builder.cbranch(builder.icmp_unsigned("==", out, ir.IntType(self.lanes)(2**self.lanes - 1)), done, on)
            builder.position_at_end(on)
        combined = survivors(self.add_quarter(self.add_quarter(self.start(2, offset, sums, lift), 2), 3))
        at_end = builder.block
        builder.branch(done)
        builder.position_at_end(done)
        result = builder.phi(I64)
        for block in leaving:
            result.add_incoming(I64(0), block)
        result.add_incoming(combined, at_end)
        return result


@intrinsic
def scan_tile(typing_context, isa, queries, tile, panels, half_norms, panel, thresholds, which, masks):
    """masks[j] = bits of the rows of one panel that query j of one tile cannot rule out; returns them or-ed together.

    The columns come in three sections: the first quarter, the second, and the other half. With A = (inner product of signed query
    and unsigned row bytes up to the end of section i) - Σ half_norms[0…i, panel, row] + Σ thresholds[which, 0…i, j], modulo 2^16 (2^32 with
    VNNI) and signed, a row is ruled out if A > thresholds[which, 3 + i, j]. After the first and the second section this is only asked of
    the tile as a whole, with thresholds[which, 6, i]: if no row is left for anyone, 0 is returned and `masks` are not
    written. docs/engine.md shows that no true neighbour is lost to the wrap-around.

    queries : int8 (tiles, groups, query tile, 4), with two-byte groups each pair stored twice; panels : uint8 (4, panels,
    groups / 4, panel rows, g), quarter by quarter: most panels are left after the first, and those lie side by side; groups / 4 is even;
    half_norms : int16, with VNNI int32 (3, panels, panel rows); thresholds : as
    half_norms (…, 7, query tile); tile, panel, which : int64; masks : uint64 (query tile,).
    """
    signature = types.uint64(isa, queries, types.int64, panels, half_norms, types.int64, thresholds, types.int64, masks)

    def codegen(context, builder, signature, arguments):
        sections = _Sections(isa, context, builder, signature, arguments)
        threshold_pointer = sections.pointer(6, sections.element, arguments[7])

        def threshold(line, j, count=sections.lanes):
            place = I64(line * sections.n_queries + j)
            return _splat(builder, builder.load(builder.gep(threshold_pointer, [place])), count)

        def out_early(sums, section):
            # One comparison, of the smallest sums with the largest top. Each query's own comparison spilled registers and
            # cost half of what it saved.
            smallest = sums[0][0]
            for total in [total for row in sums for total in row][1:]:
                smallest = _smaller(builder, smallest, total)
            return builder.icmp_signed(">", smallest, threshold(6, section))

        def survivors(sums):
            tops = [threshold(5, j, sections.rows) for j in range(sections.n_queries)]
            return _survivors(builder, sums, tops, sections.pointer(8, I64), builder.icmp_signed)

        return sections.scan(threshold, out_early, survivors)

    return signature, codegen


@intrinsic
def scan_pairs(typing_context, isa, queries, tile, panels, half_norms, panel, offsets, reaches, tops, masks):
    """masks[j] = bits of the rows of one panel that may be neighbours of place j of one tile, or it of them; returns them or-ed together.

    The rows are searched for themselves: `queries` and `panels` hold the same codes, and place p is query p mod 6 of tile p div 6 and row
    p mod panel rows of panel p div panel rows. Sections as in `scan_tile`. With A = (inner product of signed query and unsigned row
    bytes up to the end of section i) + Σ offsets[tile, 0…i, j] - Σ half_norms[0…i, panel, row] and h the larger one of the two places'
    reaches[i], a pair is ruled out if A + h > h + 3, modulo 2^16 (2^32 with VNNI) and unsigned. After the first and
    the second section A + h' is compared with the largest h' + 3 of the row and anyone in the tile, h' >= h, and this is only asked of the
    tile as a whole; if no pair is left, 0 is returned and `masks` are not written. docs/engine.md, "Rows searched for themselves",
    shows that no true neighbour is lost.

    queries, panels, half_norms, tile, panel, masks : as in `scan_tile`; offsets : int16, with VNNI int32 (tiles, 3, query tile);
    reaches : uint16 or uint32 (3, panels, panel rows), ascending along the first axis, at most 2^16 - 4 or 2^32 - 4, for all places of the
    tiles; tops : as reaches (2,), the largest reaches[0] and the largest reaches[1] - reaches[0] of the tile's places.
    """
    signature = types.uint64(isa, queries, types.int64, panels, half_norms, types.int64, offsets, reaches, tops, masks)

    def codegen(context, builder, signature, arguments):
        sections = _Sections(isa, context, builder, signature, arguments)
        n_queries, lanes, rows = sections.n_queries, sections.lanes, sections.rows
        offset_pointer = sections.pointer(6, sections.element, sections.tile)
        reach_pointer, reach_vectors = sections.pointer(7, sections.element), sections.pointer(7, sections.accumulator)
        n_reach_panels, top_pointer = sections.panels_of(7), sections.pointer(8, sections.element)
        thresholds = []

        def offset(section, j):
            return _splat(builder, builder.load(builder.gep(offset_pointer, [I64(section * n_queries + j)])), lanes)

        def of_rows(section):
            return sections.of_panel(reach_vectors, n_reach_panels, section)

        def of_pairs(section):
            """The larger one of the reaches of each place of the tile and each row."""
            first = builder.mul(n_reach_panels, I64(section * rows))
            first = builder.add(first, builder.mul(sections.tile, I64(n_queries)))
            others, found = of_rows(section), []
            for j in range(n_queries):
                own = builder.load(builder.gep(reach_pointer, [builder.add(first, I64(j))]))
                found.append([_larger(builder, _splat(builder, own, lanes), other) for other in others])
            return found

        def top(section):
            return _splat(builder, builder.load(builder.gep(top_pointer, [I64(section)])), lanes)

        def rises():
            """By how much no reach of the tile or a row rises from the first section to the second."""
            rises = [builder.sub(after, before) for before, after in zip(of_rows(0), of_rows(1), strict=True)]
            return [_larger(builder, top(1), rise) for rise in rises]

        slack = _splat(builder, sections.element(_SLACK), lanes)

        def lift(section):
            """What is added to a pair's sum. The first section's reach stays in it to the end of the second, for which the rise of others is enough."""
            if section == 0:
                thresholds.append([_raised(builder, _larger(builder, top(0), other), slack) for other in of_rows(0)])
                return of_pairs(0)
            if section == 1:
                thresholds.append([_raised(builder, *both) for both in zip(thresholds[0], rises(), strict=True)])
                return [rises()] * n_queries
            moved = []
            for last, first in zip(of_pairs(2), of_pairs(0), strict=True):
                moved.append([builder.sub(a, builder.add(b, c)) for a, b, c in zip(last, first, rises(), strict=True)])
            return moved

        def out_early(sums, section):
            out = None
            for v, threshold in enumerate(thresholds[section]):
                smallest = sums[0][v]
                for row in sums[1:]:
                    smallest = _lesser(builder, smallest, row[v])
                beyond = builder.icmp_unsigned(">", smallest, threshold)
                out = beyond if out is None else builder.and_(out, beyond)
            return out

        def survivors(sums):
            tops = [_joined(builder, [builder.add(reach, slack) for reach in reaches]) for reaches in of_pairs(2)]
            return _survivors(builder, sums, tops, sections.pointer(9, I64), builder.icmp_unsigned)

        return sections.scan(offset, out_early, survivors, lift)

    return signature, codegen


@intrinsic
def scan_products(typing_context, isa, queries, tile, panels, panel, out):
    """out[j, r] = inner product of query j of one tile and row r of one panel, as `scan_tile` forms it over all columns.

    queries, panels : as there; tile, panel : int64; out : int16, with VNNI int32 (query tile, panel rows), modulo its range.
    """
    signature = types.void(isa, queries, types.int64, panels, types.int64, out)
    marker = _marker(isa)
    n_queries, n_vectors = _SHAPES[marker][0], VECTORS
    element, lanes, multiply_bytes = _byte_products(isa)

    def codegen(context, builder, signature, arguments):
        accumulator = ir.VectorType(element, lanes)

        def pointer(position, element_type, index=None):
            return _pointer(context, builder, signature.args[position], arguments[position], element_type, index)

        sums = [[ir.Constant(accumulator, None)] * n_vectors for _ in range(n_queries)]
        for quarter in range(4):
            sums = _add_quarter(
                context,
                builder,
                signature.args[3],
                arguments[3],
                arguments[4],
                pointer(1, I32, arguments[2]),
                sums,
                lambda total, query, row: multiply_bytes(builder, marker, total, row, query),
                quarter,
            )
        target = pointer(5, accumulator)
        for j in range(n_queries):
            for v in range(n_vectors):
                stored = builder.store(sums[j][v], builder.gep(target, [I64(j * n_vectors + v)]))
                stored.align = 2
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def scan_tile_of_groups(
    typing_context, isa, queries, tile, groups, counts, panels, half_norms, panel, thresholds, which, masks
):
    """masks[j] = bits of the rows of one panel that query j of one tile cannot rule out; returns them or-ed together.

    With A = inner product - half_norms[panel, row] + thresholds[which, 0, j], modulo 2^16 (2^32 with VNNI) and signed, a row is ruled
    out if A > thresholds[which, 1, j].

    queries : int8 (tiles, groups, query tile, 4), with two-byte groups each pair stored twice, of which counts[tile] are left, that were
    groups[tile] before, as in `tiles.dot_tile_of_groups`; panels : uint8 (panels, groups, panel rows, g), or one word for every g bytes;
    half_norms : int16, with VNNI int32 (panels, panel rows); thresholds : as half_norms (…, 2, query tile); tile, panel, which : int64;
    masks : uint64 (query tile,).
    """
    signature = types.uint64(
        isa, queries, types.int64, groups, counts, panels, half_norms, types.int64, thresholds, types.int64, masks
    )
    marker = _marker(isa)
    n_queries, n_vectors = _SHAPES[marker][0], VECTORS
    element, lanes, multiply_bytes = _byte_products(isa)

    def codegen(context, builder, signature, arguments):
        accumulator = ir.VectorType(element, lanes)

        def pointer(position, element_type, index=None):
            return _pointer(context, builder, signature.args[position], arguments[position], element_type, index)

        tile, panel, which = arguments[2], arguments[7], arguments[9]
        norm_pointer, threshold_pointer = pointer(6, accumulator, panel), pointer(8, element, which)

        def threshold(line, j, count=lanes):
            return _splat(builder, builder.load(builder.gep(threshold_pointer, [I64(line * n_queries + j)])), count)

        norms = []
        for v in range(n_vectors):
            norms.append(builder.load(builder.gep(norm_pointer, [I64(v)])))
            norms[-1].align = 2
        sums = _tile_loop(
            builder,
            (n_queries, n_vectors),
            builder.load(pointer(4, I64, tile)),
            pointer(1, I32, tile),
            pointer(5, accumulator, panel),
            [[builder.sub(threshold(0, j), norm) for norm in norms] for j in range(n_queries)],
            lambda total, query, row: multiply_bytes(builder, marker, total, row, query),
            which=pointer(3, I32, tile),
        )
        tops = [threshold(1, j, lanes * n_vectors) for j in range(n_queries)]
        return _survivors(builder, sums, tops, pointer(10, I64), builder.icmp_signed)

    return signature, codegen
