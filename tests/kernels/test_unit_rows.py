"""The kernel of unit rows against its twin: every type and width, ends of float64, ranges, NaN."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.cosine import unit_rows as reference
from somknn_kernels.exact.unit_rows import unit_rows


def run(rows, at_once=None):
    out, is_zero = np.full(rows.shape, np.nan), np.full(len(rows), True)
    origin = np.zeros((1, rows.shape[1]))
    for start in range(0, len(rows), at_once or len(rows)):
        unit_rows(rows, origin, start, min(start + (at_once or len(rows)), len(rows)), out, is_zero)
    return out, is_zero


def assert_equal_to_the_twin(rows, at_once=None):
    for got, expected in zip(run(rows, at_once), reference(rows), strict=True):
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 2, 7, 8, 9, 16, 33, 384, 1001])
def test_every_type_and_width(dtype, d):
    rows = (np.random.default_rng(d).integers(0, 4, (20, d)) * 3).astype(dtype)
    rows[3] = 0
    for at_once in (1, 7, 20):
        assert_equal_to_the_twin(rows, at_once)


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(st.integers(1, 20), st.data())
def test_any_finite_row(d, data):
    rows = np.array(data.draw(st.lists(st.lists(numbers, min_size=d, max_size=d), min_size=1, max_size=4)))
    assert_equal_to_the_twin(rows)
    units, is_zero = run(rows)
    np.testing.assert_array_equal(is_zero, ~rows.any(axis=1))
    np.testing.assert_allclose(np.linalg.norm(units, axis=1), np.where(is_zero, 0, 1), rtol=1e-15)


@pytest.mark.parametrize("exponent", [-1060, -1000, -500, -450, -449, 0, 449, 450, 500, 1020])
def test_a_power_of_two_changes_nothing(exponent):
    rows = np.random.default_rng(1).integers(-9, 9, (30, 21)).astype(float)
    np.testing.assert_array_equal(run(np.ldexp(rows, exponent))[0], run(rows)[0])


def test_the_ends_of_float64():
    largest, smallest = np.finfo(float).max, 5e-324
    rows = np.array([[largest, -largest], [smallest, 0], [smallest, smallest], [largest, smallest]])
    half = np.sqrt(0.5)
    np.testing.assert_allclose(run(rows)[0], [[half, -half], [1, 0], [half, half], [1, 0]], rtol=1e-15)


def test_nan_and_infinity_give_nan_and_are_no_zeros():
    rows = np.array([[np.nan, 0], [0, np.inf], [0, -0.0]])
    units, is_zero = run(rows)
    assert np.isnan(units[:2]).any(axis=1).all()
    assert is_zero.tolist() == [False, False, True]
