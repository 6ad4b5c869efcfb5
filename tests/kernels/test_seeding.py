"""Improvements by candidates, measured in full and behind the bounds, against the plain reference."""

import itertools

import numpy as np
import pytest

from reference import seeding as plain
from somknn.neighbors import CodebookSearch
from somknn.prototypes.seeding import Potential, plus_plus


def _rows(kind, n=2500, d=60):
    random = np.random.default_rng(0)
    low = random.normal(size=(n, 8)) @ random.normal(size=(8, d))
    if kind == np.uint8:
        return np.clip(128 + 20 * low + random.normal(size=(n, d)), 0, 255).astype(np.uint8)
    return (1e3 + low).astype(kind)


def _found(potential, totals):
    """The improvements by the candidates that were measured in full."""
    found = potential._found
    starts = np.arange(len(found.counts)) * potential._block * len(totals)
    at = np.concatenate([np.arange(s, s + c) for s, c in zip(starts, found.counts, strict=True)])
    at = at[np.isfinite(totals)[found.candidates[at]]]
    at = at[found.distances[at] < potential.closest[found.rows[at]]]
    return dict(zip(zip(found.rows[at].tolist(), found.candidates[at].tolist()), found.distances[at]))  # noqa: B905


def _check(X, search, steps):
    random = np.random.default_rng(1)
    weights = random.integers(0, 3, len(X)).astype(float)
    potential = Potential(search, weights)
    potential.try_rows(np.array([7]))
    potential.choose(0)
    chosen_rows = [7]
    for candidates in map(np.array, steps(random)):
        wanted = plain.find_improvements(X, candidates, potential.closest)
        expected = plain.totals(X, candidates, potential.closest, weights)
        totals = potential.try_rows(candidates)
        known = np.isfinite(totals)
        assert int(np.argmin(totals)) in np.flatnonzero(np.isclose(expected, expected.min(), rtol=1e-12, atol=0))
        np.testing.assert_allclose(totals[known], expected[known], rtol=1e-9)
        assert (expected[~known] > expected.min()).all()
        found = _found(potential, totals)
        wanted = {pair: distance for pair, distance in wanted.items() if known[pair[1]]}
        assert found.keys() == wanted.keys()
        if len(found):
            np.testing.assert_allclose(list(found.values()), [wanted[pair] for pair in found], rtol=1e-12)
        chosen = int(np.argmin(totals))
        potential.choose(chosen)
        chosen_rows.append(candidates[chosen])
        squares = plain.squared_distances(X, X[chosen_rows])
        np.testing.assert_array_equal(potential.nearest, squares.argmin(axis=1))
        assert totals[chosen] == pytest.approx((weights * potential.closest).sum(), rel=1e-9)


def _combinations():
    """All combinations, some marked slow: the pruned ones compile for seconds each.

    The sieve works on codes for any rows, so fractions are tested on one path in each run.
    """
    for isa, algorithm, kind in itertools.product(
        [None, "portable"], ["pruned", "brute"], [np.uint8, np.float32, np.float64]
    ):
        rare = isa == "portable" and algorithm == "pruned" and kind != np.uint8
        yield pytest.param(isa, algorithm, kind, marks=pytest.mark.slow if rare else ())


@pytest.mark.parametrize(("isa", "algorithm", "kind"), list(_combinations()))
def test_equals_the_plain_twin(isa, algorithm, kind):
    X = _rows(kind)
    search = CodebookSearch(X, algorithm=algorithm, isa=isa)
    assert (search.embedding() is None) == (algorithm == "brute")
    _check(X, search, lambda random: [[5, 5, 9, *random.integers(len(X), size=4)] for _ in range(12)])


def test_candidates_that_are_certainly_worse_are_not_measured_to_the_end():
    X = _rows(np.uint8, 9000)
    potential = Potential(CodebookSearch(X, algorithm="pruned"), np.ones(len(X)))
    potential.try_rows(np.array([7]))
    potential.choose(0)
    random = np.random.default_rng(0)
    lost = 0
    for _ in range(20):
        totals = potential.try_rows(random.integers(len(X), size=8))
        lost += np.count_nonzero(np.isinf(totals))
        potential.choose(int(np.argmin(totals)))
    assert lost > 20


def test_nothing_equally_near_counts_as_nearer():
    X = np.repeat(_rows(np.uint8, 40), 60, axis=0)
    _check(X, CodebookSearch(X, algorithm="pruned"), lambda random: [[8, 2000], [2001, 61, 7], [2399, 0]])


def test_rows_far_from_all_others_are_measured():
    X = _rows(np.uint8)
    X[3], X[900] = 0, 255
    X[4] = np.arange(60) % 2 * 255
    _check(X, CodebookSearch(X, algorithm="pruned"), lambda random: [[3, 4], [900, 5], [4, 3, 900]])


def test_locate_finds_the_rows_of_a_running_sum():
    random = np.random.default_rng(0)
    X = _rows(np.uint8, 5000)
    X[2048:4096] = X[7]  # a block without mass
    potential = Potential(CodebookSearch(X), random.integers(0, 3, len(X)).astype(float))
    assert potential._whole
    potential.try_rows(np.array([7]))
    potential.choose(0)
    sums = np.cumsum(potential.weights * potential.closest)
    wanted = np.concatenate([random.random(200) * sums[-1], sums[::97], [0.0, 0.5, sums[-1], sums[-1] * 2]])
    expected = plain.locate(potential.weights, potential.closest, wanted)
    np.testing.assert_array_equal(potential.locate(wanted), expected)


@pytest.mark.parametrize("weights", ["none", "whole", "fractions"])
def test_draws_are_those_of_distances_without_a_sieve_for_any_number_of_threads(weights):
    X = _rows(np.uint8, 9000)
    random = np.random.default_rng(0)
    given = {
        "none": np.ones(9000),
        "whole": random.integers(0, 4, 9000).astype(float),
        "fractions": random.random(9000),
    }
    searches = [
        CodebookSearch(X, algorithm=way, n_jobs=jobs) for way, jobs in (("brute", 1), ("pruned", 1), ("pruned", 2))
    ]
    chosen = [plus_plus(Potential(s, given[weights]), 40, np.random.RandomState(3)) for s in searches]
    np.testing.assert_array_equal(chosen[0], chosen[1])
    np.testing.assert_array_equal(chosen[0], chosen[2])
