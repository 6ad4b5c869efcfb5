"""The FAISS backend: its guarantees for any answer of FAISS, and its messages if FAISS or a parameter is missing."""

import copy
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.estimator_checks import parametrize_with_checks

import somknn
from reference import search as reference
from somknn import (
    SOM,
    KNeighborsClassifier,
    KNeighborsRegressor,
    KNeighborsTransformer,
    NearestNeighbors,
    PrototypeClassifier,
    SOMClassifier,
)
from somknn.neighbors import ExactIndex, FaissIndex, faiss_arrays, recall

faiss = pytest.importorskip("faiss")
pytestmark = pytest.mark.faiss

NAMED = ("flat", "ivf", "ivfpq", "hnsw", "sq8")
FACTORY = ("PCA8,IVF16,Flat", "HNSW16,SQ8", "IVF8,PQ4x4np")
RNG = np.random.default_rng(0)


def clustered(n, d, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.uniform(30, 220, (12, d))
    rows = centres[rng.integers(0, 12, n)] + rng.standard_normal((n, 4)) @ rng.standard_normal((4, d)) * 8
    rows[n // 2 :: 9] = rows[0]
    return np.clip(rows, 0, 255).astype(dtype)


ROWS, QUERIES = np.split(clustered(1260, 20), [1200])
LABELS = np.array(["a", "b", "c"])[ROWS[:, 0] % 3]


def assert_promise(rows, queries, k, distances, indices):
    """k different rows for every query, with their exact distances, by distance and row."""
    assert indices.shape == distances.shape == (len(queries), k)
    for query, distance, row in zip(queries, distances, indices, strict=True):
        assert len(set(row)) == k
        np.testing.assert_array_equal(distance, reference.squared_distances(query[None], rows[row])[0])
        pairs = list(zip(distance, row, strict=True))
        assert pairs == sorted(pairs)


def assert_exact(index, rows, queries, k):
    for got, expected in zip(index.search(queries, k), reference.nearest(queries, rows, k), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("spec", [*NAMED, *FACTORY])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_distances_and_order_are_exact_and_the_recall_is_as_reported(spec, dtype):
    rows, queries = ROWS.astype(dtype), QUERIES.astype(dtype)
    index = FaissIndex(spec, n_neighbors=5, target_recall=0.95, n_jobs=1).fit(rows)
    distances, indices = index.search(queries, 5)
    assert_promise(rows, queries, 5, distances, indices)
    exact = reference.nearest(queries, rows, 5)[0][:, -1]
    assert index.recall_ >= 0.9
    assert recall.recalls(distances, exact).mean() >= 0.85


@given(st.data())
@settings(max_examples=60)
def test_flat_is_exact_on_data_made_to_break_float32(data):
    """Ties, duplicates, rows far from the origin or below float32's resolution: certified or searched exactly."""
    seed = data.draw(st.integers(0, 2**32 - 1))
    n, d = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 12))
    offset, size = data.draw(st.sampled_from([0.0, 1e4, 1e9])), data.draw(st.sampled_from([1.0, 1e-40, 1e-150, 1e100]))
    dtype = data.draw(st.sampled_from([np.float64, np.float32] if size == 1.0 else [np.float64]))
    rng = np.random.default_rng(seed)
    grid = data.draw(st.booleans())
    rows = ((rng.integers(0, 3, (n, d)) if grid else rng.standard_normal((n, d))) + offset) * size
    rows[rng.random(n) < 0.3] = rows[0]
    queries = np.concatenate([rows[:5], rows[:5] + rng.standard_normal((min(n, 5), d)) * size])
    rows, queries = rows.astype(dtype), queries.astype(dtype)
    index = FaissIndex(n_jobs=1).fit(rows)
    for k in {1, min(n, 4), n}:
        assert_exact(index, rows, queries, k)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_flat_searches_few_queries_exactly(dtype):
    rows = clustered(3000, 40, dtype)
    index = FaissIndex(n_jobs=2).fit(rows)
    assert_exact(index, rows, rows[:50], 7)
    assert index.search_stats_["queries"] == 50
    assert index.search_stats_["shortlist"] == 14


@given(
    spec=st.sampled_from(["ivf", "hnsw", "sq8", "IVF3,Flat"]),
    n=st.integers(3, 40),
    d=st.integers(1, 6),
    seed=st.integers(0, 99),
)
@settings(max_examples=40)
def test_tiny_sets(spec, n, d, seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 4, (n, d)).astype(np.uint8)
    index = FaissIndex(spec, n_neighbors=2, target_recall=0.5, n_jobs=1).fit(rows)
    for k in {1, min(3, n), n}:
        assert_promise(rows, rows, k, *index.search(rows, k))


def test_one_row():
    for spec in ("flat", "ivf", "hnsw", "sq8"):
        index = FaissIndex(spec).fit(np.array([[7, 9]], np.uint8))
        assert index.search(np.array([[7, 8]], np.uint8), 1) == (np.array([[1]]), np.array([[0]]))


@pytest.mark.parametrize("spec", ["ivf", "hnsw", "sq8"])
def test_duplicates_come_in_order_of_rows(spec):
    rows = np.zeros((200, 3), np.float32)
    distances, indices = FaissIndex(spec, rerank=200, target_recall=1.0, n_jobs=1).fit(rows).search(rows[:4], 200)
    np.testing.assert_array_equal(indices, np.tile(np.arange(200), (4, 1)))
    assert (distances == 0).all()


def test_what_faiss_does_not_find_is_searched_exactly():
    """One cell of few rows cannot give 50 neighbours: FAISS returns -1."""
    index = FaissIndex("ivf", nlist=30, nprobe=1, n_jobs=1).fit(ROWS)
    distances, indices = index.search(QUERIES, 100)
    assert_promise(ROWS, QUERIES, 100, distances, indices)
    short = index.search_stats_["answered_exactly"]
    assert short > 0
    assert_exact(index, ROWS, QUERIES, len(ROWS))
    assert index.search_stats_["answered_exactly"] == len(QUERIES)


def test_queries_that_float32_cannot_hold():
    rows = clustered(300, 5, np.float64) * 1e-3
    queries = np.array([[1e200] * 5, [-1e300] * 5, [1e30, 0, 0, 0, 0], [0.0] * 5])
    for spec in ("flat", "ivf", "sq8", "hnsw"):
        index = FaissIndex(spec, n_jobs=1).fit(rows)
        if spec == "flat":
            assert_exact(index, rows, queries, 3)
        np.testing.assert_array_equal(index.search(queries[:3], 3)[1], reference.nearest(queries[:3], rows, 3)[1])


def test_bytes_in_sq8_meet_queries_that_are_no_bytes():
    """FAISS would convert 300 to 44, and 0.9 to 0."""
    rows = np.arange(256, dtype=np.uint8)[:, None].repeat(16, 1)
    queries = np.array([[300.0], [-20.0], [100.9], [77.0]]).repeat(16, 1)
    index = FaissIndex("sq8", n_jobs=1).fit(rows)
    assert_exact(index, rows, queries, 2)
    assert index.search_stats_["answered_exactly"] == 3


@pytest.mark.parametrize("spec", ["sq8", "SQ8_direct", "IVF4,SQ8_direct", "HNSW16,SQ8_direct", "SQ8_direct,RFlat"])
@pytest.mark.parametrize("d", [16, 20, 64])
@pytest.mark.parametrize("kind", ["fractions", "out of range"])
def test_bytes_in_faiss_meet_queries_that_are_no_bytes(spec, d, kind):
    """FAISS clips values that such a code cannot hold, at some widths.

    Only 0.435 of the neighbours were found where `recall_` said 1.0.
    """
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 256, (400, d)).astype(np.uint8)
    index = FaissIndex(spec, n_jobs=1, **({"nprobe": 4} if "IVF" in spec else {}), rerank=1).fit(rows)
    queries = rows[:30] + 0.75 if kind == "fractions" else rows[:30] * 3.0 - 200.0
    assert_exact(index, rows, queries, 5)
    assert index.search_stats_["answered_exactly"] == 30
    whole = rows[:30].astype(np.float32)  # bytes in another dtype count as bytes
    index.search(whole, 5)
    assert index.search_stats_["answered_exactly"] == 0


