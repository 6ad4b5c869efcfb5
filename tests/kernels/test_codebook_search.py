"""The two nearest codebook rows against float64 NumPy: ties, duplicates, far offsets, odd shapes, guesses, threads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.codebook_search import two_nearest
from somknn.search.best_units import BMUSearch
from somknn.search.frames import Axes
from somknn_kernels.bounds import codebook_codes
from somknn_kernels.policy import kernel
from somknn_kernels.tiles.row_products import AXES


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 40),
    d=st.integers(1, 130),
    K=st.integers(2, 70),
    dtype=st.sampled_from(["uint8", "float32", "float64"]),
    offset=st.sampled_from([0.0, 1e6]),
    levels=st.sampled_from([2, 5, 256]),
)
@settings(max_examples=60, deadline=None)
def test_equals_float64_with_ties_and_duplicates(seed, n, d, K, dtype, offset, levels):
    random = np.random.default_rng(seed)
    X = random.integers(0, levels, (n, d)).astype(dtype)
    W = X[random.integers(0, n, K)].astype(np.float64)
    W[::2] += random.integers(0, 2, (len(W[::2]), d))
    if dtype != "uint8":
        X, W = X + X.dtype.type(offset), W + offset
    search = BMUSearch(X)
    for _ in range(2):  # without guesses, then with them
        units, distances = search.search(W)
        expected_units, expected = two_nearest(X, W)  # integers: exact in any order of summation
        np.testing.assert_array_equal(units, expected_units)
        np.testing.assert_allclose(distances, expected[:, 0], rtol=1e-7)


def test_far_from_the_origin():
    """With expanded squares at an offset of 1e9, other libraries find only wrong units."""
    random = np.random.default_rng(0)
    X = random.integers(0, 8, (200, 60)).astype(np.float64) + 1e9
    W = random.integers(0, 8, (90, 60)).astype(np.float64) + 1e9
    np.testing.assert_array_equal(BMUSearch(X).search(W)[0], two_nearest(X, W)[0])


@pytest.mark.parametrize("d", [3, 6, 50])
def test_bytes_far_from_zero_compared_with_their_spread(d):
    """The rounding error of a unit must not be multiplied by the rows' distance to zero."""
    random = np.random.default_rng(d)
    for spread in (2, 10, 30):
        X = np.clip(np.rint(random.normal(200, spread, (400, d))), 0, 255).astype(np.uint8)
        W = (X[:40] + random.normal(size=(40, d)) * spread).astype(np.float32)
        search = BMUSearch(X)
        units, distances = search.search(W)
        expected_units, expected = two_nearest(X, W)
        np.testing.assert_array_equal(units, expected_units)
        np.testing.assert_allclose(distances, expected[:, 0], rtol=1e-7)


def test_any_guess_any_axes_any_threads_give_the_same_units():
    random = np.random.default_rng(1)
    X = random.normal(size=(1500, 120)).astype(np.float32)
    W = X[random.permutation(1500)[:100]] + random.normal(size=(100, 120)).astype(np.float32) * 0.3
    expected, _ = two_nearest(X, W)
    for axes in (None, Axes(random.normal(size=(50, 120)))):
        for n_threads in (1, 2, 5):
            search = BMUSearch(X, axes=axes, n_threads=n_threads)
            for trusted in (-1, len(X)):
                search.units[:] = random.permuted(np.tile(np.arange(100), (1500, 1)), axis=1)[:, :2]
                search._kept, search._size = trusted, 100
                np.testing.assert_array_equal(search.search(W)[0], expected)


def _go(way, monkeypatch):
    monkeypatch.setattr(
        BMUSearch, "_choose", lambda self, short, encoded, codebook, pilot: (way, self._view(way, encoded))
    )


