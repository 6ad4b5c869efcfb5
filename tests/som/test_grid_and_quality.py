"""Grids, adjacency, quality, and known faults of other libraries."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from somknn import SOM, SOMClassifier, SOMFeatureSelector
from somknn.som import quality
from somknn.som.feature_selection import select_without_redundancy
from somknn.som.grid import Grid
from somknn.som.schedules import schedule_values


def test_hexagons_have_six_neighbours_at_distance_one():
    grid = Grid(5, 6, "hexagonal", "planar")
    inner = 2 * 6 + 2
    squares = grid.squared_distances()[inner]
    assert (np.abs(squares - 1) < 1e-12).sum() == 6
    near = set(grid.neighbours()[inner].tolist())
    assert near == {inner - 1, inner + 1, inner - 7, inner - 6, inner + 5, inner + 6}
    assert all(len(n) == 6 for n in Grid(4, 5, "hexagonal", "torus").neighbours())


def test_distances_need_the_absolute_value():
    """A Chebyshev distance without it counted neurons above or to the left as near."""
    for topology in ("rectangular", "hexagonal"):
        squares = Grid(4, 5, topology).squared_distances()
        np.testing.assert_array_equal(squares, squares.T)
        positions = Grid(4, 5, topology).positions()
        np.testing.assert_allclose(squares, cdist(positions, positions, "sqeuclidean"), atol=1e-12)


def test_offsets_to_the_left_are_not_truncated():
    """Unsigned integers truncated half columns and negative offsets on hexagonal grids."""
    for boundary in ("planar", "cylinder", "torus"):
        grid = Grid(4, 5, "hexagonal", boundary)
        table, full = grid.offset_squares(), grid.squared_distances()
        for a in range(grid.size):
            for b in range(grid.size):
                (ra, ca), (rb, cb) = divmod(a, 5), divmod(b, 5)
                assert table[rb - ra + 3, rb % 2 - ra % 2 + 1, cb - ca + 4] == pytest.approx(full[a, b])


def test_topographic_error_wraps_only_joined_edges():
    """A topographic error that always wraps counts the two ends of a planar map as neighbours."""
    units = np.array([[0, 4]])
    assert quality.topographic_error_of(units, Grid(3, 5)) == 1.0
    assert quality.topographic_error_of(units, Grid(3, 5, boundary="cylinder")) == 0.0
    ends = np.array([[0, 10]])
    assert quality.topographic_error_of(ends, Grid(3, 5, boundary="cylinder")) == 1.0
    assert quality.topographic_error_of(ends, Grid(3, 5, boundary="torus")) == 0.0


def test_topographic_error_on_diagonals():
    units = np.array([[6, 0], [6, 1], [6, 2], [6, 8]])
    assert quality.topographic_error_of(units, Grid(4, 5)) == 0.25
    assert quality.topographic_error_of(units, Grid(4, 5), diagonals=False) == 0.75


def test_quality_of_an_ordered_map():
    X = np.random.default_rng(0).uniform(size=(600, 2))
    som = SOM(7, 7, epochs=15).fit(X)
    assert abs(som.topographic_product()) < 0.03
    assert som.trustworthiness(X[:200]) > 0.95
    assert som.topographic_error(X) < 0.1
    flat = som.codebook_.reshape(49, 2)
    order = np.random.default_rng(1).permutation(49)
    assert abs(quality.topographic_product(flat[order], Grid(7, 7))) > abs(som.topographic_product())


def test_distortion_equals_its_definition():
    X = np.random.default_rng(0).normal(size=(80, 3)) + 1000
    som = SOM(3, 4).fit(X)
    H = np.exp(-Grid(3, 4).squared_distances() / 2)
    flat = som.codebook_.reshape(12, 3)
    expected = (H[som.labels_] * cdist(X, flat, "sqeuclidean")).sum() / 80
    assert som.distortion(X, radius=1.0) == pytest.approx(expected)


def test_pictures_of_the_map_as_numbers():
    X = np.random.default_rng(0).normal(size=(200, 3))
    som = SOM(3, 4, topology="hexagonal").fit(X)
    assert som.hit_map(X).sum() == 200
    assert som.component_planes().shape == (3, 3, 4)
    assert som.cluster_map(3).shape == (3, 4)
    flat = som.codebook_.reshape(12, 3)
    near = som.grid_.neighbours()[5]
    assert som.u_matrix()[1, 1] == pytest.approx(np.linalg.norm(flat[near] - flat[5], axis=1).mean())
    np.testing.assert_allclose(som.transform(X), cdist(X, flat), atol=1e-9)


@pytest.mark.parametrize(
    ("schedule", "middle"), [("linear", 5.5), ("exponential", 10**0.5), ("inverse", 10 / 5.5), (lambda t: t, 0.5)]
)
def test_schedules(schedule, middle):
    assert schedule_values(schedule, 10, 1, 3)[1] == pytest.approx(middle)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_rows": 0}, "n_rows must be at least 1"),
        ({"initial_radius": -1}, "initial_radius must be a number from 0"),
        ({"topology": "round"}, "topology must be one of"),
        ({"n_rows": 3, "topology": "hexagonal", "boundary": "torus"}, "even n_rows"),
        ({"neighborhood": "cone"}, "neighborhood must be one of"),
        ({"epochs": 0}, "epochs must be an integer"),
        ({"initialization": np.zeros((2, 2, 2))}, "shape"),
        ({"radius_schedule": lambda t: -1.0}, "not 0 or above"),
        ({"radius_schedule": "cubic"}, "schedule must be"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        SOM(**parameters).fit(np.zeros((5, 3)))


def test_bad_input():
    X = np.arange(12.0).reshape(4, 3)
    with pytest.raises(ValueError, match="2 is required"):
        SOM(2, 2).fit(X[:1])
    with pytest.raises(ValueError, match="3 labels for 4 rows"):
        SOM(2, 2).fit(X, [0, 1, 0])
    bad = X.copy()
    bad[2, 1] = np.nan
    with pytest.raises(ValueError, match="NaN at row 2, column 1"):
        SOM(2, 2).fit(bad)
    assert np.isfinite(SOM(2, 2, missing_values="ignore").fit(bad).codebook_).all()
    bad[2, 1] = np.inf
    with pytest.raises(ValueError, match="infinity at row 2, column 1"):
        SOM(2, 2, missing_values="ignore").fit(bad)
    with pytest.raises(ValueError, match="radius must be 0 or above"):
        SOM(2, 2).partial_fit(X, radius=-1)


def test_empty_neurons_take_the_nearest_label():
    X = np.array([[0.0, 0], [0, 1], [9, 9], [9, 8]])
    classifier = SOMClassifier(SOM(6, 6, epochs=5)).fit(X, ["a", "a", "b", "b"])
    assert set(classifier.label_map_.ravel()) == {"a", "b"}
    np.testing.assert_allclose(classifier.predict_proba(X).sum(axis=1), 1)
    assert classifier.score(X, ["a", "a", "b", "b"]) == 1


def test_redundant_features_are_not_taken_twice():
    random = np.random.default_rng(0)
    base = random.normal(size=(500, 4)) * [4, 3, 2, 1]
    X = np.column_stack([base, base[:, 0] * 0.99, base[:, 1] * 0.98])
    chosen, importance = select_without_redundancy(X - X.mean(axis=0), 4)
    assert set(chosen.tolist()) == {0, 1, 2, 3}
    assert (importance > 0).sum() == 4
    for criterion in ("norm", "variance", "class_separation"):
        selector = SOMFeatureSelector(SOM(4, 4), n_features=2, criterion=criterion).fit(X, random.integers(0, 2, 500))
        assert selector.transform(X).shape == (500, 2)


def test_distortion_is_that_of_the_trained_grid():
    """Parameters set after `fit` do not change the fitted map.

    Compiled code once added rows to neurons that a smaller grid did not have.
    """
    X = np.random.default_rng(0).normal(size=(50, 3))
    som = SOM(4, 5, epochs=2, random_state=0).fit(X)
    expected = som.distortion(X, radius=1.0)
    assert som.set_params(n_rows=1, n_columns=2).distortion(X, radius=1.0) == expected