@pytest.mark.parametrize("spec", ["flat", "ivf", "sq8", "ivfpq"])
def test_threads_and_batches_do_not_matter(spec):
    index = FaissIndex(spec, n_jobs=1, n_neighbors=4).fit(ROWS)
    together = index.search(QUERIES, 4)
    index.n_jobs = 2
    again = index.search(QUERIES, 4)
    np.testing.assert_array_equal(together, again)
    if spec != "flat":  # two ways to sum, which may propose other candidates; "flat" is proven exact both ways
        return
    parts = [index.search(QUERIES[i : i + 7], 4) for i in range(0, len(QUERIES), 7)]
    np.testing.assert_array_equal(np.concatenate([p[1] for p in parts]), together[1])


def test_two_python_threads_at_once():
    index = FaissIndex("ivf", n_jobs=1, nprobe=4).fit(ROWS)
    expected = index.search(QUERIES, 3)
    answers = [None] * 6

    def work(i):
        answers[i] = index.search(QUERIES, 3)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(answers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize("spec", ["flat", "hnsw"])
def test_the_callers_threads_come_back(spec):
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        index = FaissIndex(spec, n_jobs=1).fit(ROWS)
        assert faiss.omp_get_max_threads() == 3
        index.search(QUERIES, 3)
        index.tune(QUERIES, 3, 0.9)
        assert faiss.omp_get_max_threads() == 3
        with pytest.raises(ValueError, match="FAISS says"):
            FaissIndex("IVF4096,Flat", n_jobs=1).fit(ROWS)
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


# Tuning


def test_the_target_is_reached_at_the_least_cost():
    index = FaissIndex("ivf", nlist=64, n_neighbors=5, target_recall=0.9, n_jobs=1).fit(ROWS)
    exact = ExactIndex().fit(ROWS).search(QUERIES, 5)[0][:, -1]
    reached = index.tune(QUERIES, 5, 0.9)
    chosen = index.nprobe_
    assert reached >= 0.9
    assert recall.recalls(index.search(QUERIES, 5)[0], exact).mean() >= 0.9
    assert chosen > 1
    index.nprobe = chosen - max(1, chosen // 8)
    index.search(QUERIES, 5)  # applies the changed parameter
    assert index.nprobe_ == index.nprobe
    less, _, _ = index._list.search(QUERIES, 5, 1)
    assert recall.at_least(recall.recalls(less, exact)) < 0.9


def test_queries_of_another_kind_can_be_tuned_for():
    """Uniform queries are between the clusters: a setting that suffices for the rows does not suffice for them."""
    queries = np.random.default_rng(5).uniform(0, 255, (400, 20)).astype(np.uint8)
    by_rows, by_queries = FaissIndex("ivf", nlist=64, n_jobs=1).fit(ROWS), FaissIndex("ivf", nlist=64, n_jobs=1)
    by_queries.fit(ROWS, queries)
    assert by_queries.nprobe_ > by_rows.nprobe_
    assert by_queries.recall_ >= 0.97
    exact = ExactIndex().fit(ROWS).search(queries, 10)[0][:, -1]
    measured = [recall.recalls(index.search(queries, 10)[0], exact).mean() for index in (by_rows, by_queries)]
    assert measured[0] < 0.95 < 0.98 < measured[1]
    one = FaissIndex("ivf", n_jobs=1).fit(ROWS, queries[:1])
    assert_promise(ROWS, QUERIES, 10, *one.search(QUERIES, 10))
    with pytest.raises(ValueError, match="queries has 3 features"):
        FaissIndex("ivf").fit(ROWS, queries[:, :3])


def test_a_target_out_of_reach_warns_with_what_was_reached():
    with pytest.warns(
        UserWarning, match=r"target_recall=1\.0 is out of reach of index='PQ1x4'.*: 0\.\d{4} is what it gives"
    ):
        index = FaissIndex("PQ1x4", rerank=1, target_recall=1.0, n_jobs=1).fit(clustered(400, 20, np.float32))
    assert index.recall_ < 1
    assert index.rerank_ == 1


def test_a_longer_shortlist_makes_up_for_compression():
    index = FaissIndex("PQ2x4", target_recall=0.9, n_jobs=1).fit(RNG.random((1000, 20)))
    assert index.rerank_ > 10
    assert index.recall_ > 0.8


def test_cheapest():
    asked = []

    def recall_of(value):
        asked.append(value)
        return min(1.0, value / 100)

    value, reached = recall.cheapest(recall_of, 1, 1000, 0.5)
    assert 50 <= value <= 53
    assert reached == value / 100
    assert len(asked) < 14
    assert recall.cheapest(lambda _: 0.3, 1, 1000, 0.5)[1] == 0.3
    assert recall.cheapest(lambda value: 0.4 if value < 7 else 0.6, 1, 7, 0.5) == (7, 0.6)
    assert recall.cheapest(lambda _: 1.0, 5, 3, 0.5) == (3, 1.0)


def test_recall_counts_ties_as_right():
    np.testing.assert_allclose(recall.recalls(np.array([[1, 2, 2], [1, 3, 4]]), np.array([2, 3])), [1, 2 / 3])
    assert recall.at_least(np.array([1.0, 1.0])) == 1
    assert recall.at_least(np.array([1.0, 0.0])) == pytest.approx(0.5 - 0.5 / 2**0.5)


def test_excluded_rows_do_not_count():
    indices, distances = np.array([[4, 0, 7, 2], [1, 4, 3, 7]]), np.array([[1, 2, 3, 4], [1, 2, 3, 4]])
    np.testing.assert_array_equal(recall.without(indices, distances, np.array([4, 7]), 2), [4, 3])
    assert recall.without(indices, distances, np.array([4, 7]), 3) is None


# Errors


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"index": "trees"}, "index='trees' is none of 'flat', .* nor a factory string for 20 features"),
        ({"index": "IVF16,PQ7"}, "index='IVF16,PQ7'"),
        ({"index": "ivf", "nlist": 5000}, "nlist must be at most the number of rows, 1200; got 5000"),
        ({"index": "flat", "nlist": 5}, "nlist belongs to"),
        ({"index": "ivf", "nlist": 0}, "nlist must be an integer of 1 or more, got 0"),
        ({"index": "ivf", "nprobe": 2.5}, "nprobe must be an integer"),
        ({"index": "ivf", "nprobe": True}, "nprobe must be an integer"),
        ({"index": "hnsw", "nprobe": 3}, "no search parameter nprobe; it takes ef_search"),
        ({"index": "flat", "ef_search": 3}, "no search parameter ef_search$"),
        ({"index": "ivf", "nprobe": 3, "target_recall": 0.9}, "not both"),
        ({"target_recall": 0}, r"target_recall must be in \(0, 1\], got 0"),
        ({"target_recall": 1.5}, "target_recall must be"),
        ({"target_recall": float("nan")}, "target_recall must be"),
        ({"rerank": 0}, "rerank must be"),
        ({"n_neighbors": 0}, "n_neighbors must be"),
        ({"algorithm": "hashes"}, "algorithm must be"),
    ],
)
def test_parameters_that_are_wrong(params, message):
    with pytest.raises(ValueError, match=message) as caught:
        FaissIndex(n_jobs=1, **({"index": "ivf"} | params)).fit(ROWS)
    assert "\n" not in str(caught.value)


