"""KMeans against scikit-learn's, and its additional guarantees."""

import numpy as np
import pytest
import sklearn.cluster
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

import somknn
from somknn import KMeans


# scikit-learn expects the same failures for its own KMeans.
@parametrize_with_checks(
    [KMeans(n_clusters=2, max_iter=5)],
    expected_failed_checks=lambda estimator: {
        "check_sample_weight_equivalence_on_dense_data": "random draws differ between weights and repetitions",
    },
)
def test_estimator_checks(estimator, check):
    check(estimator)


def _digits(dtype=np.uint8, n=1797):
    X = sklearn.datasets.load_digits().data[:n]
    return (X * 15).astype(dtype)


def _wide(dtype, n=4000, d=90):
    """Rows for which pruned search is made."""
    random = np.random.default_rng(0)
    X = random.normal(size=(30, 12))[random.integers(30, size=n)] + 0.3 * random.normal(size=(n, 12))
    X = X @ random.normal(size=(12, d)) + 0.1 * random.normal(size=(n, d))
    if dtype == np.uint8:
        return np.clip(128 + 12 * X, 0, 255).astype(np.uint8)
    return X.astype(dtype)


@pytest.mark.parametrize("make", [_digits, _wide])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_same_start_gives_scikit_learns_result(make, dtype, weighted):
    X = make(dtype)
    random = np.random.default_rng(3)
    start = X[random.choice(len(X), 70, replace=False)].astype(np.float64)
    weights = random.integers(0, 4, len(X)).astype(float) if weighted else None
    ours = KMeans(70, init=start, max_iter=12, tol=0).fit(X, sample_weight=weights)
    theirs = sklearn.cluster.KMeans(70, init=start, n_init=1, max_iter=12, tol=0, algorithm="lloyd")
    theirs.fit(X.astype(np.float64), sample_weight=weights)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-6)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, atol=1e-4, rtol=1e-5)
    np.testing.assert_array_equal(ours.predict(X), ours.labels_)
    assert len(ours.history_["inertia"]) == ours.n_iter_


@pytest.mark.parametrize("make", [_digits, _wide])
@pytest.mark.parametrize("seed", [0, 1])
def test_plus_plus_draws_what_scikit_learn_draws(make, seed):
    X = make(np.uint8)
    ours = KMeans(40, random_state=seed, max_iter=1).fit(X)
    theirs = sklearn.cluster.kmeans_plusplus(X.astype(np.float64), 40, random_state=seed)[0]
    again = KMeans(40, init=theirs, max_iter=1).fit(X)
    np.testing.assert_array_equal(ours.cluster_centers_, again.cluster_centers_)


@pytest.mark.parametrize("n_local_trials", [1, 3])
def test_plus_plus_tries_as_many_candidates_as_asked(n_local_trials):
    X = _wide(np.uint8)
    ours = KMeans(40, n_local_trials=n_local_trials, random_state=0, max_iter=1).fit(X)
    theirs = sklearn.cluster.kmeans_plusplus(X.astype(np.float64), 40, random_state=0, n_local_trials=n_local_trials)[0]
    again = KMeans(40, init=theirs, max_iter=1).fit(X)
    np.testing.assert_array_equal(ours.cluster_centers_, again.cluster_centers_)
    with pytest.raises(ValueError, match="n_local_trials"):
        KMeans(40, n_local_trials=0).fit(X)


def test_tolerance_stops_where_scikit_learn_stops():
    X = _digits(np.float64)
    start = X[:10].copy()
    for tol in (1e-1, 1e-3):
        ours = KMeans(10, init=start, tol=tol).fit(X)
        theirs = sklearn.cluster.KMeans(10, init=start, tol=tol, n_init=1).fit(X)
        assert ours.n_iter_ == theirs.n_iter_


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_threads_never_change_the_result(init, dtype):
    X = _wide(dtype)
    first, second = (KMeans(80, init=init, n_init=1, max_iter=4, random_state=5, n_jobs=jobs).fit(X) for jobs in (1, 2))
    np.testing.assert_array_equal(first.cluster_centers_, second.cluster_centers_)
    np.testing.assert_array_equal(first.labels_, second.labels_)
    assert first.inertia_ == second.inertia_


def test_good_starts_beat_random_ones():
    X = make_blobs(3000, 5, centers=50, cluster_std=0.2, random_state=0)[0]
    inertia = {
        init: np.median([KMeans(50, init=init, n_init=1, random_state=s).fit(X).inertia_ for s in range(5)])
        for init in ("k-means++", "k-means||", "random")
    }
    assert max(inertia["k-means++"], inertia["k-means||"]) < 0.8 * inertia["random"]


