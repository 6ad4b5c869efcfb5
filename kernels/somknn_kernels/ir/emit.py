"""What kernels are written in below Numba: vectors, loops, products and addresses in LLVM's IR.

Every function takes the builder of the function being compiled and appends instructions to it.
"""

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils

from somknn_kernels.isa import Portable, Vnni512, Vnni512Emulated

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
F32, F64 = ir.FloatType(), ir.DoubleType()


def call(builder, name, result, *arguments):
    """Call a function of LLVM or of the C library. It is declared in the module if it is not there yet."""
    module, types = builder.module, [value.type for value in arguments]
    function = module.globals.get(name) or ir.Function(module, ir.FunctionType(result, types), name)
    return builder.call(function, arguments)


def splat(builder, scalar, lanes):
    """A vector that holds the scalar in each of its lanes."""
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def joined_lanes(builder, a, b):
    """The lanes of a, then those of b."""
    mask = ir.Constant(ir.VectorType(I32, 2 * a.type.count), list(range(2 * a.type.count)))
    return builder.shuffle_vector(a, b, mask)


def every_lane(builder, vector, start, step):
    """Lanes start, start + step, … of a vector."""
    count = vector.type.count // step
    mask = ir.Constant(ir.VectorType(I32, count), [start + step * i for i in range(count)])
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def signed_minimum(builder, a, b):
    """The smaller value, lane by lane, signed."""
    return builder.select(builder.icmp_signed("<", a, b), a, b)


def unsigned_minimum(builder, a, b):
    """The smaller value, lane by lane, unsigned."""
    return builder.select(builder.icmp_unsigned("<", a, b), a, b)


def unsigned_maximum(builder, a, b):
    """The larger value, lane by lane, unsigned."""
    return builder.select(builder.icmp_unsigned(">", a, b), a, b)


def saturated_sum(builder, a, b):
    """a + b, unsigned, or the largest number if the sum is larger than that."""
    return call(builder, f"llvm.uadd.sat.v{a.type.count}i{a.type.element.width}", a.type, a, b)


