"""MNIST, whole: the accuracies that exact neighbours have, whoever computes them."""

import os
from pathlib import Path

import pytest

from somknn import KNeighborsClassifier, datasets

pytestmark = [
    pytest.mark.mnist,
    pytest.mark.skipif(
        not (Path(os.environ.get("SOMKNN_DATA", "no-such-folder")) / "mnist").is_dir(),
        reason="no $SOMKNN_DATA/mnist",
    ),
]


@pytest.fixture(scope="module")
def fitted():
    mnist = datasets.load("mnist")
    return KNeighborsClassifier().fit(mnist.X_train, mnist.y_train), mnist


@pytest.mark.parametrize(
    ("n_neighbors", "weights", "first", "nearest"),
    [
        (1, "uniform", 0.9691, 0.9691),
        (3, "uniform", 0.9705, 0.9717),
        (5, "uniform", 0.9688, 0.9693),
        (4, "distance", 0.9714, 0.9714),
    ],
)
def test_accuracy(fitted, n_neighbors, weights, first, nearest):
    model, mnist = fitted
    model.set_params(n_neighbors=n_neighbors, weights=weights)
    for rule, accuracy in (("first", first), ("nearest", nearest)):
        model.set_params(tie_break=rule)
        assert model.score(mnist.X_test, mnist.y_test) == accuracy
