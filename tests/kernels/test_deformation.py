"""The distortion kernel against a plain search: sizes, warps, contexts, ties, extreme levels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import deformation as reference
from somknn.images.deformation import largest_level
from somknn_kernels.images import deformation


def rerank(queries, references, candidates, warp, context, k):
    costs = np.empty((len(queries), k), np.int64)
    indices = np.empty((len(queries), k), np.int64)
    deformation.idm_rerank(queries, references, candidates, warp, context, costs, indices)
    return costs, indices


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 7), st.integers(1, 19)),
    warp=st.integers(0, 3),
    context=st.integers(0, 2),
    k=st.integers(1, 4),
    spread=st.sampled_from([1, 3, None]),
)
@settings(max_examples=40)
def test_costs_and_order_are_those_of_plain_search(seed, shape, warp, context, k, spread):
    rng = np.random.default_rng(seed)
    limit = largest_level(context)
    spread = min(spread or limit, limit)  # few levels make ties
    references = rng.integers(-spread, spread + 1, (6, 2, *shape)).astype(np.int8)
    references[3] = references[1]
    queries = rng.integers(-spread, spread + 1, (3, 2, *shape)).astype(np.int8)
    candidates = np.array([rng.permutation(6)[:5] for _ in queries])
    costs, indices = rerank(queries, references, candidates, warp, context, k)
    want_costs, want_indices = reference.idm_rerank(queries, references, candidates, warp, context, k)
    assert (costs == want_costs).all()
    assert (indices == want_indices).all()


@pytest.mark.parametrize("context", [0, 1, 2, 3])
def test_the_largest_levels_do_not_overflow(context):
    limit = largest_level(context)
    query = np.full((1, 2, 9, 9), limit, np.int8)
    against = np.full((1, 2, 9, 9), -limit, np.int8)
    costs, _ = rerank(query, against, np.zeros((1, 1), np.int64), 0, context, 1)
    assert costs[0, 0] == reference.distortion(query[0], against[0], 0, context)