def test_input_that_is_wrong():
    with pytest.raises(TypeError, match="index must be a string"):
        FaissIndex(3).fit(ROWS)
    with pytest.raises(ValueError, match="call fit first"):
        FaissIndex().search(QUERIES, 1)
    with pytest.raises(ValueError, match="256 rows"):
        FaissIndex("ivfpq").fit(ROWS[:255])
    index = FaissIndex(n_jobs=1).fit(ROWS.astype(np.float32))
    with pytest.raises(ValueError, match="NaN at row 1, column 2"):
        index.search(np.array([[0.0] * 20, [0, 0, np.nan] + [0] * 17]), 1)
    with pytest.raises(ValueError, match="has 3 features"):
        index.search(QUERIES[:, :3], 1)
    with pytest.raises(ValueError, match="k must be between 1 and the number of rows, 1200; got 1201"):
        index.search(QUERIES, 1201)
    with pytest.raises(ValueError, match="infinity"):
        FaissIndex().fit(np.full((3, 2), np.inf))
    assert index.search(QUERIES[:0], 2)[0].shape == (0, 2)


def test_a_row_that_does_not_exist_is_refused(monkeypatch):
    index = FaissIndex("ivf", nprobe=2, n_jobs=1).fit(ROWS)

    class Liar:
        ntotal = len(ROWS)

        @staticmethod
        def search(queries, k):
            return np.zeros((len(queries), k), np.float32), np.full((len(queries), k), len(ROWS))

    index._list._effort_set = index._list.setting.effort
    monkeypatch.setattr(index._list, "engine", Liar())
    with pytest.raises(RuntimeError, match="a row beyond the 1200"):
        index.search(QUERIES, 2)