def test_empty_clusters_take_the_farthest_rows():
    X = _digits(np.float64, 300)
    start = X[:6].copy()
    start[3:] = 1e4  # win no rows
    ours = KMeans(6, init=start, max_iter=1).fit(X)
    theirs = sklearn.cluster.KMeans(6, init=start, n_init=1, max_iter=1).fit(X)
    wanted = theirs.cluster_centers_[np.lexsort(theirs.cluster_centers_.T)]
    np.testing.assert_allclose(ours.cluster_centers_[np.lexsort(ours.cluster_centers_.T)], wanted, atol=1e-9)
    assert len(np.unique(ours.labels_)) == 6


def test_fewer_distinct_rows_than_clusters():
    X = np.repeat(np.arange(3.0)[:, None], 10, axis=0)
    with pytest.warns(ConvergenceWarning, match="distinct clusters"):
        kmeans = KMeans(5, random_state=0).fit(X)
    assert kmeans.inertia_ == 0
    for init in ("k-means||", "random"):
        with pytest.warns(ConvergenceWarning):
            assert KMeans(5, init=init, n_init=3, random_state=0).fit(X).inertia_ == pytest.approx(0)


def test_far_from_the_origin():
    X = make_blobs(400, 3, centers=4, random_state=0)[0]
    near = KMeans(4, random_state=0).fit(X)
    far = KMeans(4, random_state=0).fit(X + 1e9)
    np.testing.assert_array_equal(near.labels_, far.labels_)
    np.testing.assert_allclose(far.transform(X + 1e9), near.transform(X), rtol=1e-4)


def test_more_starts_are_never_worse():
    X = _digits(np.uint8, 500)
    one, ten = (KMeans(12, init="random", n_init=n, random_state=0).fit(X) for n in (1, 10))
    assert ten.inertia_ <= one.inertia_


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_streaming(dtype):
    X = _digits(dtype)
    streamed = KMeans(20, random_state=0)
    for start in range(0, len(X), 300):
        streamed.partial_fit(X[start : start + 300])
    assert streamed.counts_.sum() == len(X)
    assert -streamed.score(X) < 1.15 * KMeans(20, random_state=0).fit(X).inertia_
    one = KMeans(20, init=X[:20].astype(float)).partial_fit(X)
    whole = KMeans(20, init=X[:20].astype(float), max_iter=1).fit(X)
    np.testing.assert_allclose(one.cluster_centers_, whole.cluster_centers_)


def test_streaming_goes_on_after_fit_and_loading(tmp_path):
    X = _digits(np.uint8)
    kmeans = KMeans(15, random_state=0).fit(X[:900])
    kmeans.save(tmp_path / "model.safetensors")
    loaded = somknn.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict(X), kmeans.predict(X))
    np.testing.assert_array_equal(
        loaded.partial_fit(X[900:]).cluster_centers_, kmeans.partial_fit(X[900:]).cluster_centers_
    )


def test_callback_sees_and_stops():
    X = _digits()
    seen = []
    kmeans = KMeans(10, random_state=0, callback=lambda entry: seen.append(entry) or len(seen) == 3).fit(X)
    assert kmeans.n_iter_ == 3
    assert [entry["inertia"] for entry in seen] == kmeans.history_["inertia"]
    assert sorted(kmeans.history_["inertia"], reverse=True) == kmeans.history_["inertia"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_clusters": 0}, "n_clusters"),
        ({"n_clusters": 31}, "n_samples=30 should be >= n_clusters=31"),
        ({"init": "kmeans"}, "init"),
        ({"init": np.zeros((3, 2))}, "does not match the number of clusters"),
        ({"init": np.full((8, 3), np.nan)}, "init"),
        ({"tol": -1}, "tol"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        KMeans(**parameters).fit(np.random.default_rng(0).normal(size=(30, 3)))


def test_bad_weights():
    X = np.zeros((9, 2))
    for weights in (np.zeros(9), -np.ones(9), np.ones(8)):
        with pytest.raises(ValueError, match="weight"):
            KMeans(2).fit(X, sample_weight=weights)


def test_functions_as_starts():
    X = _digits(np.float64, 200)
    kmeans = KMeans(5, init=lambda X, n_clusters, random_state: X[:n_clusters], n_init=1).fit(X)
    np.testing.assert_array_equal(kmeans.labels_, KMeans(5, init=X[:5]).fit(X).labels_)
