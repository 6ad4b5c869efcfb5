"""The tiles of the tree: one query against the boxes of a node, and against the rows of a leaf.

Eight children of a node, or eight rows, lie side by side, each in a lane of its own. All distances are summed in the
order of `exact/distances.py`: eight running sums, their fixed tree, then the last d mod 8 columns one by one.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.ir.emit import (
    F64,
    I1,
    I8,
    I32,
    I64,
    Operands,
    counted_loop,
    every_lane,
    last_tested_loop,
    load,
    splat,
    store,
)

FAN = 8  # children of a node
LEAF_ROWS = 32  # rows of a leaf
RECORD = 4  # numbers of a record are a multiple of this
_VECTORS = LEAF_ROWS // FAN
_LANES = ir.VectorType(F64, FAN)
_ZERO = ir.Constant(_LANES, None)


def _larger(builder, a, b):
    """The larger value, lane by lane; b where a is NaN: one instruction."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _mask(builder, bits):
    """A vector of 8 bits as a uint64."""
    return builder.zext(builder.bitcast(bits, I8), I64)


def _bits(builder, mask):
    """The lowest 8 bits of a uint64 as a vector."""
    return builder.bitcast(builder.trunc(mask, I8), ir.VectorType(I1, FAN))


def _least(builder, values):
    """The least of the lanes, none of them NaN."""
    while values.type.count > 1:
        a, b = every_lane(builder, values, 0, 2), every_lane(builder, values, 1, 2)
        values = builder.select(builder.fcmp_ordered("<", a, b), a, b)
    return builder.extract_element(values, I32(0))


def _nearest_lane(builder, values, some):
    """The lane of the least value among `some` (the first of equal ones), and the value; infinite if there is none."""
    infinite = ir.Constant(_LANES, [float("inf")] * FAN)
    value = _least(builder, builder.select(some, values, infinite))
    first = builder.and_(some, builder.fcmp_ordered("==", values, splat(builder, value, FAN)))
    return builder.cttz(_mask(builder, first), ir.Constant(I1, 0)), value


def _sums(builder, d, values, differences, count):
    """`count` vectors of sums of squared differences over d columns, in the documented order of summation.

    values : pointer to the d numbers of the query; differences(column, broadcast query) gives `count` vectors
    """

    def squares(column):
        query = splat(builder, load(builder, builder.gep(values, [column]), 8), FAN)
        return [builder.fmul(x, x) for x in differences(column, query)]

    def added(column, totals):
        return [builder.fadd(total, square) for total, square in zip(totals, squares(column), strict=True)]

    whole = builder.and_(d, I64(-8))

    def from_eight_sums(_, totals):
        """Runs once, or never: with fewer than 8 columns it would only delay the answer."""
        result = []
        for vector in range(count):

            def eight(first, sums, vector=vector):
                following = []
                for step, total in enumerate(sums):
                    column = builder.add(first, I64(step))
                    query = splat(builder, load(builder, builder.gep(values, [column]), 8), FAN)
                    difference = differences(column, query, vector)
                    following.append(builder.fadd(total, builder.fmul(difference, difference)))
                return following

            s = counted_loop(builder, I64(0), whole, 8, [_ZERO] * 8, eight)
            even = builder.fadd(builder.fadd(s[0], s[4]), builder.fadd(s[2], s[6]))
            odd = builder.fadd(builder.fadd(s[1], s[5]), builder.fadd(s[3], s[7]))
            result.append(builder.fadd(even, odd))
        return result

    times = builder.zext(builder.icmp_signed(">", whole, I64(0)), I64)
    totals = counted_loop(builder, I64(0), times, 1, [_ZERO] * count, from_eight_sums)
    return counted_loop(builder, whole, d, 1, totals, added)


def _copy_records(given, pairs):
    """Copy items along the first axis: pairs of (array, index) of the source and of the targets."""
    part, builder = ir.VectorType(F64, RECORD), given.builder
    source, *targets = [given.pointer(array, part, given[index]) for array, index in pairs]

    def body(index, _):
        value = load(builder, builder.gep(source, [index]), 8)
        for target in targets:
            store(builder, value, builder.gep(target, [index]), 8)
        return []

    last_tested_loop(builder, I64(0), builder.sdiv(given.length(0, 1), I64(RECORD)), 1, [], body)
    return given.context.get_dummy_value()


@intrinsic
def copy_record(typing_context, source, place, target, to):
    """target[to] = source[place]; both float64 (n, width), width a multiple of RECORD."""
    signature = types.void(source, types.int64, target, types.int64)

    def codegen(context, builder, signature, arguments):
        return _copy_records(Operands(context, builder, signature, arguments), [(0, 1), (2, 3)])

    return signature, codegen


@intrinsic
def deal_record(typing_context, records, place, below, scratch, between, above):
    """records[below] = scratch[between] = scratch[above] = records[place]; arrays as in `copy_record`."""
    signature = types.void(records, types.int64, types.int64, scratch, types.int64, types.int64)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        return _copy_records(given, [(0, 1), (0, 2), (3, 4), (3, 5)])

    return signature, codegen


