"""The parameter `metric` of the k-NN estimators: distances as scikit-learn has them, saving, tuning, FAISS."""

import pickle

import numpy as np
import pytest
from sklearn import neighbors as sk
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import somknn
from reference import cosine as reference
from somknn import KNeighborsClassifier, KNeighborsRegressor, KNeighborsTransformer, NearestNeighbors
from somknn.evaluation import KNeighborsClassifierCV
from somknn.neighbors import CosineIndex, ExactIndex
from somknn.persistence import ModelFileError, container

RNG = np.random.default_rng(0)
ROWS, QUERIES = RNG.standard_normal((300, 12)), RNG.standard_normal((70, 12))
LABELS, TARGETS = RNG.integers(0, 4, 300), RNG.standard_normal(300)
KINDS = ("float64", "float32", "bytes with ties", "zeros")
METRICS = ("minkowski", "euclidean", "l2", "sqeuclidean", "cosine")
WEIGHTS = ("uniform", "distance", lambda distances: 1 / (0.1 + distances))


def with_ties():
    """Rows of bytes with duplicates, multiples and rows of zeros."""
    rows = np.random.default_rng(1).integers(0, 3, (120, 4)).astype(np.uint8)
    rows[::9] = 0
    return rows


def pair(ours, theirs, metric, *data, **parameters):
    """somknn's estimator and scikit-learn's brute force, fitted."""
    first = "tie_break" in ours._get_param_names()
    own = ours(metric=metric, **parameters, **({"tie_break": "first"} if first else {}))
    return own.fit(*data), theirs(metric=metric, algorithm="brute", **parameters).fit(*data)


