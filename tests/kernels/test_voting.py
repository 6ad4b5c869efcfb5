"""The voting kernels against their references, and against scikit-learn's rule for ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mode

from reference import voting as reference
from somknn_kernels.votes import voting


def vote(codes, neighbours, squared, weights, nearest_first, n_classes):
    votes = np.zeros(n_classes)
    out = np.full(len(neighbours), -1, np.int32)
    voting.vote(codes, neighbours, squared, weights, nearest_first, votes, out)
    assert not votes.any(), "the scratch is left as it was found"
    return out


def vote_shares(codes, neighbours, weights, n_classes):
    votes, out = np.zeros(n_classes), np.zeros((len(neighbours), n_classes))
    voting.vote_shares(codes, neighbours, weights, votes, out)
    assert not votes.any()
    return out


def weighted_means(targets, neighbours, weights):
    out = np.empty((len(neighbours), targets.shape[1]))
    voting.weighted_means(targets, neighbours, weights, out)
    return out


def inverse_distance_weights(distances):
    out = np.empty(distances.shape)
    voting.inverse_distance_weights(distances, out)
    return out


@st.composite
def neighbourhoods(draw):
    """Few distances, classes and weights, so that ties of every kind are common."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 30))
    k = draw(st.integers(1, n))
    n_classes = draw(st.integers(1, 6))
    m = draw(st.integers(1, 12))
    codes = rng.integers(0, n_classes, n).astype(np.int32)
    neighbours = np.array([rng.permutation(n)[:k] for _ in range(m)]).astype(np.int64)
    squared = np.sort(rng.integers(0, draw(st.sampled_from([1, 3, 100])), (m, k)), axis=1)
    if draw(st.booleans()):
        squared = squared * 0.25
    weights = draw(st.sampled_from(["none", "distance", "small", "floats"]))
    if weights == "none":
        matrix = None
    elif weights == "distance":
        matrix = reference.inverse_distance_weights(np.sqrt(squared))
    elif weights == "small":
        matrix = rng.integers(0, 3, (m, k)).astype(float)
        matrix[:, 0] += 1
    else:
        matrix = rng.random((m, k)) + 1e-3
    return codes, neighbours, squared, matrix, n_classes


@settings(max_examples=200, deadline=None)
@given(neighbourhoods(), st.booleans())
def test_votes_and_shares_equal_the_reference(case, nearest_first):
    codes, neighbours, squared, weights, n_classes = case
    np.testing.assert_array_equal(
        vote(codes, neighbours, squared, weights, nearest_first, n_classes),
        reference.vote(codes, neighbours, squared, weights, nearest_first),
    )
    np.testing.assert_array_equal(
        vote_shares(codes, neighbours, weights, n_classes),
        reference.vote_shares(codes, neighbours, weights, n_classes),
    )


@settings(max_examples=100, deadline=None)
@given(neighbourhoods(), st.integers(1, 3))
def test_means_equal_the_reference(case, n_outputs):
    codes, neighbours, _, weights, _ = case
    targets = np.random.default_rng(len(codes)).normal(size=(len(codes), n_outputs))
    np.testing.assert_array_equal(
        weighted_means(targets, neighbours, weights), reference.weighted_means(targets, neighbours, weights)
    )


@settings(max_examples=100, deadline=None)
@given(neighbourhoods())
def test_inverse_distance_weights_equal_the_reference(case):
    distances = np.sqrt(case[2])
    np.testing.assert_array_equal(inverse_distance_weights(distances), reference.inverse_distance_weights(distances))


def test_the_smallest_distances_keep_finite_weights():
    distances = np.sqrt([[1e-320, 5e-324, 4.0], [1.0, 4.0, 16.0]])
    weights = inverse_distance_weights(distances)
    assert np.isfinite(weights).all()
    np.testing.assert_array_equal(weights, reference.inverse_distance_weights(distances))


def test_distances_too_small_to_be_divided_by_count_as_zero():
    distances = np.array([[1e-320, 0.0, 1.0], [1e-300, 1.0, 2.0]])
    weights = inverse_distance_weights(distances)
    assert weights.tolist() == [[1.0, 1.0, 0.0], [1 / 1e-300, 1.0, 0.5]]
    np.testing.assert_array_equal(weights, reference.inverse_distance_weights(distances))


@settings(max_examples=100, deadline=None)
@given(neighbourhoods())
def test_smaller_code_first_is_the_mode(case):
    codes, neighbours, squared, _, n_classes = case
    np.testing.assert_array_equal(
        vote(codes, neighbours, squared, None, False, n_classes), mode(codes[neighbours], axis=1).mode
    )


@pytest.mark.parametrize(
    ("labels", "squared", "nearest", "first"),
    [
        ([2, 1, 1, 2], [1, 2, 3, 4], 2, 1),  # tie: the nearest of all is a 2
        (
            [0, 2, 1, 1, 2],
            [1, 2, 3, 4, 5],
            2,
            1,
        ),  # tie of 1 and 2; the 0, nearest of all, is not among the tied
        ([2, 1, 1, 2], [1, 1, 3, 4], 1, 1),  # their nearest are equally far: the smaller class
        ([3, 2, 1], [1, 1, 2], 2, 1),  # three tied, two of them equally near
        ([1, 2, 2], [0, 1, 2], 2, 2),  # no tie
    ],
)
def test_who_wins_a_tie(labels, squared, nearest, first):
    codes = np.array(labels, np.int32)
    neighbours = np.arange(len(labels))[None, :]
    distances = np.array([squared])
    assert vote(codes, neighbours, distances, None, True, 4)[0] == nearest
    assert vote(codes, neighbours, distances, None, False, 4)[0] == first


def test_many_classes():
    n = 50_000
    codes = np.arange(n, dtype=np.int32)[::-1].copy()
    neighbours = np.arange(n - n % 5).reshape(-1, 5)
    squared = np.tile(np.arange(5), (len(neighbours), 1))
    np.testing.assert_array_equal(vote(codes, neighbours, squared, None, True, n), codes[neighbours[:, 0]])
    np.testing.assert_array_equal(vote(codes, neighbours, squared, None, False, n), codes[neighbours[:, 4]])
