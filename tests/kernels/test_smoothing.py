"""Smoothing by columns, then by rows, against sums over all pairs of neurons: odd shapes, zeros, blocks of features."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import smoothing as reference
from somknn.som.neighborhoods import _in_blocks
from somknn_kernels.maps import smoothing as kernels


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    d=st.integers(1, 40),
    parities=st.integers(1, 2),
    terms=st.integers(1, 2),
    density=st.sampled_from([0.0, 0.2, 1.0]),
    whole=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_smoothing_equals_the_sum_over_all_pairs(seed, rows, columns, d, parities, terms, density, whole):
    random = np.random.default_rng(seed)
    sums = random.integers(0, 2**40, (rows, columns, d)) if whole else random.normal(size=(rows, columns, d))
    across = random.normal(size=(parities, parities, terms, columns, columns))
    across *= random.random(across.shape) < density
    down = random.normal(size=(rows, terms, rows)) * (random.random((rows, terms, rows)) < density)
    divisors = random.uniform(0.5, 2.0, rows * columns)
    by_parity = np.zeros((parities, -(-rows // parities), terms * rows))
    for parity in range(parities):
        some = down[parity::parities].reshape(-1, terms * rows)
        by_parity[parity, : len(some)] = some
    factors = kernels.Factors(*_in_blocks(across), *_in_blocks(by_parity))
    flat = sums.reshape(-1, d)
    expected = reference.smooth_columns(sums, across, down, divisors).reshape(-1, d)
    scale = float(np.abs(flat).max())
    outs = []
    for width in (d, 1 + d // 2, 8):  # features per call
        out = np.full((rows * columns, d), np.nan)
        for first in range(0, d, width):
            kernels.smooth_columns(flat, factors, divisors, first, min(d, first + width), out)
        outs.append(out)
        np.testing.assert_array_equal(out, outs[0])
    np.testing.assert_allclose(outs[0], expected, rtol=1e-9, atol=1e-9 * scale)
