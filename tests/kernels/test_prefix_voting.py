"""The kernels against their references, with as many ties as possible."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import prefix_voting as reference
from somknn_kernels.votes import prefix_voting


@st.composite
def lists(draw):
    m, k, c = draw(st.integers(1, 6)), draw(st.integers(1, 20)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    squared = np.sort(rng.integers(0, draw(st.integers(1, 6)), (m, k)), axis=1)
    if draw(st.booleans()):
        squared = squared.astype(np.float64)
    return rng.integers(0, c, (m, k)).astype(np.int32), squared, c, rng


@settings(max_examples=200, deadline=None)
@given(lists(), st.sampled_from(["none", "distance", "zeros"]), st.booleans())
def test_votes_of_every_k_equal_the_reference(drawn, weighting, nearest_first):
    codes, squared, c, rng = drawn
    weights = None
    if weighting == "distance":
        weights = 1 / np.sqrt(squared + 1.0)
    elif weighting == "zeros":
        weights = rng.integers(0, 3, codes.shape).astype(np.float64)
    out = np.full(codes.shape[::-1], -1, np.int32)
    expected = out.copy()
    votes, first_rank = np.zeros(c), np.full(c, -1)
    prefix_voting.vote_every_k(codes, squared, weights, nearest_first, votes, first_rank, out)
    reference.vote_every_k(codes, squared, weights, nearest_first, None, None, expected)
    np.testing.assert_array_equal(out, expected)
    assert not votes.any()
    assert (first_rank == -1).all()


@pytest.mark.parametrize("seed", range(20))
def test_keep_allowed_equals_the_reference(seed):
    rng = np.random.default_rng(seed)
    n, m, length = 30, rng.integers(1, 8), rng.integers(1, 30)
    k = rng.integers(1, length + 1)
    indices = np.array([rng.permutation(n)[:length] for _ in range(m)])
    squared = np.sort(rng.integers(0, 9, (m, length)), axis=1)
    allowed = rng.random(n) < rng.random()
    codes = rng.integers(0, 4, n).astype(np.int32)
    results = []
    for version in (prefix_voting, reference):
        out = np.full((m, k), -1, np.int32), np.full((m, k), -1), np.zeros(m, np.int64)
        version.keep_allowed(indices, squared, allowed, codes, *out)
        results.append(out)
    for found, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(found, expected)
