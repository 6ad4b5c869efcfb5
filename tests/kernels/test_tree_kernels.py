"""The tree's kernels against their twin: boxes and bounds, the order of summation, lists in registers, layouts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from from_python import from_python
from reference import search as reference
from reference import tree as twin
from somknn.search.tree import build
from somknn_kernels.exact.selection import NO_INDEX, Nearest
from somknn_kernels.search import tree as kernels
from somknn_kernels.search.tree import Ranked
from somknn_kernels.tiles import tree_tiles as tiles

EXTREMES = [0.0, -0.0, 1e-320, -1e-300, 1.0, -1.0, 1e9 + 0.1, 1e9, 1e154, -1e300, 1e308, -1e308]


@njit
def bounds_of(boxes, node, queries, query, bounds, level):
    tiles.box_bounds(boxes, node, queries, query, bounds, level)


@njit
def distances_of(panels, leaf, queries, query, distances):
    tiles.leaf_distances(panels, leaf, queries, query, distances)


@njit
def ranks_of(distances, ranks):
    tiles.leaf_ranks(distances, ranks)


@njit
def children_of(bounds, level, among, worst, seconds, query):
    near, lane = tiles.nearest_child(bounds, level, among, worst)
    return near, lane, tiles.path_child(bounds, level, among, seconds, query)


@njit
def masks_of(distances, worst, ranks, k):
    return tiles.rows_within(distances, worst), tiles.ranks_below(ranks, k), tiles.least_distance(distances)


def some_rows(random, n, d):
    """Rows with extremes among them, and rows of ordinary numbers."""
    rows = random.normal(size=(n, d)) * 10.0 ** random.integers(-3, 4, (n, 1)) + random.choice([0.0, 1e9])
    extreme = random.random((n, d)) < 0.1
    rows[extreme] = random.choice(EXTREMES, extreme.sum())
    return rows


@pytest.mark.parametrize("d", [1, 2, 3, 7, 8, 9, 15, 16, 17, 40])
def test_distances_of_a_leaf_are_the_documented_ones_and_bounds_are_at_most_these(d):
    random = np.random.default_rng(d)
    rows = some_rows(random, 700, d)
    queries = np.concatenate([some_rows(random, 40, d), rows[:20]])
    tree = build(rows, 1)
    distances, bounds = np.empty(twin.LEAF_ROWS), np.empty((2, twin.FAN))
    for query in range(len(queries)):
        with np.errstate(over="ignore"):
            exact = reference.squared_distance_float64(rows, queries[query])
        for leaf in range(len(tree.panels)):
            distances_of(tree.panels, leaf, queries, query, distances)
            found = twin.rows_of(tree, 0, leaf)
            np.testing.assert_array_equal(distances[: len(found)], exact[found])
            assert np.isnan(distances[len(found) :]).all()
        for level, start in enumerate(tree.starts):
            for node in range(tree.sizes[level + 1]):
                bounds_of(tree.boxes, start + node, queries, query, bounds, 1)
                for child in range(min(twin.FAN, tree.sizes[level] - node * twin.FAN)):
                    box = tree.boxes[start + node, :, :, child].T
                    assert bounds[1, child] == twin.box_bound(queries[query], *box)
                    assert bounds[1, child] <= exact[twin.rows_of(tree, level, node * twin.FAN + child)].min()


@pytest.mark.parametrize("n", [1, 31, 32, 33, 256, 257, 2049, 20_000])
@pytest.mark.parametrize("d", [1, 3, 33])
@pytest.mark.parametrize("kind", ["spread", "equal", "two values", "sorted"])
def test_a_tree_holds_every_row_once_in_tight_boxes(n, d, kind):
    random = np.random.default_rng(n + d)
    rows = random.normal(size=(n, d)) if kind in ("spread", "sorted") else np.full((n, d), 3.5)
    if kind == "two values":
        rows[random.random((n, d)) < 0.3] = -1.0
    if kind == "sorted":
        rows.sort(axis=0)
    for n_threads in (1, 3):
        tree = build(rows, n_threads)
        numbers = tree.numbers.ravel()
        assert sorted(numbers[:n].tolist()) == list(range(n))
        assert (numbers[n:] == -1).all()
        assert (np.diff(tree.numbers, axis=1)[numbers.reshape(-1, 32)[:, 1:] >= 0] > 0).all()
        packed = tree.panels.transpose(0, 2, 1).reshape(-1, d)
        np.testing.assert_array_equal(packed[:n], rows[numbers[:n]])
        assert np.isnan(packed[n:]).all()
        assert tree.sizes[-1] == 1
        for level, start in enumerate(tree.starts):
            for child in range(tree.sizes[level]):
                held = twin.rows_of(tree, level, child)
                node, lane = start + child // twin.FAN, child % twin.FAN
                assert tree.lowest[node, lane] == held.min()
                low, high = tree.boxes[node, :, :, lane].T
                np.testing.assert_array_equal(low, rows[held].min(axis=0))
                np.testing.assert_array_equal(high, rows[held].max(axis=0))


def test_neighbouring_leaves_lie_apart():
    """A node is parted along its widest side: boxes of a plane's leaves overlap nowhere but in ties."""
    rows = np.random.default_rng(1).random((4096, 2))
    tree = build(rows, 2)
    low, high = (np.concatenate(list(tree.boxes[:16, :, side].transpose(0, 2, 1))) for side in (0, 1))
    overlap = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    assert ((overlap > 0).all(axis=2).sum(axis=1) == 1).all()
    assert (high - low).max() < 0.25