@pytest.mark.parametrize("metric", METRICS)
def test_neighbours_and_graphs_are_those_of_scikit_learn(metric):
    ours, theirs = pair(NearestNeighbors, sk.NearestNeighbors, metric, ROWS, n_neighbors=7, radius=0.7)
    assert ours.effective_metric_ == theirs.effective_metric_
    for X in (QUERIES, None):
        distances, indices = ours.kneighbors(X)
        expected, expected_indices = theirs.kneighbors(X)
        np.testing.assert_array_equal(indices, expected_indices)
        np.testing.assert_allclose(distances, expected, rtol=1e-9, atol=1e-14)
        assert distances.dtype == np.float64
        for mode in ("connectivity", "distance"):
            for graph in ("kneighbors_graph", "radius_neighbors_graph"):
                a, b = (getattr(model, graph)(X, mode=mode).toarray() for model in (ours, theirs))
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14)
        for radius in (0.0, 0.3, 2.5):
            near, found = ours.radius_neighbors(X, radius)
            expected, expected_found = theirs.radius_neighbors(X, radius)
            for a, b, i, j in zip(near, expected, found, expected_found, strict=True):
                np.testing.assert_array_equal(i, np.sort(j))
                np.testing.assert_allclose(a, b[np.argsort(j)], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("mode", ["connectivity", "distance"])
def test_transformed_rows_are_those_of_scikit_learn(metric, mode):
    ours, theirs = pair(KNeighborsTransformer, sk.KNeighborsTransformer, metric, ROWS, n_neighbors=4, mode=mode)
    for X in (ROWS, QUERIES):
        # scikit-learn's Euclidean distance of a row to itself is not always 0.
        np.testing.assert_allclose(ours.transform(X).toarray(), theirs.transform(X).toarray(), atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weights", WEIGHTS, ids=["uniform", "distance", "function"])
def test_votes_and_means_are_those_of_scikit_learn(metric, weights):
    queries = np.concatenate([QUERIES, ROWS[:9]])  # some at distance zero
    ours, theirs = pair(KNeighborsClassifier, sk.KNeighborsClassifier, metric, ROWS, LABELS, weights=weights)
    assert ours.effective_metric_ == theirs.effective_metric_
    np.testing.assert_array_equal(ours.predict(queries), theirs.predict(queries))
    np.testing.assert_allclose(ours.predict_proba(queries), theirs.predict_proba(queries), atol=1e-7)
    ours, theirs = pair(KNeighborsRegressor, sk.KNeighborsRegressor, metric, ROWS, TARGETS, weights=weights)
    np.testing.assert_allclose(ours.predict(QUERIES), theirs.predict(QUERIES), rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
def test_ties_duplicates_and_rows_of_zeros(dtype):
    rows = with_ties()
    queries = np.concatenate([rows[:40], np.zeros((1, 4), np.uint8)])
    for k in (1, 5, 120):
        model = NearestNeighbors(n_neighbors=k, metric="cosine").fit(rows.astype(dtype))
        distances, indices = model.kneighbors(queries.astype(dtype))
        squared, expected = reference.nearest(queries, rows, k)
        np.testing.assert_array_equal(indices, expected)
        np.testing.assert_array_equal(distances, np.minimum(squared / 2, 2))
        theirs = sk.NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(rows)
        np.testing.assert_allclose(distances, theirs.kneighbors(queries)[0], atol=1e-14)
    assert (distances[-1] == 1).all()


def test_no_row_is_its_own_neighbour():
    rows = with_ties()
    distances = reference.distances(rows, rows)
    np.fill_diagonal(distances, np.inf)
    model = NearestNeighbors(n_neighbors=6, metric="cosine").fit(rows)
    order = np.argsort(distances, axis=1, kind="stable")[:, :6]
    near, found = model.kneighbors()
    np.testing.assert_array_equal(found, order)
    np.testing.assert_array_equal(near, np.take_along_axis(distances, order, axis=1))
    for radius in (0.0, 0.5, 0.999, 1.0, 2.0):
        near, found = model.radius_neighbors(None, radius)
        for i in range(len(rows)):
            expected = np.flatnonzero(distances[i] <= radius)
            np.testing.assert_array_equal(found[i], expected)
            np.testing.assert_array_equal(near[i], distances[i, expected])


def test_a_radius_includes_its_boundary():
    rows = np.eye(4)
    model = NearestNeighbors(metric="cosine").fit(rows)
    far = float(model.kneighbors(rows[:1], 2)[0][0, 1])
    assert len(model.radius_neighbors(rows[:1], far)[1][0]) == 4
    assert len(model.radius_neighbors(rows[:1], np.nextafter(far, 0))[1][0]) == 1


def test_squared_distances_are_euclidean():
    model = NearestNeighbors(metric="cosine").fit(ROWS)
    for call in (model.kneighbors, model.radius_neighbors):
        with pytest.raises(ValueError, match=r"squared=True is of Euclidean distances; .* leave it out"):
            call(QUERIES, squared=True)
    squared = NearestNeighbors(metric="sqeuclidean").fit(with_ties())
    as_integers = squared.kneighbors(with_ties(), squared=True)[0]
    assert as_integers.dtype == np.int64
    np.testing.assert_array_equal(squared.kneighbors(with_ties())[0], as_integers)


ESTIMATORS = (KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors, KNeighborsTransformer)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"metric": "manhattan"}, r"'metric' parameter of \w+ must be a str among .*'cosine'.*. Got 'manhattan'"),
        ({"metric": "precomputed"}, r"'metric' parameter .*'cosine'"),
        ({"metric": lambda a, b: 0.0}, r"'metric' parameter .*'cosine'"),
        ({"p": 1}, r"metric='minkowski' takes the power p=2 only, got p=1; metrics are 'cosine', 'euclidean'"),
        ({"p": 3.0, "metric": "minkowski"}, "the power p=2 only, got p=3.0"),
        ({"p": 0}, "'p' parameter"),
        ({"p": "2"}, "'p' parameter"),
    ],
)
def test_other_metrics_are_refused_before_any_work(estimator, parameters, message):
    with pytest.raises(ValueError, match=message) as raised:
        estimator(**parameters).fit(None, None)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("parameters", [
    {"p": 2.0}, {"p": None}, {"p": 1, "metric": "euclidean"}, {"p": 3, "metric": "l2"}, {"p": 7, "metric": "cosine"},
])  # fmt: skip
def test_a_power_that_says_nothing_is_ignored(parameters):
    model = NearestNeighbors(**parameters).fit(ROWS)
    plain = NearestNeighbors(metric=parameters.get("metric", "minkowski")).fit(ROWS)
    np.testing.assert_array_equal(model.kneighbors(QUERIES)[1], plain.kneighbors(QUERIES)[1])


