"""SOM and K-Means trained over parts: the same result as on one machine, for any cluster and any lost worker."""

import threading

import dask.array
import distributed
import numpy as np
import pytest
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.exceptions import ConvergenceWarning

from clusters import kill_one, nannies
from somknn import SOM, KMeans, datasets
from somknn.distributed import fit, predict

pytestmark = pytest.mark.dask
CUTS = [(600,), (1, 250, 0, 100, 249), (100,) * 6]


def blobs(dtype, n=600, d=6):
    random = np.random.default_rng(0)
    X = random.normal(size=(8, d))[random.integers(0, 8, n)] * 40 + random.normal(size=(n, d)) * 10 + 128
    return np.clip(np.rint(X), 0, 255).astype(np.uint8) if dtype == np.uint8 else X.astype(dtype)


def cut(X, chunks=(100,) * 6):
    return dask.array.from_array(X, chunks=(chunks, -1))


def assert_same_map(many, one, exact):
    assert many.codebook_.dtype == one.codebook_.dtype
    assert many.n_iter_ == one.n_iter_
    assert not hasattr(many, "labels_")
    if exact:
        assert many.codebook_.tobytes() == one.codebook_.tobytes()
        assert many.history_["topographic_error"] == one.history_["topographic_error"]
    else:
        np.testing.assert_allclose(many.codebook_, one.codebook_, rtol=1e-5 if many.codebook_.itemsize == 4 else 1e-10)
    assert many.history_["radius"] == one.history_["radius"]
    np.testing.assert_allclose(
        many.history_["quantization_error"], one.history_["quantization_error"], rtol=1e-7 if exact else 1e-5
    )
    assert many.quantization_error_ == many.history_["quantization_error"][-1]
    assert many.topographic_error_ == many.history_["topographic_error"][-1]


