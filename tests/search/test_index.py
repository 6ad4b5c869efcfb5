"""ExactIndex against all pairs: every algorithm gives the same list, bit for bit."""

import itertools

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import search as reference
from somknn.neighbors import CodebookSearch, ExactIndex
from somknn.search import pruned
from somknn.search.embedding import Embedding
from somknn_kernels import isa as isa_module

PATHS = [*isa_module.supported(), "vnni-emulated"]
WAYS = ("brute", "tree", "pruned")


def assert_same(got, expected):
    np.testing.assert_array_equal(got[1], expected[1])
    np.testing.assert_array_equal(got[0], expected[0])
    assert got[0].dtype == expected[0].dtype


def structured(rng, n, d, dtype):
    """Rows near a few directions, with duplicates, an outlier and a constant column."""
    basis = rng.standard_normal((min(5, d), d))
    rows = 128 + 40 * rng.standard_normal((n, len(basis))) @ basis + rng.standard_normal((n, d))
    rows[n // 2 :: 7] = rows[0]
    rows[:, -1] = 3
    rows[n // 3] = 255
    return np.clip(rows, 0, 255).astype(dtype)


def _paths_and_types():
    """Every combination, some marked slow: each compiles for seconds.

    On paths other than the machine's, pruned search uses fractions only in the distances, which `reranking` tests on
    every path: those combinations are slow.
    """
    for path, dtype, algorithm in itertools.product(PATHS, (np.uint8, np.float32, np.float64), WAYS):
        rare = algorithm == "pruned" and dtype != np.uint8 and path in ("portable", "vnni-emulated")
        yield pytest.param(path, dtype, algorithm, marks=pytest.mark.slow if rare else ())


@pytest.mark.parametrize(("path", "dtype", "algorithm"), list(_paths_and_types()))
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_every_path_gives_the_reference_lists(algorithm, path, dtype, n_jobs):
    rng = np.random.default_rng(3)
    rows = structured(rng, 330, 67, dtype)
    queries = np.concatenate([rows[:20], structured(rng, 25, 67, dtype)])
    index = ExactIndex(algorithm, isa=path, n_jobs=n_jobs).fit(rows)
    for k in (1, 6, 40):
        assert_same(index.search(queries, k), reference.nearest(queries, rows, k))
    assert_same(index.search(queries[:3], 5), reference.nearest(queries[:3], rows, 5))


@pytest.mark.parametrize("algorithm", WAYS)
@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9])
@pytest.mark.parametrize("size", [1.0, 1e-150, 1e-162, 1e-300, 1e100])
def test_data_far_from_the_origin_and_of_any_size(algorithm, offset, size):
    rng = np.random.default_rng(4)
    rows = (rng.standard_normal((200, 21)) + offset) * size
    queries = (rng.standard_normal((30, 21)) + offset) * size
    assert_same(ExactIndex(algorithm).fit(rows).search(queries, 7), reference.nearest(queries, rows, 7))


@pytest.mark.parametrize("algorithm", WAYS)
def test_queries_far_outside_the_fitted_range(algorithm):
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((150, 16))
    queries = rng.standard_normal((20, 16)) * 10.0 ** rng.integers(-5, 150, (20, 1))
    assert_same(ExactIndex(algorithm).fit(rows).search(queries, 4), reference.nearest(queries, rows, 4))


@pytest.mark.parametrize("algorithm", WAYS)
@pytest.mark.parametrize(
    ("rows_type", "query_type"), [(np.uint8, np.float32), (np.float32, np.float64), (np.float64, np.uint8)]
)
def test_mixed_types(algorithm, rows_type, query_type):
    rng = np.random.default_rng(6)
    rows, queries = structured(rng, 120, 30, rows_type), structured(rng, 14, 30, query_type)
    assert_same(ExactIndex(algorithm).fit(rows).search(queries, 9), reference.nearest(queries, rows, 9))


