"""The nearest of a few vectors to rows of bytes: exact for any codes, on every instruction path."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import byte_screen as plain
from somknn.neighbors import CodebookSearch
from somknn.search.byte_screen import ByteScreen, suits
from somknn.search.few_vectors import FewVectorsSearch
from somknn_kernels import isa as isa_module
from somknn_kernels.search.byte_screen import LEAD

PATHS = [*isa_module.supported(), "vnni-emulated"]


def _rows(random, n, d, kind):
    """Bytes: structured, unstructured, of two values only, equal, or with extremes."""
    if kind == "low":
        rows = 128 + 12 * random.normal(size=(n, 6)) @ random.normal(size=(6, d))
    elif kind == "noise":
        rows = random.integers(0, 256, (n, d))
    elif kind == "black and white":
        rows = 255 * (random.random((n, d)) < 0.3)
    else:
        rows = np.full((n, d), 7)
        rows[::5] = 255 * (np.arange(d) % 2)
    return np.clip(np.rint(rows), 0, 255).astype(np.uint8)


# Bytes, fractions and every path in each run; each pair of path and type compiles for seconds.
TYPES = {"portable": [np.uint8, np.float64], "vnni-emulated": [np.uint8, np.float32]}
RARE = {"portable": np.float32, "vnni-emulated": np.float64}


@pytest.mark.parametrize(
    ("name", "types"),
    [(name, TYPES.get(name, [np.uint8, np.float32, np.float64])) for name in PATHS]
    + [pytest.param(name, [dtype], marks=pytest.mark.slow) for name, dtype in RARE.items()],
)
@given(
    st.integers(0, 10**6),
    st.integers(1, 30),
    st.sampled_from([64, 65, 100, 784]),
    st.sampled_from([1, 64, 70, 150]),
    st.sampled_from(["low", "noise", "black and white", "equal"]),
    st.integers(0, 2),
    st.sampled_from([1.0, 1e-3, 30.0, 1e9]),
)
def test_nearest_is_exact(name, types, seed, n, d, k, kind, which, unit):
    dtype = types[which % len(types)]
    random = np.random.default_rng(seed)
    rows, vectors = _rows(random, n, d, kind), _rows(random, k, d, kind).astype(dtype)
    if dtype != np.uint8:
        vectors = (vectors * dtype(unit) + random.normal(size=(k, d)) * 0.1).astype(dtype)
    rows[: n // 3] = np.clip(vectors[0], 0, 255).astype(np.uint8)
    vectors[k // 2] = vectors[0]  # a tie
    like = rows if seed % 2 else np.clip(vectors, 0, 255).astype(np.uint8)
    screen = ByteScreen(like, isa_module.select(name))
    wanted = plain.nearest_few(rows, vectors)
    for guided in (False, True):
        for threads in (1, 2):
            indices = random.integers(0, k, n)
            found = screen.nearest(rows, vectors, indices, guided, threads)
            np.testing.assert_array_equal(indices, wanted[1])
            if dtype == np.uint8:
                np.testing.assert_array_equal(found[0], wanted[0])
            else:
                np.testing.assert_allclose(found[0], wanted[0], rtol=1e-12)


@pytest.mark.parametrize("kind", ["low", "noise", "black and white", "equal"])
def test_codes_never_promise_too_much(kind):
    """Each part of the bound separately: the product of codes is at least the true one, up to the slack."""
    random = np.random.default_rng(1)
    rows = _rows(random, 90, 128, kind)
    vectors = _rows(random, 64, 128, kind) + random.normal(size=(64, 128))
    screen = ByteScreen(rows[:40], isa_module.select())
    codes, squares = screen.encode_all(rows, 2)
    prepared = screen.vectors(vectors)
    x, w = rows - screen.centre, vectors - screen.centre
    np.testing.assert_array_equal(squares, (x**2).sum(axis=1))
    bound = prepared.unit * (codes.astype(np.int64) @ prepared.codes.astype(np.int64).T)
    allowed = prepared.slack[0] * np.sqrt(squares)[:, None] + prepared.slack[1]
    assert (bound + allowed >= x @ w.T).all()
    reach = np.sqrt(squares)[:, None] * np.sqrt((w**2).sum(axis=1)) + allowed
    assert (bound <= 1.1 * reach + 4 * prepared.unit * 32767).all()  # and it is useful
    assert np.abs(prepared.codes.astype(np.int64) ** 2).sum(axis=1).max() < 2**30
    assert np.abs(codes.astype(np.int64) ** 2).sum(axis=1).max() <= 2**30 * 1.01
    assert (np.linalg.norm(w - prepared.step * prepared.high[:, :128], axis=1) <= prepared.coarse).all()


def test_vectors_far_beyond_bytes_are_left_to_others():
    rows = _rows(np.random.default_rng(0), 3000, 80, "low")
    screen = ByteScreen(rows, isa_module.select())
    vectors = np.full((64, 80), 1e200)
    assert screen.nearest(rows, vectors, np.zeros(len(rows), np.int64), False, 1) is None
    vectors[5] = rows[0]
    squares, nearest = CodebookSearch(rows).nearest(vectors)
    assert (nearest == 5).all()
    np.testing.assert_allclose(squares[:, 0], ((rows.astype(float) - rows[0]) ** 2).sum(axis=1))


def test_noise_is_left_to_brute_force_and_the_answer_is_the_same():
    random = np.random.default_rng(0)
    rows, prototypes = _rows(random, 20_000, 100, "noise"), _rows(random, 300, 100, "noise")
    lookup = FewVectorsSearch(prototypes)
    found = [lookup.search(rows, 1, n_threads=n_threads) for n_threads in (1, 2)]
    assert lookup._screen is None
    wanted = plain.nearest_few(rows[:200], prototypes)
    for squares, nearest in found:
        np.testing.assert_array_equal(squares[:200, 0], wanted[0])
        np.testing.assert_array_equal(nearest[:200, 0], wanted[1])


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_lookup_and_codebook_search_agree_however_rows_are_cut(dtype):
    random = np.random.default_rng(3)
    rows, vectors = _rows(random, 5000, 90, "low"), _rows(random, 200, 90, "low").astype(dtype)
    assert suits(rows, 200)
    search = CodebookSearch(rows)
    squares, nearest = search.nearest(vectors)
    assert 1 <= search.survivors_[1] <= search.survivors_[0] + 1
    np.testing.assert_array_equal(nearest[:, 0], plain.nearest_few(rows, vectors)[1])
    again = search.nearest(vectors, 1, (nearest + 1) % 200)
    np.testing.assert_array_equal(again[1], nearest)
    np.testing.assert_array_equal(again[0], squares)
    lookup = FewVectorsSearch(vectors)
    parts = [lookup.search(rows[i : i + 311], 1, n_threads=2) for i in range(0, 5000, 311)]
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), nearest)
    two = lookup.search(rows, 2, n_threads=2)
    np.testing.assert_array_equal(two[1][:, :1], nearest)


def test_only_bytes_of_some_width_are_for_it():
    assert not suits(np.zeros((5, 100)), 100)
    assert not suits(np.zeros((5, 2 * LEAD - 1), np.uint8), 100)
    assert not suits(np.zeros((5, 40_000), np.uint8), 100)
    assert not suits(np.zeros((5, 100), np.uint8), 20)
