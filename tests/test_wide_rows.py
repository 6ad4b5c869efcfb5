"""Rows with more columns than there are rows: axes come from the n × n side, and nothing of d × d is made."""

import tracemalloc

import numpy as np
import pytest

from somknn import LVQ, SOM, KMeans, KNeighborsClassifier, SOMFeatureSelector
from somknn.axes import axes_of_rows
from somknn.search.best_units import BMUSearch
from somknn.som.feature_selection import select_without_redundancy
from somknn.som.grid import Grid
from somknn.som.initialization import initial_codebook


@pytest.mark.parametrize("shape", [(40, 300), (300, 40), (5, 60), (64, 64), (1, 9)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_axes_of_rows_are_those_of_a_singular_value_decomposition(shape, dtype):
    random = np.random.default_rng(sum(shape))
    rows = (random.normal(size=shape) * 0.5 ** np.arange(shape[1])).astype(dtype)
    axes = axes_of_rows(rows, 8, turns=30)
    assert axes.shape == (shape[1], 8)
    assert axes.dtype == dtype
    tolerance = 1e-5 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(axes.T @ axes, np.eye(8), atol=tolerance)
    expected = np.linalg.svd(rows.astype(np.float64), full_matrices=False)[2]
    for axis, other in zip(axes.T[:3], expected[:3], strict=False):
        assert abs(axis @ other) > 1 - tolerance


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("missing", [False, True])
def test_the_first_map_of_wide_rows_is_the_plane_of_their_principal_axes(weighted, missing):
    random = np.random.default_rng(3)
    X = random.normal(size=(30, 2)) @ random.normal(size=(2, 500)) * [[5.0]] + random.normal(size=(30, 500)) + 100
    weights = random.uniform(0.5, 2, 30) if weighted else np.ones(30)
    if missing:
        X[random.random(X.shape) < 0.02] = np.nan
    present = ~np.isnan(X)
    centre = weights @ np.where(present, X, 0) / (weights @ present)
    centred = np.where(present, X - centre, 0)
    _, sizes, axes = np.linalg.svd(centred * np.sqrt(weights / weights.sum())[:, None], full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][[0, 1], np.abs(axes[:2]).argmax(axis=1)])[:, None] * sizes[:2, None]
    ends = np.linspace(-1, 1, 3)
    expected = centre + ends[:, None, None] * axes[1] + ends[None, :, None] * axes[0]
    found = initial_codebook(X, Grid(3, 3), "pca", weights if weighted else None, np.random.RandomState(0))
    np.testing.assert_allclose(found, expected.reshape(9, -1), rtol=1e-9)


def _selected(covariance, count):
    """The twin of `select_without_redundancy`: the covariance as it is written, deflated step by step."""
    left, taken, importance = np.array(covariance), [], np.zeros(len(covariance))
    for _ in range(count):
        gain = np.full(len(left), -1.0)
        usable = np.diag(left) > 1e-10 * np.trace(covariance) / len(left)
        usable[taken] = False
        gain[usable] = (left[:, usable] ** 2).sum(axis=0) / np.diag(left)[usable]
        if not usable.any():
            gain = np.where(np.isin(np.arange(len(left)), taken), -1.0, 0.0)
        best = int((gain >= gain.max() * (1 - 1e-12)).argmax())
        taken.append(best)
        importance[best] = max(gain[best], 0)
        if usable[best]:
            left = left - np.outer(left[:, best], left[:, best]) / left[best, best]
    return taken, importance


@pytest.mark.parametrize("shape", [(400, 12), (9, 200), (50, 50), (3, 30)])
@pytest.mark.parametrize("duplicates", [False, True])
def test_selected_features_are_those_of_the_covariance(shape, duplicates):
    random = np.random.default_rng(sum(shape))
    centred = random.normal(size=shape) * random.uniform(0.01, 10, shape[1])
    if duplicates:
        centred[:, 5:10] = centred[:, :5]
    centred -= centred.mean(axis=0)
    count = max(1, min(10, min(shape) - 3))  # of the last direction that is left, all features explain as much
    chosen, importance = select_without_redundancy(centred, count)
    expected, expected_importance = _selected(centred.T @ centred, count)
    assert chosen.tolist() == expected
    np.testing.assert_allclose(importance, expected_importance, rtol=1e-6, atol=1e-9 * expected_importance.max())


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_units_of_wide_rows_are_the_nearest(dtype):
    random = np.random.default_rng(1)
    X = random.integers(0, 256, (60, 5000)).astype(dtype)
    W = X[:7].astype(np.float32) + random.normal(size=(7, 5000)).astype(np.float32)
    units, _ = BMUSearch(X).search(W)
    squares = ((X[:, None].astype(np.float64) - W[None].astype(np.float64)) ** 2).sum(axis=2)
    np.testing.assert_array_equal(units, np.argsort(squares, axis=1, kind="stable")[:, :2])


@pytest.mark.parametrize(
    "estimator",
    [
        SOM(3, 3, epochs=2, random_state=0),
        SOM(3, 3, epochs=2, training="online", random_state=0),
        SOMFeatureSelector(SOM(3, 3, epochs=2, random_state=0), n_features=5),
        KMeans(4, random_state=0),
        KNeighborsClassifier(3),
        LVQ(4, metric_rank=3, max_iter=2, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_no_matrix_has_as_many_values_as_columns_squared(estimator):
    """Each made d × d values: of 20,000 columns 1.6 or 3.2 GB, for 2.4 MB of data."""
    X = np.random.default_rng(0).normal(size=(30, 20_000)).astype(np.float32)
    tracemalloc.start()
    try:
        estimator.fit(X, np.arange(30) % 2)
        assert tracemalloc.get_traced_memory()[1] < 20_000**2  # bytes
    finally:
        tracemalloc.stop()