def test_a_row_named_twice_is_not_believed(monkeypatch):
    index = FaissIndex("ivf", nprobe=2, n_jobs=1).fit(ROWS)

    class Stutterer:
        ntotal = len(ROWS)

        @staticmethod
        def search(queries, k):
            return np.zeros((len(queries), k), np.float32), np.full((len(queries), k), 5)

    index._list._effort_set = index._list.setting.effort
    monkeypatch.setattr(index._list, "engine", Stutterer())
    assert_exact(index, ROWS, QUERIES, 2)


# Estimators


@pytest.mark.parametrize("params", [None, {"index": "ivf", "target_recall": 0.99}, {"index": "hnsw", "ef_search": 64}])
def test_every_estimator_takes_the_backend(params):
    with_faiss = {"backend": "faiss", "backend_params": params, "n_jobs": 1}
    exact = params is None
    for make, method in (
        (lambda **p: KNeighborsClassifier(3, **p).fit(ROWS, LABELS), "predict"),
        (lambda **p: KNeighborsRegressor(3, **p).fit(ROWS, ROWS[:, 1].astype(float)), "predict"),
        (lambda **p: NearestNeighbors(n_neighbors=3, **p).fit(ROWS), "kneighbors"),
        (lambda **p: KNeighborsTransformer(n_neighbors=3, **p).fit(ROWS), "transform"),
    ):
        ours, theirs = make(), make(**with_faiss)
        if method == "kneighbors":
            answers = ours.kneighbors(QUERIES)[1], theirs.kneighbors(QUERIES)[1]
        else:
            answers = [getattr(m, method)(QUERIES) for m in (ours, theirs)]
            if method == "transform":
                answers = [a.toarray() for a in answers]
        agreement = np.mean(np.asarray(answers[0]) == np.asarray(answers[1]))
        assert agreement == 1 if exact else agreement > 0.95
        assert ours.recall_ == 1.0
        assert theirs.recall_ is None if params and "ef_search" in params else theirs.recall_ >= 0.97
    radius = theirs.index_.search_within(QUERIES, 5000.0)
    for a, b in zip(radius, ours.index_.search_within(QUERIES, 5000.0), strict=True):
        np.testing.assert_array_equal(a, b)