@pytest.mark.parametrize("scale", [1.0, 1e-3, 300.0, 1e7, 1e150])
def test_fractions_beside_bytes_of_few_levels(scale):
    """Bytes are packed unchanged; fractions with them must not be truncated to integers."""
    rng = np.random.default_rng(13)
    rows = rng.integers(0, 17, (400, 64)).astype(np.uint8)
    means = np.stack([rows[rng.choice(400, 3)].mean(axis=0) for _ in range(90)]) * scale
    expected = reference.nearest(rows, means, 2)
    assert_same(ExactIndex("pruned").fit(rows).search(means, 2), reference.nearest(means, rows, 2))
    search = CodebookSearch(rows, algorithm="pruned")
    assert_same(search.nearest(means, 2), expected)
    assert_same(search.nearest(means, 2, expected[1]), expected)
    embedding = Embedding(rows, isa_module.select())
    vectors, probes = embedding.embed(means, 1, probes=False), embedding.embed(rows, 1, probes=True)
    true = np.sqrt(reference.squared_distances(means, rows.astype(np.float64)))
    assert_bounds_hold(embedding, vectors, probes, true)


def assert_bounds_hold(embedding, vectors, probes, true):
    """true : distances, (vectors, probes)."""
    for section, stop in enumerate(embedding.stops):
        codes, others = vectors.codes[:, None, :stop].astype(np.int64), probes.codes[:, :stop].astype(np.int64)
        coded = embedding.step * np.sqrt(((codes - others) ** 2).sum(axis=2))
        limits = true * (1 + 1e-9) + vectors.errors[:, section, None] + probes.errors[:, section]
        assert (coded <= limits).all()


@pytest.mark.parametrize("algorithm", WAYS)
@pytest.mark.parametrize("rows", [
    np.full((40, 9), 7, np.uint8),
    np.zeros((33, 70)),
    np.eye(50, 80, dtype=np.float32) * 1e3,
    np.repeat(np.array([[0], [255]], np.uint8), 300, axis=1).repeat(20, axis=0),
], ids=["equal", "zero", "more axes than rank", "ends of the range"])  # fmt: skip
def test_ties_go_to_the_lowest_row(algorithm, rows):
    k = min(20, len(rows))
    assert_same(ExactIndex(algorithm).fit(rows).search(rows[:11], k), reference.nearest(rows[:11], rows, k))


@pytest.mark.parametrize("algorithm", WAYS)
@pytest.mark.parametrize("d", [1, 2, 3, 5, 15, 16, 17, 64, 127, 129, 783, 3000])
def test_every_width(algorithm, d):
    rng = np.random.default_rng(d)
    rows = rng.integers(0, 256, (90, d)).astype(np.uint8)
    queries = rng.integers(0, 256, (13, d)).astype(np.uint8)
    assert_same(ExactIndex(algorithm).fit(rows).search(queries, 5), reference.nearest(queries, rows, 5))
    rows, queries = rows / 255.0, (queries / 255.0).astype(np.float32)
    assert_same(ExactIndex(algorithm).fit(rows).search(queries, 5), reference.nearest(queries, rows, 5))


@pytest.mark.parametrize("algorithm", WAYS)
def test_bytes_too_wide_for_32_bits(algorithm):
    rows = np.zeros((6, 40_000), np.uint8)
    rows[1::2] = 255
    queries = np.repeat(rows[1:2], 8, axis=0)
    distances, indices = ExactIndex(algorithm).fit(rows).search(queries, 6)
    assert distances[0].tolist() == [0, 0, 0] + [40_000 * 255**2] * 3
    assert indices[0].tolist() == [1, 3, 5, 0, 2, 4]


rows_of_any_kind = st.builds(
    lambda seed, n, d, dtype, spread, outlier: _any_rows(seed, n, d, dtype, spread, outlier),
    st.integers(0, 2**32),
    st.integers(1, 140),
    st.integers(1, 90),
    st.sampled_from([np.uint8, np.float32, np.float64]),
    st.sampled_from([0.0, 0.01, 1.0, 1e4]),
    st.booleans(),
)


