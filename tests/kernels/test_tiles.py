"""Tiles against plain matrix products, for every instruction set; compiled code holds the instruction it should."""

import re

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
from llvmlite import ir

from reference import search as reference
from somknn_kernels import isa as isa_module
from somknn_kernels.ir.emit import quad_products_bytes
from somknn_kernels.ir.layout import byte_panels, byte_queries, float_panels, float_queries, scan_panels, scan_queries
from somknn_kernels.ir.shapes import (
    code_limits,
    integer_group,
    panel_rows,
    query_tile,
    scan_group,
    scan_panel_rows,
    scan_sums,
)
from somknn_kernels.policy import kernel
from somknn_kernels.tiles import scan_tiles
from somknn_kernels.tiles.products import dot_tile_of_groups

PATHS = [*isa_module.supported(), "vnni-emulated"]
ON_X86 = llvm.get_process_triple().startswith("x86_64")


@kernel
def run_dot_of_groups(isa, queries, tile, groups, counts, panels, panel, out):
    dot_tile_of_groups(isa, queries, tile, groups, counts, panels, panel, out)


def run_dot(isa, queries, tile, panels, panel, out):
    """`run_dot_of_groups` over all groups of a tile."""
    n_groups = panels.shape[1]
    groups = np.tile(np.arange(n_groups, dtype=np.int32), (len(queries), 1))
    run_dot_of_groups(isa, queries, tile, groups, np.full(len(queries), n_groups), panels, panel, out)


@kernel
def run_scan(isa, queries, tile, panels, half_norms, panel, thresholds, which, masks, stops, out):
    return scan_tiles.scan_tile(isa, queries, tile, panels, half_norms, panel, thresholds, which, masks, stops, out)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("groups", [1, 2, 97])
@pytest.mark.parametrize("values", ["random", "largest"])
def test_integer_dot_tile_is_exact(name, groups, values):
    isa = isa_module.select(name)
    g, n_queries, n_rows = integer_group(isa), query_tile(isa), panel_rows(isa)
    rng = np.random.default_rng(groups)
    low = 0 if values == "random" else 255
    queries = rng.integers(low, 256, (2, n_queries, groups * g))
    rows = rng.integers(low, 256, (3, n_rows, groups * g))
    q = byte_queries(isa).pack(queries.reshape(-1, groups * g))
    t = byte_panels(isa).pack(rows.reshape(-1, groups * g))
    out = np.empty((n_queries, n_rows), np.int32)
    for tile in range(2):
        for panel in range(3):
            run_dot(isa, q, tile, t, panel, out)
            expected = queries[tile].astype(np.int64) @ (rows[panel].astype(np.int64) + byte_panels(isa).lift).T
            np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("left", [1, 5, 11])
def test_dot_tile_of_some_groups(name, left):
    isa = isa_module.select(name)
    g, n_queries, n_rows = integer_group(isa), query_tile(isa), panel_rows(isa)
    rng = np.random.default_rng(left)
    panels = byte_panels(isa)
    rows = rng.integers(0, 256, (2, n_rows, 11 * g))
    which = np.sort(rng.permutation(11)[:left])
    queries = np.zeros((2, n_queries, 11, g), np.int64)
    queries[1, :, which] = rng.integers(0, 256, (left, n_queries, g))
    q = byte_queries(isa).zeros(2 * n_queries, 11 * g)
    q[1, :left] = queries[1].transpose(1, 0, 2)[which]
    groups, counts = np.zeros((2, 11), np.int32), np.array([1, left])
    groups[1, :left] = which
    out = np.empty((n_queries, n_rows), np.int32)
    run_dot_of_groups(isa, q, 1, groups, counts, panels.pack(rows.reshape(-1, 11 * g)), 1, out)
    np.testing.assert_array_equal(out, queries[1].reshape(n_queries, -1) @ (rows[1] + panels.lift).T)


@pytest.mark.parametrize("name", PATHS)
def test_float_dot_tile_keeps_its_error_bound(name):
    isa = isa_module.select(name)
    n_queries, n_rows, d = query_tile(isa), panel_rows(isa), 501
    rng = np.random.default_rng(1)
    queries = rng.standard_normal((n_queries, d)).astype(np.float32)
    rows = (rng.standard_normal((n_rows, d)) * 10.0 ** rng.integers(-9, 9, (n_rows, 1))).astype(np.float32)
    out = np.empty((n_queries, n_rows), np.float32)
    run_dot(isa, float_queries(isa).pack(queries), 0, float_panels(isa).pack(rows), 0, out)
    exact = queries.astype(np.float64) @ rows.astype(np.float64).T
    sizes = np.abs(queries).astype(np.float64) @ np.abs(rows).astype(np.float64).T
    unit = 2.0**-24
    assert (np.abs(out - exact) <= (d + 1) * unit / (1 - (d + 1) * unit) * sizes).all()