def test_parameters_of_the_backend_are_checked():
    with pytest.raises(ValueError, match="no 'nprobes' for backend='faiss'; it takes: index, nlist, nprobe"):
        NearestNeighbors(backend="faiss", backend_params={"nprobes": 3}).fit(ROWS)
    with pytest.raises(ValueError, match="no 'n_jobs'"):
        NearestNeighbors(backend="faiss", backend_params={"n_jobs": 3}).fit(ROWS)
    with pytest.raises(ValueError, match="no 'index' for backend='numba'"):
        NearestNeighbors(backend_params={"index": "ivf"}).fit(ROWS)
    with pytest.raises(ValueError, match="'backend_params' parameter"):
        NearestNeighbors(backend_params="ivf").fit(ROWS)


@parametrize_with_checks([KNeighborsClassifier(tie_break="first", backend="faiss", n_jobs=1)])
def test_estimator_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("spec", [*NAMED, *FACTORY])
def test_pickles_and_copies(spec):
    model = NearestNeighbors(
        n_neighbors=3, backend="faiss", backend_params={"index": spec, "target_recall": 0.9}, n_jobs=1
    ).fit(ROWS)
    expected = model.kneighbors(QUERIES)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.kneighbors(QUERIES), expected)


def test_leave_one_out():
    model = NearestNeighbors(n_neighbors=3, backend="faiss", n_jobs=1).fit(ROWS)
    np.testing.assert_array_equal(model.kneighbors()[1], NearestNeighbors(n_neighbors=3).fit(ROWS).kneighbors()[1])


@pytest.mark.parametrize("params", [None, {"index": "ivf", "target_recall": 0.9}, {"index": "hnsw", "ef_search": 50}])
def test_a_map_classifies_by_the_backend(tmp_path, params):
    som = SOM(12, 12, epochs=3, random_state=0, n_jobs=1)
    exact = SOMClassifier(som).fit(ROWS, LABELS)
    model = SOMClassifier(som, backend="faiss", backend_params=params).fit(ROWS, LABELS)
    agreement = np.mean(exact.predict(QUERIES) == model.predict(QUERIES))
    assert agreement == 1 if params is None else agreement > 0.9
    assert exact.recall_ == 1
    assert model.recall_ is None if params and "ef_search" in params else model.recall_ >= 0.85
    model.save(tmp_path / "model")
    loaded = somknn.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(QUERIES), model.predict_proba(QUERIES))
    assert loaded.recall_ == model.recall_


