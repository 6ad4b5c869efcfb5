"""Brute force by coarser codes: for any step, data and upper bounds, no row within its bound is lost or found twice."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import brute_screen as plain
from reference import search as reference
from somknn.neighbors import ExactIndex
from somknn.search import brute_screen
from somknn.search.brute import BruteSearch
from somknn_kernels import isa as isa_module
from somknn_kernels.exact.selection import NO_INDEX, Nearest, sorted_heaps
from somknn_kernels.ir.shapes import query_tile, scan_group, scan_panel_rows
from somknn_kernels.policy import kernel
from somknn_kernels.search import brute_screen as kernels
from somknn_kernels.search.brute import Span
from somknn_kernels.tiles import scan_tiles

TWO_BYTES = [name for name in isa_module.supported() if scan_group(isa_module.select(name)) == 2]
KINDS = ("near", "noise", "black and white", "equal", "bright")


def bytes_of(kind, random, n, d):
    """Rows near a few centres, unstructured rows, rows of two values, rows nearly all equal, or rows far from zero."""
    if kind == "near":
        rows = random.integers(0, 256, (4, d))[random.integers(0, 4, n)] + random.normal(0, 6, (n, d))
    elif kind == "noise":
        rows = random.integers(0, 256, (n, d))
    elif kind == "black and white":
        rows = 255 * (random.random((n, d)) < 0.2)
    elif kind == "equal":
        rows = np.full((n, d), 77)
        rows[::9] = 255 * (np.arange(d) % 2)
    else:
        rows = 250 + random.integers(0, 6, (n, d))
    return np.clip(np.rint(rows), 0, 255).astype(np.uint8)


@kernel
def run_tile(isa, queries, groups, counts, panels, half_norms, panel, thresholds, masks):
    return scan_tiles.scan_tile_of_groups(
        isa, queries, 0, groups, counts, panels, half_norms, panel, thresholds, 0, masks
    )


@pytest.mark.parametrize("name", [*isa_module.supported(), "vnni-emulated"])
@pytest.mark.parametrize("left", [1, 4, 9])
def test_the_tile_keeps_just_the_rows_in_the_interval(name, left):
    isa = isa_module.select(name)
    g, n_queries, n_rows = scan_group(isa), query_tile(isa), scan_panel_rows(isa)
    dtype, half_range = (np.int16, 2**15) if g == 2 else (np.int32, 2**31)
    random = np.random.default_rng(left)
    which = np.sort(random.permutation(9)[:left]).astype(np.int32)
    codes, rows = random.integers(-80, 81, (n_queries, left * g)), random.integers(0, 86, (n_rows, 9 * g))
    norms = random.integers(0, 50_000, n_rows)
    products = codes @ rows.reshape(n_rows, 9, g)[:, which].reshape(n_rows, -1).T - norms
    thresholds = np.stack([-products[:, 3] - half_range, random.integers(0, 30_000, n_queries) - half_range])
    thresholds[1, 0] = -half_range  # only the equal ones
    packed = np.zeros((1, 9, n_queries, 4), np.int8)
    packed[0, :left] = np.tile(codes.reshape(n_queries, left, g).transpose(1, 0, 2), 4 // g)
    panels = np.full((3, 9, n_rows, g), 33, np.uint8)
    panels[1] = rows.reshape(n_rows, 9, g).transpose(1, 0, 2)
    half_norms = np.zeros((3, n_rows), dtype)
    half_norms[1] = norms.astype(dtype)
    groups, counts = np.zeros((1, 9), np.int32), np.array([left])
    groups[0, :left] = which
    masks = np.zeros(n_queries, np.uint64)
    some = run_tile(isa, packed, groups, counts, panels, half_norms, 1, thresholds[None].astype(dtype), masks)
    found = ((masks[:, None] >> np.arange(n_rows, dtype=np.uint64)) & np.uint64(1)).astype(bool)
    np.testing.assert_array_equal(found, (products + thresholds[0][:, None]).astype(dtype) <= thresholds[1][:, None])
    assert found[:, 3].all()
    assert not found.all()
    assert some == np.bitwise_or.reduce(masks)


@given(st.integers(0, 10**6), st.integers(3, 127), st.sampled_from(KINDS))
def test_the_bound_of_the_codes_holds(seed, step, kind):
    random = np.random.default_rng(seed)
    queries, rows = bytes_of(kind, random, 12, 40), bytes_of(kind, random, 50, 40)
    distances = reference.squared_distances(queries, rows)
    upper_bounds = np.quantile(distances, 0.3, axis=1)
    passing = plain.not_ruled_out(queries, rows, step, upper_bounds)
    assert passing[distances <= upper_bounds[:, None]].all()


@kernel
def run_encode(rows, step, codes, squares):
    for row in range(rows.shape[0]):
        squares[row, 0], squares[row, 1] = kernels._encode(rows, row, step, codes[row])


@pytest.mark.parametrize("step", range(3, 128))
def test_codes_are_rounded_as_they_say(step):
    rows = np.arange(256, dtype=np.uint8).reshape(16, 16)
    codes, squares = np.zeros((16, 16), np.uint8), np.zeros((16, 2), np.int64)
    run_encode(rows, step, codes, squares)
    expected = (rows.astype(int) + step // 2) // step
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(squares[:, 0], (expected**2).sum(axis=1))
    np.testing.assert_array_equal(squares[:, 1], ((rows - step * expected) ** 2).sum(axis=1))


def run(name, queries, rows, step, upper_bounds, k, cuts=()):
    """The k nearest by the kernel alone, for one instruction set, among the rows before it gave up; and that row.

    cuts : rows where one call ends and the next begins
    """
    isa = isa_module.select(name)
    tile, panel, pairs = query_tile(isa), scan_panel_rows(isa), -(-rows.shape[1] // 2)
    best = Nearest(np.full((len(queries), k), np.iinfo(np.int64).max), np.full((len(queries), k), NO_INDEX))
    n_tiles = -(-len(queries) // tile)
    scratch = kernels.CodeScratch(
        queries=np.zeros((n_tiles, pairs, tile, 4), np.int8),
        panels=np.empty((2, pairs, panel), np.uint16),
        groups=np.empty((n_tiles, pairs), np.int32),
        n_groups=np.empty(n_tiles, np.int64),
        norms=np.zeros((n_tiles, tile), np.int64),
        errors=np.zeros((n_tiles, tile)),
        counts=np.zeros(2, np.int64),
    )
    stop, edges = 0, [0, *cuts, len(rows)]
    for first, last in itertools.pairwise(edges):
        span = Span(0, len(queries), first, last, 0, n_tiles if first == 0 else 0)
        stop = kernels.screened_bytes(isa, queries, rows, span, step, scratch, upper_bounds, best)
        if stop < last:
            break
    return sorted_heaps(*best), stop


@pytest.mark.parametrize("name", TWO_BYTES)
@given(
    st.integers(0, 10**6),
    st.integers(3, 127),
    st.integers(1, 20),
    st.integers(1, 200),
    st.sampled_from([1, 2, 9, 64, 127]),
    st.sampled_from(KINDS),
    st.booleans(),
)
def test_nothing_is_lost_and_nothing_is_met_twice(name, seed, step, m, n, d, kind, known):
    random = np.random.default_rng(seed)
    rows = bytes_of(kind, random, n, d)
    queries = np.concatenate([rows[: m // 2], bytes_of(kind, random, m - min(m // 2, n), d)])
    k = min(3, n)
    upper_bounds = np.full(len(queries), np.iinfo(np.int64).max)
    if known:  # as low as they can be
        upper_bounds = np.ascontiguousarray(reference.nearest(queries, rows, k)[0][:, -1])
    cuts = [cut for cut in (64, 128) if cut < n]
    (distances, indices), stop = run(name, queries, rows, step, upper_bounds, k, cuts)
    expected = reference.nearest(queries, rows[:stop], min(k, stop))
    inside = expected[0] <= upper_bounds[:, None]
    np.testing.assert_array_equal(indices[:, : inside.shape[1]][inside], expected[1][inside])
    np.testing.assert_array_equal(distances[:, : inside.shape[1]][inside], expected[0][inside])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_searches_large_enough_for_codes_are_exact(kind, n_jobs):
    random = np.random.default_rng(8)
    rows = bytes_of(kind, random, 4300, 30)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]  # not in random order
    rows[4000] = rows[10]
    queries = np.concatenate([rows[5::70], bytes_of(kind, random, 100, 30)])
    index = ExactIndex("brute", n_jobs=n_jobs).fit(rows)
    for k in (1, 7):
        expected = reference.nearest(queries, rows, k)
        found = index.search(queries, k)
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[0], expected[0])
    radius = int(np.median(expected[0][:, -1]))
    for got, want in zip(index.search_within(queries, radius), reference.within(queries, rows, radius), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.skipif("avx2" not in isa_module.supported(), reason="codes are for AVX2 alone")
def test_codes_are_used_where_they_pay_and_only_there(monkeypatch):
    stops = []

    def watched(*given):
        stops.append(brute_screen.search_by_codes(*given))
        return stops[-1]

    monkeypatch.setattr("somknn.search.brute.search_by_codes", watched)
    random = np.random.default_rng(9)
    along = 128 + 20 * random.standard_normal((9300, 4)) @ random.standard_normal((4, 64))
    for data, pays in ((np.clip(along, 0, 255).astype(np.uint8), True), (bytes_of("noise", random, 9300, 400), False)):
        rows, queries = data[300:], data[:300]
        stops.clear()
        BruteSearch(rows, isa_module.select("avx2")).search(queries, 3, n_threads=1)
        assert stops
        assert all((stop == len(rows)) == pays for stop in stops)
        BruteSearch(rows, isa_module.select("portable")).search(queries[:70], 3, n_threads=1)
    n_before = len(stops)
    BruteSearch(rows, isa_module.select("avx2")).search(queries[:30], 3, n_threads=1)
    assert len(stops) == n_before
