"""Parameters of the image presets, compared on MNIST's training images only; the test images are never read.

    SOMKNN_DATA=folder python benchmarks/select_presets.py [--held-out 5000]

The last 10,000 training images give the held-out ones; the first 50,000 are the neighbours.
"""

import argparse
import time

import numpy as np
from sklearn.pipeline import make_pipeline

from somknn import DeformationClassifier, KNeighborsClassifier, datasets
from somknn.images import Deskew, GradientOrientation


def candidates():
    """What is compared: a name and an unfitted classifier each."""
    for k in (1, 3, 4, 5):
        yield f"deskew, k={k}", make_pipeline(Deskew(), KNeighborsClassifier(k))
    for smoothing in (1.2, 1.5, 1.8):
        features = GradientOrientation(smoothing=smoothing)
        yield f"gradients, smoothing={smoothing}", make_pipeline(Deskew(), features, KNeighborsClassifier(3))
    for options in (
        {},
        {"n_neighbors": 1},
        {"n_neighbors": 5},
        {"n_candidates": 50},
        {"n_candidates": 200},
        {"warp_range": 3},
        {"context": 2},
        {"deskew": False},
    ):
        yield f"deformation, {options or 'defaults'}", DeformationClassifier(**options)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--held-out", type=int, default=5000)
    held_out = parser.parse_args().held_out
    data = datasets.load("mnist")
    X, y = data.X_train[:50_000], data.y_train[:50_000]
    Q, labels = data.X_train[50_000 : 50_000 + held_out], data.y_train[50_000 : 50_000 + held_out]
    for name, model in candidates():
        start = time.perf_counter()
        accuracy = np.mean(model.fit(X, y).predict(Q) == labels)
        print(f"{100 * accuracy:.2f} %  {time.perf_counter() - start:6.1f} s  {name}", flush=True)


if __name__ == "__main__":
    main()
