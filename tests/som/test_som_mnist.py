"""Accuracy on the original digits; parameters were chosen on the first 50,000 against the last 10,000 training rows."""

import os
from pathlib import Path

import numpy as np
import pytest

from reference.som_update import present_online
from somknn import SOM, SOMClassifier, datasets
from somknn.som import som_features_knn
from somknn.som.blocks import BLOCK, ByteBlocks
from somknn.som.grid import Grid
from somknn.som.neighborhoods import evaluate

pytestmark = [
    pytest.mark.mnist,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (Path(os.environ.get("SOMKNN_DATA", "no-data")) / "mnist").is_dir(), reason="no MNIST under $SOMKNN_DATA"
    ),
]


@pytest.fixture(scope="module")
def digits():
    return datasets.load("mnist")


def test_online_units_are_those_of_the_rule(digits):
    """Every row's two units when it is presented, while the map is young and its units differ by a few grey levels."""
    X = digits.X_train[:1500]
    start = X[np.random.default_rng(0).choice(1500, 400, replace=False)].astype(np.float64)
    rates = np.linspace(0.5, 0.4, 1500)
    grid = Grid(20, 20)
    edges = np.append(np.arange(0, 1500, BLOCK), 1500)
    tables = evaluate("gaussian", grid.offset_squares(), 8.0)[None]
    blocks = ByteBlocks(X, start.astype(np.float32), grid, 2)
    units, distances = blocks.present(
        np.arange(1500), edges, tables, np.zeros(len(edges) - 1, np.int64), rates, edges[:0]
    )
    influence = evaluate("gaussian", grid.squared_distances(), 8.0)
    expected_units, expected = present_online(X, start, influence, rates)
    np.testing.assert_array_equal(units, expected_units)
    np.testing.assert_allclose(distances, expected, rtol=1e-7)


@pytest.mark.parametrize(("size", "least"), [(20, 0.89), (32, 0.93)])
def test_label_accuracy(digits, size, least):
    classifier = SOMClassifier(SOM(size, size, epochs=25, final_radius=0.3)).fit(digits.X_train, digits.y_train)
    assert classifier.score(digits.X_test, digits.y_test) >= least


@pytest.mark.parametrize(("criterion", "least"), [("norm", 0.925), ("redundancy", 0.96)])
def test_accuracy_of_a_hundred_features(digits, criterion, least):
    pipeline = som_features_knn(criterion=criterion).fit(digits.X_train, digits.y_train)
    assert pipeline.score(digits.X_test, digits.y_test) >= least