def test_a_map_says_what_its_backend_cannot_do():
    with pytest.raises(ValueError, match="no 'nprobes'"):
        SOMClassifier(SOM(3, 3), backend="faiss", backend_params={"nprobes": 1}).fit(ROWS, LABELS)
    with pytest.raises(ValueError, match="backend must be one of 'numba', 'faiss'; got 'annoy'"):
        SOMClassifier(SOM(3, 3), backend="annoy").fit(ROWS, LABELS)
    with pytest.raises(ValueError, match="cannot search rows with missing values"):
        SOMClassifier(SOM(3, 3, missing_values="ignore"), backend="faiss").fit(ROWS, LABELS)


@pytest.mark.parametrize("params", [None, {"index": "ivf", "target_recall": 0.9}, {"index": "hnsw", "ef_search": 50}])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_prototypes_are_searched_by_the_backend(tmp_path, params, dtype):
    rows, queries = ROWS.astype(dtype), QUERIES.astype(dtype)
    settings = {"prototypes": "sample", "n_prototypes": 300, "n_neighbors": 3, "random_state": 0, "n_jobs": 1}
    exact = PrototypeClassifier(**settings).fit(rows, LABELS)
    model = PrototypeClassifier(**settings, backend="faiss", backend_params=params).fit(rows, LABELS)
    agreement = np.mean(exact.predict(queries) == model.predict(queries))
    assert agreement == 1 if params is None else agreement > 0.9
    assert exact.recall_ == 1
    assert model.recall_ is None if params and "ef_search" in params else model.recall_ >= 0.85
    model.save(tmp_path / "model")
    for other in (somknn.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict_proba(queries), model.predict_proba(queries))
        assert other.recall_ == model.recall_
    with pytest.raises(ValueError, match="no 'nprobes'"):
        PrototypeClassifier(backend="faiss", backend_params={"nprobes": 1}).fit(rows, LABELS)


# Model files


