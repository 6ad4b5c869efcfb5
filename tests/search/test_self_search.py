"""Neighbours of the rows among themselves, against all pairs in plain NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from from_python import from_python
from reference.self_search import nearest_apart
from somknn.search.column_order import used_together
from somknn.search.index import ExactIndex
from somknn.search.self_search import _empty_lists, _ranges, _rounds, _run_pairs
from somknn_kernels import isa as isa_module
from somknn_kernels.exact.used_columns import CHUNK, UNIT, copy_units, distances_through, find_used, squared_norms
from somknn_kernels.parallel import run_tasks
from somknn_kernels.policy import kernel


def blobs(n: int, d: int, dtype: type, seed: int = 0, spread: float = 12.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 255, (7, d)) * (rng.random((7, d)) < 0.6)
    rows = centres[rng.integers(0, 7, n)] + spread * rng.standard_normal((n, d))
    return np.clip(rows, 0, 255).astype(dtype)


@pytest.mark.parametrize("isa", [None, "portable", "vnni-emulated"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_equals_all_pairs(isa, n_jobs):
    rows = blobs(1500, 69, np.uint8)
    rows[1200:1300] = rows[:100]  # ties at distance 0 and elsewhere
    groups = np.arange(len(rows)) % 7
    distances, indices = ExactIndex("pruned", isa=isa, n_jobs=n_jobs).fit(rows).search_rows(12, groups)
    expected = nearest_apart(rows, groups, 12)
    np.testing.assert_array_equal(distances, expected[0])
    np.testing.assert_array_equal(indices, expected[1])


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])  # compiles for long
def test_fractions_equal_the_ordinary_search(dtype):
    rows = blobs(900, 40, np.float64).astype(dtype) / 7 + 1000
    rows[500:600] = rows[:100]
    index = ExactIndex("pruned", n_jobs=2).fit(rows)
    distances, indices = index.search_rows(5, np.arange(len(rows)))
    longer, candidates = index.search(rows, 6)
    for i in range(len(rows)):
        others = candidates[i] != i
        np.testing.assert_array_equal(indices[i], candidates[i][others][:5])
        np.testing.assert_array_equal(distances[i], longer[i][others][:5])


def test_rare_rows_and_added_rows():
    """Rows far outside the others' range have their own panels, and added rows follow them."""
    rows = blobs(1300, 80, np.uint8, spread=3.0)
    rows[::130] = np.random.default_rng(1).integers(0, 256, (10, 80))
    index = ExactIndex("pruned", n_jobs=2).fit(rows[:1000]).add(rows[1000:])
    assert index._fitted.pruned.screen.n_usual < index._fitted.pruned.screen.panels.shape[1]
    groups = np.arange(len(rows)) // 100
    distances, indices = index.search_rows(9, groups)
    expected = nearest_apart(rows, groups, 9)
    np.testing.assert_array_equal(distances, expected[0])
    np.testing.assert_array_equal(indices, expected[1])


def test_more_ranges_than_one():
    """Enough rows that several ranges of places are compared with each other."""
    rows = blobs(7000, 64, np.uint8, spread=20.0)
    groups = np.random.default_rng(0).integers(0, 4, len(rows))
    index = ExactIndex("pruned", n_jobs=2).fit(rows)
    assert len(_ranges(0, index._fitted.pruned.screen.n_usual, 8)) > 2
    distances, indices = index.search_rows(3, groups)
    for place in range(0, len(rows), 20):
        squares = ((rows.astype(np.int64) - rows[place]) ** 2).sum(axis=1)
        squares[groups == groups[place]] = np.iinfo(np.int64).max
        nearest = np.argsort(squares, kind="stable")[:3]
        np.testing.assert_array_equal(indices[place], nearest)
        np.testing.assert_array_equal(distances[place], squares[nearest])


