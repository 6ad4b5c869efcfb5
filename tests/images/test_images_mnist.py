"""All of MNIST: accuracy of the presets, and photographed digits."""

import os
from pathlib import Path

import numpy as np
import pytest

from photographs import photograph
from reference import image_filters as reference
from somknn import KNeighborsClassifier, datasets
from somknn.images import CenterDigit, Deskew, preset

pytestmark = [
    pytest.mark.mnist,
    pytest.mark.skipif(
        not (Path(os.environ.get("SOMKNN_DATA", "no-such-folder")) / "mnist").is_dir(),
        reason="no $SOMKNN_DATA/mnist",
    ),
]


@pytest.fixture(scope="module")
def mnist():
    return datasets.load("mnist")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "accuracy"), [("fast", 0.9852), ("balanced", 0.9912), ("accurate", 0.9945)])
def test_accuracy(mnist, name, accuracy):
    assert preset(name).fit(mnist.X_train, mnist.y_train).score(mnist.X_test, mnist.y_test) == accuracy


@pytest.mark.parametrize("center", [False, True])
def test_deskew_is_scipys_shear_to_within_a_grey_level(mnist, center):
    images = mnist.X_train[:500]
    got = Deskew(center=center).fit_transform(images)
    want = [reference.deskew(image, center) for image in images.reshape(-1, 28, 28)]
    assert np.abs(got.reshape(-1, 28, 28) - np.array(want)).max() <= 1


@pytest.fixture(scope="module")
def models(mnist):
    """Fitted to the first 50,000 training images: the photographs below are of the others."""
    models = {"raw": KNeighborsClassifier(3), "balanced": preset("balanced")}
    return {name: model.fit(mnist.X_train[:50_000], mnist.y_train[:50_000]) for name, model in models.items()}


@pytest.mark.parametrize(
    ("zoom", "shape", "dark_ink"),
    [(0.5, (40, 60), True), (1, (60, 60), False), (2.3, (100, 140), True), (4, (160, 160), True)],
)
def test_photographed_digits_are_classified_about_as_well(mnist, models, zoom, shape, dark_ink):
    digits, y = mnist.X_train[50_000:51_000], mnist.y_train[50_000:51_000]
    photographs = photograph(digits.reshape(-1, 28, 28), shape, zoom, seed=0, dark_ink=dark_ink)
    centered = CenterDigit(image_shape=shape).fit_transform(photographs.reshape(len(digits), -1))
    for name, model in models.items():
        # A digit of 10 pixels has lost some of its strokes.
        assert model.score(centered, y) >= model.score(digits, y) - (0.02 if zoom < 1 else 0.005), name
