"""What `som_blocks` does to all units after each row, in vector instructions.

This is the part of the classical rule that no other thread can share. As plain loops it took two to three times as
long: LLVM cannot know that the arrays do not overlap, and may not change the order of sums. Rows of all arrays are
padded to a multiple of LANES units.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from somknn_kernels.ir.emit import F64, I64, Operands, call, last_tested_loop, load, splat, store

LANES = 16  # units at once; a learning row takes a quarter of them
STEP = 8  # rows after which the later rows of a block learn what has become of the units


class _Rows(Operands):
    """Loads and stores of `lanes` float64 at row, place of the arrays that an intrinsic was given."""

    def __init__(self, context, builder, signature, arguments, lanes):
        super().__init__(context, builder, signature, arguments)
        self.lanes = lanes
        self.vector = ir.VectorType(F64, lanes)

    def base(self, position, row=None):
        return self.pointer(position, F64, row)

    def load(self, base, place):
        return load(self.builder, self.builder.gep(base, [place]), 8, self.vector)

    def store(self, value, base, place):
        store(self.builder, value, self.builder.gep(base, [place]), 8)

    def scalar(self, base, place):
        return self.builder.load(self.builder.gep(base, [place]))

    def all(self, scalar):
        return splat(self.builder, scalar, self.lanes)

    def constant(self, number):
        return ir.Constant(self.vector, [number] * self.lanes)

    def multiply_add(self, a, b, c):
        """a·b + c, in one rounding where the hardware has it."""
        return call(self.builder, f"llvm.fmuladd.v{self.lanes}f64", self.vector, a, b, c)

    def chosen(self, comparison, a, b):
        return self.builder.select(self.builder.fcmp_ordered(comparison, a, b), a, b)


def _loop(builder, start, stop, step):
    return cgutils.for_range_slice(builder, start, stop, I64(step), intp=I64)


@intrinsic
def least_two(typing_context, halves, dots, row, found):
    """The least and second least halves - dots[row] in each lane, and the largest of halves: found[0] to found[2].

    halves : float64 (units,); dots : float64 (rows, units); found : float64 (3, LANES).
    """
    signature = types.void(halves, dots, types.int64, found)

    def codegen(context, builder, signature, arguments):
        rows = _Rows(context, builder, signature, arguments, LANES)
        base_half, base_dot, base_found = rows.base(0), rows.base(1, arguments[2]), rows.base(3)
        start = [rows.constant(float("inf")), rows.constant(float("inf")), rows.constant(0.0)]

        def body(place, results):
            least, second, longest = results
            half = rows.load(base_half, place)
            score = builder.fsub(half, rows.load(base_dot, place))
            larger = rows.chosen(">", score, least)
            return [rows.chosen("<", score, least), rows.chosen("<", larger, second), rows.chosen(">", half, longest)]

        results = last_tested_loop(builder, I64(0), rows.length(0, 0), LANES, start, body)
        for i, result in enumerate(results):
            rows.store(result, base_found, I64(i * LANES))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def near(typing_context, halves, dots, row, place, upper_bound):
    """Bits, uint64, of the LANES units from `place` on whose halves - dots[row] is not above `upper_bound`, float64.

    halves : float64 (units,); dots : float64 (rows, units).
    """
    signature = types.uint64(halves, dots, types.int64, types.int64, types.float64)

    def codegen(context, builder, signature, arguments):
        rows = _Rows(context, builder, signature, arguments, LANES)
        place = arguments[3]
        score = builder.fsub(rows.load(rows.base(0), place), rows.load(rows.base(1, arguments[2]), place))
        bits = builder.fcmp_unordered("<=", score, rows.all(arguments[4]))
        return builder.zext(builder.bitcast(bits, ir.IntType(LANES)), I64)

    return signature, codegen


@intrinsic
def draw(typing_context, pulls, row, stop, gram, halves, dots):
    """What row `row` does to all units: to half their squared norms, and to their products with the rows before `stop`.

    pulls : float64 (rows, units); gram : float64 (rows, rows); halves : float64 (units,); dots : float64 (rows, units).
    """
    index = types.int64
    signature = types.void(pulls, index, index, gram, halves, dots)

    def codegen(context, builder, signature, arguments):
        rows = _Rows(context, builder, signature, arguments, LANES)
        row, stop = arguments[1], arguments[2]
        base_pull, base_gram, base_half = rows.base(0, row), rows.base(3, row), rows.base(4)
        base_dot, base_dots, length = rows.base(5, row), rows.base(5), rows.length(5, 1)
        half_square = rows.all(builder.fmul(rows.scalar(base_gram, row), F64(0.5)))
        with _loop(builder, I64(0), rows.length(4, 0), LANES) as (place, _):
            pull = rows.load(base_pull, place)
            rest = builder.fsub(rows.constant(1.0), pull)
            old = builder.fadd(
                builder.fmul(rest, rows.load(base_half, place)), builder.fmul(pull, rows.load(base_dot, place))
            )
            drawn = builder.fmul(builder.fmul(pull, pull), half_square)
            rows.store(builder.fadd(builder.fmul(rest, old), drawn), base_half, place)
            with _loop(builder, builder.add(row, I64(1)), stop, 1) as (later, _):
                at = builder.add(builder.mul(later, length), place)
                dot = rows.load(base_dots, at)
                product = rows.all(rows.scalar(base_gram, later))
                rows.store(rows.multiply_add(pull, builder.fsub(product, dot), dot), base_dots, at)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def collect(typing_context, pulls, first, stop, shares, left, step):
    """What is left of pulls[s] after the later rows of [first, stop), in shares[s], and of the units, in left[step].

    pulls, shares : float64 (rows, units); left : float64 (steps, units).
    """
    index = types.int64
    signature = types.void(pulls, index, index, shares, left, index)

    def codegen(context, builder, signature, arguments):
        rows = _Rows(context, builder, signature, arguments, LANES)
        first, stop = arguments[1], arguments[2]
        base_pulls, base_shares, base_left = rows.base(0), rows.base(3), rows.base(4, arguments[5])
        length, last = rows.length(0, 1), builder.sub(stop, I64(1))
        entry = builder.block
        outer, loop, done = (builder.append_basic_block(name) for name in ("collect", "collect_row", "collect_done"))
        end = builder.append_basic_block("collect_end")
        builder.branch(outer)
        builder.position_at_end(outer)
        place = builder.phi(I64)
        place.add_incoming(I64(0), entry)
        builder.branch(loop)
        builder.position_at_end(loop)
        row, rest = builder.phi(I64), builder.phi(rows.vector)
        row.add_incoming(last, outer)
        rest.add_incoming(rows.constant(1.0), outer)
        at = builder.add(builder.mul(row, length), place)
        pull = rows.load(base_pulls, at)
        rows.store(builder.fmul(pull, rest), base_shares, at)
        following = builder.fmul(rest, builder.fsub(rows.constant(1.0), pull))
        before = builder.sub(row, I64(1))
        row.add_incoming(before, loop)
        rest.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed(">=", before, first), loop, done)
        builder.position_at_end(done)
        rows.store(following, base_left, place)
        next_place = builder.add(place, I64(LANES))
        place.add_incoming(next_place, done)
        builder.cbranch(builder.icmp_signed("<", next_place, length), outer, end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def learn(typing_context, shares, left, step, first, gram, stop, dots):
    """dots[r] = left[step]·dots[r] + Σ gram[s, r]·shares[s] over the STEP rows s from `first` on.

    For the rows r after those, before `stop`.

    shares, dots : float64 (rows, units); left : float64 (steps, units); gram : float64 (rows, rows).
    """
    index = types.int64
    signature = types.void(shares, left, index, index, gram, index, dots)

    def codegen(context, builder, signature, arguments):
        rows = _Rows(context, builder, signature, arguments, LANES // 4)
        step, first, stop = arguments[2], arguments[3], arguments[5]
        base_shares, base_left = rows.base(0, first), rows.base(1, step)
        base_gram, base_dots, length = rows.base(4, first), rows.base(6), rows.length(6, 1)
        gram_length = rows.length(4, 1)
        gram_rows = [builder.gep(base_gram, [builder.mul(gram_length, I64(s))]) for s in range(STEP)]
        with _loop(builder, I64(0), length, rows.lanes) as (place, _):
            rest = rows.load(base_left, place)
            drawn = [rows.load(base_shares, builder.add(builder.mul(length, I64(s)), place)) for s in range(STEP)]
            with _loop(builder, builder.add(first, I64(STEP)), stop, 1) as (row, _):
                at = builder.add(builder.mul(row, length), place)
                # Two sums, so that an addition need not wait for the one before.
                sums = [builder.fmul(rest, rows.load(base_dots, at)), None]
                for s in range(STEP):
                    product = rows.all(rows.scalar(gram_rows[s], row))
                    total = sums[s % 2]
                    sums[s % 2] = (
                        builder.fmul(product, drawn[s])
                        if total is None
                        else rows.multiply_add(product, drawn[s], total)
                    )
                rows.store(builder.fadd(*sums), base_dots, at)
        return context.get_dummy_value()

    return signature, codegen