@pytest.mark.parametrize("spec", [*NAMED, *FACTORY])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_a_model_comes_back(tmp_path, spec, dtype):
    params = {"index": spec, "target_recall": 0.9}
    rows, queries = ROWS.astype(dtype), QUERIES.astype(dtype)
    model = KNeighborsClassifier(3, backend="faiss", backend_params=params, n_jobs=1).fit(rows, LABELS)
    model.save(tmp_path / "model")
    loaded = somknn.load(tmp_path / "model")
    for a, b in zip(model.kneighbors(queries), loaded.kneighbors(queries), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("recall_", "index_.nprobe_", "index_.ef_search_", "index_.rerank_"):
        a, b = model, loaded
        for part in name.split("."):
            a, b = getattr(a, part), getattr(b, part)
        assert a == b
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()


def test_no_model_file_holds_bytes_that_faiss_would_read():
    """FAISS's reader does not validate its input: bytes of a file could make it write outside its arrays."""
    for spec in (*NAMED, *FACTORY):
        arrays = FaissIndex(spec, n_jobs=1).fit(ROWS).screen_to_save()
        assert not any(array.dtype == np.uint8 for array in arrays.values())


@pytest.mark.parametrize(
    "spec",
    [
        "PQ4x13",
        "HNSW257",
        "IVF1201,Flat",
        "PCA21,Flat",
        "IVF8,PQ0",
        "IVF8,,Flat",
        "flat ",
        "IVF8(HNSW32),Flat",
        "x" * 999,
    ],
)
def test_a_file_cannot_ask_faiss_for_what_would_take_any_memory(spec):
    """FAISS allocates memory for the numbers in a factory string: in a file they are limited by the number of rows."""
    arrays = FaissIndex("flat").fit(ROWS).screen_to_save()
    with pytest.raises(ValueError, match="a saved index may not be made by"):
        FaissIndex(spec).restore(ROWS, arrays)


def damaged(**changes):
    def change(arrays):
        name, value = next(iter(changes.items()))
        arrays[f"screen_faiss_{name}"] = value(arrays[f"screen_faiss_{name}"].copy())

    return change


def with_value(place, value):
    def change(array):
        array.flat[place] = value
        return array

    return change


def without_array(arrays):
    del arrays[sorted(arrays)[0]]


@pytest.mark.parametrize(
    ("spec", "damage"),
    [
        ("ivf", damaged(cells=with_value(3, 999))),
        ("ivf", damaged(cells=with_value(3, -1))),
        ("ivf", damaged(cells=lambda a: a[1:])),
        ("ivf", damaged(centres=lambda a: a[:, 1:])),
        ("ivf", damaged(centres=with_value(0, np.nan))),
        ("ivf", damaged(order=with_value(0, 1))),
        ("ivf", damaged(order=lambda a: a[1:])),
        ("ivf", damaged(order=lambda a: a[:, None])),
        ("ivf", damaged(chosen=with_value(0, 10**6))),
        ("ivf", damaged(chosen=with_value(1, 0))),
        ("ivf", without_array),
        ("flat", without_array),
        ("hnsw", without_array),
        ("hnsw", damaged(neighbors=with_value(7, 1200))),
        ("hnsw", damaged(neighbors=with_value(7, -2))),
        ("hnsw", damaged(neighbors=lambda a: a[:-1])),
        ("hnsw", damaged(offsets=with_value(5, 3))),
        ("hnsw", damaged(levels=with_value(5, 0))),
        ("hnsw", damaged(levels=with_value(5, 60))),
        ("hnsw", damaged(entry=with_value(0, 1200))),
        ("hnsw", damaged(entry=with_value(1, 9))),
        ("hnsw", damaged(entry=lambda a: a.astype(np.int32))),
        ("ivfpq", damaged(cells=with_value(3, 999))),
        ("ivfpq", damaged(centres=lambda a: a[:, 1:])),
        ("ivfpq", damaged(centroids=lambda a: a[1:])),
        ("ivfpq", damaged(centroids=with_value(0, np.inf))),
        ("ivfpq", damaged(centroids=lambda a: a.astype(np.float64))),
        ("ivfpq", damaged(rotation=lambda a: a[:-1])),
        ("ivfpq", damaged(shift=lambda a: a[:, None])),
        ("ivfpq", without_array),
        ("IVF8,PQ4x4np", without_array),
    ],
)
def test_arrays_that_do_not_describe_an_index_are_refused(spec, damage):
    arrays = FaissIndex(spec, n_jobs=1, target_recall=0.8).fit(ROWS).screen_to_save()
    damage(arrays)
    with pytest.raises(ValueError, match="saved"):
        FaissIndex(spec, n_jobs=1).restore(ROWS, arrays)


def test_links_between_levels_are_checked():
    """A row that is not on the upper level must not be linked there: FAISS would read past its links."""
    index = FaissIndex("hnsw", ef_search=16, n_jobs=1).fit(ROWS)
    arrays = faiss_arrays.to_arrays("hnsw", index._list.engine)
    upper, lower = np.flatnonzero(arrays["levels"] > 1)[0], np.flatnonzero(arrays["levels"] == 1)[0]
    arrays["neighbors"][arrays["offsets"][upper] + 64] = lower
    with pytest.raises(ValueError, match="not on the same level"):
        faiss_arrays.from_arrays(
            "hnsw", faiss.index_factory(20, "HNSW32,Flat"), len(ROWS), len(ROWS), arrays, index._list.vectors_at
        )


# Without FAISS

ABSENT = """
import sys
sys.modules["faiss"] = None  # what an import of a package that is not installed comes to
import somknn
from somknn import NearestNeighbors, KNeighborsClassifier
NearestNeighbors(n_neighbors=1).fit([[0.0], [1.0]]).kneighbors([[0.2]])
for work in (
    lambda: NearestNeighbors(backend="faiss").fit([[0.0], [1.0]]),
    lambda: KNeighborsClassifier(backend="faiss").fit([[0.0], [1.0]], [0, 1]),
    lambda: somknn.load(sys.argv[1]),
):
    try:
        work()
    except ImportError as error:
        print(error)
"""


def test_without_faiss_everything_else_works_and_one_line_says_what_to_install(tmp_path):
    NearestNeighbors(backend="faiss").fit(ROWS).save(tmp_path / "model")
    run = subprocess.run(
        [sys.executable, "-c", ABSENT, tmp_path / "model"], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    expected = "backend='faiss' needs faiss: pip install 'somknn[faiss]', or use backend='numba'"
    assert run.stdout.splitlines() == [expected] * 3


def test_faiss_is_imported_when_it_is_asked_for():
    code = (
        "import sys, somknn, somknn.neighbors as n; n.NearestNeighbors().fit([[0.0], [1.0]]); "
        "print('faiss' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert run.stdout.strip() == "False"
