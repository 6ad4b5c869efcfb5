"""Training against batch training and the classical rule in plain NumPy, and invariances of the trained map."""

import warnings

import numpy as np
import pytest

from reference.codebook_search import two_nearest
from reference.som_update import batch_map, train_online
from somknn import SOM
from somknn.som.grid import Grid
from somknn.som.neighborhoods import NEIGHBORHOODS, evaluate, smooth

GRIDS = [
    (topology, boundary) for topology in ("rectangular", "hexagonal") for boundary in ("planar", "cylinder", "torus")
]


def rows(n=300, d=7, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize(("topology", "boundary"), GRIDS)
@pytest.mark.parametrize("neighborhood", NEIGHBORHOODS)
@pytest.mark.parametrize("compact", [False, True])
def test_smoothing_equals_the_full_matrix(topology, boundary, neighborhood, compact):
    for shape in ((6, 5), (1, 4), (4, 1), (2, 2)):
        if boundary == "torus" and topology == "hexagonal" and shape[0] % 2:
            continue
        grid = Grid(*shape, topology, boundary)
        sums = rows(grid.size, 9)
        for radius in (0.0, 0.4, 2.0, 30.0):
            H = evaluate(neighborhood, grid.squared_distances(), radius, compact)
            out = smooth(sums, grid, neighborhood, radius, compact)
            np.testing.assert_allclose(out, H @ sums, rtol=1e-9, atol=1e-12)
            np.testing.assert_array_equal(smooth(sums, grid, neighborhood, radius, compact, 3), out)


@pytest.mark.parametrize(("topology", "boundary"), GRIDS)
def test_batch_map_equals_numpy(topology, boundary):
    X = rows()
    start = X[:24].reshape(4, 6, -1)
    som = SOM(4, 6, topology=topology, boundary=boundary, initialization=start, epochs=4).fit(X)
    grid = Grid(4, 6, topology, boundary)
    influences = [evaluate("gaussian", grid.squared_distances(), radius) for radius in som.history_["radius"]]
    expected = batch_map(X, start.reshape(24, -1), influences)
    np.testing.assert_allclose(som.codebook_.reshape(24, -1), expected, rtol=1e-5, atol=1e-10)
    np.testing.assert_array_equal(som.labels_, two_nearest(X, expected)[0][:, 0])


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_units_of_every_epoch_are_the_nearest(dtype):
    X = np.random.default_rng(3).integers(0, 256, (400, 60)).astype(dtype)
    seen = []

    def check(epoch):
        W = epoch["codebook"].reshape(30, -1)
        units, squares = two_nearest(X, W)
        np.testing.assert_array_equal(epoch["labels"], units[:, 0])
        assert epoch["quantization_error"] == pytest.approx(np.sqrt(squares[:, 0]).mean())
        seen.append(epoch["epoch"])

    SOM(5, 6, epochs=5, callback=check).fit(X)
    assert seen == [1, 2, 3, 4, 5]


def test_missing_values_equal_numpy():
    X = rows()
    X[np.random.default_rng(1).random(X.shape) < 0.3] = np.nan
    start = rows(12, seed=4).reshape(3, 4, -1)
    som = SOM(3, 4, initialization=start, epochs=3, missing_values="ignore").fit(X)
    grid = Grid(3, 4)
    influences = [evaluate("gaussian", grid.squared_distances(), radius) for radius in som.history_["radius"]]
    np.testing.assert_allclose(
        som.codebook_.reshape(12, -1), batch_map(X, start.reshape(12, -1), influences), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("topology", ["rectangular", "hexagonal"])
@pytest.mark.parametrize("missing", [False, True])
def test_online_rule_equals_numpy(topology, missing):
    random = np.random.default_rng(5)
    X, W = rows(250, 11), rows(12, 11, seed=6)
    if missing:
        X[random.random(X.shape) < 0.2] = np.nan
    grid = Grid(4, 3, topology, "cylinder")
    som = SOM(
        4, 3, training="online", epochs=1, topology=topology, boundary="cylinder", initialization=W.reshape(4, 3, 11),
        radius_schedule=lambda t: 1.3, initial_rate=1.0, missing_values="ignore" if missing else "error",
        random_state=3,
    ).fit(X)  # fmt: skip
    order = np.random.RandomState(3).permutation(250)
    influence = evaluate("gaussian", grid.squared_distances(), 1.3)
    expected = train_online(X, order, W, influence, np.full(250, 1.0))
    np.testing.assert_allclose(som.codebook_.reshape(12, 11), expected, rtol=1e-9)


def test_online_rule_settles_ties_far_from_the_origin():
    """Rows and units that coincide, at an offset where expanded squares would lose all precision."""
    random = np.random.default_rng(8)
    X = random.integers(0, 3, (300, 4)) + 1e7
    W = X[np.repeat(random.permutation(300)[:10], 2)]
    grid = Grid(4, 5)
    som = SOM(4, 5, training="online", epochs=1, initialization=W.reshape(4, 5, 4), radius_schedule=lambda t: 0.0,
              initial_rate=0.25, random_state=3).fit(X)  # fmt: skip
    order = np.random.RandomState(3).permutation(300)
    expected = train_online(X, order, W, evaluate("gaussian", grid.squared_distances(), 0.0), np.full(300, 0.25))
    np.testing.assert_allclose(som.codebook_.reshape(20, 4), expected, rtol=1e-14)


@pytest.mark.parametrize("topology", ["rectangular", "hexagonal"])
@pytest.mark.parametrize("weighted", [False, True])
def test_online_rule_on_bytes_equals_numpy(topology, weighted):
    """Two epochs over more rows than a block has; weights of 0 and above 1."""
    random = np.random.default_rng(5)
    X, W = random.integers(0, 256, (250, 11)).astype(np.uint8), random.uniform(0, 255, (12, 11))
    weights = random.uniform(0, 3, 250) * (random.random(250) < 0.9) if weighted else None
    som = SOM(
        4, 3, training="online", epochs=2, topology=topology, boundary="torus", initialization=W.reshape(4, 3, 11),
        radius_schedule=lambda t: 1.3, rate_schedule=lambda t: 0.5, random_state=3,
    ).fit(X, sample_weight=weights)  # fmt: skip
    draw = np.random.RandomState(3)
    order = np.concatenate([draw.permutation(250), draw.permutation(250)])
    rates = np.minimum(1.0, np.full(500, 0.5) * (1.0 if weights is None else weights[order]))
    grid = Grid(4, 3, topology, "torus")
    influence = evaluate("gaussian", grid.squared_distances(), 1.3)
    expected = train_online(X, order, W.astype(np.float32), influence, rates)
    np.testing.assert_allclose(som.codebook_.reshape(12, 11), expected, rtol=1e-6)
    np.testing.assert_array_equal(som.labels_, two_nearest(X, som.codebook_.reshape(12, 11))[0][:, 0])


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
@pytest.mark.parametrize("training", ["batch", "online"])
def test_same_seed_same_map_for_any_number_of_threads(training, dtype):
    X = (rows(500, 20) * 40 + 128).clip(0, 255).astype(dtype)
    maps = [
        SOM(6, 6, training=training, epochs=3, initialization="sample", random_state=3, n_jobs=n).fit(X)
        for n in (1, 2, -1)
    ]
    for other in maps[1:]:
        np.testing.assert_array_equal(maps[0].codebook_, other.codebook_)


def test_integer_weights_are_repeated_rows():
    X, weights = rows(100), np.random.default_rng(2).integers(0, 4, 100)
    start = X[:9].reshape(3, 3, -1)
    weighted = SOM(3, 3, initialization=start).fit(X, sample_weight=weights)
    repeated = SOM(3, 3, initialization=start).fit(np.repeat(X, weights, axis=0))
    np.testing.assert_allclose(weighted.codebook_, repeated.codebook_, rtol=1e-9)
    assert weighted.quantization_error_ == pytest.approx(repeated.quantization_error_)


def test_codebooks_are_not_rounded():
    X = rows(200) * 1e-9
    som = SOM(3, 3).fit(X)
    assert len(np.unique(som.codebook_)) == som.codebook_.size
    np.testing.assert_allclose(som.codebook_, SOM(3, 3).fit(X * 2.0**30).codebook_ / 2.0**30, rtol=1e-6)


def test_streaming_without_decay_is_one_batch_update():
    X = rows(200)
    start = X[:9].reshape(3, 3, -1)
    stream = SOM(3, 3, initialization=start, decay=1.0)
    stream.partial_fit(X, radius=1.0)
    grid = Grid(3, 3)
    expected = batch_map(X, start.reshape(9, -1), [evaluate("gaussian", grid.squared_distances(), 1.0)])
    np.testing.assert_allclose(stream.codebook_.reshape(9, -1), expected, rtol=1e-9)


def test_streaming_learns():
    X = rows(2000)
    som = SOM(5, 5, epochs=20)
    for _ in range(4):
        for first in range(0, 2000, 400):
            som.partial_fit(X[first : first + 400])
    assert som.quantization_error(X) < 1.1 * SOM(5, 5, epochs=20).fit(X).quantization_error_


def test_history_and_early_stopping():
    X, y = rows(), np.repeat([0, 1, 2], 100)
    som = SOM(3, 3, epochs=50, tol=1e-3, radius_schedule="linear").fit(X, y)
    assert set(som.history_) == {"quantization_error", "topographic_error", "radius", "seconds", "label_accuracy"}
    assert {len(values) for values in som.history_.values()} == {som.n_iter_}
    assert som.history_["quantization_error"][-1] == som.quantization_error_
    stopped = SOM(3, 3, epochs=50, callback=lambda epoch: epoch["epoch"] == 4).fit(X)
    assert stopped.n_iter_ == 4
    assert SOM(3, 3, epochs=60, tol=1e-2, radius_schedule=lambda t: 1.0).fit(X).n_iter_ < 60


@pytest.mark.parametrize("training", ["batch", "online"])
@pytest.mark.parametrize("missing", ["error", "ignore"])
def test_a_map_of_rows_whose_squared_distances_overflow_is_refused(training, missing):
    """All units are infinitely far, so there is no answer; units were returned that do not exist."""
    X = rows() * 1e200
    if missing == "ignore":
        X[::5, ::2] = np.nan
    settings = {"initialization": "random", "missing_values": missing, "epochs": 2, "random_state": 0}
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="beyond float64"):
        SOM(3, 4, training=training, **settings).fit(X)


@pytest.mark.parametrize("training", ["batch", "online"])
def test_rows_without_any_value_get_unit_0_and_one_warning(training):
    """They counted in errors as rows at distance 0."""
    X = rows()
    X[np.random.default_rng(1).random(X.shape) < 0.2] = np.nan
    X[[3, 50, 51]] = np.nan
    settings = {"missing_values": "ignore", "training": training, "epochs": 3, "random_state": 0}
    start = np.random.default_rng(2).normal(size=(3, 4, 7))
    som = SOM(3, 4, initialization=start, **settings)
    with pytest.warns(UserWarning, match=r"X has 3 rows without any value \(the first is row 3\)") as warned:
        som.fit(X)
    assert len(warned) == 1
    assert (som.labels_[[3, 50, 51]] == 0).all()
    full = np.delete(X, [3, 50, 51], axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert som.quantization_error(full) == pytest.approx(som.quantization_error_, rel=1e-12)
        assert som.topographic_error(full) == pytest.approx(som.topographic_error_, rel=1e-12)
        if training == "batch":
            other = SOM(3, 4, initialization=start, **settings).fit(full)
            np.testing.assert_array_equal(other.codebook_, som.codebook_)
            assert other.quantization_error_ == pytest.approx(som.quantization_error_, rel=1e-12)
    for ask in (som.predict, som.transform, som.quantization_error, som.topographic_error, som.hit_map):
        with pytest.warns(UserWarning, match="2 rows without any value") as warned:
            ask(X[45:60])
        assert len(warned) == 1
    with pytest.raises(ValueError, match="X has no row with a value"), pytest.warns(UserWarning, match="9 rows"):
        SOM(3, 4, **settings).fit(np.full((9, 7), np.nan))
