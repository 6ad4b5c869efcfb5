"""CosineIndex against all pairs of unit rows: every type and algorithm gives the same list, bit for bit."""

import copy
import itertools
import math
import pickle
import threading

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_distances

from reference import cosine as reference
from somknn import machine
from somknn.neighbors import CosineIndex, ExactIndex
from somknn.search.metrics import EFFECTIVE, METRICS, find_metric

WAYS = ("brute", "pruned")


def assert_same(got, expected):
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def some_rows(seed, n, d, dtype):
    """Rows near a few directions, with duplicates, multiples and rows of zeros."""
    rng = np.random.default_rng(seed)
    rows = np.abs(rng.standard_normal((n, min(5, d)))) @ rng.standard_normal((min(5, d), d)) * 40
    rows = np.abs(rows) if dtype == np.uint8 else rows
    rows[n // 2 :: 7] = rows[0]
    rows[1] = 2 * rows[0]
    rows[n // 3] = 0
    rows[n - 1] = 0
    return np.clip(rows, -255, 255).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("algorithm", WAYS)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_every_type_and_algorithm_gives_the_lists_of_the_twin(dtype, algorithm, n_jobs):
    rows, queries = some_rows(1, 330, 67, dtype), some_rows(2, 45, 67, dtype)
    index = CosineIndex(algorithm, n_jobs=n_jobs).fit(rows)
    assert index.algorithm_ == algorithm
    for k in (1, 6, 40, 328, 329, 330):
        assert_same(index.search(queries, k), reference.nearest(queries, rows, k))
    assert_same(index.search(queries[:3], 5), reference.nearest(queries[:3], rows, 5))
    for radius in (0.0, 1e-3, 0.5, 1.9999999999999998, 2.0, 2.1, 4.0, np.inf):
        assert_same(index.search_within(queries, radius), reference.within(queries, rows, radius))


@pytest.mark.parametrize("isa", [*machine.supported(), "vnni-emulated"])
def test_every_instruction_set(isa):
    rows, queries = some_rows(3, 200, 40, np.float32), some_rows(4, 30, 40, np.float32)
    index = CosineIndex("brute", isa=isa).fit(rows)
    assert index.isa_ == isa
    assert_same(index.search(queries, 9), reference.nearest(queries, rows, 9))


@pytest.mark.parametrize(
    ("rows_type", "query_type"), list(itertools.permutations((np.uint8, np.float32, np.float64), 2))
)
def test_mixed_types(rows_type, query_type):
    rows, queries = some_rows(5, 90, 30, rows_type), some_rows(6, 14, 30, query_type)
    assert_same(CosineIndex().fit(rows).search(queries, 9), reference.nearest(queries, rows, 9))


@st.composite
def searches(draw):
    """Rows of few values: ties, duplicates, opposites and rows of zeros are common."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, m, d = draw(st.integers(1, 60)), draw(st.integers(1, 9)), draw(st.integers(1, 20))
    low, high = draw(st.sampled_from([(0, 1), (0, 2), (-1, 2), (-9, 9)]))
    dtype = draw(st.sampled_from([np.uint8, np.float32, np.float64]))
    rows, queries = (rng.integers(0 if dtype == np.uint8 else low, high, (size, d)).astype(dtype) for size in (n, m))
    if draw(st.booleans()):
        rows[rng.random(n) < 0.5] = 0
    return rows, queries, draw(st.integers(1, n)), draw(st.sampled_from(WAYS))


@settings(max_examples=150)
@given(searches())
def test_ties_duplicates_and_rows_of_zeros(case):
    rows, queries, k, algorithm = case
    index = CosineIndex(algorithm).fit(rows)
    assert_same(index.search(queries, k), reference.nearest(queries, rows, k))
    for radius in (0.0, 1.0, 2.0):
        assert_same(index.search_within(queries, radius), reference.within(queries, rows, radius))
    halves = [index.search(part, k) for part in (queries[: len(queries) // 2], queries[len(queries) // 2 :])]
    assert_same([np.concatenate(column) for column in zip(*halves, strict=True)], index.search(queries, k))


@settings(max_examples=100)
@given(searches(), st.integers(1, 4))
def test_rows_searched_among_other_groups(case, n_groups):
    rows, _, k, algorithm = case
    groups = np.random.default_rng(k).integers(0, n_groups, len(rows))
    apart = len(rows) - np.bincount(groups).max()
    index = CosineIndex(algorithm).fit(rows)
    if len(rows[rows.any(axis=1)]) == len(rows) and algorithm == "brute":
        with pytest.raises(ValueError, match="pruned"):
            index.search_rows(1, groups)
        return
    if apart < 1:
        return
    k = min(k, apart)
    squared = reference.squared_distances(rows, rows)
    squared[groups[:, None] == groups] = np.inf
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    assert_same(index.search_rows(k, groups), (np.take_along_axis(squared, order, axis=1), order))


@pytest.mark.parametrize("algorithm", WAYS)
@pytest.mark.parametrize("exponent", [-1060, -900, -600, -30, 30, 600, 1000])
def test_a_power_of_two_changes_no_answer(algorithm, exponent):
    rng = np.random.default_rng(7)
    rows, queries = rng.integers(-5, 6, (150, 12)).astype(float), rng.integers(-5, 6, (20, 12)).astype(float)
    rows[3] = 0
    expected = reference.nearest(queries, rows, 9)
    scaled = np.ldexp(rows, exponent)
    assert scaled[rows != 0].all()
    assert_same(CosineIndex(algorithm).fit(scaled).search(queries, 9), expected)
    each = np.ldexp(rows, np.random.default_rng(8).integers(-1000, 1000, (150, 1)))
    assert_same(CosineIndex(algorithm).fit(each).search(np.ldexp(queries, exponent), 9), expected)


@pytest.mark.parametrize("size", [1e200, 1e-200, 1e300, 5e-324])
def test_norms_beyond_float64(size):
    rows = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, 0.0]]) * size
    distances, indices = CosineIndex().fit(rows).search(np.array([[2.0, 0.0]]) * size, 4)
    np.testing.assert_allclose(distances[0] / 2, [0, 1 - np.sqrt(0.5), 1, 2], rtol=1e-15)
    assert indices.tolist() == [[0, 1, 2, 3]]


def test_nearly_parallel_rows_keep_their_digits():
    """1 - cos computed as such is noise here."""
    angles = np.array([0.0, 1e-9, 2e-9, 1e-8, 1e-5])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    distances = METRICS["cosine"].distances(CosineIndex().fit(rows).search(rows[:1], 5)[0][0])
    np.testing.assert_allclose(distances, angles**2 / 2, rtol=1e-6)
    assert 1 - rows[0] @ rows[1] == 0


@settings(max_examples=100)
@given(searches())
def test_what_every_distance_keeps(case):
    rows, queries, _, _ = case
    index = CosineIndex().fit(rows)
    distances = METRICS["cosine"].distances(index.search(queries, len(rows))[0])
    assert (distances >= 0).all()
    assert (distances <= 2).all()
    np.testing.assert_allclose(
        distances, np.sort(cosine_distances(*map(np.float64, (queries, rows))), axis=1), atol=1e-14
    )
    for i in np.flatnonzero(rows.any(axis=1)):
        assert index.search(rows[i : i + 1], 1)[0][0, 0] == 0


def test_close_to_scikit_learn_on_random_rows():
    rng = np.random.default_rng(9)
    rows, queries = rng.standard_normal((500, 40)), rng.standard_normal((60, 40))
    squared, indices = CosineIndex().fit(rows).search(queries, 11)
    expected = cosine_distances(queries, rows)
    order = np.argsort(expected, axis=1)[:, :11]
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(squared / 2, np.take_along_axis(expected, order, axis=1), atol=1e-14)


def test_rows_of_zeros_alone():
    index = CosineIndex().fit(np.zeros((5, 3)))
    assert index.unit_index_ is None
    assert index.algorithm_ == "brute"
    assert index.isa_ == machine.name_of(machine.select())
    assert index.search_stats_ == {}
    assert index.screen_to_save() == {}
    for query in (np.zeros((1, 3)), np.ones((1, 3))):
        distances, indices = index.search(query, 3)
        assert distances.tolist() == [[2.0, 2.0, 2.0]]
        assert indices.tolist() == [[0, 1, 2]]
        assert [part.tolist() for part in index.search_within(query, 1.9)] == [[0, 0], [], []]
        assert index.search_within(query, 2.0)[2].tolist() == [0, 1, 2, 3, 4]
    assert index.search_rows(2, np.arange(5))[1].tolist() == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]
    with pytest.raises(ValueError, match="all zeros"):
        index.restore(np.zeros((5, 3)), {"screen_order": np.arange(5)})


def test_no_queries():
    index = CosineIndex().fit(np.array([[1.0, 2.0], [0.0, 0.0]]))
    for rows in (np.empty((0, 2)), np.empty((0, 2), np.uint8)):
        assert [part.shape for part in index.search(rows, 2)] == [(0, 2), (0, 2)]
        assert [part.tolist() for part in index.search_within(rows, 3.0)] == [[0], [], []]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_rows_may_be_added(dtype):
    rows, queries = some_rows(10, 150, 20, dtype), some_rows(11, 12, 20, dtype)
    for cuts in ([1], [60, 61, 100], [149]):
        for algorithm in WAYS:
            index = CosineIndex(algorithm).fit(rows[: cuts[0]])
            for first, last in itertools.pairwise([*cuts, 150]):
                index.add(rows[first:last])
            np.testing.assert_array_equal(index.rows_, rows)
            assert_same(index.search(queries, 20), reference.nearest(queries, rows, 20))
    index = CosineIndex().fit(np.zeros((2, 20), dtype)).add(np.zeros((1, 20), dtype)).add(rows)
    every = np.concatenate([np.zeros((3, 20), dtype), rows])
    assert_same(index.search(queries, 20), reference.nearest(queries, every, 20))
    with pytest.raises(TypeError, match="dtype of the fitted rows"):
        index.add(rows.astype(np.float64))


def test_a_search_beside_fits_uses_the_rows_of_one_of_them():
    few, many = some_rows(18, 40, 8, np.float32), some_rows(19, 90, 8, np.float32)
    expected = [reference.nearest(few, rows, 30) for rows in (few, many)]
    index, ended = CosineIndex("brute", n_jobs=1).fit(few), threading.Event()

    def fit():
        while not ended.is_set():
            index.fit(many).fit(few)

    fitting = threading.Thread(target=fit)
    fitting.start()
    try:
        for _ in range(200):
            found = index.search(few, 30)
            assert any(np.array_equal(found[1], indices) for _, indices in expected)
    finally:
        ended.set()
        fitting.join()


def test_what_was_searched_before_an_addition_stays():
    rows = some_rows(12, 50, 8, np.float32)
    index = CosineIndex().fit(rows[:30])
    before = copy.copy(index)
    index.add(rows[30:])
    assert len(before.rows_) == 30
    assert_same(before.search(rows, 30), reference.nearest(rows, rows[:30], 30))
    assert_same(pickle.loads(pickle.dumps(index)).search(rows, 30), reference.nearest(rows, rows, 30))


@pytest.mark.parametrize("algorithm", WAYS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_an_index_is_restored_from_its_rows_and_what_it_saves(algorithm, dtype):
    rows, queries = some_rows(13, 300, 40, dtype), some_rows(14, 20, 40, dtype)
    index = CosineIndex(algorithm).fit(rows)
    restored = CosineIndex(algorithm).restore(rows, index.screen_to_save())
    assert restored.algorithm_ == index.algorithm_ == algorithm
    for _ in range(3):
        assert_same(restored.search(queries, 7), index.search(queries, 7))


def test_memory_is_the_unit_rows_and_their_index():
    rows = some_rows(15, 100, 30, np.float32)
    index = CosineIndex("brute").fit(rows)
    assert np.shares_memory(index.rows_, rows)
    assert index.unit_index_.rows_.shape == (98, 30)
    assert index.nbytes == 98 * 30 * 8 + 100 * 8


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(value):
    rows = np.ones((4, 3))
    index = CosineIndex().fit(rows)
    rows[2, 1] = value
    for call in (
        lambda: CosineIndex().fit(rows),
        lambda: index.search(rows, 1),
        lambda: index.search_within(rows, 1.0),
    ):
        with pytest.raises(ValueError, match="row 2, column 1"):
            call()
    with sklearn.config_context(assume_finite=True), pytest.raises(ValueError, match="NaN among"):
        index.search(rows, 1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda index: index.search(np.ones((1, 2)), 0), ValueError, "k must be between 1 and the number of rows, 4"),
        (lambda index: index.search(np.ones((1, 2)), 5), ValueError, "k must be between 1 and the number of rows, 4"),
        (lambda index: index.search(np.ones((1, 3)), 1), ValueError, "3 features"),
        (lambda index: index.search(np.ones(2), 1), ValueError, "shape"),
        (lambda index: index.search_within(np.ones((1, 2)), -1.0), ValueError, "squared_radius"),
        (lambda index: index.search_within(np.ones((1, 2)), np.nan), ValueError, "squared_radius"),
        (lambda index: index.search_rows(1, np.zeros(3, int)), ValueError, "groups must hold 4"),
        (lambda index: index.search_rows(1, np.zeros(4)), ValueError, "groups must hold 4 integers"),
        (lambda index: index.search_rows(1, np.zeros(4, int)), ValueError, "the 0 rows outside"),
        (lambda index: index.fit(np.ones((2, 2), complex)), TypeError, "float32 or float64, got complex"),
        (lambda index: CosineIndex("hashes").fit(np.ones((2, 2))), ValueError, "algorithm must be one of"),
        (lambda index: CosineIndex().search(np.ones((2, 2)), 1), ValueError, "call fit first"),
        (lambda index: CosineIndex().rows_, AttributeError, "call fit first"),
    ],
)
def test_wrong_use(call, error, message):
    index = CosineIndex().fit(np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    with pytest.raises(error, match=message):
        call(index)


def test_the_table_of_metrics():
    assert {name: metric.name for name, metric in METRICS.items()} == {
        "minkowski": "euclidean",
        "euclidean": "euclidean",
        "l2": "l2",
        "sqeuclidean": "sqeuclidean",
        "cosine": "cosine",
    }
    assert find_metric("minkowski", 2.0) is find_metric("minkowski", None) is find_metric("euclidean", 1)
    for name in ("manhattan", "haversine", "precomputed", len, None):
        with pytest.raises(ValueError, match=r"^metric must be one of 'cosine', 'euclidean', .*; got ") as raised:
            find_metric(name)
        assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match="p=2 only, got p=1; metrics are 'cosine'"):
        find_metric("minkowski", 1)


radii = st.one_of(st.floats(0, 5), st.floats(0, 1e-300), st.floats(0, np.inf), st.sampled_from([0.5, 1.0, 2.0]))


@pytest.mark.parametrize("name", sorted(EFFECTIVE))
@given(radius=radii)
def test_a_radius_includes_just_the_distances_up_to_it(name, radius):
    metric = EFFECTIVE[name]
    largest = metric.largest_within(radius)
    assert metric.distances(np.array([largest]))[0] <= radius
    if largest < np.inf:
        assert metric.distances(np.array([math.nextafter(largest, math.inf)]))[0] > radius


def test_it_is_the_index_of_unit_rows():
    rows, queries = (some_rows(seed, 80, 25, np.float64)[2:20] for seed in (16, 17))
    inner = ExactIndex().fit(reference.unit_rows(rows)[0])
    assert_same(CosineIndex().fit(rows).search(queries, 9), inner.search(reference.unit_rows(queries)[0], 9))