@intrinsic
def box_bounds(typing_context, boxes, node, queries, query, bounds, level):
    """bounds[level] = the least possible squared distances of queries[query] to rows in the boxes of a node's children.

    boxes : float64 (nodes, d, 2, FAN), least and largest values; queries : float64 (m, d); bounds : float64
    (levels, FAN)

    A bound is at most the squared distance of every row in the box, as `exact/distances.py` computes it, because every
    step rounds monotonously. Say low <= x <= high in each column. Then fl(low - q) <= fl(x - q) and fl(q - high) <=
    fl(q - x), so the gap is at most |fl(x - q)|. Squares, and sums in the same order, of numbers that are not larger
    are not larger, also where they overflow to infinity. NaN among the values of a query gives gaps of 0.
    """
    signature = types.void(boxes, types.int64, queries, types.int64, bounds, types.int64)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        values, d = given.pointer(2, F64, given[3]), given.length(2, 1)
        box, target = given.pointer(0, _LANES, given[1]), given.pointer(4, _LANES)

        def gaps(column, query, _=0):
            at = builder.mul(column, I64(2))
            low = load(builder, builder.gep(box, [at]), 8)
            high = load(builder, builder.gep(box, [builder.add(at, I64(1))]), 8)
            gap = _larger(builder, builder.fsub(low, query), builder.fsub(query, high))
            return _larger(builder, gap, _ZERO)

        (total,) = _sums(builder, d, values, lambda *at: gaps(*at) if len(at) > 2 else [gaps(*at)], 1)
        store(builder, total, builder.gep(target, [given[5]]), 8)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def nearest_child(typing_context, bounds, level, among, worst):
    """Those of the children `among` (uint64, a bit for each) whose bound is at most `worst`, and the nearest of them.

    bounds : float64 (levels, FAN). Of equally near children the first; what it is if there is none has no meaning.
    """
    signature = types.UniTuple(types.uint64, 2)(bounds, types.int64, types.uint64, types.float64)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        values = load(builder, builder.gep(given.pointer(0, _LANES), [given[1]]), 8)
        limit = splat(builder, given[3], FAN)
        near = builder.and_(_bits(builder, given[2]), builder.fcmp_ordered("<=", values, limit))
        lane, _ = _nearest_lane(builder, values, near)
        return context.make_tuple(builder, signature.return_type, [_mask(builder, near), lane])

    return signature, codegen


@intrinsic
def path_child(typing_context, bounds, level, among, seconds, query):
    """The nearest of the children `among` (uint64, a bit for each, at least one); the first of equally near ones.

    bounds : float64 (levels, FAN). seconds[query, level] (float64) becomes the least bound of the other children.
    """
    signature = types.int64(bounds, types.int64, types.uint64, seconds, types.int64)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        values = load(builder, builder.gep(given.pointer(0, _LANES), [given[1]]), 8)
        lane, _ = _nearest_lane(builder, values, _bits(builder, given[2]))
        others = builder.and_(given[2], builder.not_(builder.shl(I64(1), lane)))
        _, second = _nearest_lane(builder, values, _bits(builder, others))
        target = builder.gep(given.pointer(3, F64, given[4]), [given[1]])
        store(builder, second, target, 8)
        return lane

    return signature, codegen


@intrinsic
def leaf_distances(typing_context, panels, leaf, queries, query, distances):
    """distances[r] = squared distance of queries[query] and row r of a leaf.

    panels : float64 (leaves, d, LEAF_ROWS), NaN where there is no row; queries : float64 (m, d); distances : float64
    (LEAF_ROWS,)
    """
    signature = types.void(panels, types.int64, queries, types.int64, distances)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        values, d = given.pointer(2, F64, given[3]), given.length(2, 1)
        panel, target = given.pointer(0, _LANES, given[1]), given.pointer(4, _LANES)

        def difference(column, query, vector):
            at = builder.add(builder.mul(column, I64(_VECTORS)), I64(vector))
            return builder.fsub(load(builder, builder.gep(panel, [at]), 8), query)

        def differences(column, query, vector=None):
            if vector is not None:
                return difference(column, query, vector)
            return [difference(column, query, v) for v in range(_VECTORS)]

        for v, total in enumerate(_sums(builder, d, values, differences, _VECTORS)):
            store(builder, total, builder.gep(target, [I64(v)]), 8)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def rows_within(typing_context, distances, worst):
    """Which of distances (float64 (LEAF_ROWS,)) are at most `worst`: a uint64 with a bit for each."""
    signature = types.uint64(distances, types.float64)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        pointer, limit, found = given.pointer(0, _LANES), splat(builder, given[1], FAN), I64(0)
        for v in range(_VECTORS):
            values = load(builder, builder.gep(pointer, [I64(v)]), 8)
            near = _mask(builder, builder.fcmp_ordered("<=", values, limit))
            found = builder.or_(found, builder.shl(near, I64(FAN * v)))
        return found

    return signature, codegen


