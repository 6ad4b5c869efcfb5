"""What `som_byte_blocks` does to all units of a panel at once, in vector instructions.

Plain loops over the 8 to 64 units of a panel do not become vector instructions: LLVM cannot know that their arrays do
not overlap, and a test of that costs as much as the loop.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.ir.emit import F64, I32, I64, Operands, load, rounded_to_integers, splat, store
from somknn_kernels.ir.shapes import marker_of, panel_rows


class _Panel(Operands):
    """Vectors of one number for each unit of a panel, at places of the arrays that an intrinsic was given."""

    def __init__(self, context, builder, signature, arguments):
        super().__init__(context, builder, signature, arguments)
        self.lanes = panel_rows(marker_of(signature.args[0])())
        self.floats, self.integers = (ir.VectorType(kind, self.lanes) for kind in (F64, I32))

    def place(self, position, index, offset=None):
        """(pointer to, type of) the vector at array[index], `offset` numbers on; the array is argument `position`."""
        kind = self.floats if self.types[position].dtype == types.float64 else self.integers
        pointer = self.pointer(position, kind.element, index)
        return pointer if offset is None else self.builder.gep(pointer, [offset]), kind

    def load(self, *where):
        pointer, kind = self.place(*where)
        return load(self.builder, pointer, 4, kind)

    def store(self, value, *where):
        store(self.builder, value, self.place(*where)[0], 4)

    def float(self, vector):
        return self.builder.sitofp(vector, self.floats)

    def rounded(self, vector):
        return self.builder.fptosi(rounded_to_integers(self.builder, vector), self.integers)

    def all(self, scalar):
        return splat(self.builder, scalar, self.lanes)

    def constant(self, number):
        kind = self.floats if isinstance(number, float) else self.integers
        return ir.Constant(kind, [number] * self.lanes)

    def joined(self, high, high_unit, low, unit):
        """high·high_unit + low·unit, for int32 vectors and float64."""
        builder = self.builder
        product = builder.fmul(self.float(high), self.all(high_unit))
        return builder.fadd(product, builder.fmul(self.float(low), self.all(unit)))

    def halves(self, a, b, bits):
        """(high, low) of two int32 vectors: v = high·2^bits + low, low from -2^bits / 2 on.

        Each pair (a, b) of 16-bit halves shares an int32.
        """
        builder, mask, word = self.builder, self.constant(0xFFFF), self.constant(16)
        half, shift = self.all(builder.shl(I32(1), builder.sub(bits, I32(1)))), self.all(bits)
        high_a, high_b = (builder.ashr(builder.add(value, half), shift) for value in (a, b))
        low_a, low_b = (builder.sub(value, builder.shl(high, shift)) for value, high in ((a, high_a), (b, high_b)))
        pairs = ((high_a, high_b), (low_a, low_b))
        return [builder.or_(builder.and_(first, mask), builder.shl(second, word)) for first, second in pairs]


@intrinsic
def split_pair(typing_context, isa, shares, row, place, factor, high, low, group):
    """high[group], low[group] = the halves of shares[row] and shares[row + 1] times `factor`, rounded.

    For the units of the panel from `place` on.

    shares : float64 (rows, units); high, low : int32 (groups, panel rows).
    """
    index = types.int64
    signature = types.void(isa, shares, index, index, types.float64, high, low, index)

    def codegen(context, builder, signature, arguments):
        panel = _Panel(context, builder, signature, arguments)
        row, place, factor, group = arguments[2], arguments[3], panel.all(arguments[4]), arguments[7]
        a, b = (panel.rounded(builder.fmul(panel.load(1, r, place), factor)) for r in (row, builder.add(row, I64(1))))
        first, second = panel.halves(a, b, I32(16))
        panel.store(first, 5, group)
        panel.store(second, 6, group)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def move_pair(
    typing_context, isa, W, first, factors, place, high, low, j, unit, inverse, bits, squares, codes, more, group
):
    """w = factors·w + unit·(high·2^16 + low) in two columns. Adds w² to `squares`, writes halves of w·inverse, rounded.

    W : float64 (panels·columns, panel rows), its rows `first` and the next
    factors : float64 (units,), from `place` on
    high, low : int32 (columns of a tile, panel rows), rows j and the next
    unit, inverse : float64; bits : int32, of the low halves; squares : float64 (1, panel rows)
    codes, more : int32 (groups, panel rows), the high and the low halves, line `group`
    """
    index, number = types.int64, types.float64
    signature = types.void(
        isa, W, index, factors, index, high, low, index, number, number, types.int32, squares, codes, more, index
    )

    def codegen(context, builder, signature, arguments):
        panel = _Panel(context, builder, signature, arguments)
        first, place, j, unit, bits, group = (arguments[i] for i in (2, 4, 7, 8, 10, 14))
        inverse, high_unit = panel.all(arguments[9]), builder.fmul(unit, F64(65536.0))
        left = panel.load(3, place)
        square = panel.load(11, I64(0))
        integers = []
        for step in (0, 1):
            row, column = builder.add(first, I64(step)), builder.add(j, I64(step))
            moved = panel.joined(panel.load(5, column), high_unit, panel.load(6, column), unit)
            value = builder.fadd(builder.fmul(left, panel.load(1, row)), moved)
            panel.store(value, 1, row)
            square = builder.fadd(square, builder.fmul(value, value))
            integers.append(panel.rounded(builder.fmul(value, inverse)))
        panel.store(square, 11, I64(0))
        codes, more = panel.halves(*integers, bits)
        panel.store(codes, 12, group)
        panel.store(more, 13, group)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_products(typing_context, isa, high, low, j, quantum, high_quantum, dots, row, place, further):
    """dots[row] = high_quantum·high[j] + quantum·low[j], added to what is there where `further`.

    For the units of the panel from `place` on.

    high, low : int32 (query tile, panel rows); dots : float64 (rows, units).
    """
    index = types.int64
    number = types.float64
    signature = types.void(isa, high, low, index, number, number, dots, index, index, types.boolean)

    def codegen(context, builder, signature, arguments):
        panel = _Panel(context, builder, signature, arguments)
        _, _, _, j, quantum, high_quantum, _, row, place, further = arguments
        product = panel.joined(panel.load(1, j), high_quantum, panel.load(2, j), quantum)
        before = builder.select(further, panel.load(6, row, place), panel.constant(0.0))
        panel.store(builder.fadd(before, product), 6, row, place)
        return context.get_dummy_value()

    return signature, codegen