SECTIONS = {
    "three": (4, (1, 2, 4)),
    "one": (2, (2,)),
    "nine": (12, (1, 2, 3, 4, 5, 6, 8, 10, 12)),
}  # parts, and the part at which each section ends


def scan_case(isa, seed, first_top, sections):
    """Codes, rows, half norms (S, rows), thresholds (lines, queries) and stops in columns, with some survivors.

    first_top : threshold of the tile as a whole in all sections but the last.
    """
    parts, stops = SECTIONS[sections]
    stops = 16 * np.array(stops)
    n_queries, n_rows, p, n_sections = query_tile(isa), scan_panel_rows(isa), 16 * parts, len(stops)
    half_range = 2**15 if scan_group(isa) == 2 else 2**31
    rng = np.random.default_rng(seed)
    limit, own_limit = code_limits(isa)
    codes = rng.integers(-own_limit, own_limit + 1, (n_queries, p))
    rows = rng.integers(0, 2 * limit + 1, (n_rows, p))
    codes[0], rows[0] = own_limit, 2 * limit  # the largest pairs of products that must not saturate
    codes[1], rows[1] = -own_limit, 2 * limit
    norms = rng.integers(0, 100_000, (n_sections, n_rows))
    sums = np.stack([codes[:, :stop] @ rows[:, :stop].T - norms[: i + 1].sum(axis=0) for i, stop in enumerate(stops)])
    # The sum of one chosen row comes to lie a little above the lowest number; for one query, exactly at it.
    lift = rng.integers(0, 50, (n_sections, n_queries)) - half_range
    lift[:, 2] = -half_range
    offsets = lift - sums[:, np.arange(n_queries), rng.integers(0, n_rows, n_queries)]
    thresholds = np.zeros((2 * n_sections + (n_sections + n_queries - 2) // n_queries, n_queries), np.int64)
    thresholds[:n_sections] = np.diff(offsets, axis=0, prepend=0)
    last = thresholds[2 * n_sections - 1]
    last[:] = rng.integers(0, 30_000, n_queries) - half_range
    last[-1] = half_range - 1  # all survive the last section
    last[0] = -half_range
    thresholds[2 * n_sections :] = first_top - half_range
    return codes, rows, norms, thresholds, stops


def scan(isa, codes, rows, norms, thresholds, stops):
    """The survivors that the tile finds, bool (queries, rows), its sums, and what it returns."""
    n_rows, dtype, p = scan_panel_rows(isa), scan_sums(isa), rows.shape[1]
    q = scan_queries(isa).pack(codes)
    masks, sums = np.zeros(len(codes), np.uint64), np.zeros((len(codes), n_rows), dtype)
    # The second of three panels. The others are full of rows that would survive.
    layout = scan_panels(isa, p // 16)
    panels = np.full(layout.shape(3 * n_rows, p), 90, np.uint8)
    panels[:, 1] = layout.pack(rows)[:, 0]
    half_norms = np.zeros((len(stops), 3, n_rows), dtype)
    half_norms[:, 1] = norms.astype(dtype)
    given = thresholds[None].astype(dtype), 0, masks, stops // 16, sums
    some = run_scan(isa, q, 0, panels, half_norms, 1, *given)
    return ((masks[:, None] >> np.arange(n_rows, dtype=np.uint64)) & np.uint64(1)).astype(bool), sums, some


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("sections", SECTIONS)
@pytest.mark.parametrize("first_top", [65535, 0, 20_000])
@pytest.mark.parametrize("seed", range(3))
def test_scan_tile_keeps_just_the_rows_in_the_interval(name, seed, first_top, sections):
    isa = isa_module.select(name)
    case = scan_case(isa, seed, first_top, sections)
    expected, expected_sums = reference.scan_masks(*case, scan_group(isa) == 2)
    found, sums, some = scan(isa, *case)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(sums, expected_sums)
    assert bool(some)
    assert expected[-1].all()
    assert expected[:-1].any()
    assert not expected[:-1].all()


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("query", range(4))
@pytest.mark.parametrize(("sections", "section"), [("three", 0), ("three", 1), ("nine", 0), ("nine", 7)])
def test_scan_tile_goes_on_for_a_single_query_and_only_then(name, query, sections, section):
    isa = isa_module.select(name)
    narrow = scan_group(isa) == 2
    half_range = 2**15 if narrow else 2**31
    codes, rows, norms, thresholds, stops = scan_case(isa, 7, 0, sections)
    case, n_sections = (codes, rows, norms, thresholds, stops), len(stops)
    thresholds[2 * n_sections - 1] = half_range - 1  # all survive the last section
    thresholds[2 * n_sections :] = half_range - 1
    assert scan(isa, *case)[0].all()
    thresholds[2 * n_sections :].reshape(-1)[section] = -half_range
    stop = stops[section]
    sums = codes[:, :stop] @ rows[:, :stop].T - norms[: section + 1].sum(axis=0)
    before = thresholds[:section].sum(axis=0)
    absent = next(value for value in range(1, 10**6) if value not in sums % (2 * half_range))
    thresholds[section] = -half_range - absent - before  # no sum is at the lowest
    found, sums_found, some = scan(isa, *case)
    assert some == 0
    assert not found.any()
    assert not sums_found.any()  # nothing is written
    assert not reference.scan_masks(*case, narrow)[0].any()
    thresholds[section, query] = -half_range - sums[query, 5] - before[query]
    found, _, some = scan(isa, *case)
    assert found.all()
    assert some != 0


@pytest.mark.skipif("avx2" not in PATHS, reason="this machine has no AVX2")
def test_compiled_tiles_hold_the_avx2_instructions():
    marker = numba.typeof(isa_module.Avx2())
    dot, tile = numba.njit(run_dot_of_groups.py_func), numba.njit(run_scan.py_func)
    shorts, ints = numba.int16[:, :, :, ::1], numba.int32[:, ::1]
    dot.compile((marker, shorts, numba.int64, ints, numba.int64[::1], shorts, numba.int64, ints))
    assembly = next(iter(dot.inspect_asm().values()))
    assert "vpmaddwd" in assembly or "vpdpwssd" in assembly  # the latter also adds, and is used if there is VNNI
    octets, panels = numba.int8[:, :, :, ::1], numba.uint8[:, :, :, :, ::1]
    index, norms, sums = numba.int64, numba.int16[:, :, ::1], numba.int16[:, ::1]
    given = numba.uint64[::1], numba.int64[::1], sums
    tile.compile((marker, octets, index, panels, norms, index, norms, index, *given))
    assert "vpmaddubsw" in next(iter(tile.inspect_asm().values()))


@pytest.mark.skipif("vnni" not in PATHS, reason="this machine has no AVX-512-VNNI")
def test_compiled_tiles_hold_the_vnni_instructions_on_whole_registers():
    marker = numba.typeof(isa_module.Vnni512())
    dot, tile = numba.njit(run_dot_of_groups.py_func), numba.njit(run_scan.py_func)
    ints, index = numba.int32[:, ::1], numba.int64
    products = {
        "vpdpbusd": (numba.uint8[:, :, :, ::1], numba.int8[:, :, :, ::1]),
        "vpdpwssd": (numba.int16[:, :, :, ::1], numba.int16[:, :, :, ::1]),
    }
    for instruction, (queries, panels) in products.items():
        signature = (marker, queries, index, ints, numba.int64[::1], panels, index, ints)
        dot.compile(signature)
        assert re.search(rf"{instruction}\b.*%zmm", dot.inspect_asm(signature))
    octets, panels, norms = numba.int8[:, :, :, ::1], numba.uint8[:, :, :, :, ::1], numba.int32[:, :, ::1]
    given = numba.uint64[::1], numba.int64[::1], numba.int32[:, ::1]
    tile.compile((marker, octets, index, panels, norms, index, norms, index, *given))
    assert re.search(r"vpdpbusd\b.*%zmm", next(iter(tile.inspect_asm().values())))


@pytest.mark.skipif(not ON_X86, reason="the instruction exists on x86 only")
@pytest.mark.parametrize(("marker", "lanes"), [(isa_module.Vnni512, 16), (isa_module.Vnni256, 8)])
def test_byte_products_become_vpdpbusd_on_a_machine_that_has_it(marker, lanes):
    """The product that `emit` generates, compiled for a processor with VNNI, whatever this one is."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    words = ir.VectorType(ir.IntType(32), lanes)
    module = ir.Module()
    module.triple = llvm.get_process_triple()
    function = ir.Function(module, ir.FunctionType(words, [words, words, words]), "product")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(quad_products_bytes(builder, marker, *function.args))
    machine = llvm.Target.from_triple(module.triple).create_target_machine(cpu="sapphirerapids", opt=3)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    assembly = machine.emit_assembly(parsed)
    assert "vpdpbusd" in assembly
    assert ("zmm" in assembly) == (lanes == 16)
