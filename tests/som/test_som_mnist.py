"""Accuracy on the original digits; parameters were chosen on the first 50,000 against the last 10,000 training rows."""

import os
from pathlib import Path

import pytest

from somknn import SOM, SOMClassifier, datasets
from somknn.som import som_features_knn

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


@pytest.mark.parametrize(("size", "least"), [(20, 0.89), (32, 0.93)])
def test_label_accuracy(digits, size, least):
    classifier = SOMClassifier(SOM(size, size, epochs=25, final_radius=0.3)).fit(digits.X_train, digits.y_train)
    assert classifier.score(digits.X_test, digits.y_test) >= least


@pytest.mark.parametrize(("criterion", "least"), [("norm", 0.925), ("redundancy", 0.96)])
def test_accuracy_of_a_hundred_features(digits, criterion, least):
    pipeline = som_features_knn(criterion=criterion).fit(digits.X_train, digits.y_train)
    assert pipeline.score(digits.X_test, digits.y_test) >= least