@pytest.mark.parametrize("way", ["staged", "deep", "narrow", "own"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("d", [33, 100, 300])
def test_every_way_gives_the_same_units(way, dtype, d, monkeypatch):
    """Codebooks like the data, collapsed into few directions, of one point and its neighbours, and with ties."""
    _go(way, monkeypatch)
    random = np.random.default_rng(d)
    X = (random.normal(size=(250, 12)) @ random.normal(size=(12, d)) * 9 + random.normal(size=(250, d)) * 3 + 128).clip(
        0, 255
    )
    X = X.astype(dtype)
    drawn = X.mean(axis=0) + random.normal(size=(150, 4)) @ random.normal(size=(4, d)) * 0.02
    point = X[0] + random.normal(size=(90, d)) * 1e-3
    tied = np.rint(X[random.integers(0, 40, 200)].astype(np.float64))
    search = BMUSearch(X, n_threads=2)
    for W in (X[:170].astype(np.float64) + 0.25, drawn, point, tied, drawn.astype(np.float32)):
        expected, squares = two_nearest(X, W)
        for _ in range(2):
            units, distances = search.search(W)
            np.testing.assert_array_equal(units, expected)
            np.testing.assert_allclose(distances, squares[:, 0], rtol=1e-7)


@pytest.mark.parametrize("isa", ["portable", "vnni-emulated"])
@pytest.mark.parametrize("way", ["staged", "deep", "narrow", "own"])
def test_every_way_on_other_instruction_sets(way, isa, monkeypatch):
    monkeypatch.setenv("SOMKNN_ISA", isa)
    _go(way, monkeypatch)
    random = np.random.default_rng(2)
    X = random.integers(0, 256, (101, 90), dtype=np.uint8)
    W = random.uniform(0, 255, (37, 90)).astype(np.float32)
    np.testing.assert_array_equal(BMUSearch(X).search(W)[0], two_nearest(X, W)[0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("d", [1, 2, 3])
def test_many_rows_of_few_columns(d):
    """As many rows as are checked for blank columns."""
    random = np.random.default_rng(d)
    X = random.integers(0, 256, (700, d), dtype=np.uint8)
    W = random.uniform(0, 255, (9, d))
    np.testing.assert_array_equal(BMUSearch(X).search(W)[0], two_nearest(X, W)[0])


@pytest.mark.parametrize("isa", [None, "portable"])
@pytest.mark.parametrize("way", ["staged", "own"])
def test_blank_columns_are_left_out_of_projections(way, isa, monkeypatch):
    """Tiles that use some pairs of columns, a last one with fewer rows, and tiles of blank rows."""
    if isa:
        monkeypatch.setenv("SOMKNN_ISA", isa)
    _go(way, monkeypatch)
    random = np.random.default_rng(7)
    n, d = 503, 91
    X = random.integers(0, 256, (n, d), dtype=np.uint8)
    begins = np.arange(n)[:, None] // 12 % 60
    X[(np.arange(d) < begins) | (np.arange(d) >= begins + 25)] = 0
    X[24:48] = 0
    W = X[random.integers(0, n, 80)] + random.normal(size=(80, d))
    search = BMUSearch(X, n_threads=2)
    assert len(search._short.used) > 0
    units, distances = search.search(W)
    expected, squares = two_nearest(X, W)
    np.testing.assert_array_equal(units, expected)
    np.testing.assert_allclose(distances, squares[:, 0], rtol=1e-7)


@kernel
def _round(products, j, factor, shifts, from_shift, line):
    return codebook_codes.round_codes(products, j, factor, shifts, from_shift, line)


def test_codes_are_rounded_to_the_nearest_and_their_squares_are_exact():
    random = np.random.default_rng(8)
    products = random.integers(-(2**31), 2**31, (3, AXES)).astype(np.int32)
    products[1, :4] = -3, -1, 1, 3  # halves round to even
    shifts = random.normal(size=2 * AXES)
    shifts[AXES : AXES + 4] = 0
    for j, factor in ((0, 1e-5), (1, 0.5), (2, 0.0)):
        line = np.zeros(AXES, np.int32)
        squares = _round(products, j, factor, shifts, AXES, line)
        expected = np.rint(products[j] * factor - shifts[AXES:]).astype(np.int64)
        np.testing.assert_array_equal(line, expected)
        assert squares == (expected**2).sum()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_units_drawn_together_get_axes_of_their_own(dtype):
    """A codebook in few directions, none of them the data's leading ones, as after a first wide update."""
    random = np.random.default_rng(4)
    X = (
        random.normal(size=(12000, 20)) @ random.normal(size=(20, 200)) * 8 + random.normal(size=(12000, 200)) + 128
    ).astype(dtype)
    W = X.mean(axis=0) + random.normal(size=(300, 4)) @ random.normal(size=(4, 200)) * 0.02
    search = BMUSearch(X, n_threads=2)
    units, distances = search.search(W)
    assert search.way == "narrow"
    expected, squares = two_nearest(X[:3000], W)
    np.testing.assert_array_equal(units[:3000], expected)
    np.testing.assert_allclose(distances[:3000], squares[:, 0], rtol=1e-7)
    far = X[random.permutation(12000)[:300]].astype(np.float64)
    np.testing.assert_array_equal(search.search(far)[0][:3000], two_nearest(X[:3000], far)[0])


def test_rows_far_beyond_the_others_and_units_beyond_float64():
    random = np.random.default_rng(5)
    X = random.normal(size=(400, 50))
    X[::97] *= 1e6
    W = X[random.permutation(400)[:70]] + 1e-3
    for units in (W, W * 1e150, np.concatenate([W, W * 1e150])):
        search = BMUSearch(X)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(search.search(units)[0], two_nearest(X, units)[0])


def test_axes_and_codebooks_of_another_type_than_the_rows():
    random = np.random.default_rng(6)
    X = random.integers(0, 256, (300, 70), dtype=np.uint8)
    W = X[:40]
    for axes in (Axes(X.astype(np.float64) + 0.25), Axes(X / 7.0), Axes(X), None):
        for rows in (X, X.astype(np.float32)):
            np.testing.assert_array_equal(BMUSearch(rows, axes=axes).search(W)[0], two_nearest(X, W)[0])


def test_missing_values():
    random = np.random.default_rng(3)
    X = random.integers(0, 4, (200, 30)).astype(np.float64)
    X[random.random(X.shape) < 0.4] = np.nan
    X[5] = np.nan
    W = random.integers(0, 4, (20, 30)).astype(np.float64)
    search = BMUSearch(X, missing=True, n_threads=2)
    for _ in range(2):
        units, distances = search.search(W)
        np.testing.assert_array_equal(units, two_nearest(X, W)[0])
        np.testing.assert_array_equal(distances, two_nearest(X, W)[1][:, 0])


def test_one_neuron():
    X = np.arange(12.0).reshape(4, 3)
    units, distances = BMUSearch(X).search(X[:1])
    assert (units == 0).all()
    np.testing.assert_array_equal(distances, ((X - X[0]) ** 2).sum(axis=1))


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("scale", [1e160, 1e300])
def test_rows_infinitely_far_from_all_units_have_units(missing, scale):
    """-1, which stood for none, was used as an array index."""
    random = np.random.default_rng(0)
    X, W = random.normal(size=(40, 5)) * scale, random.normal(size=(7, 5)) * scale
    W[3] = X[0]
    with np.errstate(over="ignore"):
        search = BMUSearch(X, missing=missing)
    for _ in range(2):
        with np.errstate(over="ignore"):
            units, distances = search.search(W)
        assert ((units >= 0) & (units < 7)).all()
        assert (units[:, 0] != units[:, 1]).all()
        assert units[0, 0] == 3
        assert not missing or (units[1:] == [0, 1]).all()  # ties
        assert distances[0] == 0
        assert np.isinf(distances[1:]).all()


@pytest.mark.parametrize("missing", [False, True])
def test_units_of_another_codebook_are_no_guesses(missing):
    """Units of a larger codebook would be read beyond the end of the smaller one."""
    random = np.random.default_rng(0)
    X = random.normal(size=(300, 6))
    search = BMUSearch(X, missing=missing)
    for K in (90, 5, 1, 2, 70):
        W = np.concatenate([np.full((88, 6), 50.0), X[:2] + 0.5])[-K:]
        units, distances = search.search(W)
        expected, squares = two_nearest(X, W if K > 1 else np.repeat(W, 2, axis=0))
        np.testing.assert_array_equal(units, expected if K > 1 else np.zeros_like(expected))
        np.testing.assert_allclose(distances, squares[:, 0], rtol=1e-7)


@pytest.mark.parametrize("guess", [-1, 90, 10**6, np.iinfo(np.int64).max])
def test_a_guess_that_is_no_unit_is_not_looked_up(guess):
    random = np.random.default_rng(2)
    X, W = random.normal(size=(100, 40)), random.normal(size=(90, 40))
    search = BMUSearch(X)
    search.units[::3], search._kept, search._size = guess, len(X), len(W)
    search.units[1::3], search.units[2::3, 0], search.units[2::3, 1] = [4, 8], guess, 3
    np.testing.assert_array_equal(search.search(W)[0], two_nearest(X, W)[0])
