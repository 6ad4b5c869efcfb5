"""Products of 16-bit integers against NumPy, on every instruction path."""

import numpy as np
import pytest

from somknn_kernels import isa as isa_module
from somknn_kernels.ir.layout import aligned
from somknn_kernels.ir.shapes import panel_rows, query_tile, tile_rows
from somknn_kernels.policy import kernel
from somknn_kernels.tiles import row_products

PATHS = [*isa_module.supported(), "vnni-emulated"]


@kernel
def run_product(isa, a, i, b, j):
    return row_products.row_product(isa, a, i, b, j)


@kernel
def run_two_products(isa, a, i, b, j, k):
    return row_products.two_row_products(isa, a, i, b, j, k)


@kernel
def run_four_products(isa, a, i, b, rows, row, place, out):
    row_products.four_row_products(isa, a, i, b, rows, row, place, out)


@kernel
def run_screen(isa, queries, tile, panels, starts, panel, limits, masks):
    return row_products.screen_tile(isa, queries, tile, panels, starts, panel, limits, masks)


@kernel
def run_spread(isa, queries, tile, panels, starts, panel, values, first, second):
    row_products.spread_tile(isa, queries, tile, panels, starts, panel, values, first, second)


@kernel
def run_two_largest_lanes(isa, first, second, j):
    return row_products.two_largest_lanes(isa, first, second, j)


@kernel
def run_project(isa, rows, first, axes, panel, out):
    row_products.project_tile(isa, rows, first, axes, panel, out)


@kernel
def run_project_used(isa, rows, first, axes, panel, out, used, tile):
    pairs = rows.view(np.int32)
    row_products.list_used(pairs, first, tile_rows(isa), np.empty(pairs.shape[1], np.int32), used, tile)
    row_products.project_used(isa, rows, first, axes, panel, out, used, tile)


@kernel
def run_at_least(isa, values, row, panel, limit):
    return row_products.at_least(isa, values, row, panel, limit)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("width", [32, 64, 96, 128, 160, 800])
def test_row_product_is_exact_up_to_the_stated_norms(name, width):
    isa, random = isa_module.select(name), np.random.default_rng(width)
    largest = int(np.sqrt(2**31 / width)) - 1
    for low in (-largest, largest - 1):  # random, and all at the limit
        a, b = random.integers(low, largest, (3, width)), random.integers(low, largest, (2, width))
        for i in range(3):
            for j in range(2):
                assert run_product(isa, a.astype(np.int16), i, b.astype(np.int16), j) == a[i] @ b[j]
            both = run_two_products(isa, a.astype(np.int16), i, b.astype(np.int16), 0, 1)
            assert list(both) == (b @ a[i]).tolist()
            rows = random.integers(0, 2, (3, 8)).astype(np.int32)
            out = np.zeros((3, 8), np.int32)
            run_four_products(isa, a.astype(np.int16), i, b.astype(np.int16), rows, 1, 4, out)
            assert out[1, 4:].tolist() == (b[rows[1, 4:]] @ a[i]).tolist()
            assert not out[[0, 2]].any()
            assert not out[1, :4].any()


@pytest.mark.parametrize("name", PATHS)
def test_two_largest_lanes_are_the_two_largest_of_both_arrays(name):
    isa, random = isa_module.select(name), np.random.default_rng(5)
    tile, panel = query_tile(isa), panel_rows(isa)
    for spread in (2, 10, 2**31):  # ties of all kinds, few, none
        for _ in range(20):
            both = np.sort(random.integers(-spread, spread, (2, tile, panel)), axis=0).astype(np.int32)
            second, first = both[0].copy(), both[1].copy()
            for j in range(tile):
                lane, value, next_lane, next_value = run_two_largest_lanes(isa, first, second, j)
                assert [value, next_value] == np.sort(both[:, j], axis=None)[:-3:-1].tolist()
                assert lane == first[j].argmax()
                assert next_value == (second if next_lane == lane else first)[j, next_lane]


@pytest.mark.parametrize(("shape", "dtype"), [((7, 33), np.int16), ((3, 5, 2), np.float64), ((0, 4), np.uint8)])
def test_aligned_zeros_begin_with_a_cache_line(shape, dtype, request):
    if request.config.getoption("guard_pages"):
        pytest.skip("guarded arrays begin where they must to end at a page")
    for _ in range(8):
        array = aligned(shape, dtype)
        assert (array.shape, array.dtype) == (shape, dtype)
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert not array.any()
        array[...] = 1  # memory that is freed and reused is not zero
        assert array.ctypes.data % 64 == 0 or not array.size