def _any_rows(seed, n, d, dtype, spread, outlier):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, d)) * np.where(rng.random(d) < 0.3, 0.0, 1.0) * spread
    rows[:, 0] += rng.standard_normal(n) * 50 * spread  # one dominant axis
    rows[rng.integers(0, n, n // 3)] = rows[0]
    if outlier:
        rows[-1] *= 1e3
    if dtype == np.uint8:
        return np.clip(rows * 30 + 128, 0, 255).astype(np.uint8)
    return rows.astype(dtype)


@settings(max_examples=60)
@given(rows=rows_of_any_kind, data=st.data())
def test_pruned_equals_the_reference_on_data_made_to_break_it(rows, data):
    k = data.draw(st.integers(1, len(rows)))
    n_queries = data.draw(st.integers(1, 20))
    queries = rows[np.random.default_rng(0).integers(0, len(rows), n_queries)].copy()
    if data.draw(st.booleans()):
        queries = (queries * data.draw(st.sampled_from([0.5, 3.0, 1e6]))).astype(np.float64)
    # Directly to the pruned search: the index would choose brute force for a large k.
    index = ExactIndex("pruned").fit(rows)
    got = index._fitted.pruned.search(np.ascontiguousarray(queries), k, n_threads=2)
    assert_same(got, reference.nearest(queries, rows, k))


@settings(max_examples=40)
@given(rows=rows_of_any_kind)
def test_short_vectors_never_exceed_their_errors(rows):
    """‖q-t‖ >= s‖c(q)-c(t)‖ - e(q) - e(t) for every pair, up to the end of each section."""
    embedding = Embedding(rows, isa_module.select())
    vectors = embedding.embed(rows, 1, probes=False)
    probes = embedding.embed(rows, 1, probes=True)
    true = np.sqrt(reference.squared_distances(rows.astype(np.float64), rows.astype(np.float64)))
    assert_bounds_hold(embedding, vectors, probes, true)


@pytest.mark.parametrize("algorithm", WAYS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_search_within_includes_the_boundary(algorithm, dtype):
    rng = np.random.default_rng(8)
    rows = structured(rng, 150, 50, dtype)
    queries = rows[:17]
    index = ExactIndex(algorithm).fit(rows)
    distances = reference.squared_distances(queries, rows)
    for radius in (0, float(np.quantile(distances, 0.1)), float(distances[3, 90]), float(distances.max())):
        for got, expected in zip(
            index.search_within(queries, radius), reference.within(queries, rows, radius), strict=True
        ):
            np.testing.assert_array_equal(got, expected)
    assert index.search_within(queries[:0], 5.0)[0].tolist() == [0]


@pytest.mark.parametrize("n_queries", [0, 1, 5, 7, 100])
def test_batches_do_not_matter(n_queries):
    rng = np.random.default_rng(9)
    rows, queries = structured(rng, 300, 64, np.uint8), structured(rng, 100, 64, np.uint8)[:n_queries]
    for algorithm in WAYS:
        index = ExactIndex(algorithm).fit(rows)
        distances, indices = index.search(queries, 3)
        assert distances.shape == indices.shape == (n_queries, 3)
        for i in range(n_queries):
            assert_same(index.search(queries[i : i + 1], 3), (distances[i : i + 1], indices[i : i + 1]))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_zeros_are_skipped_and_change_nothing(path, dtype):
    rng = np.random.default_rng(6)
    masks = rng.random((5, 53)) < 0.15
    rows = np.where(masks[rng.integers(0, 5, 600)], rng.integers(0, 256, (600, 53)), 0).astype(dtype)
    queries = np.concatenate([rows[:90], np.zeros((3, 53), dtype), rng.integers(0, 256, (7, 53)).astype(dtype)])
    queries = queries[rng.permutation(100)]
    for n_jobs in (1, 2):
        found = ExactIndex("brute", isa=path, n_jobs=n_jobs).fit(rows).search(queries, 4)
        assert_same(found, reference.nearest(queries, rows, 4))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("n_queries", [1, 6])
def test_panels_split_over_threads_change_nothing(monkeypatch, dtype, n_queries):
    monkeypatch.setattr(pruned, "_PART_BYTES", 1)
    rows = structured(np.random.default_rng(5), 700, 60, dtype)
    rows[300:400] = rows[:100]  # ties across the parts
    queries = rows[:n_queries]
    expected = reference.nearest(queries, rows, 9)
    search = pruned.PrunedSearch(rows, Embedding(rows, isa_module.select()), 1)
    for n_threads in (1, 2, 7):
        assert_same(search.search(queries, 9, n_threads=n_threads), expected)


def test_upper_bounds_may_be_exact_but_not_too_low():
    rng = np.random.default_rng(10)
    rows, queries = structured(rng, 300, 64, np.uint8), structured(rng, 40, 64, np.uint8)
    index = ExactIndex("pruned").fit(rows)
    expected = index.search(queries, 4)
    assert_same(index.search(queries, 4, upper_bounds=expected[0][:, -1]), expected)
    with pytest.raises(ValueError, match=r"upper_bounds\[\d+\] is too low"):
        index.search(queries, 4, upper_bounds=np.full(40, -1))
    with pytest.raises(ValueError, match="shape"):
        index.search(queries, 4, upper_bounds=np.zeros(3))


def test_appended_rows_and_a_restored_screen_change_nothing():
    rng = np.random.default_rng(11)
    rows, queries = structured(rng, 400, 60, np.uint8), structured(rng, 30, 60, np.uint8)
    rows[-5:] = 255 - rows[-5:]  # unlike the rows that the axes were fitted on
    for algorithm in WAYS:
        index = ExactIndex(algorithm).fit(rows[:250]).add(rows[250:390]).add(rows[390:])
        expected = reference.nearest(queries, rows, 8)
        assert_same(index.search(queries, 8), expected)
        for path in PATHS:
            again = ExactIndex(algorithm, isa=path).restore(rows, index.screen_to_save())
            assert_same(again.search(queries, 8), expected)  # by brute force: for few queries codes do not pay
            assert again.search_stats_ == {}
            again._taken().built(1)
            assert_same(again.search(queries, 8), expected)
            assert bool(again.search_stats_) == (algorithm == "pruned")
    screen = index.screen_to_save()
    screen["screen_order"] = screen["screen_order"] * 0 + 10**6
    with pytest.raises(ValueError, match="each row once"):
        ExactIndex("pruned").restore(rows, screen)
    with pytest.raises(TypeError, match="dtype"):
        index.add(rows.astype(np.float32))


SCREEN = ExactIndex("pruned").fit(structured(np.random.default_rng(3), 300, 60, np.uint8)).screen_to_save()


@pytest.mark.parametrize("name", SCREEN)
def test_an_incomplete_screen_is_refused(name):
    rows = structured(np.random.default_rng(3), 300, 60, np.uint8)
    cut = {key: value for key, value in SCREEN.items() if key != name}
    with pytest.raises(ValueError, match="incomplete"):
        ExactIndex("pruned").restore(rows, cut)
    for other in (SCREEN[name][:0], SCREEN[name][..., None], SCREEN[name].astype(np.complex64)):
        with pytest.raises(ValueError, match="saved index"):
            ExactIndex("pruned").restore(rows, {**SCREEN, name: other})


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("screen_order", 0, 299, "each row once"),
        ("screen_order", 0, -1, "each row once"),
        ("screen_n_usual", 0, 301, "each row once"),
        ("screen_cell_edges", 1, -1, "cells"),
        ("screen_cell_edges", -1, 301, "cells"),
        ("screen_cells", 0, np.nan, "cells"),
        ("screen_scalars", 0, 0.0, "out of range"),
        ("screen_scalars", 0, np.inf, "out of range"),
        ("screen_scalars", 0, 1.0, "not orthonormal"),
        ("screen_scalars", 1, 1.0, "out of range"),
        ("screen_scalars", 2, -1.0, "out of range"),
        ("screen_centre", 0, 0.5, "out of range"),
        ("screen_centre", 0, 256.0, "out of range"),
        ("screen_middle", 0, np.nan, "out of range"),
        ("screen_axes", slice(None), 0, "not orthonormal"),
        ("screen_axes", slice(0, 60), 1, "not orthonormal"),
    ],
)
def test_a_screen_that_cannot_be_sound_is_refused(name, place, value, message):
    rows = structured(np.random.default_rng(3), 300, 60, np.uint8)
    changed = SCREEN[name].copy()
    changed.reshape(-1)[place] = value
    with pytest.raises(ValueError, match=message):
        ExactIndex("pruned").restore(rows, {**SCREEN, name: changed})


def test_axes_whose_products_would_wrap_are_refused():
    rows = structured(np.random.default_rng(3), 60, 1000, np.uint8)
    screen = ExactIndex("pruned").fit(rows).screen_to_save()
    screen["screen_axes"] = np.full_like(screen["screen_axes"], 32767)
    with pytest.raises(ValueError, match="32 bits"):
        ExactIndex("pruned").restore(rows, screen)


def test_a_loaded_index_makes_its_codes_when_queries_are_worth_it():
    rng = np.random.default_rng(6)
    rows, queries = structured(rng, 300, 60, np.uint8), structured(rng, 1100, 60, np.uint8)
    index = ExactIndex("pruned").restore(rows, ExactIndex("pruned").fit(rows).screen_to_save())
    expected = reference.nearest(queries[:1], rows, 5)
    for _ in range(31):
        assert_same(index.search(queries[:1], 5), expected)
        assert index.search_stats_ == {}
    assert_same(index.search(queries[:1], 5), expected)
    assert index.search_stats_["queries"] == 1
    again = ExactIndex("pruned").restore(rows, index.screen_to_save())
    again.search(queries, 5)
    assert again.search_stats_["queries"] == 1100


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_no_screen_that_is_taken_changes_an_answer(dtype):
    """Axes of other rows, a useless step, any order: a file affects the speed of a search, not its result."""
    rng = np.random.default_rng(5)
    rows, queries = structured(rng, 300, 60, dtype), structured(rng, 40, 60, dtype)
    screen = ExactIndex("pruned").fit(rows).screen_to_save()
    other = ExactIndex("pruned").fit(rng.permuted(rows, axis=1)).screen_to_save()
    expected = reference.nearest(queries, rows, 8)
    changes = [
        {name: other[name] for name in ("screen_axes", "screen_scalars", "screen_middle")},
        {"screen_axes": screen["screen_axes"][::-1].copy()},
        {"screen_order": rng.permutation(300).astype(np.int32)},
        {"screen_n_usual": np.array([7])},
        {"screen_middle": screen["screen_middle"] + 1e6},
        {"screen_scalars": screen["screen_scalars"] * [1, 1, 1e-200]},
        {"screen_scalars": screen["screen_scalars"] * [1, 1, 1e200]},
        {"screen_cells": screen["screen_cells"] * 0},
        {"screen_cell_edges": screen["screen_cell_edges"] * 0},
        {"screen_centre": screen["screen_centre"] * 0},
    ]
    for change in changes:
        index = ExactIndex("pruned").restore(rows, {**screen, **change})
        index._taken().built(1)
        assert_same(index.search(queries, 8), expected)
        assert index.search_stats_, list(change)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("algorithm", ["auto", "brute", "pruned"])
def test_codebook_search_follows_a_moving_codebook(dtype, algorithm):
    rng = np.random.default_rng(12)
    rows = structured(rng, 200, 60, dtype)
    codebook = rows[:70].astype(np.float64)
    search = CodebookSearch(rows, algorithm=algorithm)
    previous = None
    for _ in range(3):
        got = search.nearest(codebook, 2, previous)
        assert_same(got, reference.nearest(rows, codebook, 2))
        previous = got[1]
        codebook = 0.7 * codebook + 0.3 * codebook.mean(axis=0)


def test_what_auto_chooses():
    rng = np.random.default_rng(13)
    assert ExactIndex().fit(structured(rng, 4000, 128, np.float32)).algorithm_ == "pruned"
    assert ExactIndex().fit(rng.integers(0, 256, (4000, 128)).astype(np.uint8)).algorithm_ == "brute"
    assert ExactIndex().fit(structured(rng, 100, 128, np.uint8)).algorithm_ == "brute"


def test_errors_say_what_is_wrong(monkeypatch):
    rows = np.ones((5, 3))
    with pytest.raises(ValueError, match="fit first"):
        ExactIndex().search(rows, 1)
    index = ExactIndex().fit(rows)
    with pytest.raises(ValueError, match="between 1 and the number of rows, 5; got 6"):
        index.search(rows, 6)
    with pytest.raises(ValueError, match="3"):
        index.search(np.ones((2, 4)), 1)
    with pytest.raises(TypeError, match="int64"):
        ExactIndex().fit(np.ones((2, 2), np.int64))
    with pytest.raises(ValueError, match="row 1, column 2"):
        ExactIndex().fit(np.array([[0.0, 0, 0], [0, 0, np.nan]]))
    with pytest.raises(ValueError, match="negative"):
        index.search_within(rows, -1.0)
    with pytest.raises(ValueError, match="algorithm"):
        ExactIndex("hashes").fit(rows)
    monkeypatch.setenv("SOMKNN_ISA", "abacus")
    with pytest.raises(ValueError, match="abacus"):
        ExactIndex().fit(rows)
    monkeypatch.setenv("SOMKNN_ISA", "portable")
    assert ExactIndex().fit(rows).isa_ == "portable"


@pytest.mark.parametrize("algorithm", ["brute", "pruned"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_units_before_that_are_none_are_refused(algorithm, dtype):
    """They are used as indices first, so invalid ones would read outside the codebook."""
    random = np.random.default_rng(0)
    rows = random.integers(0, 256, (300, 70)).astype(dtype)
    search, codebook = CodebookSearch(rows, algorithm=algorithm), rows[:80].astype(np.float32) + 0.25
    good = search.nearest(codebook)[1]
    np.testing.assert_array_equal(search.nearest(codebook, 1, good)[1], good)
    for bad in (-1, 80, np.iinfo(np.int64).max):
        before = good.copy()
        before[7] = bad
        with pytest.raises(ValueError, match=f"^previous names the unit {bad} for row 7, but there are 80"):
            search.nearest(codebook, 1, before)
    for shape in ((299, 1), (300, 2), (300,)):
        with pytest.raises(ValueError, match=r"^previous must have the shape"):
            search.nearest(codebook, 1, np.zeros(shape, np.int64))


@pytest.mark.parametrize(("algorithm", "where"), [("brute", "queries"), ("brute", "rows"), ("pruned", "queries")])
def test_no_neighbours_at_all_is_an_error(algorithm, where):
    """Values that `assume_finite` lets pass are at no distance; the results contained invalid row numbers."""
    rows = np.random.default_rng(0).normal(size=(100, 20))
    queries = rows[1:30].copy()
    (queries if where == "queries" else rows)[::3] = np.nan
    k = 5 if where == "queries" else 80
    with sklearn.config_context(assume_finite=True):
        index = ExactIndex(algorithm).fit(rows)
        with pytest.raises(ValueError, match=f"^query 0 has fewer than k={k} neighbours: NaN"):
            index.search(queries, k)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_scan_in_many_steps_loses_nothing(monkeypatch, dtype):
    """Calls of one block of panels and one tile each: a return value of a step once ended the scan too early."""
    monkeypatch.setattr(pruned, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(pruned, "per_task", lambda most, operations, multiple=1: multiple)
    rng = np.random.default_rng(8)
    rows, queries = structured(rng, 1500, 60, dtype), structured(rng, 70, 60, dtype)
    index = ExactIndex("pruned", n_jobs=2).fit(rows)
    assert_same(index.search(queries, 5), reference.nearest(queries, rows, 5))
    starts, distances, found = index.search_within(queries, 9000)
    for got, expected in zip((starts, distances, found), reference.within(queries, rows, 9000), strict=True):
        np.testing.assert_array_equal(got, expected)
