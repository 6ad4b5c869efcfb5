"""Units as integers and as short vectors against plain NumPy: odd widths, few units, both types of codebooks."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import codebook_units as reference
from somknn.search.frames import Frame, _basis
from somknn_kernels.bounds import codebook_units as kernels
from somknn_kernels.bounds.codebook_codes import LEAD, WIDTH

SHAPES = {"K": st.integers(1, 21), "d": st.integers(1, 50), "seed": st.integers(0, 2**32 - 1)}


@given(**SHAPES, dtype=st.sampled_from([np.float32, np.float64]), scale=st.sampled_from([1.0, 0.125]))
@settings(max_examples=40, deadline=None)
def test_units_are_two_halves_of_integers(K, d, seed, dtype, scale):
    random = np.random.default_rng(seed)
    W = (random.normal(size=(K, d)) * 60 + 100).astype(dtype)
    centre = np.rint(random.uniform(0, 255, d))
    units, squares, tops = np.zeros((K + 3, d)), np.empty(K), np.empty(K)
    kernels.centre_units(W, centre, scale, 0, K, units, squares, tops)
    expected = (W.astype(np.float64) - centre) * scale
    np.testing.assert_array_equal(units[:K], expected)
    np.testing.assert_allclose(squares, (expected**2).sum(axis=1), rtol=1e-13)
    np.testing.assert_array_equal(tops, np.abs(expected).max(axis=1))
    step, fine = tops.max() / 32766.0, 2.0**-15
    high, low = np.zeros((K, d + 5), np.int16), np.zeros((K, d + 5), np.int16)
    errors, offsets, rests = np.empty(K), np.zeros(K), np.zeros(K)
    kernels.encode_units(units, centre, 0, K, kernels.WholeUnits(step, fine, high, low, errors, offsets, rests))
    expected_high, left = reference.encode_units(W, centre, scale, step)
    # Division and multiplication by the inverse may round differently.
    assert np.abs(high[:, :d] - expected_high).max() <= 1
    both = step * (high[:, :d] + low[:, :d] * fine)
    np.testing.assert_allclose(both, expected, atol=0.51 * step * fine)
    assert (np.linalg.norm(expected - step * high[:, :d], axis=1) <= errors * (1 + 1e-9)).all()
    assert (errors <= np.linalg.norm(left, axis=1) + 1.1 * step * fine * np.sqrt(d)).all()
    np.testing.assert_allclose(offsets, step * (high[:, :d] @ centre), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(rests, step * fine * (low[:, :d] @ centre), rtol=1e-12, atol=1e-9)
    assert not high[:, d:].any()
    assert not low[:, d:].any()


@given(**SHAPES, p=st.sampled_from([1, 8, 15, 31, 32, 33, 62]), near=st.sampled_from([0.0, 1.0]))
@settings(max_examples=40, deadline=None)
def test_codes_are_coordinates_and_norms(K, d, seed, p, near):
    random = np.random.default_rng(seed)
    d = max(d, p)
    frame = Frame(np.linalg.qr(random.normal(size=(d, p)))[0], 30000.0)
    basis = _basis(frame.matrix, frame.gram)
    K4 = -(-K // 4) * 4
    units = np.zeros((K4, d))
    units[:K] = random.normal(size=(K, p)) @ frame.matrix.T * 50 + near * random.normal(size=(K, d))
    squares = (units[:K] ** 2).sum(axis=1)
    longest = np.sqrt(squares.max())
    unit = longest / 32000.0
    codes = np.zeros((K, WIDTH), np.int16)
    uncertain = (d + 100) * 2.0**-50 * longest**2
    lean = kernels.find_codes(units, squares, 0, K, basis.of_kernel, unit, uncertain, codes)
    for used, column in {min(p, LEAD - 1): LEAD - 1, p: WIDTH - 1}.items():
        columns = [a if a < LEAD - 1 else a + 1 for a in range(used)]
        coordinates, _, _ = reference.find_codes(units[:K], frame.matrix, unit)
        assert np.abs(codes[:, columns] - coordinates[:, :used]).max() <= 1
        rest = units[:K] - unit * codes[:, columns].astype(np.float64) @ frame.matrix[:, :used].T
        leaning = rest @ frame.matrix[:, :used]
        axes, _ = np.linalg.qr(frame.matrix[:, :used])
        beyond = np.linalg.norm(rest - (rest @ axes) @ axes.T, axis=1)
        # Its square is that of the whole rest, including the part along the axes.
        assert (codes[:, column] * unit >= beyond * (1 - 1e-9)).all()
        assert (codes[:, column] * unit <= np.linalg.norm(rest, axis=1) + unit + 2 * np.sqrt(uncertain)).all()
        assert np.linalg.norm(leaning, axis=1).max() <= lean * (1 + 1e-6) + 1e-9 * longest
    if p < LEAD:
        np.testing.assert_array_equal(codes[:, LEAD - 1], codes[:, WIDTH - 1])