@given(st.data())
def test_anything_equals_all_pairs(data):
    n, d = data.draw(st.integers(2, 60)), data.draw(st.integers(1, 40))
    levels = data.draw(st.sampled_from([1, 2, 256]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    rows = rng.integers(256 - levels, 256, (n, d)).astype(np.uint8)
    groups = rng.integers(0, data.draw(st.integers(2, 9)), n)
    groups[0], groups[1] = 0, 1
    most = n - np.bincount(groups).max()
    k = data.draw(st.integers(1, int(most)))
    distances, indices = ExactIndex("pruned", n_jobs=1).fit(rows).search_rows(k, groups)
    expected = nearest_apart(rows, groups, k)
    np.testing.assert_array_equal(distances, expected[0])
    np.testing.assert_array_equal(indices, expected[1])


def test_hundreds_of_neighbours():
    """Seeds for a k of hundreds come from more panels than usual."""
    rows = blobs(1500, 50, np.uint8, spread=25.0)
    groups = np.arange(len(rows)) % 3
    found = ExactIndex("pruned", n_jobs=2).fit(rows).search_rows(250, groups)
    expected = nearest_apart(rows, groups, 250)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@kernel
def distances_of_first(isa, rows, others, used, squares, sums, out):
    find_used(rows, 0, used, 0)
    distances_through(isa, rows, 0, others, len(others), used, squares, sums, out)


def test_widest_sums():
    """All columns are used at the maximum value: no sum of products may overflow."""
    rows = np.full((3, 300_007), 255, np.uint8)
    rows[1] = 0
    rows[2, ::2] = 0
    others = np.array([2, 1, 0, 2, 1, 0, 1], np.int32)  # four at a time and one by one
    squares, out = np.zeros(3, np.int64), np.zeros(len(others), np.int64)
    squared_norms(rows, 0, 3, squares)
    used = np.zeros((1, 1 + 300_007 // 16), np.int32)
    distances_of_first(isa_module.select(None), rows, others, used, squares, np.empty(8), out)
    expected = np.array([0, 300_007 * 255**2, 150_004 * 255**2])
    assert out.tolist() == expected[others].tolist()


def test_used_columns():
    rows = np.zeros((2, 70), np.uint8)
    rows[0, [17, 40, 69]] = 5, 9, 200
    used = np.zeros((2, 1 + 70 // 16), np.int32)
    from_python(find_used)(rows, 0, used, 1)
    assert used[1].tolist()[:3] == [2, 1, 2]
    norms = np.zeros(2, np.int64)
    squared_norms(rows, 0, 2, norms)
    assert norms.tolist() == [25 + 81 + 40_000, 0]


@pytest.mark.parametrize("d", [3, 17, 64, 130])
def test_columns_in_another_order(d):
    """A permutation of all units; every row keeps its values, the last columns their places."""
    rows = np.random.default_rng(d).integers(0, 3, (90, d)).astype(np.uint8)
    rows[:, ::3] = 0
    units = used_together(rows, UNIT, CHUNK)
    assert sorted(units) == list(range(d // 4))
    order = np.array([7, -1, 89], np.int32)
    out = np.full((3, d), 9, np.uint8)
    copy_units(rows, order, units, 0, 3, out)
    expected = np.concatenate(
        [rows[:, : d // 4 * 4].reshape(90, -1, 4)[:, units].reshape(90, -1), rows[:, d // 4 * 4 :]], axis=1
    )
    np.testing.assert_array_equal(out, [expected[7], np.zeros(d), expected[89]])


def test_columns_used_together_share_chunks():
    """Two kinds of rows whose columns alternate four by four: no chunk is used by both kinds."""
    rows = np.zeros((200, 128), np.uint8)
    for kind in (0, 1):
        rows[kind::2].reshape(100, 16, 2, 4)[:, :, kind] = 5
    units = used_together(rows, UNIT, CHUNK).reshape(-1, 4)
    assert (units % 2 == units[:, :1] % 2).all()


def test_wide_bytes_have_two_arrays():
    """Distances of 2^31 and more do not fit into half of a number."""
    assert _empty_lists(3, 2, np.int64, 9, 33_025).distances.dtype == np.uint64
    assert _empty_lists(3, 2, np.int64, 9, 33_026).distances.dtype == np.int64
    rows = np.zeros((60, 33_100), np.uint8)
    rows[30:] = 255
    rows[np.arange(60), np.arange(60)] = 7
    groups = np.arange(60) % 4
    found = ExactIndex("pruned", n_jobs=1).fit(rows).search_rows(40, groups)
    expected = nearest_apart(rows, groups, 40)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("n", range(1, 10))
def test_rounds_are_all_pairs(n):
    assert sorted(_rounds(n)) == [(a, b) for a in range(n) for b in range(a, n)]


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_pairs_never_share_a_number(n_threads):
    """Every pair comes once; two pairs running with a common number would be detected."""
    pairs = [(a, b) for a in range(6) for b in range(a, 6)]
    busy, seen, clashes = set(), [], []

    def work(a: int, b: int) -> None:
        mine = {a, b}
        if busy & mine:
            clashes.append((a, b))
        busy.update(mine)
        run_tasks(lambda i: sum(range(2000)), 3, 1)
        seen.append((a, b))
        busy.difference_update(mine)

    _run_pairs(work, pairs, n_threads)
    assert sorted(seen) == pairs
    assert not clashes


def test_an_error_ends_the_work():
    def work(a: int, b: int) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        _run_pairs(work, [(0, 1), (1, 2), (2, 3)], 2)


def test_bad_input():
    rows = blobs(300, 50, np.uint8)
    index = ExactIndex("pruned").fit(rows)
    with pytest.raises(ValueError, match="k must be between 1 and the 200 rows outside the largest group; got 201"):
        index.search_rows(201, np.arange(300) // 100)
    with pytest.raises(ValueError, match="groups must hold 300 integers"):
        index.search_rows(2, np.zeros(299, int))
    with pytest.raises(ValueError, match="groups must hold 300 integers, got float64"):
        index.search_rows(2, np.zeros(300))
    with pytest.raises(ValueError, match="needs a pruned index"):
        ExactIndex("brute").fit(rows).search_rows(2, np.arange(300))
