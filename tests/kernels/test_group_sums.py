import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import group_sums as reference
from somknn.grouping import _blocks, group_sums
from somknn_kernels.learn import group_sums as kernels


def _data(seed, n, d, groups, dtype):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 256, (n, d))
    X = X.astype(np.uint8) if dtype == np.uint8 else (X * 1e3 / 7 + 1e7).astype(dtype)
    return X, rng.integers(0, groups, n), rng.random(n)


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(0, 60),
    d=st.sampled_from([1, 3, 16, 300, 650]),
    groups=st.integers(1, 9),
    dtype=st.sampled_from([np.uint8, np.float32, np.float64]),
    weighted=st.booleans(),
)
def test_bit_exact_for_any_number_of_threads(seed, n, d, groups, dtype, weighted):
    X, labels, weights = _data(seed, n, d, groups, dtype)
    weights = weights if weighted else None
    expected_sums, expected_totals = reference.group_sums(X, labels, groups, weights)
    for n_threads in (1, 2, 5):
        sums, totals = group_sums(X, labels, groups, weights, n_threads)
        assert sums.dtype == expected_sums.dtype
        assert totals.dtype == expected_totals.dtype
        np.testing.assert_array_equal(sums, expected_sums)
        np.testing.assert_array_equal(totals, expected_totals)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_bit_exact_where_a_group_is_summed_in_several_calls(dtype, weighted, monkeypatch):
    monkeypatch.setattr("somknn.grouping.per_task", lambda most, operations: min(most, 7))
    X, labels, weights = _data(5, 300, 20, 4, dtype)
    labels[:150] = 2
    weights = weights if weighted else None
    for n_threads in (1, 3):
        sums, _ = group_sums(X, labels, 5, weights, n_threads)
        np.testing.assert_array_equal(sums, reference.group_sums(X, labels, 5, weights)[0])


@given(labels=st.lists(st.integers(0, 6), max_size=50))
def test_sort_is_stable(labels):
    labels = np.array(labels, np.int64)
    starts, order = np.empty(8, np.int64), np.empty(len(labels), np.int64)
    kernels.sort_by_label(labels, starts, order)
    expected_starts, expected_order = reference.sort_by_label(labels, 7)
    np.testing.assert_array_equal(starts, expected_starts)
    np.testing.assert_array_equal(order, expected_order)


@given(
    sizes=st.lists(st.integers(0, 100), min_size=1, max_size=20),
    d=st.sampled_from([1, 255, 256, 257, 383, 385, 784]),
    n_threads=st.integers(1, 9),
)
def test_blocks_cover_every_entry_once(sizes, d, n_threads):
    covered = np.zeros((len(sizes), d), int)
    for g0, g1, c0, c1 in _blocks(np.concatenate([[0], np.cumsum(sizes)]), d, n_threads):
        covered[g0:g1, c0:c1] += 1
    assert (covered == 1).all()


def test_white_rows_do_not_overflow():
    # 9 million rows of 255 exceed 2^31; a broadcast row stands for them without using the memory.
    n = 9_000_000
    X = np.lib.stride_tricks.as_strided(np.array([[255, 1]], np.uint8), (n, 2), (0, 1), writeable=False)
    starts, sums = np.array([0, n]), np.zeros((1, 2), np.int64)
    kernels.sum_groups_bytes(X, np.arange(n), starts, 0, 1, 0, 2, sums)
    assert sums.tolist() == [[255 * n, n]]


@pytest.mark.parametrize("label", [-1, 3, np.iinfo(np.int64).max, np.iinfo(np.int64).min])
@pytest.mark.parametrize("weights", [None, np.ones(5)])
def test_a_label_of_no_group_is_refused(label, weights):
    """Its sum would be written outside the arrays."""
    labels = np.array([0, 2, label, 1, 0])
    with pytest.raises(ValueError, match=f"^row 2 has the label {label}, which is none of 3 groups"):
        group_sums(np.ones((5, 2)), labels, 3, weights)
