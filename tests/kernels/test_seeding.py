"""`lower_to_candidates` against its plain twin."""

import numpy as np
import pytest

from reference import seeding as plain
from somknn.neighbors import CodebookSearch
from somknn_kernels import isa, seeding


def _rows(kind, n=2500, d=60):
    random = np.random.default_rng(0)
    low = random.normal(size=(n, 8)) @ random.normal(size=(8, d))
    if kind == np.uint8:
        return np.clip(128 + 20 * low + random.normal(size=(n, d)), 0, 255).astype(np.uint8)
    return (1e3 + low).astype(kind)


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("with_vectors", [True, False])
def test_equals_the_plain_twin(kind, with_vectors):
    X = _rows(kind)
    n = len(X)
    vectors = CodebookSearch(X, algorithm="pruned" if with_vectors else "brute").short_vectors()
    assert (vectors[0].shape[1] > 0) == with_vectors
    random = np.random.default_rng(1)
    dtype = np.int64 if kind == np.uint8 else np.float64
    closest = np.full(n, np.iinfo(np.int64).max if kind == np.uint8 else np.inf, dtype)
    compared = 0
    for _ in range(6):
        candidates = random.integers(n, size=5)
        candidates[1] = candidates[0]
        lowered, counts = np.empty((5, n), dtype), np.zeros(1, np.int64)
        for start, stop in ((0, 7), (7, 1300), (1300, n)):
            seeding.lower_to_candidates(isa.select(), X, candidates, closest, *vectors, start, stop, lowered, counts)
        wanted = plain.lower_to_candidates(X, candidates, closest)
        if kind == np.uint8:
            np.testing.assert_array_equal(lowered, wanted)
        else:
            np.testing.assert_allclose(lowered, wanted, rtol=1e-12)
        closest = lowered[0]
        compared = int(counts[0])
    assert (compared < 5 * n) == with_vectors


def test_the_bound_may_keep_what_is_exactly_as_near():
    X = np.repeat(_rows(np.uint8, 40), 60, axis=0)
    vectors = CodebookSearch(X, algorithm="pruned").short_vectors()
    closest = ((X.astype(np.int64) - X[7].astype(np.int64)) ** 2).sum(axis=1)
    lowered, candidates = np.empty((2, len(X)), np.int64), np.array([8, 2000])
    seeding.lower_to_candidates(
        isa.select(), X, candidates, closest, *vectors, 0, len(X), lowered, np.zeros(1, np.int64)
    )
    np.testing.assert_array_equal(lowered, plain.lower_to_candidates(X, candidates, closest))
