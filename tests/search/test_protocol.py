"""All searchers have the same interface and give the same answers."""

import numpy as np
import pytest

from reference import search as reference
from somknn import machine
from somknn.neighbors import ExactIndex
from somknn.search.brute import BruteSearch
from somknn.search.embedding import Embedding
from somknn.search.few_vectors import FewVectorsSearch
from somknn.search.protocol import Searcher
from somknn.search.pruned import PrunedSearch
from somknn.search.tree import TreeSearch


def faiss(rows: np.ndarray) -> Searcher:
    pytest.importorskip("faiss")
    from somknn.neighbors import FaissIndex

    return FaissIndex().fit(rows)


SEARCHERS = {
    "brute": lambda rows: BruteSearch(rows, machine.select()),
    "pruned": lambda rows: PrunedSearch(rows, Embedding(rows, machine.select()), 2),
    "tree": lambda rows: TreeSearch(rows, machine.select(), 2),
    "few vectors": FewVectorsSearch,
    "exact index": ExactIndex().fit,
    "faiss": faiss,
}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("name", SEARCHERS)
def test_all_answer_alike(name, dtype):
    random = np.random.default_rng(3)
    rows = random.integers(0, 40, (300, 64)).astype(dtype)
    rows[200:] = rows[:100]  # ties
    queries = random.integers(0, 40, (50, 64)).astype(dtype)
    searcher = SEARCHERS[name](rows)
    for k in (1, 3):
        for n_threads in (1, 2):
            found = searcher.search(queries, k, n_threads=n_threads)
            for got, expected in zip(found, reference.nearest(queries, rows, k), strict=True):
                np.testing.assert_array_equal(got, expected)
    radius = float(np.median(found[0]))
    for got, expected in zip(
        searcher.search_within(queries, radius, n_threads=2), reference.within(queries, rows, radius), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