def test_the_metric_is_that_of_the_fit():
    model = NearestNeighbors(metric="cosine").fit(ROWS)
    expected = model.kneighbors(QUERIES)
    model.set_params(metric="euclidean")
    assert model.effective_metric_ == "cosine"
    np.testing.assert_array_equal(model.kneighbors(QUERIES), expected)
    assert clone(model).fit(ROWS).effective_metric_ == "euclidean"


def test_threads_algorithms_batches_and_pickles():
    rows = np.repeat(with_ties(), 3, axis=0)
    expected = NearestNeighbors(metric="cosine", algorithm="brute", n_jobs=1).fit(rows).kneighbors(rows, 9)
    for algorithm in ("auto", "pruned"):
        for n_jobs in (1, 2):
            model = NearestNeighbors(metric="cosine", algorithm=algorithm, n_jobs=n_jobs).fit(rows)
            model = pickle.loads(pickle.dumps(model))
            np.testing.assert_array_equal(model.kneighbors(rows, 9), expected)
            parts = [model.kneighbors(part, 9) for part in np.array_split(rows, 7)]
            np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)


def test_an_index_in_place_of_rows():
    index = CosineIndex().fit(ROWS)
    model = KNeighborsClassifier(metric="cosine").fit(index, LABELS)
    assert model.index_.unit_index_.rows_ is index.unit_index_.rows_
    np.testing.assert_array_equal(
        model.predict(QUERIES), KNeighborsClassifier(metric="cosine").fit(ROWS, LABELS).predict(QUERIES)
    )
    for change in (model.index_.fit, model.index_.add, model.index_.unit_index_.add):
        with pytest.raises(ValueError, match="belongs to an estimator"):
            change(ROWS)
    index.add(ROWS[:1])
    assert len(model.index_.rows_) == 300
    with pytest.raises(ValueError, match="metric='cosine' needs a CosineIndex in place of rows, got a ExactIndex"):
        NearestNeighbors(metric="cosine").fit(ExactIndex().fit(ROWS))
    with pytest.raises(ValueError, match="metric='euclidean' needs a ExactIndex in place of rows, got a CosineIndex"):
        NearestNeighbors().fit(index)
    with pytest.raises(ValueError, match="takes backend='numba'"):
        NearestNeighbors(metric="cosine", backend="faiss").fit(index)


# Model files


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("rows", [ROWS, ROWS.astype(np.float32), with_ties(), np.zeros((8, 3))], ids=KINDS)
def test_saved_and_loaded(tmp_path, metric, rows):
    labels, queries = np.arange(len(rows)) % 3, np.concatenate([rows[-5:], rows[:2] + rows.dtype.type(1)])
    for model, method in (
        (KNeighborsClassifier(3, weights="distance", metric=metric, algorithm="pruned"), "predict_proba"),
        (KNeighborsRegressor(3, weights="distance", metric=metric), "predict"),
        (NearestNeighbors(n_neighbors=3, metric=metric), "kneighbors"),
    ):
        model.fit(rows, labels).save(tmp_path / "model")
        for memory_map in (False, True):
            loaded = somknn.load(tmp_path / "model", memory_map=memory_map)
            assert loaded.effective_metric_ == model.effective_metric_
            np.testing.assert_array_equal(getattr(loaded, method)(queries), getattr(model, method)(queries))
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()


def test_the_metric_of_the_fit_is_saved(tmp_path):
    NearestNeighbors(metric="cosine").fit(ROWS).set_params(metric="euclidean").save(tmp_path / "model")
    loaded = somknn.load(tmp_path / "model")
    assert (loaded.metric, loaded.effective_metric_) == ("euclidean", "cosine")
    assert loaded.kneighbors(QUERIES)[0].max() < 1


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        ("state", "effective_metric_", "manhattan"),
        ("state", "effective_metric_", 3),
        ("params", "metric", "manhattan"),
        ("params", "p", 1),
    ],
)
def test_a_file_with_a_metric_that_is_not_known_is_refused(tmp_path, place, name, value):
    NearestNeighbors(metric="minkowski").fit(ROWS).save(tmp_path / "model")
    arrays, document = container.read(tmp_path / "model", memory_map=False)
    assert name in document["estimator"][place]
    document["estimator"][place][name] = value
    container.write(tmp_path / "model", arrays, document)
    with pytest.raises(ModelFileError, match=rf"^[^\n]*({name}|metric)[^\n]*$"):
        somknn.load(tmp_path / "model")


