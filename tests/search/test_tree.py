"""The tree against all pairs: every dtype, ties, duplicates, extremes, odd shapes, any cut of queries and threads."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import search as reference
from somknn import load, machine
from somknn.neighbors import ExactIndex, KNeighborsClassifier, NearestNeighbors
from somknn.search.tree import TreeSearch, leaves_within
from somknn_kernels import isa as isa_module

PATHS = [*isa_module.supported(), "vnni-emulated"]
DTYPES = (np.uint8, np.float32, np.float64)


def assert_same(got, expected):
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def check(rows, queries, ks=(1, 5), n_threads=2):
    search = TreeSearch(rows, machine.select(), n_threads)
    with np.errstate(over="ignore"):
        for k in {min(k, len(rows)) for k in ks}:
            assert_same(search.search(queries, k, n_threads=n_threads), reference.nearest(queries, rows, k))
        distances = reference.squared_distances(queries, rows)
        for radius in (0.0, float(np.median(distances)), np.inf):
            expected = reference.within(queries, rows, radius)
            assert_same(search.search_within(queries, radius, n_threads=n_threads), expected)


@pytest.mark.parametrize("rows_type", DTYPES)
@pytest.mark.parametrize("query_type", DTYPES)
@pytest.mark.parametrize(
    ("n", "d"), [(1, 1), (2, 3), (31, 2), (33, 3), (300, 1), (900, 3), (500, 8), (400, 15), (90, 70)]
)
def test_every_type_and_shape(n, d, rows_type, query_type):
    random = np.random.default_rng(n)
    rows = (random.random((n, d)) * 30).astype(rows_type)
    queries = np.concatenate([(random.random((70, d)) * 40).astype(query_type), rows[:9].astype(query_type)])
    check(rows, queries, (1, 5, 9, 130, n))


@pytest.mark.parametrize("path", PATHS)
def test_every_instruction_set(path):
    random = np.random.default_rng(1)
    rows, queries = random.random((700, 3)), random.random((90, 3))
    index = ExactIndex("tree", isa=path).fit(rows)
    assert index.isa_ in (path, "avxvnni")
    assert_same(index.search(queries, 6), reference.nearest(queries, rows, 6))


@st.composite
def cases(draw):
    """Rows of few distinct numbers, large and small ones among them, in few columns."""
    numbers = st.sampled_from([0.0, -0.0, 1.0, 1.5, 2.0, 1e9, 1e9 + 1, 1e300, -1e300, 1e-200, -1e308, 1e308])
    d, n, m = draw(st.integers(1, 10)), draw(st.integers(1, 120)), draw(st.integers(1, 12))
    pool = draw(st.lists(st.lists(numbers, min_size=d, max_size=d), min_size=1, max_size=12))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    return (np.array(pool)[random.integers(0, len(pool), size)] for size in (n, m))


@given(cases(), st.integers(1, 3))
@settings(max_examples=80, deadline=None)
def test_ties_and_extremes(case, n_threads):
    """Distances that overflow are infinite. They are ordered by row, as all equal distances are."""
    rows, queries = case
    check(rows, queries, (1, 4, 40, len(rows)), n_threads)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9, -1e15])
@pytest.mark.parametrize("size", [1.0, 1e-150, 1e-162, 1e-300, 1e100])
def test_far_from_the_origin_and_of_any_size(offset, size):
    random = np.random.default_rng(4)
    rows = (random.standard_normal((300, 3)) + offset) * size
    queries = (random.standard_normal((80, 3)) * 3 + offset) * size
    check(rows, queries, (1, 7))


def test_equal_rows_do_not_take_long():
    """100,000 equal rows: a box that is as near as the last neighbour is entered only for a lower row."""
    rows = np.full((100_000, 3), 0.25)
    index = ExactIndex("tree").fit(rows)
    for queries in (rows[:2000], rows[:2000] + 1):
        distances, indices = index.search(queries, 50)
        np.testing.assert_array_equal(indices, [range(50)] * 2000)
        np.testing.assert_array_equal(distances, np.full((2000, 50), 3 * (queries[0, 0] - 0.25) ** 2))
    distances, indices = index.search_rows(3, np.arange(100_000))
    np.testing.assert_array_equal(indices[4:], [range(3)] * 99_996)
    np.testing.assert_array_equal(indices[:4], [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])


def test_duplicates_among_other_rows():
    random = np.random.default_rng(5)
    rows = random.integers(0, 4, (5000, 3)).astype(np.uint8)
    check(rows, rows[:80], (1, 5, 150))


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_no_answer_depends_on_threads_or_batches(n_threads):
    random = np.random.default_rng(6)
    rows, queries = random.random((4000, 3)), random.random((500, 3))
    search = TreeSearch(rows, machine.select(), n_threads)
    expected = reference.nearest(queries, rows, 12)
    within = reference.within(queries, rows, 0.01)
    for at_once in (1, 3, 17, 64, 500):
        for first in range(0, 500 if at_once > 1 else 40, at_once):
            some = slice(first, first + at_once)
            found = search.search(queries[some], 12, n_threads=n_threads)
            assert_same(found, (expected[0][some], expected[1][some]))
    assert_same(search.search_within(queries, 0.01, n_threads=n_threads), within)
    one = reference.within(queries[:1], rows, 0.01)
    assert_same(search.search_within(queries[:1], 0.01, n_threads=n_threads), one)


def test_no_queries():
    index = ExactIndex("tree").fit(np.eye(3))
    distances, indices = index.search(np.empty((0, 3)), 2)
    assert distances.shape == indices.shape == (0, 2)
    starts, distances, indices = index.search_within(np.empty((0, 3)), 1.0)
    assert starts.tolist() == [0]
    assert len(distances) == len(indices) == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 7, 140])
@pytest.mark.parametrize("n_groups", [2, 7, 1500])
def test_rows_searched_for_themselves(dtype, k, n_groups):
    random = np.random.default_rng(7)
    rows = (random.random((1500, 3)) * 40).astype(dtype)
    rows[::9] = rows[0]
    groups = random.permutation(np.arange(1500) % n_groups)
    index = ExactIndex("tree", n_jobs=2).fit(rows)
    distances = reference.squared_distances(rows, rows)
    worst = np.iinfo(np.int64).max if distances.dtype == np.int64 else np.inf
    distances[groups[:, None] == groups] = worst
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    assert_same(index.search_rows(k, groups), (np.take_along_axis(distances, order, axis=1), order))


def test_rows_are_added():
    random = np.random.default_rng(8)
    rows, queries = random.random((900, 2)), random.random((70, 2))
    index = ExactIndex("tree").fit(rows[:500]).add(rows[500:])
    assert index.algorithm_ == "tree"
    assert_same(index.search(queries, 4), reference.nearest(queries, rows, 4))


@pytest.mark.parametrize("name", ["tree", "kd_tree", "ball_tree"])
def test_scikit_learns_names_mean_the_tree(name, tmp_path):
    random = np.random.default_rng(9)
    rows, queries = random.random((300, 3)), random.random((80, 3))
    expected = reference.nearest(queries, rows, 5)
    model = KNeighborsClassifier(algorithm=name).fit(rows, np.arange(300) % 2)
    assert model.index_.algorithm_ == "tree"
    model.save(tmp_path / "model.somknn")
    again = load(tmp_path / "model.somknn")
    for one in (model, again, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert one.index_.algorithm_ == "tree"
        np.testing.assert_array_equal(one.kneighbors(queries)[1], expected[1])


def test_a_tree_given_to_an_estimator_is_a_tree_after_loading(tmp_path):
    rows = np.random.default_rng(10).random((300, 12))
    model = NearestNeighbors().fit(ExactIndex("tree").fit(rows))
    model.save(tmp_path / "model.somknn")
    again = load(tmp_path / "model.somknn")
    assert again.index_.algorithm_ == "tree"
    np.testing.assert_array_equal(again.kneighbors(rows[:9])[1], model.kneighbors(rows[:9])[1])


def test_what_auto_chooses():
    random = np.random.default_rng(11)
    assert ExactIndex().fit(random.random((5000, 3))).algorithm_ == "tree"
    assert ExactIndex().fit(random.random((200, 3))).algorithm_ == "brute"
    assert ExactIndex().fit(random.random((4000, 20))).algorithm_ == "brute"


def test_nan_that_is_not_looked_for_is_refused_by_the_answer():
    import sklearn

    rows, queries = np.random.default_rng(12).random((400, 3)), np.full((70, 3), np.nan)
    with sklearn.config_context(assume_finite=True):
        with pytest.raises(ValueError, match="NaN"):
            ExactIndex("tree").fit(rows).search(queries, 3)
        with pytest.raises(ValueError, match="NaN"):
            ExactIndex("tree").fit(np.full((400, 3), np.nan)).search(rows, 3)
        rows[::3] = np.nan
        expected = ExactIndex("brute").fit(rows).search(rows[1::3], 3)
        assert_same(ExactIndex("tree").fit(rows).search(rows[1::3], 3), expected)


def test_auto_takes_the_tree_where_searches_visit_few_leaves():
    rng = np.random.default_rng(28)
    uniform = rng.random((6000, 20))
    clustered = uniform + 20 * rng.random((100, 20))[rng.integers(0, 100, 6000)]
    for rows, algorithm in ((uniform, {"brute", "pruned"}), (clustered, {"tree"}), (uniform[:, :10], {"tree"})):
        rows = np.ascontiguousarray(rows)
        index = ExactIndex().fit(rows)
        assert index.algorithm_ in algorithm
        assert_same(index.search(rows[:50], 4), reference.nearest(rows[:50], rows, 4))


def test_leaves_within_counts_boxes():
    rows = np.repeat(np.arange(100.0), 32)[:, None]  # a leaf for each value
    tree = TreeSearch(rows, machine.select(), 1).tree
    assert leaves_within(tree, np.array([[50.0]]), np.array([0.0])) == 1
    assert leaves_within(tree, np.array([[50.0], [0.0]]), np.array([4.0, 4.0])) == (5 + 3) / 2
