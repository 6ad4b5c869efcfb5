"""Short vectors as wide as the rows: no answer changes with the width, the near panels, or the room for candidates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import search as reference
from somknn.neighbors import ExactIndex
from somknn.search import pruned
from somknn.search.embedding import Embedding, full_width, part_columns, section_stops
from somknn.search.judging import best_embedding, worth_judging
from somknn.search.pruned import PrunedSearch
from somknn_kernels import isa as isa_module

PATHS = [*isa_module.supported(), "vnni-emulated"]
WIDTHS = (32, 64, 128, 160, 384, 800)


def assert_same(got, expected):
    np.testing.assert_array_equal(got[1], expected[1])
    np.testing.assert_array_equal(got[0], expected[0])


def unit_rows(rng, n, d, dtype=np.float32):
    """Like text embeddings: unit vectors with a slowly falling spectrum, some of them twice."""
    rows = rng.standard_normal((n, d)) * (1 + np.arange(d)) ** -0.4
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[n // 2 : n // 2 + n // 8] = rows[: n // 8]
    return rows.astype(dtype)


def search_of(rows, isa, n_columns, n_threads=1):
    return PrunedSearch(rows, Embedding(rows, isa, n_columns), n_threads)


@pytest.mark.parametrize("n_columns", [*WIDTHS, 2048])
def test_sections_are_whole_parts_in_ascending_order(n_columns):
    stops, part = section_stops(n_columns), part_columns(n_columns)
    assert (np.diff(stops, prepend=0) > 0).all()
    assert stops[-1] == n_columns
    assert not (stops % part).any()


@pytest.mark.parametrize(("d", "width"), [(1, 32), (32, 32), (33, 64), (65, 128), (128, 128), (129, 160), (784, 800)])
def test_full_width(d, width):
    assert full_width(d) == width


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("d", "n_columns"), [(20, 32), (100, 128), (130, 128), (150, 160), (384, 384)])
def test_every_path_gives_the_reference_lists(path, d, n_columns):
    rng = np.random.default_rng(d)
    rows, queries = unit_rows(rng, 700, d), unit_rows(rng, 40, d)
    queries[:10] = rows[:10]
    search = search_of(rows, isa_module.select(path), n_columns)
    for k, n_threads in ((1, 1), (10, 2), (90, 2)):
        assert_same(search.search(queries, k, n_threads=n_threads), reference.nearest(queries, rows, k))
    assert_same(search.search(queries[:1], 7, n_threads=2), reference.nearest(queries[:1], rows, 7))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 300),
    d=st.integers(1, 200),
    k=st.integers(1, 20),
    scale=st.sampled_from([1e-30, 1.0, 1e30]),
    offset=st.sampled_from([0.0, 1.0, 1e6]),
    levels=st.sampled_from([2, 5, 0]),
    room=st.sampled_from([2, 16, 128]),
)
def test_any_rows_any_width_any_room(seed, n, d, k, scale, offset, levels, room):
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, levels, (n + 9, d)) if levels else rng.standard_normal((n + 9, d))
    rows = ((numbers + offset) * scale).astype(rng.choice([np.float32, np.float64]))
    queries, rows, k = rows[n:], np.ascontiguousarray(rows[:n]), min(k, n)
    width = int(rng.choice([full_width(d), 160]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruned, "_ROOM", room)
        search = search_of(rows, isa_module.select(), width)
        assert_same(search.search(queries, k, n_threads=2), reference.nearest(queries, rows, k))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("room", [1, 3, 10_000])
def test_room_for_candidates_changes_nothing(monkeypatch, dtype, room):
    monkeypatch.setattr(pruned, "_ROOM", room)
    rng = np.random.default_rng(4)
    rows = (unit_rows(rng, 500, 150, np.float64) * 120 + 128).astype(dtype)
    search, queries = search_of(rows, isa_module.select(), 160), rows[::9].copy()
    assert_same(search.search(queries, 12, n_threads=1), reference.nearest(queries, rows, 12))
    radius = float(reference.nearest(queries[:1], rows, 60)[0][0, -1])
    for got, expected in zip(
        search.search_within(queries, radius, n_threads=1), reference.within(queries, rows, radius), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("share", [1, 1000])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_near_panels_change_nothing(monkeypatch, share, n_threads):
    """Neither their number, nor calls that are cut short after any turn and any tile."""
    monkeypatch.setattr(pruned, "_NEAR_SHARE", share)
    monkeypatch.setattr(pruned, "_BLOCK_BYTES", 1)  # a panel for each turn
    rng = np.random.default_rng(8)
    rows, queries = unit_rows(rng, 900, 140), unit_rows(rng, 100, 140)
    search, expected = search_of(rows, isa_module.select(), 160), reference.nearest(queries, rows, 8)
    assert_same(search.search(queries, 8, n_threads=n_threads), expected)
    monkeypatch.setattr(pruned, "per_task", lambda n, *_: 1)  # and a tile for each call
    assert_same(search.search(queries, 8, n_threads=n_threads), expected)


def test_rows_are_searched_for_themselves_across_groups():
    rng = np.random.default_rng(2)
    rows = unit_rows(rng, 400, 200)
    index = ExactIndex("pruned", n_jobs=2).fit(rows)
    assert not index._fitted.pruned.in_pairs
    distances = reference.squared_distances(rows, rows)
    for groups in (np.arange(400), rng.integers(0, 5, 400)):
        allowed = np.where(groups[:, None] == groups, np.inf, distances)
        order = np.argsort(allowed, axis=1, kind="stable")[:, :9]
        assert_same(index.search_rows(9, groups), (np.take_along_axis(allowed, order, axis=1), order))


def test_rows_far_from_the_others_are_found(monkeypatch):
    """Their codes are clipped, so they lie in panels of their own."""
    rng = np.random.default_rng(6)
    rows = unit_rows(rng, 3000, 160)
    rows[1000::500] *= 50
    search = search_of(rows, isa_module.select(), 160)
    assert search.screen.n_usual < search.screen.panels.shape[1]
    queries = np.concatenate([rows[1000::500], rows[:20], rows[1000::500] * 1.01])
    assert_same(search.search(queries, 6, n_threads=1), reference.nearest(queries, rows, 6))


def test_embeddings_get_vectors_of_full_width_and_rows_near_a_plane_short_ones():
    rng = np.random.default_rng(1)
    isa = isa_module.select()
    embeddings = unit_rows(rng, 5000, 384)
    assert best_embedding(embeddings, isa, 1, always=True).n_columns == 384
    plane = (rng.standard_normal((5000, 8)) @ rng.standard_normal((8, 384))).astype(np.float32)
    assert best_embedding(plane, isa, 1, always=False).n_columns == 128
    noise = rng.integers(0, 256, (5000, 784)).astype(np.uint8)
    assert best_embedding(noise, isa, 1, always=False) is None
    assert worth_judging(np.zeros((30_000, 8)))
    assert not worth_judging(np.zeros((30_000, 8), np.uint8))
    assert not worth_judging(np.zeros((4_000, 20)))


def test_a_saved_index_of_full_width_answers_the_same(tmp_path):
    from somknn import load
    from somknn.neighbors import NearestNeighbors
    from somknn.persistence import save

    rng = np.random.default_rng(5)
    rows = unit_rows(rng, 2500, 384)
    fitted = NearestNeighbors(n_neighbors=4, algorithm="pruned").fit(rows)
    save(fitted, tmp_path / "model.safetensors")
    expected = fitted.kneighbors(rows[:1100])
    for _ in range(2):  # brute force answers first, then the codes are made
        assert_same(load(tmp_path / "model.safetensors").kneighbors(rows[:1100]), expected)
