"""Tiles against plain matrix products, on every instruction path; the compiled code holds the instruction it should."""

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
from llvmlite import ir

from reference import search as reference
from somknn_kernels import isa as isa_module
from somknn_kernels import tiles
from somknn_kernels.policy import kernel

PATHS = [*isa_module.supported(), "vnni-emulated"]
ON_X86 = llvm.get_process_triple().startswith("x86_64")


@kernel
def run_dot(isa, queries, tile, panels, panel, out):
    tiles.dot_tile(isa, queries, tile, panels, panel, out)


@kernel
def run_dot_of_groups(isa, queries, tile, groups, counts, panels, panel, out):
    tiles.dot_tile_of_groups(isa, queries, tile, groups, counts, panels, panel, out)


@kernel
def run_scan(isa, queries, tile, panels, half_norms, panel, offsets, tops, thresholds, masks):
    return tiles.scan_tile(isa, queries, tile, panels, half_norms, panel, offsets, tops, thresholds, masks)


def packed(values, g, dtype):
    """(rows, d) as (groups, rows, g)."""
    rows, d = values.shape
    return np.ascontiguousarray(values.reshape(rows, d // g, g).transpose(1, 0, 2)).astype(dtype)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("groups", [1, 2, 97])
@pytest.mark.parametrize("values", ["random", "largest"])
def test_integer_dot_tile_is_exact(name, groups, values):
    isa = isa_module.select(name)
    g, n_queries, n_rows = tiles.integer_group(isa), tiles.query_tile(isa), tiles.panel_rows(isa)
    rng = np.random.default_rng(groups)
    low = 0 if values == "random" else 255
    queries = rng.integers(low, 256, (2, n_queries, groups * g))
    rows = rng.integers(low, 256, (3, n_rows, groups * g))
    flip, query_type, row_type = (128, np.uint8, np.int8) if g == 4 else (0, np.int16, np.int16)
    q = np.stack([packed(x, g, query_type) for x in queries])
    t = np.stack([packed(x - flip, g, row_type) for x in rows])
    out = np.empty((n_queries, n_rows), np.int32)
    for tile in range(2):
        for panel in range(3):
            run_dot(isa, q, tile, t, panel, out)
            expected = queries[tile].astype(np.int64) @ (rows[panel].astype(np.int64) - flip).T
            np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("left", [1, 5, 11])
def test_dot_tile_of_some_groups(name, left):
    isa = isa_module.select(name)
    g, n_queries, n_rows = tiles.integer_group(isa), tiles.query_tile(isa), tiles.panel_rows(isa)
    rng = np.random.default_rng(left)
    flip, query_type, row_type = (128, np.uint8, np.int8) if g == 4 else (0, np.int16, np.int16)
    rows = rng.integers(0, 256, (2, n_rows, 11 * g)) - flip
    which = np.sort(rng.permutation(11)[:left])
    queries = np.zeros((2, n_queries, 11, g), np.int64)
    queries[1, :, which] = rng.integers(0, 256, (left, n_queries, g))
    q = np.zeros((2, 11, n_queries, g), query_type)
    q[1, :left] = queries[1].transpose(1, 0, 2)[which]
    groups, counts = np.zeros((2, 11), np.int32), np.array([1, left])
    groups[1, :left] = which
    out = np.empty((n_queries, n_rows), np.int32)
    run_dot_of_groups(isa, q, 1, groups, counts, np.stack([packed(x, g, row_type) for x in rows]), 1, out)
    np.testing.assert_array_equal(out, queries[1].reshape(n_queries, -1) @ rows[1].T)


@pytest.mark.parametrize("name", PATHS)
def test_float_dot_tile_keeps_its_error_bound(name):
    isa = isa_module.select(name)
    n_queries, n_rows, d = tiles.query_tile(isa), tiles.panel_rows(isa), 501
    rng = np.random.default_rng(1)
    queries = rng.standard_normal((n_queries, d)).astype(np.float32)
    rows = (rng.standard_normal((n_rows, d)) * 10.0 ** rng.integers(-9, 9, (n_rows, 1))).astype(np.float32)
    out = np.empty((n_queries, n_rows), np.float32)
    run_dot(isa, packed(queries, 1, np.float32)[None], 0, packed(rows, 1, np.float32)[None], 0, out)
    exact = queries.astype(np.float64) @ rows.astype(np.float64).T
    sizes = np.abs(queries).astype(np.float64) @ np.abs(rows).astype(np.float64).T
    unit = 2.0**-24
    assert (np.abs(out - exact) <= (d + 1) * unit / (1 - (d + 1) * unit) * sizes).all()


@pytest.mark.parametrize("name", PATHS)
def test_scan_tile_keeps_just_the_rows_in_the_interval(name):
    isa = isa_module.select(name)
    g, n_queries, n_rows, p = tiles.scan_group(isa), tiles.query_tile(isa), tiles.scan_panel_rows(isa), 64
    rng = np.random.default_rng(2)
    codes = rng.integers(-91, 92, (n_queries, p))
    rows = rng.integers(0, 181, (n_rows, p))
    codes[0], rows[0] = 91, 180  # the largest pairs of products that must not saturate
    codes[1], rows[1] = -91, 180
    half_norms = rng.integers(0, 200_000, n_rows)
    modulus = 2**16 if g == 2 else 2**32
    products = codes @ rows.T - half_norms
    offsets = products[np.arange(n_queries), rng.integers(0, n_rows, n_queries)] - rng.integers(0, 50, n_queries)
    tops = rng.integers(0, 30_000, n_queries)
    tops[-1] = -1  # all survive
    tops[0] = 0
    q = packed(codes, g, np.int8)
    if g == 2:
        q = np.concatenate([q, q], axis=2)
    masks = np.empty(n_queries, np.uint64)
    some = run_scan(
        isa,
        q[None],
        0,
        packed(rows, g, np.uint8)[None],
        half_norms[None].astype(np.int16 if g == 2 else np.int32),
        0,
        offsets[None].astype(np.int32),
        tops[None].astype(np.int32),
        0,
        masks,
    )
    expected = reference.scan_masks(codes, rows, half_norms, offsets, tops, modulus)
    bits = (masks[:, None] >> np.arange(n_rows, dtype=np.uint64)) & np.uint64(1)
    np.testing.assert_array_equal(bits.astype(bool), expected)
    assert expected[-1].all()
    assert expected[:-1].any()
    assert not expected[:-1].all()
    assert bool(some) == expected.any()


@pytest.mark.skipif("avx2" not in PATHS, reason="this machine has no AVX2")
def test_compiled_tiles_hold_the_avx2_instructions():
    marker = numba.typeof(isa_module.Avx2())
    dot, scan = numba.njit(run_dot.py_func), numba.njit(run_scan.py_func)
    shorts, ints = numba.int16[:, :, :, ::1], numba.int32[:, ::1]
    dot.compile((marker, shorts, numba.int64, shorts, numba.int64, ints))
    assert "vpmaddwd" in next(iter(dot.inspect_asm().values()))
    octets, panels = numba.int8[:, :, :, ::1], numba.uint8[:, :, :, ::1]
    index, norms = numba.int64, numba.int16[:, ::1]
    scan.compile((marker, octets, index, panels, norms, index, ints, ints, index, numba.uint64[::1]))
    assert "vpmaddubsw" in next(iter(scan.inspect_asm().values()))


@pytest.mark.skipif(not ON_X86, reason="the instruction exists on x86 only")
@pytest.mark.parametrize(("marker", "lanes"), [(isa_module.Vnni512, 16), (isa_module.Vnni256, 8)])
def test_byte_products_become_vpdpbusd_on_a_machine_that_has_it(marker, lanes):
    """The generator's own product, compiled for a processor with VNNI, whatever this one is."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    words = ir.VectorType(ir.IntType(32), lanes)
    module = ir.Module()
    module.triple = llvm.get_process_triple()
    function = ir.Function(module, ir.FunctionType(words, [words, words, words]), "product")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(tiles._quad_products_bytes(builder, marker, *function.args))
    machine = llvm.Target.from_triple(module.triple).create_target_machine(cpu="sapphirerapids", opt=3)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    assembly = machine.emit_assembly(parsed)
    assert "vpdpbusd" in assembly
    assert ("zmm" in assembly) == (lanes == 16)