@intrinsic
def ranks_below(typing_context, ranks, k):
    """Which of ranks (int64 (LEAF_ROWS,)) are below k: a uint64 with a bit for each."""
    signature = types.uint64(ranks, types.int64)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        pointer, limit, found = given.pointer(0, ir.VectorType(I64, FAN)), splat(builder, given[1], FAN), I64(0)
        for v in range(_VECTORS):
            values = load(builder, builder.gep(pointer, [I64(v)]), 8)
            below = _mask(builder, builder.icmp_signed("<", values, limit))
            found = builder.or_(found, builder.shl(below, I64(FAN * v)))
        return found

    return signature, codegen


@intrinsic
def leaf_ranks(typing_context, distances, ranks):
    """ranks[r] = how many of the distances (float64 (LEAF_ROWS,)) come before number r, by (distance, r).

    ranks : int64 (LEAF_ROWS,). NaN comes before none, and has the rank 0.
    """
    signature = types.void(distances, ranks)

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        numbers, target = given.pointer(0, F64), given.pointer(1, ir.VectorType(I64, FAN))
        vectors = [load(builder, builder.gep(given.pointer(0, _LANES), [I64(v)]), 8) for v in range(_VECTORS)]
        whole = ir.VectorType(I64, FAN)

        lanes = ir.Constant(whole, list(range(FAN)))
        # The number of turns is read from the array: LLVM would unroll a known number, and move most sums to memory.
        turns = builder.sdiv(given.length(0, 0), I64(_VECTORS))
        sums = [ir.Constant(whole, None)] * _VECTORS
        for block in range(_VECTORS):

            def body(lane, totals, block=block):
                at = builder.add(lane, I64(FAN * block))
                other = splat(builder, load(builder, builder.gep(numbers, [at]), 8), FAN)
                following = []
                for v, (vector, total) in enumerate(zip(vectors, totals, strict=True)):
                    first = builder.fcmp_ordered("<=" if v > block else "<", other, vector)
                    if v == block:
                        later = builder.icmp_signed("<", splat(builder, lane, FAN), lanes)
                        first = builder.or_(first, builder.and_(later, builder.fcmp_ordered("==", other, vector)))
                    following.append(builder.sub(total, builder.sext(first, whole)))
                return following

            sums = counted_loop(builder, I64(0), turns, 1, sums, body)
        for v, total in enumerate(sums):
            store(builder, total, builder.gep(target, [I64(v)]), 8)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def least_distance(typing_context, distances):
    """The least of distances (float64 (LEAF_ROWS,)); infinite if all are NaN."""
    signature = types.float64(distances)

    def codegen(context, builder, signature, arguments):
        pointer = Operands(context, builder, signature, arguments).pointer(0, _LANES)
        least = ir.Constant(_LANES, [float("inf")] * FAN)
        for v in range(_VECTORS):
            values = load(builder, builder.gep(pointer, [I64(v)]), 8)
            least = builder.select(builder.fcmp_ordered("<", values, least), values, least)
        return _least(builder, least)

    return signature, codegen


@intrinsic
def insert_pair(typing_context, distances, rows, vector, distance, row):
    """Eight places of inserting a pair into a list that is ascending by (distance, row); the last pair drops out.

    distances : float64 (length,), rows : int64 (length,), length a multiple of 8; vector : int64, the places from
    8·vector on, at least 1. Begin with the last ones. Without a branch: each place takes the pair before it, the new
    one, or keeps its own. Returns a uint64 with a bit for each place that the new pair precedes. If that is all of
    them, go on with vector - 1.
    """
    signature = types.uint64(distances, rows, types.int64, types.float64, types.int64)
    shifted = ir.Constant(ir.VectorType(I32, FAN), list(range(FAN - 1, 2 * FAN - 1)))

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        lists = given.pointer(0, _LANES), given.pointer(1, ir.VectorType(I64, FAN))
        pair = [splat(builder, given[i], FAN) for i in (3, 4)]

        def precedes(values):
            nearer = builder.fcmp_ordered("<", pair[0], values[0])
            equal = builder.fcmp_ordered("==", pair[0], values[0])
            return builder.or_(nearer, builder.and_(equal, builder.icmp_signed("<", pair[1], values[1])))

        def at(index):
            return [load(builder, builder.gep(values, [index]), 8) for values in lists]

        own, before = at(given[2]), at(builder.sub(given[2], I64(1)))
        moved = [builder.shuffle_vector(a, b, shifted) for a, b in zip(before, own, strict=True)]
        first, second = precedes(own), precedes(moved)
        for values, new, old, shift in zip(lists, pair, own, moved, strict=True):
            value = builder.select(first, builder.select(second, shift, new), old)
            store(builder, value, builder.gep(values, [given[2]]), 8)
        return _mask(builder, first)

    return signature, codegen