@pytest.mark.parametrize("chunks", CUTS)
@pytest.mark.parametrize("initialization", ["pca", "sample", "random"])
def test_map_of_bytes_is_one_machines_bit_for_bit(client, chunks, initialization):
    X = blobs(np.uint8)
    options = {"epochs": 4, "initialization": initialization, "random_state": 3}
    many = fit(SOM(5, 4, **options), cut(X, chunks), client)
    assert_same_map(many, SOM(5, 4, **options).fit(X), exact=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_map_of_floats(client, dtype):
    X = blobs(dtype)
    options = {"topology": "hexagonal", "boundary": "torus", "epochs": 4, "tol": 0.01, "random_state": 0}
    many = fit(SOM(4, 6, **options), cut(X), client)
    assert_same_map(many, SOM(4, 6, **options).fit(X), exact=False)


def test_map_with_missing_values(client):
    X = blobs(np.float64)
    X[np.random.default_rng(1).random(X.shape) < 0.1] = np.nan
    for initialization in ("pca", "random"):
        options = {"missing_values": "ignore", "epochs": 3, "initialization": initialization, "random_state": 0}
        many = fit(SOM(3, 4, **options), cut(X), client)
        assert_same_map(many, SOM(3, 4, **options).fit(X), exact=False)
        emptied = X.copy()
        emptied[[4, *range(200, 300)]] = np.nan
        with pytest.warns(UserWarning, match="101 rows without any value"):
            many = fit(SOM(3, 4, **options), cut(emptied), client)
        with pytest.warns(UserWarning, match="101 rows without any value"):
            one = SOM(3, 4, **options).fit(emptied)
        assert_same_map(many, one, exact=False)
    X[205, 2] = np.inf
    with pytest.raises(ValueError, match=r"block that begins at row 200.*infinity at row 5, column 2"):
        fit(SOM(3, 4, missing_values="ignore"), cut(X), client)


def assert_same_clusters(many, one, exact):
    assert many.cluster_centers_.dtype == one.cluster_centers_.dtype
    assert (many.n_iter_, many.history_["moved_rows"]) == (one.n_iter_, one.history_["moved_rows"])
    assert many.counts_.tolist() == one.counts_.tolist()
    assert not hasattr(many, "labels_")
    if exact:
        assert many.cluster_centers_.tobytes() == one.cluster_centers_.tobytes()
    else:
        np.testing.assert_allclose(many.cluster_centers_, one.cluster_centers_, rtol=1e-5)
    np.testing.assert_allclose(many.inertia_, one.inertia_, rtol=1e-13 if exact else 1e-5)
    np.testing.assert_allclose(many.history_["inertia"], one.history_["inertia"], rtol=1e-13 if exact else 1e-5)


@pytest.mark.parametrize("chunks", CUTS)
@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random"])
def test_clusters_of_bytes_are_one_machines_bit_for_bit(client, chunks, init):
    X = blobs(np.uint8)
    options = {"n_clusters": 9, "init": init, "n_init": 2 if init == "random" else 1, "random_state": 5, "max_iter": 6}
    many = fit(KMeans(**options), cut(X, chunks), client)
    assert_same_clusters(many, KMeans(**options).fit(X), exact=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clusters_of_floats(client, dtype):
    X = blobs(dtype)
    many = fit(KMeans(6, random_state=1), cut(X), client)
    assert_same_clusters(many, KMeans(6, random_state=1).fit(X), exact=False)


def test_many_wide_clusters_of_pruned_search(client):
    X = np.random.default_rng(2).integers(0, 256, (4500, 50), dtype=np.uint8)
    options = {"n_clusters": 70, "init": "random", "n_init": 1, "max_iter": 3, "random_state": 0}
    many = fit(KMeans(**options), cut(X, (2200, 2300)), client)
    assert_same_clusters(many, KMeans(**options).fit(X), exact=True)


def test_empty_clusters_take_the_farthest_rows(client):
    X = blobs(np.uint8)
    start = np.concatenate([X[:3], np.full((4, X.shape[1]), 5000.0)])
    many = fit(KMeans(7, init=start, max_iter=5), cut(X), client)
    assert_same_clusters(many, KMeans(7, init=start, max_iter=5).fit(X), exact=True)
    theirs = SklearnKMeans(7, init=start, n_init=1, max_iter=5, tol=0).fit(X.astype(float))
    np.testing.assert_allclose(many.inertia_, theirs.inertia_, rtol=1e-9)


def test_fewer_distinct_rows_than_clusters(client):
    X = np.repeat(np.arange(4, dtype=np.uint8), 30)[:, None]
    for init in ("k-means++", "k-means||"):
        with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(4\) found smaller than n_clusters \(6\)"):
            many = fit(KMeans(6, init=init, random_state=0), cut(X, (50, 70)), client)
        assert sorted(many.cluster_centers_[many.counts_ > 0].ravel().tolist()) == [0, 1, 2, 3]


def test_sums_of_floats_keep_the_stated_bound(client):
    X = blobs(np.float64) * 1e3
    one = KMeans(4, init=X[:4], max_iter=1).fit(X)
    many = fit(KMeans(4, init=X[:4], max_iter=1), cut(X), client)
    assert one.history_["moved_rows"] == many.history_["moved_rows"]
    nearest = np.argmin(((X[:, None] - X[:4]) ** 2).sum(axis=2), axis=1)
    for j in range(4):
        rows = X[nearest == j]
        bound = (
            2 * (len(rows) + 1) * 2.0**-53 * np.abs(rows).mean(axis=0)
        )  # the bound stated in docs/how-to/distributed.md
        assert (np.abs(one.cluster_centers_[j] - many.cluster_centers_[j]) <= bound).all()


def test_the_cut_alone_decides_the_result(client):
    X = cut(blobs(np.float32), (150, 50, 400))
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=3, dashboard_address=":0") as other:
        maps = [fit(SOM(4, 4, epochs=3, random_state=0), X, who).codebook_ for who in (client, client, other)]
        centres = [fit(KMeans(5, random_state=0), X, who).cluster_centers_ for who in (client, client, other)]
    for results in (maps, centres):
        assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()


def test_callbacks_and_labels(client, tmp_path):
    X = blobs(np.uint8)
    seen = []

    def callback(entry):
        seen.append(entry)
        return len(seen) == 2

    som = fit(SOM(3, 3, epochs=6, random_state=0, callback=callback), cut(X), client)
    assert som.n_iter_ == 2
    assert set(seen[0]) == {"epoch", "codebook", "quantization_error", "topographic_error", "radius", "seconds"}
    kmeans = fit(KMeans(5, random_state=0), cut(X), client)
    for model, local in ((som.set_params(callback=None), som), (kmeans, kmeans)):
        model.save(tmp_path / "model.safetensors")
        labels = predict(tmp_path / "model.safetensors", cut(X)).compute()
        assert np.array_equal(labels, local.predict(X))
    som.fit(X)
    assert len(fit(som, cut(X), client).codebook_) == 3
    assert not hasattr(som, "labels_")


def test_errors_name_what_is_wrong(client):
    X = blobs(np.float64)
    with pytest.raises(ValueError, match="online training goes from row to row"):
        fit(SOM(training="online"), cut(X), client)
    for model in (SOM(2, 2, metric="cosine"), KMeans(2, metric="cosine")):
        with pytest.raises(ValueError, match=r"on a cluster by metric='euclidean' only, got 'cosine'"):
            fit(model, cut(blobs(np.uint8)), client)
    with pytest.raises(ValueError, match="init cannot be a function"):
        fit(KMeans(2, init=lambda X, k, random_state: X[:k]), cut(X), client)
    with pytest.raises(ValueError, match="n_samples=600 should be >= n_clusters=601"):
        fit(KMeans(601), cut(X), client)
    with pytest.raises(ValueError, match="initial centers"):
        fit(KMeans(2, init=X[:3]), cut(X), client)
    with pytest.raises(TypeError, match=r"only somknn's SOM and KMeans .* got sklearn\.cluster"):
        fit(SklearnKMeans(2), cut(X), client)
    with pytest.raises(TypeError, match="must be a Dask array"):
        fit(KMeans(2), X, client)
    X[310, 4] = np.nan
    for estimator in (SOM(2, 2), KMeans(2)):
        with pytest.raises(ValueError, match=r"block that begins at row 300.*NaN at row 10, column 4"):
            fit(estimator, cut(X), client)


@pytest.mark.parametrize("make", [lambda **o: SOM(5, 4, epochs=5, **o), lambda **o: KMeans(9, max_iter=5, **o)])
def test_a_killed_worker_changes_nothing(client, kill, make):
    X = blobs(np.uint8, 6000)
    killers = []

    def callback(entry):
        if len(killers) == 0:
            killers.append(threading.Thread(target=kill))  # while the next pass runs
            killers[0].start()

    many = fit(make(random_state=0, callback=callback), cut(X, (500,) * 12), client)
    killers[0].join()
    one = make(random_state=0).fit(X)
    if isinstance(one, SOM):
        assert_same_map(many, one, exact=True)
    else:
        assert_same_clusters(many, one, exact=True)


def test_a_killed_worker_that_nobody_replaces(unattended_client):
    X, before = blobs(np.uint8, 6000), len(unattended_client.nthreads())

    def callback(entry):
        if entry["iteration"] == 2:
            kill_one(unattended_client)

    kmeans = KMeans(9, max_iter=5, random_state=0)
    many = fit(KMeans(9, max_iter=5, random_state=0, callback=callback), cut(X, (500,) * 12), unattended_client)
    assert len(unattended_client.nthreads()) == before - 1
    assert_same_clusters(many, kmeans.fit(X), exact=True)


@pytest.mark.slow
@pytest.mark.mnist
def test_mnist_over_four_workers_equals_one_machine():
    X = datasets.load("mnist").X_train
    with nannies(4, 1) as client:
        rows = cut(X, (15_000,) * 4)
        som = fit(SOM(20, 20, epochs=5, random_state=0), rows, client)
        kmeans = fit(KMeans(64, max_iter=10, random_state=0), rows, client)
    assert_same_map(som, SOM(20, 20, epochs=5, random_state=0).fit(X), exact=True)
    assert_same_clusters(kmeans, KMeans(64, max_iter=10, random_state=0).fit(X), exact=True)
