"""Rows of int8, int16 and float16 in ExactIndex: the distances of the given numbers, without a wider copy."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import cosine
from reference import search as reference
from somknn import machine
from somknn.neighbors import CosineIndex, ExactIndex

WAYS = ("brute", "pruned")
OWN = machine.name_of(machine.select())
PATHS = [*machine.supported(), "vnni-emulated"]


def as_integers(rows):
    return rows.astype(np.int64)


def oracle(queries, rows):
    """Squared distances (m, n) in exact integers."""
    return ((as_integers(queries)[:, None] - as_integers(rows)) ** 2).sum(axis=2)


def assert_nearest(found, queries, rows, k):
    squared = oracle(queries, rows)
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found[1], order)
    np.testing.assert_array_equal(found[0], np.take_along_axis(squared, order, axis=1))
    assert found[0].dtype == (np.int64 if queries.dtype == rows.dtype == np.int8 else np.float64)


def some_rows(seed, n, d, dtype):
    """Rows near a few directions, with duplicates and the ends of the range."""
    rng = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    rows = rng.standard_normal((n, min(4, d))) @ rng.standard_normal((min(4, d), d)) * limits.max / 4
    rows[n // 2 :: 5] = rows[0]
    rows[n // 3] = limits.min
    rows[-1] = limits.max
    return np.clip(rows, limits.min, limits.max).astype(dtype)


@pytest.mark.parametrize("algorithm", WAYS)
@pytest.mark.parametrize(
    ("dtype", "path"),
    [
        pytest.param(dtype, path, marks=pytest.mark.slow if dtype == np.int16 and path != OWN else ())
        for dtype, path in itertools.product((np.int8, np.int16), PATHS)
    ],
)
def test_every_path_and_algorithm(algorithm, dtype, path):
    rows, queries = some_rows(1, 300, 67, dtype), some_rows(2, 40, 67, dtype)
    index = ExactIndex(algorithm, isa=path).fit(rows)
    assert index.algorithm_ == algorithm
    assert np.shares_memory(index.rows_, rows)
    for k in (1, 5, 40):
        assert_nearest(index.search(queries, k), queries, rows, k)
    assert_nearest(index.search(queries[:2], 5), queries[:2], rows, 5)
    squared = oracle(queries, rows)
    radius = float(np.median(squared))
    starts, distances, indices = index.search_within(queries, radius)
    expected = [np.flatnonzero(row <= radius) for row in squared]
    np.testing.assert_array_equal(indices, np.concatenate(expected))
    np.testing.assert_array_equal(np.diff(starts), [len(found) for found in expected])
    np.testing.assert_array_equal(distances, squared[squared <= radius])


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 80), st.integers(1, 40), st.sampled_from(WAYS), st.booleans())
def test_ties_and_the_ends_of_int8(seed, n, d, algorithm, ends):
    rng = np.random.default_rng(seed)
    values = np.array([-128, 127] if ends else [-1, 0, 1], np.int8)
    rows, queries = rng.choice(values, (n, d)), rng.choice(values, (6, d))
    index = ExactIndex(algorithm).fit(rows)
    assert_nearest(index.search(queries, n), queries, rows, n)


@pytest.mark.parametrize("algorithm", WAYS)
@pytest.mark.parametrize(
    ("rows_type", "query_type"),
    [(np.int8, np.uint8), (np.int8, np.float32), (np.uint8, np.int8), (np.int16, np.int8), (np.float32, np.int16)],
)
def test_mixed_types(algorithm, rows_type, query_type):
    rng = np.random.default_rng(3)
    rows = rng.integers(0 if rows_type == np.uint8 else -100, 100, (150, 20)).astype(rows_type)
    queries = rng.integers(0 if query_type == np.uint8 else -100, 100, (12, 20)).astype(query_type)
    for few in (queries, queries[:2]):
        assert_nearest(ExactIndex(algorithm).fit(rows).search(few, 7), few, rows, 7)


def test_fractions_beside_int8_keep_their_digits():
    """q + 128 would not be the same number."""
    rows = np.array([[0, 1], [-128, 127], [0, 0]], np.int8)
    queries = np.array([[1e-20, -1e-20], [3.25, 1e9]])
    found = ExactIndex("pruned").fit(rows).search(queries, 3)
    for got, expected in zip(found, reference.nearest(queries, rows, 3), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert found[0][0, 0] == 2e-40


def test_distances_beyond_32_bits():
    rows = np.full((5, 40_000), -128, np.int8)
    rows[1::2] = 127
    queries = np.repeat(rows[1:2], 8, axis=0)
    assert_nearest(ExactIndex().fit(rows).search(queries, 5), queries, rows, 5)
    rows = np.where(rows < 0, np.int16(-32768), np.int16(32767))
    assert_nearest(ExactIndex("brute").fit(rows).search(rows[1:2], 5), rows[1:2], rows, 5)


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_rows_searched_for_themselves(dtype):
    rows = some_rows(4, 200, 30, dtype)
    squared = oracle(rows, rows).astype(float)
    groups = np.arange(200) // 3
    squared[groups[:, None] == groups] = np.inf
    order = np.argsort(squared, axis=1, kind="stable")[:, :4]
    distances, indices = ExactIndex("pruned").fit(rows).search_rows(4, groups)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_array_equal(distances, np.take_along_axis(squared, order, axis=1))


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
@pytest.mark.parametrize("algorithm", WAYS)
def test_added_and_restored(dtype, algorithm):
    rows, queries = some_rows(5, 260, 40, dtype), some_rows(6, 20, 40, dtype)
    index = ExactIndex(algorithm).fit(rows[:200])
    index.add(rows[200:230]).add(rows[230:])
    np.testing.assert_array_equal(index.rows_, rows)
    assert_nearest(index.search(queries, 9), queries, rows, 9)
    restored = ExactIndex(algorithm).restore(rows, index.screen_to_save())
    assert restored.algorithm_ == algorithm
    restored._taken().built(1)
    assert_nearest(restored.search(queries, 9), queries, rows, 9)
    with pytest.raises(TypeError, match=f"dtype of the fitted rows, {np.dtype(dtype)}"):
        index.add(rows.astype(np.float32))


def test_int8_takes_a_copy_of_bytes_and_int16_none():
    rows = some_rows(7, 100, 30, np.int8)
    assert ExactIndex("brute").fit(rows).nbytes == 3000
    assert ExactIndex("brute").fit(rows.astype(np.int16)).nbytes == 0


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_cosine(dtype):
    rows, queries = some_rows(8, 90, 25, dtype), some_rows(9, 12, 25, dtype)
    rows[7] = 0
    found = CosineIndex().fit(rows).search(queries, 90)
    for got, expected in zip(found, cosine.nearest(queries, rows, 90), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, bool, complex])
def test_other_types_are_refused(dtype):
    with pytest.raises(TypeError, match="X must be uint8, int8, int16, float16, float32 or float64, got"):
        ExactIndex().fit(np.ones((3, 2), dtype))


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def half_floats(seed, n, d):
    """Rows near a few directions, with duplicates, the ends of float16 and numbers that are subnormal there."""
    rows = (some_rows(seed, n, d, np.int16) / np.float32(9)).astype(np.float16)
    rows[3] = 65504
    rows[4] = 2.0**-24
    rows[5] = -rows[4]
    return rows


@pytest.mark.parametrize("algorithm", WAYS)
@pytest.mark.parametrize("path", [pytest.param(path, marks=() if path == OWN else pytest.mark.slow) for path in PATHS])
def test_float16(algorithm, path):
    rows, queries = half_floats(10, 300, 67), half_floats(11, 40, 67)
    index = ExactIndex(algorithm, isa=path).fit(rows)
    assert np.shares_memory(index.rows_, rows)
    for k in (1, 6, 40):
        same(index.search(queries, k), reference.nearest(queries, rows, k))
    same(index.search(queries[:2], 5), reference.nearest(queries[:2], rows, 5))
    radius = float(np.median(reference.squared_distances(queries, rows)))
    same(index.search_within(queries, radius), reference.within(queries, rows, radius))


@pytest.mark.parametrize("algorithm", WAYS)
@pytest.mark.parametrize("query_type", [np.uint8, np.int8, np.float32, np.float64])
def test_float16_beside_other_types(algorithm, query_type):
    rows = half_floats(12, 150, 20)
    queries = np.random.default_rng(13).integers(0, 100, (12, 20)).astype(query_type)
    same(ExactIndex(algorithm).fit(rows).search(queries, 7), reference.nearest(queries, rows, 7))
    same(ExactIndex(algorithm).fit(queries).search(rows, 7), reference.nearest(rows, queries, 7))
    same(CosineIndex(algorithm).fit(rows).search(queries, 7), cosine.nearest(queries, rows, 7))


def test_float16_added_restored_and_searched_for_itself():
    rows = half_floats(14, 260, 40)
    index = ExactIndex("pruned").fit(rows[:200]).add(rows[200:])
    restored = ExactIndex("pruned").restore(rows, index.screen_to_save())
    restored._taken().built(1)
    for each in (index, restored):
        same(each.search(rows[:20], 9), reference.nearest(rows[:20], rows, 9))
    squared = reference.squared_distances(rows, rows)
    np.fill_diagonal(squared, np.inf)
    order = np.argsort(squared, axis=1, kind="stable")[:, :4]
    same(index.search_rows(4, np.arange(260)), (np.take_along_axis(squared, order, axis=1), order))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_float16_that_is_not_finite_is_refused(value):
    rows = np.full((4, 3), 60_000, np.float16)  # their sum is beyond float16
    ExactIndex().fit(rows)
    rows[2, 1] = value
    with pytest.raises(ValueError, match="row 2, column 1"):
        ExactIndex().fit(rows)
