"""Rough groups: they give an order, and a better one than the given if columns are blank."""

import numpy as np

from somknn.search.cells import similar_first


def test_queries_with_the_same_blanks_come_to_lie_together():
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 4, 200)
    queries = np.zeros((200, 64), np.uint8)
    for i, start in enumerate(kind * 16):
        queries[i, start : start + 16] = rng.integers(1, 256, 16)
    order = similar_first(queries, 0, 2)
    assert sorted(order) == list(range(200))
    assert (np.diff(kind[order]) != 0).sum() == 3
    shifted = similar_first(queries.astype(np.float32) + 7, np.full(64, 7.0), 1)
    np.testing.assert_array_equal(shifted, order)


def test_nothing_is_reordered_where_little_is_blank_or_little_is_asked():
    dense = np.ones((200, 64), np.uint8)
    assert similar_first(dense, 0, 1) is None
    assert similar_first(np.zeros((63, 64), np.uint8), 0, 1) is None
    assert similar_first(np.zeros((200, 15), np.uint8), 0, 1) is None
