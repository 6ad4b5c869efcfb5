"""Heaps, collectors and packing against plain references."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import selection as reference
from somknn_kernels.exact import selection
from somknn_kernels.exact.selection import NO_INDEX, Nearest, Within
from somknn_kernels.policy import kernel
from somknn_kernels.tiles import packing

WORST = np.iinfo(np.int64).max


@kernel
def offer_all(collector, query, distances, rows):
    for i in range(distances.shape[0]):
        if distances[i] <= selection.bound(collector, query):
            selection.offer(collector, query, distances[i], rows[i])


@kernel
def pack_bytes(source, first, count, flip, out):
    packing.pack_bytes(source, first, count, flip, out)


@kernel
def pack_centred(source, first, count, centre, scale, out, squared_norms, errors):
    packing.pack_centred(source, first, count, centre, scale, out, squared_norms, errors)


@kernel
def drop(packed, t, groups):
    return packing.drop_zero_groups(packed, t, groups)


def empty_heaps(m, k, dtype=np.int64):
    worst = WORST if dtype == np.int64 else np.inf
    return Nearest(np.full((m, k), worst, dtype), np.full((m, k), NO_INDEX, np.int64))


# Few different distances, so that most tie.
PAIRS = st.lists(st.integers(0, 6), min_size=0, max_size=60)


@given(PAIRS, st.integers(1, 12), st.randoms(use_true_random=False), st.sampled_from([np.int64, np.float64]))
def test_the_k_best_whatever_the_order_of_the_offers(distances, k, random, dtype):
    pairs = [(d, row) for row, d in enumerate(distances)]
    expected = reference.k_best(pairs, k)
    random.shuffle(pairs)
    heaps = empty_heaps(2, k, dtype)
    offer_all(heaps, 1, np.array([d for d, _ in pairs], dtype), np.array([row for _, row in pairs], np.int64))
    found, rows = selection.sorted_heaps(*heaps)
    assert list(zip(found[1], rows[1], strict=True))[: len(expected)] == expected
    assert (rows[1, len(expected) :] == NO_INDEX).all()
    assert (rows[0] == NO_INDEX).all()


@given(PAIRS, st.integers(1, 8), st.integers(1, 5))
def test_parts_merge_into_the_list_of_the_whole(distances, k, n_parts):
    pairs = [(d, row) for row, d in enumerate(distances)]
    parts = [empty_heaps(1, k) for _ in range(n_parts)]
    for i, part in enumerate(parts):
        mine = np.array(pairs[i::n_parts], np.int64).reshape(-1, 2)
        offer_all(part, 0, mine[:, 0].copy(), mine[:, 1].copy())
    found, rows = np.empty((1, k), np.int64), np.empty((1, k), np.int64)
    selection.merge_parts(np.stack([p.distances for p in parts]), np.stack([p.indices for p in parts]), found, rows)
    expected = reference.k_best(pairs, k)
    assert list(zip(found[0].tolist(), rows[0].tolist(), strict=True))[: len(expected)] == expected


@given(PAIRS, st.integers(0, 7))
def test_within_counts_and_then_fills(distances, limit):
    distances = np.array(distances, np.int64)
    rows = np.arange(len(distances))
    limits, counts, starts = np.full(1, limit), np.zeros(1, np.int64), np.zeros(2, np.int64)
    none = np.empty(0, np.int64)
    offer_all(Within(limits, counts, starts, none, none), 0, distances, rows)
    assert counts[0] == (distances <= limit).sum()
    found, where = np.empty(counts[0], np.int64), np.empty(counts[0], np.int64)
    starts[1], counts[:] = counts[0], 0
    if len(found):
        offer_all(Within(limits, counts, starts, found, where), 0, distances, rows)
    np.testing.assert_array_equal(where, rows[distances <= limit])
    np.testing.assert_array_equal(found, distances[distances <= limit])


@pytest.mark.parametrize(("g", "flip", "dtype"), [(2, 0, np.int16), (4, 0, np.uint8), (4, 128, np.int8)])
@pytest.mark.parametrize("d", [1, 3, 4, 5, 17])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_packed_bytes(g, flip, dtype, d, count):
    source = np.random.default_rng(d).integers(0, 256, (9, d)).astype(np.uint8)
    groups = -(-d // g) + 1  # one group more than the width needs
    out = np.full((groups, 5, g), 77, dtype)
    pack_bytes(source, 2, count, flip, out)
    np.testing.assert_array_equal(out, reference.packed_bytes(source, 2, count, 5, groups, g, flip))


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 1.0])
def test_groups_of_zeros_are_dropped(dtype, share):
    rng = np.random.default_rng(3)
    packed = (rng.random((2, 40, 6, 2)) < share).astype(dtype)
    groups = np.full((2, 40), -1, np.int32)
    for t in range(2):
        left, which = reference.without_zero_groups(packed[t].copy())
        assert drop(packed, t, groups) == len(left)
        np.testing.assert_array_equal(packed[t, : len(left)], left)
        np.testing.assert_array_equal(groups[t, : len(left)], which)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
    st.floats(-1e6, 1e6),
    st.integers(-30, 30),
)
def test_packed_floats_are_no_farther_off_than_said(values, centre, exponent):
    source = np.array([values])
    d, scale = len(values), 2.0**exponent
    out = np.empty((d, 2, 1), np.float32)
    norms, errors = np.empty(2), np.empty(2)
    pack_centred(source, 0, 1, np.full(d, centre), scale, out, norms, errors)
    exact = [(Fraction(v) - Fraction(centre)) * Fraction(scale) for v in values]
    packed = [Fraction(float(v)) for v in out[:, 0, 0]]
    assert sum((a - b) ** 2 for a, b in zip(exact, packed, strict=True)) <= Fraction(errors[0]) ** 2
    assert abs(sum(p * p for p in packed) - Fraction(norms[0])) <= Fraction(norms[0]) * Fraction(d + 1, 2**52)
    assert (out[:, 1] == 0).all()
    assert norms[1] == 0


def test_more_pairs_than_were_counted_are_not_written():
    """Rows in a mapped file may change between the two passes."""
    limits, counts, starts = np.full(2, 9), np.array([0, 0]), np.array([0, 2, 3])
    found, where = np.full(3, -1), np.full(3, -1)
    for query in (1, 0):
        offer_all(Within(limits, counts, starts, found, where), query, np.arange(5), np.arange(5))
    assert where.tolist() == found.tolist() == [0, 1, 0]
