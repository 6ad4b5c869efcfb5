"""float16 in kernels: every bit pattern, and distances and packed rows as of the same numbers in float64."""

import numpy as np
import pytest
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from reference.search import squared_distance_float64
from somknn_kernels import isa as isa_module
from somknn_kernels.exact.reranking import rerank
from somknn_kernels.exact.selection import NO_INDEX
from somknn_kernels.exact.unit_rows import unit_rows
from somknn_kernels.ir.emit import F64, I16, Operands, load, store
from somknn_kernels.ir.half_floats import HALF, doubles_of_halves, for_kernels, number
from somknn_kernels.policy import kernel

EVERY = np.arange(2**16, dtype=np.uint16).view(np.float16)


@kernel
def numbers(rows, out):
    for i in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            out[i, c] = number(rows, i, c)


@intrinsic
def eight_by_integers(typing_context, bits, out):
    """out = the numbers of eight float16, converted without F16C."""

    def codegen(context, builder, signature, arguments):
        given = Operands(context, builder, signature, arguments)
        halves = load(builder, given.pointer(0, ir.VectorType(I16, 8)), 1)
        store(builder, doubles_of_halves(builder, halves, 8, False), given.pointer(1, ir.VectorType(F64, 8)), 8)
        return context.get_dummy_value()

    return types.void(bits, out), codegen


@kernel
def numbers_by_integers(rows, out):
    bits, eight = np.empty(8, np.uint16), np.empty(8)
    for i in range(rows.shape[0]):
        for c in range(0, rows.shape[1], 8):
            bits[:] = rows[i, c : c + 8]
            eight_by_integers(bits, eight)
            out[i, c : c + 8] = eight


@pytest.mark.parametrize("by_integers", [False, True])
def test_every_bit_pattern(by_integers):
    rows = EVERY.reshape(256, 256)
    out = np.empty(rows.shape)
    if by_integers:
        numbers_by_integers(rows.view(np.uint16), out)
    else:
        numbers(for_kernels(rows), out)
    expected = rows.astype(np.float64)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(np.signbit(out), np.signbit(expected))


def test_other_types_are_handed_over_as_they_are():
    for dtype in (np.uint8, np.int16, np.float32, np.float64):
        rows = np.ones((2, 3), dtype)
        assert for_kernels(rows) is rows
    rows = np.ones((2, 3), np.float16)
    assert for_kernels(rows).dtype == HALF
    assert np.shares_memory(for_kernels(rows), rows)


@pytest.mark.parametrize("path", [isa_module.name_of(isa_module.select()), "portable"])
@pytest.mark.parametrize("d", [1, 7, 8, 33])
def test_distances(path, d):
    rng = np.random.default_rng(d)
    rows = rng.choice(EVERY[np.isfinite(EVERY)], (40, d))
    queries = rng.standard_normal((3, d)).astype(np.float32)
    candidates = np.tile(np.arange(40), (3, 1))
    distances, indices = np.full((3, 40), np.inf), np.full((3, 40), NO_INDEX)
    found = np.empty(3, np.int64)
    rerank(isa_module.select(path), queries, for_kernels(rows), candidates, 0, 3, distances, indices, found)
    for i, query in enumerate(queries):
        expected = squared_distance_float64(query, rows)
        np.testing.assert_array_equal(distances[i], np.sort(expected))
        np.testing.assert_array_equal(indices[i], np.argsort(expected, kind="stable"))


@pytest.mark.parametrize("d", [1, 7, 8, 33])
def test_unit_rows(d):
    rows = np.random.default_rng(d).choice(EVERY[np.isfinite(EVERY)], (40, d))
    rows[3] = 0
    given, results = (for_kernels(rows), rows.astype(np.float64)), []
    for each in given:
        out, is_zero = np.empty(rows.shape), np.empty(40, np.bool_)
        unit_rows(each, np.zeros((1, d)), 0, 40, out, is_zero)
        results.append((out, is_zero))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