def joined_vectors(builder, vectors):
    """The lanes of all vectors, one vector after the other. Their number is a power of two."""
    while len(vectors) > 1:
        vectors = [joined_lanes(builder, a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


def widened_products(builder, sums, a, b, extend_a, extend_b):
    """sums[i] + Σ a[g·i + e]·b[g·i + e] over e below g. Uses no machine-specific instruction.

    The lanes of a and b are widened to the type of the sums first.
    """
    group = a.type.count // sums.type.count
    for start in range(group):
        wide_a = extend_a(every_lane(builder, a, start, group), sums.type)
        product = builder.mul(wide_a, extend_b(every_lane(builder, b, start, group), sums.type))
        sums = builder.add(sums, product)
    return sums


def pair_products_int16(builder, marker, sums, a, b):
    """sums[i] + a[2i]·b[2i] + a[2i+1]·b[2i+1] for int16 vectors, int32 lanes: `vpmaddwd`."""
    lanes = sums.type.count
    shorts = ir.VectorType(I16, 2 * lanes)
    a, b = builder.bitcast(a, shorts), builder.bitcast(b, shorts)
    if marker is not Portable and lanes == 8:
        return builder.add(sums, call(builder, "llvm.x86.avx2.pmadd.wd", sums.type, a, b))
    if marker is Vnni512:
        return builder.add(sums, call(builder, "llvm.x86.avx512.pmaddw.d.512", sums.type, a, b))
    return widened_products(builder, sums, a, b, builder.sext, builder.sext)


def pair_products_bytes(builder, marker, sums, unsigned, signed):
    """sums[i] + the two products of bytes 2i and 2i+1, modulo 2^16: `vpmaddubsw`.

    The caller makes sure that no pair of products passes 2^15.
    """
    lanes = sums.type.count
    octets = ir.VectorType(I8, 2 * lanes)
    unsigned, signed = builder.bitcast(unsigned, octets), builder.bitcast(signed, octets)
    if marker is not Portable and lanes == 16:
        return builder.add(sums, call(builder, "llvm.x86.avx2.pmadd.ub.sw", sums.type, unsigned, signed))
    return widened_products(builder, sums, unsigned, signed, builder.zext, builder.sext)


def quad_products_bytes(builder, marker, sums, unsigned, signed):
    """sums[i] + the four products of bytes 4i … 4i+3. One operand is unsigned, the other signed: `vpdpbusd`."""
    lanes = sums.type.count
    octets = ir.VectorType(I8, 4 * lanes)
    if marker is Vnni512Emulated:
        unsigned, signed = builder.bitcast(unsigned, octets), builder.bitcast(signed, octets)
        return widened_products(builder, sums, unsigned, signed, builder.zext, builder.sext)
    # LLVM 22 changed the operands of this intrinsic from int32 to int8 vectors.
    operand = octets if llvmlite.binding.llvm_version_info[0] >= 22 else sums.type
    unsigned, signed = builder.bitcast(unsigned, operand), builder.bitcast(signed, operand)
    return call(builder, f"llvm.x86.avx512.vpdpbusd.{lanes * 32}", sums.type, sums, unsigned, signed)


def load(builder, pointer, align, kind=None):
    """What lies at `pointer`, whose address is a multiple of `align` bytes.

    kind : the type to read, if it is not the pointer's own.
    """
    if kind is not None:
        pointer = builder.bitcast(pointer, kind.as_pointer())
    value = builder.load(pointer)
    value.align = align
    return value


def load_vectors(builder, pointer, count, align):
    """`count` vectors that lie side by side."""
    return [load(builder, builder.gep(pointer, [I64(v)]), align) for v in range(count)]


def store(builder, value, pointer, align):
    """Write `value` to where `pointer` points, whatever its type."""
    if pointer.type.pointee != value.type:
        pointer = builder.bitcast(pointer, value.type.as_pointer())
    builder.store(value, pointer).align = align


def store_masks(builder, masks, pointer):
    """Write masks[j] to uint64 `pointer`[j]; returns all masks or-ed together.

    Each mask is an integer of as many bits as there are rows.
    """
    combined = I64(0)
    for j, bits in enumerate(masks):
        mask = bits if bits.type.width == 64 else builder.zext(bits, I64)
        builder.store(mask, builder.gep(pointer, [I64(j)]))
        combined = builder.or_(combined, mask)
    return combined


def pairwise_sums(builder, vector, count=1):
    """Sums of neighbouring lanes, then of neighbouring sums, until `count` are left.

    Returns a vector, or a number for count = 1.
    """
    add = builder.fadd if isinstance(vector.type.element, ir.DoubleType) else builder.add
    while vector.type.count > count:
        vector = add(every_lane(builder, vector, 0, 2), every_lane(builder, vector, 1, 2))
    return builder.extract_element(vector, I32(0)) if count == 1 else vector


def rounded_to_integers(builder, vector):
    """A vector of float64 rounded to whole numbers, halves to even; still float64."""
    return call(builder, f"llvm.rint.v{vector.type.count}f64", vector.type, vector)


def counted_loop(builder, start, stop, step, carried, body):
    """for i in range(start, stop, step): carried = body(i, carried); returns the final values (stop >= start)."""
    before = builder.block
    head, inside, done = (builder.append_basic_block(name) for name in ("head", "inside", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(I64)
    index.add_incoming(start, before)
    values = [builder.phi(value.type) for value in carried]
    for phi, value in zip(values, carried, strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", index, stop), inside, done)
    builder.position_at_end(inside)
    results = body(index, values)
    following = builder.add(index, I64(step))
    index.add_incoming(following, builder.block)
    for phi, value in zip(values, results, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(done)
    return values


def last_tested_loop(builder, start, stop, step, carried, body):
    """As `counted_loop`, but for start < stop: the condition is tested after each turn.

    With the test before each turn, sums are alive twice and no longer fit the registers.
    """
    before = builder.block
    loop, done = (builder.append_basic_block(name) for name in ("loop", "loop_done"))
    builder.branch(loop)
    builder.position_at_end(loop)
    index = builder.phi(I64)
    index.add_incoming(start, before)
    values = [builder.phi(value.type) for value in carried]
    results = body(index, values)
    following = builder.add(index, I64(step))
    index.add_incoming(following, builder.block)
    for phi, first, result in zip(values, carried, results, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(result, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, stop), loop, done)
    builder.position_at_end(done)
    return results


def tile_loop(builder, groups, queries, panel, initial, multiply, unroll=1, which=None, first=None):
    """Emit the loop over the groups [first, groups); returns the sums [query][vector].

    `queries` points to elements of 4 bytes (or 2) that are broadcast, `panel` to whole vectors.
    `initial[query][vector]` are the starting values. `multiply(sum, query vector, panel vector)` adds the products of
    one group. There is at least one group, and the number of groups is a multiple of `unroll`.
    `which` points to int32: the panel's group for each group of the queries. Without it, the numbers are the same.
    """
    n_queries, n_vectors = len(initial), len(initial[0])

    def body(group, sums):
        results = [sums[j * n_vectors : (j + 1) * n_vectors] for j in range(n_queries)]
        for step in range(unroll):
            here = builder.add(group, I64(step)) if step else group
            there = here if which is None else builder.zext(builder.load(builder.gep(which, [here])), I64)
            vector_index = builder.mul(there, I64(n_vectors))
            rows = [load(builder, builder.gep(panel, [builder.add(vector_index, I64(v))]), 4) for v in range(n_vectors)]
            query_index = builder.mul(here, I64(n_queries))
            following = []
            for j in range(n_queries):
                unit = load(builder, builder.gep(queries, [builder.add(query_index, I64(j))]), 1)
                lanes = rows[0].type.count
                if unit.type != F32:
                    lanes = lanes * rows[0].type.element.width // unit.type.width
                query = splat(builder, unit, lanes)
                following.append([multiply(results[j][v], query, rows[v]) for v in range(n_vectors)])
            results = following
        return [total for row in results for total in row]

    start = I64(0) if first is None else first
    sums = last_tested_loop(builder, start, groups, unroll, [total for row in initial for total in row], body)
    return [sums[j * n_vectors : (j + 1) * n_vectors] for j in range(n_queries)]


class Operands:
    """The arguments of an intrinsic, while the code of a call is emitted.

        given = Operands(context, builder, signature, arguments)

    given[i] is argument i, counted from 0. `pointer` and `length` are those of array i.
    """

    def __init__(self, context, builder, signature, arguments):
        self.context, self.builder, self.types, self.arguments = context, builder, signature.args, arguments

    def __getitem__(self, position):
        return self.arguments[position]

    def _array(self, position):
        return self.context.make_array(self.types[position])(self.context, self.builder, self.arguments[position])

    def length(self, position, axis):
        """The length of an array along one axis, int64."""
        shape, dimensions = self._array(position).shape, self.types[position].ndim
        return cgutils.unpack_tuple(self.builder, shape, dimensions)[axis]

    def pointer(self, position, element_type, index=None):
        """Pointer to the data of an array, or to item `index` along its first axis, seen as elements of another type.

        Kernels pass whole arrays and an index. A slice would be a new array object: counting references to it,
        atomically and in every thread, costs as much as a tile of short vectors (measured).
        Raises TypeError, when the kernel is compiled, for an array whose type does not say that it is C-contiguous.
        """
        array_type = self.types[position]
        if array_type.layout != "C":
            raise TypeError(f"a tile was given {array_type}, but reads C-contiguous arrays only")
        array = self._array(position)
        data = array.data
        if index is not None:
            for length in cgutils.unpack_tuple(self.builder, array.shape, array_type.ndim)[1:]:
                index = self.builder.mul(index, length)
            data = self.builder.gep(data, [index])
        return self.builder.bitcast(data, element_type.as_pointer())