def test_l2_from_a_file_of_an_earlier_version(tmp_path):
    """Such files say "euclidean" for "l2"."""
    NearestNeighbors(metric="l2").fit(ROWS).save(tmp_path / "model")
    arrays, document = container.read(tmp_path / "model", memory_map=False)
    document["estimator"]["state"]["effective_metric_"] = "euclidean"
    container.write(tmp_path / "model", arrays, document)
    expected = NearestNeighbors().fit(ROWS).kneighbors(QUERIES)
    np.testing.assert_array_equal(somknn.load(tmp_path / "model").kneighbors(QUERIES), expected)


# Tuning


def test_a_grid_over_metrics():
    grid = {"metric": ["euclidean", "cosine"], "weights": ["uniform", "distance"]}
    ours = GridSearchCV(KNeighborsClassifier(tie_break="first"), grid, cv=3).fit(ROWS, LABELS)
    theirs = GridSearchCV(sk.KNeighborsClassifier(algorithm="brute"), grid, cv=3).fit(ROWS, LABELS)
    np.testing.assert_array_equal(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])


@pytest.mark.parametrize("algorithm", ["brute", "pruned"])
@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss"])
def test_tuning_from_one_search_is_grid_search(algorithm, scoring):
    ks, weights = [1, 3, 8], ["uniform", "distance", WEIGHTS[2]]
    settings = {"cv": 5, "scoring": scoring, "refit": False}
    ours = KNeighborsClassifierCV(ks, weights, tie_break="first", algorithm=algorithm, metric="cosine", **settings)
    ours.fit(ROWS, LABELS)
    grid = GridSearchCV(
        sk.KNeighborsClassifier(algorithm="brute", metric="cosine"), {"n_neighbors": ks, "weights": weights}, **settings
    ).fit(ROWS, LABELS)
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], grid.cv_results_["mean_test_score"], rtol=1e-6)


@pytest.mark.parametrize("algorithm", ["brute", "pruned"])
def test_tuning_with_rows_of_zeros(algorithm):
    rows = with_ties()
    labels = np.arange(120) % 3
    ours = KNeighborsClassifierCV([1, 4], ["distance"], algorithm=algorithm, metric="cosine", cv=3).fit(rows, labels)
    grid = GridSearchCV(KNeighborsClassifier(metric="cosine", weights="distance"), {"n_neighbors": [1, 4]}, cv=3)
    grid.fit(rows, labels)
    np.testing.assert_array_equal(ours.cv_results_["mean_test_score"], grid.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(ours.predict(rows), ours.best_estimator_.predict(rows))
    assert ours.best_estimator_.effective_metric_ == "cosine"
    with pytest.raises(ValueError, match="metric must be one of"):
        KNeighborsClassifierCV(metric="manhattan").fit(rows, labels)


# FAISS


@pytest.mark.faiss
@pytest.mark.parametrize(
    "params", [None, {"index": "ivf", "target_recall": 1.0}, {"index": "IVF4,PQ4x4np", "rerank": 400}]
)
@pytest.mark.parametrize("rows", [ROWS, ROWS.astype(np.float32), with_ties(), np.zeros((9, 3))], ids=KINDS)
def test_faiss_over_unit_rows(tmp_path, params, rows):
    pytest.importorskip("faiss")
    if params is not None and len(rows) < 300:
        params = None
    queries = np.concatenate([rows[:20], np.zeros((1, rows.shape[1]), rows.dtype)])
    exact = NearestNeighbors(metric="cosine").fit(rows)
    model = NearestNeighbors(metric="cosine", backend="faiss", backend_params=params).fit(rows)
    assert model.recall_ == 1.0
    model.save(tmp_path / "model")
    for each in (model, somknn.load(tmp_path / "model")):
        each.set_params(n_jobs=1)
        if params is None:  # certified; approximate indexes may miss a neighbour
            np.testing.assert_array_equal(each.kneighbors(queries), exact.kneighbors(queries))
        agreement = np.mean(each.kneighbors(queries)[0] == exact.kneighbors(queries)[0])
        assert agreement > 0.97
        for a, b in zip(each.radius_neighbors(queries, 0.4), exact.radius_neighbors(queries, 0.4), strict=True):
            for x, y in zip(a, b, strict=True):
                np.testing.assert_array_equal(x, y)