def _packed(values, per_tile):
    """(rows, width) as (tiles, width / 2, per_tile, 2)."""
    rows, width = values.shape
    return np.ascontiguousarray(values.reshape(rows // per_tile, per_tile, width // 2, 2).transpose(0, 2, 1, 3))


@pytest.mark.parametrize("name", PATHS)
def test_tiles_compare_and_keep_the_two_largest(name):
    isa, random = isa_module.select(name), np.random.default_rng(0)
    n_queries, n_rows, n_panels = query_tile(isa), panel_rows(isa), 3
    queries = random.integers(-900, 900, (2 * n_queries, 32)).astype(np.int16)
    rows = random.integers(-900, 900, (n_panels * n_rows, 32)).astype(np.int16)
    starts = random.integers(-(2**20), 2**20, (n_panels, n_rows)).astype(np.int32)
    packed_queries, packed_rows = _packed(queries, n_queries), _packed(rows, n_rows)
    for tile in range(2):
        mine = queries[tile * n_queries : (tile + 1) * n_queries].astype(np.int64)
        expected = mine @ rows.T.astype(np.int64) + starts.ravel()
        limits = expected[:, 5].astype(np.int32)  # one is met exactly
        values = np.zeros((n_queries, n_panels * n_rows), np.int32)
        lanes = np.full((2, n_queries, n_rows), -(2**31), np.int32)
        for panel in range(n_panels):
            part = expected[:, panel * n_rows : (panel + 1) * n_rows]
            masks = np.zeros(n_queries, np.uint64)
            found = run_screen(isa, packed_queries, tile, packed_rows, starts, panel, limits, masks)
            bits = (part >= limits[:, None]).astype(np.uint64) << np.arange(n_rows, dtype=np.uint64)
            np.testing.assert_array_equal(masks, bits.sum(axis=1, dtype=np.uint64))
            assert found == np.bitwise_or.reduce(masks)
            run_spread(isa, packed_queries, tile, packed_rows, starts, panel, values, lanes[0], lanes[1])
        np.testing.assert_array_equal(values, expected)
        ranked = np.sort(expected.reshape(n_queries, n_panels, n_rows), axis=1)
        np.testing.assert_array_equal(lanes, [ranked[:, -1], ranked[:, -2]])


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("width", [32, 96])
def test_rows_on_axes(name, width):
    isa, random = isa_module.select(name), np.random.default_rng(width)
    n_queries, n_axes = query_tile(isa), row_products.AXES
    rows = random.integers(-900, 900, (n_queries + 3, width)).astype(np.int16)
    axes = random.integers(-900, 900, (2 * n_axes, width)).astype(np.int16)
    for first in (0, 3):
        for panel in range(2):
            out = np.zeros((n_queries, n_axes), np.int32)
            run_project(isa, rows, first, _packed(axes, n_axes), panel, out)
            chosen = axes[panel * n_axes : (panel + 1) * n_axes]
            np.testing.assert_array_equal(out, rows[first : first + n_queries].astype(np.int64) @ chosen.T)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_rows_on_axes_through_the_columns_that_they_use(name, share):
    isa, random, width = isa_module.select(name), np.random.default_rng(0), 64
    n_queries, n_axes = query_tile(isa), row_products.AXES
    rows = random.integers(-900, 900, (n_queries + 3, width)).astype(np.int16)
    rows[random.random(rows.shape) >= share] = 0
    axes = random.integers(-900, 900, (n_axes, width)).astype(np.int16)
    for first in (0, 3):
        out, used = np.ones((n_queries, n_axes), np.int32), np.full((2, 1 + width // 2), 9999, np.uint16)
        run_project_used(isa, rows, first, _packed(axes, n_axes), 0, out, used, 1)
        mine = rows[first : first + n_queries].astype(np.int64)
        np.testing.assert_array_equal(out, mine @ axes.T)
        pairs = np.flatnonzero(mine.any(axis=0).reshape(-1, 2).any(axis=1))
        assert used[1, 0] == max(len(pairs), 1)
        assert share == 0 or used[1, 1 : 1 + len(pairs)].tolist() == pairs.tolist()
        assert (used[0] == 9999).all()


@pytest.mark.parametrize("name", PATHS)
def test_entries_at_least_a_limit(name):
    isa, random = isa_module.select(name), np.random.default_rng(0)
    n_rows = panel_rows(isa)
    values = random.integers(-5, 5, (3, 4 * n_rows)).astype(np.int32)
    for row in range(3):
        for panel in range(4):
            bits = (values[row, panel * n_rows : (panel + 1) * n_rows] >= 2).astype(np.uint64)
            expected = (bits << np.arange(n_rows, dtype=np.uint64)).sum(dtype=np.uint64)
            assert run_at_least(isa, values, row, panel, np.int32(2)) == expected


def test_arrays_that_are_not_contiguous_are_refused():
    """Raw loads ignore strides."""
    rows = np.zeros((4, 64), np.int16)
    for strided in (rows[:, ::2], rows.reshape(4, 32, 2).transpose(2, 0, 1)[0], np.asfortranarray(rows)):
        with pytest.raises(TypeError, match="C-contiguous"):
            run_product(isa_module.select(), rows, 0, strided, 0)
