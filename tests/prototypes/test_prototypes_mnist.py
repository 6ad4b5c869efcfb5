"""Accuracy of prototypes on MNIST."""

import os
from pathlib import Path

import pytest

from somknn import PrototypeClassifier, datasets
from somknn.images import Deskew

MNIST = Path(os.environ.get("SOMKNN_DATA", "")) / "mnist"


@pytest.mark.mnist
@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("SOMKNN_DATA") or not MNIST.is_dir(), reason="no $SOMKNN_DATA/mnist")
def test_trained_prototypes_are_better_than_centres():
    data = datasets.load("mnist")
    centres, trained = (
        PrototypeClassifier(source, 100, random_state=0).fit(data.X_train, data.y_train).score(data.X_test, data.y_test)
        for source in ("kmeans", "lvq")
    )
    assert centres > 0.92
    assert trained > 0.965


@pytest.mark.mnist
@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("SOMKNN_DATA") or not MNIST.is_dir(), reason="no $SOMKNN_DATA/mnist")
def test_a_thousand_trained_prototypes():
    data = datasets.load("mnist")
    raw = PrototypeClassifier("lvq", 1000, random_state=0).fit(data.X_train, data.y_train)
    assert raw.score(data.X_test, data.y_test) >= 0.97
    deskew = Deskew(image_shape=(28, 28)).fit(data.X_train)
    model = PrototypeClassifier("lvq", 1000, random_state=0).fit(deskew.transform(data.X_train), data.y_train)
    assert model.score(deskew.transform(data.X_test), data.y_test) >= 0.983
