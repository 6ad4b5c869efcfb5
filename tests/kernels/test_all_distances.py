"""Distances to all vectors: the documented order of summation, bit for bit, for mixed dtypes and odd shapes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.all_distances import all_distances as reference
from reference.all_distances import all_distances_missing as reference_missing
from somknn import SOM, KMeans, NearestNeighbors
from somknn_kernels.exact.all_distances import all_distances, all_distances_missing

DTYPES = [(np.float32, np.float32), (np.uint8, np.float32), (np.uint8, np.float64), (np.float64, np.float64)]


def _rows(random, shape, dtype, offset):
    if dtype == np.uint8:
        return random.integers(0, 256, shape).astype(np.uint8)
    return (random.normal(size=shape) + offset).astype(dtype)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 40),
    n_vectors=st.integers(1, 11),
    d=st.integers(1, 70),
    dtypes=st.sampled_from(DTYPES),
    offset=st.sampled_from([0.0, 1e9]),
)
def test_equal_to_the_reference(seed, n, n_vectors, d, dtypes, offset):
    random = np.random.default_rng(seed)
    X, W = (_rows(random, (size, d), dtype, offset) for size, dtype in zip((n, n_vectors), dtypes, strict=True))
    W[: min(n, n_vectors) : 2] = X[: min(n, n_vectors) : 2]
    out, first = np.full((n, n_vectors), np.nan), min(n, 3)
    for part in ((0, first), (first, n)):
        all_distances(X, *part, W, out[slice(*part)])
    np.testing.assert_array_equal(out, reference(X, W))
    if X.dtype == W.dtype:
        X = np.where(random.random(X.shape) < 0.3, np.nan, X).astype(X.dtype)
        all_distances_missing(X, 0, n, W, out)
        np.testing.assert_array_equal(out, reference_missing(X, W))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_transform_gives_the_distances_of_a_search(dtype, n_threads):
    """A row equal to a centre was up to 6e-5 away from it."""
    random = np.random.default_rng(0)
    X = random.integers(0, 256, (700, 30)).astype(dtype)
    X[300:320] = X[:20]
    kmeans = KMeans(20, init=X[:20].astype(np.float64), max_iter=1, n_jobs=n_threads).fit(X)
    start = X[:20].astype(np.float64).reshape(4, 5, 30)
    som = SOM(4, 5, initialization=start, epochs=1, final_radius=0, radius_schedule="linear", n_jobs=n_threads).fit(X)
    kmeans.cluster_centers_ = X[:20].astype(kmeans.cluster_centers_.dtype)
    som.codebook_[:] = start
    for model, units in ((kmeans, kmeans.cluster_centers_), (som, som.codebook_.reshape(20, 30))):
        found = model.transform(X)
        assert found.dtype == units.dtype
        assert (found[np.arange(20), np.arange(20)] == 0).all()
        assert (found[300:320][np.arange(20), np.arange(20)] == 0).all()
        distances, indices = NearestNeighbors(n_neighbors=20).fit(units).kneighbors(X)
        np.testing.assert_array_equal(np.take_along_axis(found, indices, axis=1), distances.astype(units.dtype))


def test_transform_of_rows_with_missing_values():
    random = np.random.default_rng(1)
    X = random.normal(size=(90, 6))
    X[random.random(X.shape) < 0.3] = np.nan
    som = SOM(3, 4, missing_values="ignore", epochs=2, random_state=0).fit(X)
    found, units = som.transform(X), som.codebook_.reshape(12, 6)
    np.testing.assert_array_equal(found, np.sqrt(reference_missing(X, units)))
    np.testing.assert_array_equal(found.argmin(axis=1), som.predict(X))
