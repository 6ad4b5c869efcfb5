"""Winners, and the two rules that process one row at a time, against their references."""

import numpy as np
import pytest

from reference import lvq as plain
from somknn_kernels.learn import lvq


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("rule", ["lvq1_epoch", "lvq21_epoch"])
@pytest.mark.parametrize("n_prototypes", [1, 2, 7])
def test_equals_the_plain_twin(kind, rule, n_prototypes):
    random = np.random.default_rng(0)
    rows = random.integers(0, 256, (90, 11)).astype(kind)
    codes, prototype_codes = random.integers(0, 3, 90), random.integers(0, 3, n_prototypes)
    order, rates = random.permutation(90)[:80], random.uniform(0, 0.2, 80)
    start = rows[:n_prototypes] + random.normal(size=(n_prototypes, 11))
    ours, theirs = start.copy(), start.copy()
    window = () if rule == "lvq1_epoch" else (0.3,)
    wrong = getattr(lvq, rule)(rows, codes, order, rates, *window, ours, prototype_codes)
    assert wrong == getattr(plain, rule)(rows, codes, order, rates, *window, theirs, prototype_codes)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert rule == "lvq21_epoch" or not np.allclose(ours, start)


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_winners_equal_the_plain_twin(kind):
    random = np.random.default_rng(0)
    rows = random.integers(0, 9, (150, 13)).astype(kind)
    codes, prototype_codes = random.integers(0, 4, 150), np.arange(20) % 4
    prototypes = random.integers(0, 9, (20, 13)).astype(kind)  # ties
    prototypes[7] = prototypes[3]
    found = lvq.Winners(np.empty(150, np.int64), np.empty(150), np.empty(150, np.int64), np.empty(150))
    for start, stop in ((0, 1), (1, 90), (90, 150)):
        lvq.winners(rows, codes, start, stop, prototypes, prototype_codes, found)
    for ours, theirs in zip(found, plain.winners(rows, codes, prototypes, prototype_codes), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_no_winner_where_there_is_no_prototype():
    found = lvq.Winners(np.empty(1, np.int64), np.empty(1), np.empty(1, np.int64), np.empty(1))
    lvq.winners(np.zeros((1, 3)), np.array([0]), 0, 1, np.ones((2, 3)), np.array([0, 0]), found)
    assert [part[0] for part in found] == [0, 3.0, -1, np.inf]


def test_the_lowest_wins_where_all_are_infinitely_far():
    """No winner would mean that there is no prototype; code that counts rows by their winner relies on it."""
    found = lvq.Winners(np.empty(1, np.int64), np.empty(1), np.empty(1, np.int64), np.empty(1))
    prototypes, codes = np.arange(12.0).reshape(4, 3) * 1e200, np.array([0, 1, 0, 1])
    lvq.winners(np.full((1, 3), -1e200), np.array([1]), 0, 1, prototypes, codes, found)
    assert [part[0] for part in found] == [1, np.inf, 0, np.inf]