@pytest.mark.parametrize("d", [1, 2, 5, 9])
def test_searches_agree_with_the_twin(d):
    random = np.random.default_rng(d)
    rows = random.integers(0, 6, (900, d)) / 2.0
    queries = np.concatenate([random.normal(size=(20, d)) * 4, rows[:20]])
    tree = build(rows, 1)
    nothing = np.empty(0, np.int64), np.empty((0, 1))
    for k in (1, 3, 8, 9, 33):
        lists = Ranked(np.empty((40, k)), np.empty((40, k), np.int64))
        heaps = Nearest(np.full((40, k), np.inf), np.full((40, k), NO_INDEX))
        for collector in (lists, heaps):
            order = np.arange(40)
            kernels.search_tree(tree, queries, order, *nothing, 0, 40, collector, np.empty(0, np.int32))
        for query in range(40):
            expected = twin.nearest(tree, rows, queries[query], k)
            assert list(zip(lists.distances[query].tolist(), lists.indices[query].tolist(), strict=True)) == expected
            heap = zip(heaps.distances[query].tolist(), heaps.indices[query].tolist(), strict=True)
            assert sorted(heap) == expected


distance = st.sampled_from([0.0, 0.5, 1.0, 2.0, np.inf])


@given(st.lists(distance, min_size=32, max_size=32), st.integers(0, 32), st.integers(0, 33))
@settings(max_examples=60)
def test_ranks_and_masks(values, n_rows, k):
    distances = np.array(values)
    distances[n_rows:] = np.nan
    ranks = np.empty(32, np.int64)
    ranks_of(distances, ranks)
    order = np.argsort(distances[:n_rows], kind="stable")
    assert ranks[order].tolist() == list(range(n_rows))
    within, below, least = masks_of(distances, 1.0, ranks, k)
    assert least == min(values[:n_rows], default=np.inf)
    assert [within >> r & 1 for r in range(32)] == (distances <= 1.0).astype(int).tolist()
    assert [below >> r & 1 for r in range(32)] == (ranks < k).astype(int).tolist()


insert_in_list = from_python(kernels.insert_in_list)


@given(st.lists(st.tuples(distance, st.integers(0, 50)), max_size=40, unique=True), st.integers(1, 20))
@settings(max_examples=60)
def test_a_list_keeps_the_first_pairs_in_order(pairs, k):
    length = (k + 15) // 8 * 8
    distances, rows = np.full(length, -np.inf), np.full(length, -1)
    distances[length - k :], rows[length - k :] = np.inf, NO_INDEX
    for pair in pairs:
        insert_in_list(distances, rows, *pair)
    kept = list(zip(distances[length - k :].tolist(), rows[length - k :].tolist(), strict=True))
    assert kept == sorted([*pairs, *[(np.inf, NO_INDEX)] * k])[:k]
    assert (rows[: length - k] == -1).all()


@given(st.lists(distance, min_size=8, max_size=8), st.integers(0, 255), distance)
@settings(max_examples=60)
def test_the_nearest_child(values, among, worst):
    bounds, seconds = np.full((3, 8), np.nan), np.empty((2, 3))
    bounds[1] = values
    near, lane, on_path = children_of(bounds, 1, np.uint64(among), worst, seconds, 1)
    some = [j for j in range(8) if among >> j & 1]
    inside = [j for j in some if values[j] <= worst]
    assert near == sum(1 << j for j in inside)
    if inside:
        assert lane == min(inside, key=lambda j: values[j])
    if some:
        assert on_path == min(some, key=lambda j: values[j])
        assert seconds[1, 1] == min([values[j] for j in some if j != on_path], default=np.inf)


@given(st.lists(st.lists(st.integers(0, 1000), max_size=70, unique=True), max_size=5))
@settings(max_examples=60)
def test_pairs_are_sorted_by_row(lists):
    starts = np.cumsum([0, *map(len, lists)])
    rows = np.array([row for some in lists for row in some], np.int64)
    distances = rows / 2.0
    kernels.sort_by_row(starts, distances, rows, 0, len(lists))
    assert rows.tolist() == [row for some in lists for row in sorted(some)]
    np.testing.assert_array_equal(distances, rows / 2.0)
