"""SOM(metric="cosine") against plain NumPy and the k-NN side."""

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.utils.estimator_checks import parametrize_with_checks

import somknn
from reference import cosine
from somknn import SOM, NearestNeighbors, SOMClassifier
from somknn.cli import main
from somknn.som.grid import Grid
from somknn.som.neighborhoods import evaluate


@parametrize_with_checks(
    [SOM(metric="cosine")],
    expected_failed_checks=lambda estimator: {
        name: "labels are neurons: more of them than clusters, and a neuron may win no row"
        for name in ("check_clustering", "check_clustering(readonly_memmap=True)")
    },
)
def test_estimator_checks(estimator, check):
    check(estimator)


def _rows(dtype, n=500, d=12):
    random = np.random.default_rng(1)
    X = random.normal(size=(n, d)) + 2 * random.normal(size=(5, d))[random.integers(5, size=n)]
    X *= 10.0 ** random.uniform(-1, 1, (n, 1))
    X[[7, 8]] = 0
    return np.clip(np.abs(X) * 20, 0, 255).astype(np.uint8) if dtype == np.uint8 else X.astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(500, 12), (300, 80)])
def test_equal_to_numpy(dtype, shape):
    X, grid = _rows(dtype, *shape), Grid(3, 4)
    start = X[100:112].astype(np.float64).reshape(3, 4, -1)
    som = SOM(3, 4, metric="cosine", initialization=start, epochs=4).fit(X)
    units, _ = cosine.unit_rows(X)
    codebook = cosine.unit_rows(start.reshape(12, -1))[0].astype(som.codebook_.dtype)
    for epoch, radius in enumerate(som.history_["radius"]):
        squares = cosine.squared_distances(X, codebook)
        H = evaluate("gaussian", grid.squared_distances(), radius)
        share = H[:, squares.argmin(axis=1)]
        moved = (share @ units) / share.sum(axis=1)[:, None]
        codebook = cosine.unit_rows(moved)[0].astype(codebook.dtype)
        found = np.sort(cosine.squared_distances(X, codebook), axis=1)[:, 0] / 2
        assert som.history_["quantization_error"][epoch] == pytest.approx(found.mean(), rel=1e-5)
    np.testing.assert_allclose(som.codebook_.reshape(12, -1), codebook, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(som.codebook_, axis=2), 1, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("initialization", ["pca", "sample", "random"])
def test_answers_are_those_of_the_nearest_neighbours(dtype, initialization, tmp_path):
    X = _rows(dtype)
    som = SOM(4, 5, metric="cosine", initialization=initialization, epochs=3, random_state=0).fit(X)
    flat = som.codebook_.reshape(20, -1)
    distances, indices = NearestNeighbors(n_neighbors=20, metric="cosine").fit(flat).kneighbors(X)
    np.testing.assert_array_equal(som.labels_, indices[:, 0])
    np.testing.assert_array_equal(som.predict(X), indices[:, 0])
    found = np.take_along_axis(som.transform(X), indices, axis=1)
    np.testing.assert_array_equal(found, distances.astype(found.dtype))
    assert som.quantization_error_ == pytest.approx(distances[:, 0].mean(), rel=1e-7)
    assert som.quantization_error(X) == pytest.approx(distances[:, 0].mean(), rel=1e-7)
    torn = ~som.grid_.adjacent(indices[:, 0], indices[:, 1])
    assert som.topographic_error(X) == pytest.approx(torn.mean())
    near = som.grid_.neighbours()[0]
    expected = cosine.distances(flat[:1], flat[near]).mean()
    assert som.u_matrix()[0, 0] == pytest.approx(expected, rel=1e-6)
    som.save(tmp_path / "map.safetensors")
    np.testing.assert_array_equal(somknn.load(tmp_path / "map.safetensors").predict(X), som.labels_)


def test_a_stream_and_a_single_unit():
    X = _rows(np.float32)
    som = SOM(3, 3, metric="cosine", epochs=4, random_state=0)
    for part in np.array_split(X, 4):
        som.partial_fit(part)
    np.testing.assert_allclose(np.linalg.norm(som.codebook_, axis=2), 1, atol=1e-6)
    np.testing.assert_array_equal(som.predict(X), cosine.distances(X, som.codebook_.reshape(9, -1)).argmin(axis=1))
    one = SOM(1, 1, metric="cosine", epochs=2).fit(X)
    assert (one.predict(X) == 0).all()


def test_what_is_refused():
    X = _rows(np.float64)
    with pytest.raises(ValueError, match="metric='cosine' needs training='batch'"):
        SOM(metric="cosine", training="online").fit(X)
    with pytest.raises(ValueError, match="missing_values='error'"):
        SOM(metric="cosine", missing_values="ignore").fit(X)
    with pytest.raises(ValueError, match="metric must be one of euclidean, cosine; got 'l1'"):
        SOM(metric="l1").fit(X)
    with pytest.raises(ValueError, match=r"'initialization' gives unit 0 only zeros"):
        SOM(2, 2, metric="cosine", initialization=np.zeros((2, 2, 12))).fit(X)
    with pytest.raises(ValueError, match="distortion is not defined here for metric='cosine'"):
        SOM(2, 2, metric="cosine").fit(X).distortion(X)
    with pytest.raises(ValueError, match="backend='faiss' searches a map by metric='euclidean' only"):
        SOMClassifier(SOM(2, 2, metric="cosine"), backend="faiss").fit(X, X[:, 0] > 0)


def test_a_cosine_map_from_the_command_line(tmp_path):
    out = tmp_path / "map"
    arguments = ["som", "--grid", "4x5", "--epochs", "2", "--metric", "cosine", "--no-pictures", "--out", str(out)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    model = somknn.load(out / "map.safetensors")
    assert model.som_.metric == "cosine"
    refused = CliRunner().invoke(main, [*arguments, "--training", "online"])
    assert refused.exit_code == 1
    assert "metric='cosine' needs training='batch'" in refused.output
