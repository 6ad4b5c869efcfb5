"""All of MNIST: the accuracies of exact neighbours, for every engine."""

import os
from pathlib import Path

import numpy as np
import pytest

from somknn import KNeighborsClassifier, datasets
from somknn.neighbors import ExactIndex
from somknn.search.judging import best_embedding
from somknn_kernels import isa

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


@pytest.fixture(scope="module")
def oracle():
    """(rows, queries, squared distances, indices) of the 5 nearest of 10,000 queries, in integer arithmetic."""
    mnist = datasets.load("mnist")
    rows, queries, k = mnist.X_train, mnist.X_test, 5
    floats = rows.astype(np.float64)  # all values stay below 2^53: BLAS is exact here, in any order of summation
    squares = (rows.astype(np.int64) ** 2).sum(axis=1)
    keys = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), 500):
        block = queries[start : start + 500]
        products = (block.astype(np.float64) @ floats.T).astype(np.int64)
        distances = (block.astype(np.int64) ** 2).sum(axis=1)[:, None] + squares - 2 * products
        both = (distances << 16) | np.arange(len(rows))
        both.partition(k, axis=1)
        keys[start : start + 500] = np.sort(both[:, :k], axis=1)
    return rows, queries, keys >> 16, keys & 0xFFFF


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["brute", "pruned"])
@pytest.mark.parametrize("path", [*isa.supported(), "vnni-emulated"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_all_neighbours_equal_an_integer_oracle(oracle, algorithm, path, n_jobs):
    rows, queries, distances, indices = oracle
    if path == "vnni-emulated" and algorithm == "brute":
        queries, distances, indices = queries[:1000], distances[:1000], indices[:1000]  # 100 times slower than VNNI
    found = ExactIndex(algorithm, isa=path, n_jobs=n_jobs).fit(rows).search(queries, 5)
    np.testing.assert_array_equal(found[0], distances)
    np.testing.assert_array_equal(found[1], indices)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_with_blank_margins_get_short_vectors(fitted, dtype):
    """Vectors as wide as the rows, right for embeddings, take three times the time here."""
    rows = fitted[1].X_train.astype(dtype)
    assert best_embedding(rows, isa.select(), 2, always=False).n_columns == 128
