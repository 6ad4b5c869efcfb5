"""Best-matching units and assignments on every kind of rows of the zoo are those of the plain float64 computation."""

import sys
from pathlib import Path

import numpy as np
import pytest

from reference import cosine
from reference.search import nearest
from somknn import SOM, KMeans

# Rows of which each is there 50 times have fewer different ones than there are clusters.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ROWS, UNITS = 2_100, 72  # enough for short vectors and codes
sys.path[:0] = [str(BENCHMARKS / "zoo"), str(BENCHMARKS / "peers")]

from somknn_zoo.rows import ALL, Missing  # noqa: E402

del sys.path[:2]


@pytest.fixture(params=ALL, ids=lambda entry: entry.name)
def rows(request):
    try:
        made, _ = request.param.make(ROWS, 1)
    except Missing as reason:
        pytest.skip(str(reason))
    return made[:ROWS]


def _start(rows):
    """Rows as units, some of them twice: ties are part of it."""
    chosen = np.random.default_rng(0).permutation(len(rows))[:UNITS]
    chosen[-6:] = chosen[:6]
    return rows[chosen].astype(np.float64)


def test_best_matching_units(rows):
    seen = []

    def look(epoch):
        seen.append((epoch["codebook"].reshape(UNITS, -1).copy(), epoch["labels"]))

    start = _start(rows).reshape(8, 9, -1)
    som = SOM(8, 9, epochs=3, initialization=start, callback=look).fit(rows)
    for codebook, labels in seen:
        np.testing.assert_array_equal(labels, nearest(rows, codebook, 1)[1][:, 0])
    some = rows[:300]
    distances, units = nearest(some, som.codebook_.reshape(UNITS, -1), 2)
    np.testing.assert_array_equal(som.predict(some), units[:, 0])
    assert som.topographic_error(some) == pytest.approx((~som.grid_.adjacent(units[:, 0], units[:, 1])).mean())
    assert som.quantization_error(some) == pytest.approx(np.sqrt(distances[:, 0]).mean(), rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("training", ["given", "drawn"])
def test_assignments(rows, training):
    init = _start(rows) if training == "given" else "k-means++"
    model = KMeans(UNITS, init=init, max_iter=4, tol=0, random_state=0)
    labels = model.fit(rows).labels_
    distances, units = nearest(rows, model.cluster_centers_, 1)
    np.testing.assert_array_equal(labels, units[:, 0])
    np.testing.assert_array_equal(model.predict(rows[:200]), units[:200, 0])
    assert model.inertia_ == pytest.approx(distances.astype(np.float64).sum(), rel=1e-12)


def test_units_and_assignments_by_cosine(rows):
    init = _start(rows)
    if not init.any(axis=1).all():
        pytest.skip("rows of zeros are no start")
    model = KMeans(UNITS, init=init, max_iter=2, metric="cosine").fit(rows)
    np.testing.assert_array_equal(model.labels_, cosine.nearest(rows, model.cluster_centers_, 1)[1][:, 0])
    som = SOM(8, 9, epochs=2, initialization=init.reshape(8, 9, -1), metric="cosine").fit(rows)
    np.testing.assert_array_equal(som.labels_, cosine.nearest(rows, som.codebook_.reshape(UNITS, -1), 1)[1][:, 0])
