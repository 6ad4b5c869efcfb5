"""The re-ranking kernel against its reference: order, ties, gaps and repeated candidates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.reranking import rerank as reference
from somknn_kernels import isa as isa_module
from somknn_kernels.exact.reranking import rerank
from somknn_kernels.exact.selection import NO_INDEX

PATHS = [*isa_module.supported(), "vnni-emulated"]


def run(queries, rows, candidates, k, path=None):
    as_bytes = queries.dtype == rows.dtype == np.uint8
    dtype, worst = (np.int64, np.iinfo(np.int64).max) if as_bytes else (np.float64, np.inf)
    distances = np.full((len(queries), k), worst, dtype)
    indices = np.full((len(queries), k), NO_INDEX, np.int64)
    found = np.empty(len(queries), np.int64)
    isa = isa_module.select(path)
    for start in range(0, len(queries), 3):
        stop = min(start + 3, len(queries))
        rerank(isa, queries, rows, candidates, start, stop, distances, indices, found)
    return distances, indices, found


def assert_equal_to_the_reference(queries, rows, candidates, k, path=None):
    distances, indices, found = run(queries, rows, candidates, k, path)
    for i, best in enumerate(reference(queries, rows, candidates, k)):
        if best is None:
            assert found[i] == -1
            continue
        assert found[i] == len(best)
        got = zip(distances[i, : found[i]].tolist(), indices[i, : found[i]].tolist(), strict=True)
        assert list(got) == [(distance, row) for distance, row in best]
        assert (indices[i, found[i] :] == NO_INDEX).all()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("types", [(np.uint8, np.uint8), (np.float32, np.uint8), (np.float64, np.float32)])
@pytest.mark.parametrize("d", [1, 7, 33])
def test_every_path_and_type(path, types, d):
    rng = np.random.default_rng(d)
    queries, rows = (rng.integers(0, 4, (n, d)).astype(t) for n, t in zip((8, 30), types, strict=True))
    candidates = np.stack([rng.permutation(30)[:12] for _ in queries])
    candidates[rng.random(candidates.shape) < 0.3] = -1
    assert_equal_to_the_reference(queries, rows, candidates, 5, path)


@given(st.data())
def test_anything_a_shortlist_may_be(data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    n, d, length = (data.draw(st.integers(1, most)) for most in (20, 5, 25))
    k = data.draw(st.integers(1, length))
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 3, (n, d)).astype(np.float32)
    queries = rng.integers(0, 3, (4, d)).astype(np.float32)
    candidates = rng.integers(-3, n, (4, length))  # repeated ones too
    assert_equal_to_the_reference(queries, rows, candidates, k)
