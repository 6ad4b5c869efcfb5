"""A codebook that moves, as in K-Means: whatever has moved, every answer is that of brute force."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference.search as reference
from somknn import KMeans
from somknn.neighbors import CodebookSearch
from somknn.search import codebook as codebook_module
from somknn.search import probed_rows
from somknn.search.embedding import full_width
from somknn_kernels import isa as isa_module

PATHS = [*isa_module.supported(), "vnni-emulated"]


def _assert_nearest(found, rows, units):
    expected = reference.nearest(rows, units, 1)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])


def _wide(rows, units, narrow, n_threads):
    """Every codebook gets codes of all columns."""
    return probed_rows.Embedding(rows, narrow.isa, full_width(rows.shape[1]))


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 120),
    n_units=st.integers(1, 70),
    d=st.sampled_from([48, 150, 200]),
    dtype=st.sampled_from([np.float32, np.float64]),
    wide=st.booleans(),
    shares=st.lists(st.sampled_from([0.0, 0.03, 0.3, 0.55, 1.0]), min_size=2, max_size=5),
    levels=st.sampled_from([2, 5, 0]),
    offset=st.sampled_from([0.0, 1e6]),
)
@settings(max_examples=60, deadline=None)
def test_some_units_move_and_some_stay(seed, n, n_units, d, dtype, wide, shares, levels, offset):
    """Rows and units of few levels tie with each other; units move onto others, away and back."""
    random = np.random.default_rng(seed)

    def draw(count):
        values = random.integers(0, levels, (count, d)) if levels else random.normal(size=(count, d))
        return (values + offset).astype(dtype)

    rows, units = draw(n), draw(n_units)
    rows[: n // 3] = rows[n - n // 3 :]
    first = units.copy()
    patched = mock.patch.object(codebook_module, "codebook_embedding", _wide) if wide else mock.MagicMock()
    with patched:
        search, previous = CodebookSearch(rows, algorithm="pruned"), None
        for share in [0.0, *shares]:
            moving = np.flatnonzero(random.random(n_units) < share)
            kinds = random.integers(0, 3, len(moving))
            units = units.copy()
            units[moving[kinds == 0]] = draw(int((kinds == 0).sum()))
            units[moving[kinds == 1]] = units[random.integers(0, n_units, int((kinds == 1).sum()))]
            units[moving[kinds == 2]] = first[moving[kinds == 2]]
            found = search.nearest(units, 1, previous)
            _assert_nearest(found, rows, units)
            previous = found[1]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("wide", [False, True])
def test_every_instruction_set(path, wide, monkeypatch):
    if wide:
        monkeypatch.setattr(codebook_module, "codebook_embedding", _wide)
    random = np.random.default_rng(3)
    rows = random.normal(size=(400, 200)).astype(np.float32)
    units = rows[:90] + 0.1 * random.normal(size=(90, 200)).astype(np.float32)
    search, previous = CodebookSearch(rows, algorithm="pruned", isa=path), None
    for share in (0.0, 0.0, 0.2, 0.5, 1.0, 0.1):
        units = units + 0.3 * (random.random((90, 1)) < share) * random.normal(size=(90, 200))
        units = units.astype(np.float32)
        found = search.nearest(units, 1, previous)
        _assert_nearest(found, rows, units)
        previous = found[1]


def test_guesses_that_are_no_answer_of_this_search():
    """Only units that stood still since the answer that `previous` is are left out; other guesses are guesses."""
    random = np.random.default_rng(4)
    rows, units = random.normal(size=(300, 60)), random.normal(size=(80, 60))
    search = CodebookSearch(rows, algorithm="pruned")
    found = search.nearest(units, 1)
    answer = found[1].copy()
    found[0][:], found[1][:] = -1, 0  # what the caller does with an answer changes no later one
    _assert_nearest(search.nearest(units, 1, random.integers(0, 80, (300, 1))), rows, units)
    _assert_nearest(search.nearest(units, 1, answer), rows, units)
    _assert_nearest(search.nearest(units[:70], 1, np.minimum(answer, 69)), rows, units[:70])
    _assert_nearest(search.nearest(units.astype(np.float32), 1, answer), rows, units.astype(np.float32))


def _near_directions(random, n, d, n_axes):
    """Rows around 300 points that need `n_axes` axes."""
    axes = np.linalg.qr(random.normal(size=(d, n_axes)))[0].T
    points = random.normal(size=(300, n_axes))
    return ((points[random.integers(300, size=n)] + 0.7 * random.normal(size=(n, n_axes))) @ axes).astype(np.float32)


@pytest.mark.parametrize(("n_axes", "columns"), [(20, 128), (224, 224)])
def test_the_width_of_the_codes_is_told_by_the_data(n_axes, columns):
    random = np.random.default_rng(5)
    rows = _near_directions(random, 9000, 224, n_axes)
    search = CodebookSearch(rows)
    units = rows[:300].astype(np.float64)
    found = search.nearest(units, 1)
    assert search._probed.embedding.n_columns == columns
    _assert_nearest(found, rows, units)
    assert CodebookSearch(rows[:3000])._prepare(units, 1).embedding.n_columns == 128


@pytest.mark.parametrize("n_axes", [20, 224])
def test_k_means_until_nothing_moves(n_axes):
    """Towards the end most centres stand still; labels and centres are those of brute force."""
    random = np.random.default_rng(6)
    rows = _near_directions(random, 9000, 224, n_axes)
    model = KMeans(100, init=rows[:100], max_iter=40, tol=0).fit(rows)
    centres = rows[:100].astype(np.float32)
    for _ in range(model.n_iter_):
        labels = CodebookSearch(rows, algorithm="brute").nearest(centres)[1][:, 0]
        for k in range(100):
            if (labels == k).any():
                centres[k] = rows[labels == k].astype(np.float64).sum(axis=0) / (labels == k).sum()
    labels = CodebookSearch(rows, algorithm="brute").nearest(model.cluster_centers_)[1][:, 0]
    np.testing.assert_array_equal(model.labels_, labels)
    np.testing.assert_allclose(model.cluster_centers_, centres, rtol=1e-5, atol=1e-6)
