"""KMeans(metric="cosine"), spherical K-Means, against plain NumPy and the k-NN side."""

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import somknn
from reference import cosine
from somknn import KMeans, NearestNeighbors


@parametrize_with_checks(
    [KMeans(n_clusters=2, max_iter=5, metric="cosine", random_state=0)],
    expected_failed_checks=lambda estimator: {
        "check_sample_weight_equivalence_on_dense_data": "random draws differ between weights and repetitions",
    },
)
def test_estimator_checks(estimator, check):
    check(estimator)


def _rows(dtype, n=600, d=20, seed=0):
    """Directions around six, of lengths from 0.1 to 10, with duplicates, multiples and rows of zeros."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(6, d))[random.integers(6, size=n)] + 0.4 * random.normal(size=(n, d))
    X *= 10.0 ** random.uniform(-1, 1, (n, 1))
    X[50:60], X[60:70] = X[40:50], 4 * X[40:50]
    X[[3, 77, 78]] = 0
    if dtype == np.uint8:
        return np.clip(np.abs(X) * 20, 0, 255).astype(np.uint8)
    return X.astype(dtype)


def _lloyd(X, centres, n_iter, dtype):
    """The twin: nearest by the documented cosine distance, ties to the lowest; means of unit rows at unit length."""
    units, is_zero = cosine.unit_rows(X)
    centres = cosine.unit_rows(centres)[0].astype(dtype)
    for step in range(n_iter + 1):
        squares = cosine.squared_distances(X, centres)
        labels = squares.argmin(axis=1)
        if step == n_iter:
            return labels, centres, (squares.min(axis=1) / 2).sum()
        for k in range(len(centres)):
            total = units[(labels == k) & ~is_zero].sum(axis=0)
            if total.any():
                centres[k] = cosine.unit_rows(total[None])[0][0]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(600, 20), (2500, 64)])
def test_equal_to_numpy(dtype, shape):
    X = _rows(dtype, *shape)
    n_clusters = 70 if shape[1] == 64 else 8
    start = X[100 : 100 + n_clusters].astype(np.float64)
    model = KMeans(n_clusters, init=start, metric="cosine", max_iter=4, tol=0).fit(X)
    labels, centres, inertia = _lloyd(X, start, model.n_iter_, model.cluster_centers_.dtype)
    np.testing.assert_array_equal(model.labels_, labels)
    np.testing.assert_allclose(model.cluster_centers_, centres, rtol=0, atol=1e-6)
    np.testing.assert_allclose(model.inertia_, inertia, rtol=1e-9 if dtype == np.float64 else 1e-6)
    assert model.cluster_centers_.dtype == (np.float32 if dtype == np.float32 else np.float64)
    np.testing.assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1, atol=1e-6)
    # The inertia counts down, and its last value is that of the final centres.
    assert (np.diff(model.history_["inertia"]) <= 1e-9).all()
    assert -model.score(X) == pytest.approx(model.inertia_, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_answers_are_those_of_the_nearest_neighbours(dtype, tmp_path):
    X = _rows(dtype)
    model = KMeans(9, metric="cosine", random_state=0).fit(X)
    near = NearestNeighbors(n_neighbors=9, metric="cosine").fit(model.cluster_centers_)
    distances, indices = near.kneighbors(X)
    np.testing.assert_array_equal(model.predict(X), indices[:, 0])
    np.testing.assert_array_equal(model.labels_, indices[:, 0])
    found = np.take_along_axis(model.transform(X), indices, axis=1)
    np.testing.assert_array_equal(found, distances.astype(found.dtype))
    assert (model.labels_[[3, 77, 78]] == 0).all()
    assert (model.transform(X)[[3, 77, 78]] == 1).all()
    model.save(tmp_path / "model.safetensors")
    loaded = somknn.load(tmp_path / "model.safetensors")
    assert loaded.metric == "cosine"
    np.testing.assert_array_equal(loaded.predict(X), model.labels_)


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random"])
def test_lengths_of_rows_and_rows_of_zeros_do_not_matter(init):
    X = _rows(np.float64)
    zeros = np.flatnonzero(~X.any(axis=1))
    full = np.delete(X, zeros, axis=0)
    settings = {"init": init, "metric": "cosine", "random_state": 4, "n_init": 1}
    one = KMeans(6, **settings).fit(X)
    other = KMeans(6, **settings).fit(full * 2.0 ** np.arange(-300, -300 + len(full))[:, None])
    np.testing.assert_array_equal(np.delete(one.labels_, zeros), other.labels_)
    np.testing.assert_array_equal(one.cluster_centers_, other.cluster_centers_)
    assert one.inertia_ == pytest.approx(other.inertia_ + len(zeros), rel=1e-12)
    assert one.counts_.sum() == len(full)


def test_weights_are_repeated_rows_and_streams_learn():
    X = _rows(np.float64)
    weights = np.random.default_rng(2).integers(0, 3, len(X)).astype(float)
    start = X[100:105]
    weighted = KMeans(5, init=start, metric="cosine").fit(X, sample_weight=weights)
    repeated = KMeans(5, init=start, metric="cosine").fit(np.repeat(X, weights.astype(int), axis=0))
    np.testing.assert_allclose(weighted.cluster_centers_, repeated.cluster_centers_, atol=1e-12)
    assert weighted.inertia_ == pytest.approx(repeated.inertia_, rel=1e-12)
    stream = KMeans(6, metric="cosine", random_state=0)
    for part in np.array_split(X, 6):
        stream.partial_fit(part)
    np.testing.assert_allclose(np.linalg.norm(stream.cluster_centers_, axis=1), 1, atol=1e-12)
    assert -stream.score(X) < 1.2 * KMeans(6, metric="cosine", random_state=0).fit(X).inertia_


def test_opposite_rows_leave_a_centre_where_it_was():
    X = np.array([[1.0, 0.0], [-1.0, 0.0]])
    model = KMeans(1, init=[[0.0, 3.0]], metric="cosine").fit(X)
    np.testing.assert_array_equal(model.cluster_centers_, [[0.0, 1.0]])
    assert model.inertia_ == 2


def test_errors():
    X = _rows(np.float64)
    with pytest.raises(ValueError, match=r"'init' gives unit 1 only zeros.*metric='cosine'"):
        KMeans(2, init=np.stack([X[0], 0 * X[0]]), metric="cosine").fit(X)
    with pytest.raises(ValueError, match="3 of 5 rows are all zeros"):
        KMeans(3, metric="cosine").fit(X[[3, 77, 78, 0, 1]])
    with pytest.raises(ValueError, match="'metric' parameter"):
        KMeans(2, metric="manhattan").fit(X)


def test_parameters_of_scikit_learn():
    """`copy_x` and `algorithm` are taken, and change nothing; other values are refused as there."""
    X = _rows(np.float32)
    before, one = X.copy(), KMeans(5, random_state=0).fit(X)
    for copy_x in (True, False):
        for algorithm in ("lloyd", "elkan"):
            other = KMeans(5, random_state=0, copy_x=copy_x, algorithm=algorithm).fit(X)
            np.testing.assert_array_equal(one.labels_, other.labels_)
            np.testing.assert_array_equal(X, before)
    for wrong in ({"algorithm": "full"}, {"copy_x": 2}):
        with pytest.raises(ValueError, match=f"'{next(iter(wrong))}' parameter"):
            KMeans(5, **wrong).fit(X)
