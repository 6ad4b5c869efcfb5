"""Data of the suites: real MNIST under $SOMKNN_DATA, and a seeded generated set of the same shape, never under one name."""

import numpy as np

SOURCES = ("mnist", "generated")


def load(source):
    """X_train, y_train, X_test, y_test as uint8 of 784 columns. NotImplementedError (asv: skipped) without the files."""
    if source == "mnist":
        from somknn import datasets

        try:
            data = datasets.load("mnist")
        except Exception as error:
            raise NotImplementedError("MNIST is not under $SOMKNN_DATA") from error
        return data.X_train, data.y_train, data.X_test, data.y_test
    rng = np.random.default_rng(20261121)
    # 10 classes on a 30-dimensional plane with noise: about as prunable as digits.
    centres = rng.standard_normal((10, 30)) * 2
    basis = rng.standard_normal((30, 784)) * 12
    labels = rng.integers(0, 10, 70_000)
    rows = np.empty((70_000, 784), np.uint8)
    for start in range(0, 70_000, 5_000):
        at = slice(start, start + 5_000)
        latent = centres[labels[at]] + rng.standard_normal((5_000, 30))
        noisy = 128 + latent @ basis + 8 * rng.standard_normal((5_000, 784))
        rows[at] = np.clip(noisy, 0, 255)
    return rows[:60_000], labels[:60_000], rows[60_000:], labels[60_000:]
