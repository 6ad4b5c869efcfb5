import numpy as np
import pytest

from somknn import KNeighborsClassifier


@pytest.fixture(scope="session")
def rows():
    return np.random.default_rng(0).integers(0, 256, (500, 12), dtype=np.uint8)


@pytest.fixture(scope="session")
def model():
    rng = np.random.default_rng(1)
    X = rng.integers(0, 256, (200, 12), dtype=np.uint8)
    return KNeighborsClassifier(3, algorithm="brute").fit(X, np.array(["ant", "bee", "cat, red"])[X[:, 0] % 3])


@pytest.fixture(scope="session")
def model_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    model.save(path)
    return path
