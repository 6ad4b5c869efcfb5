"""Accuracy of a hundred prototypes on MNIST."""

import os
from pathlib import Path

import pytest

from somknn import PrototypeClassifier, datasets

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
    assert trained > centres + 0.01
