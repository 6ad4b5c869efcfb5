"""GLVQ with a trained metric: its gradients, its exactness, its gain, saving, bad input."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import parametrize_with_checks

import somknn
from reference import linear_map as plain
from somknn import LVQ, PrototypeClassifier
from somknn.persistence import container
from somknn.prototypes import glvq, liram
from somknn.prototypes.metric import read_metric


@parametrize_with_checks([LVQ(10, metric_rank=2, max_iter=10)])
def test_estimator_checks(estimator, check):
    check(estimator)


def _wide(dtype=np.uint8, seed=0):
    """Digits with each pixel four times and noise: 256 columns."""
    X, y = load_digits(return_X_y=True)
    noise = np.random.default_rng(seed).normal(scale=20, size=(len(X), 256))
    return np.clip(np.rint(np.repeat(X * 12, 4, axis=1) + 30 + noise), 0, 255).astype(dtype), y


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gradients_are_those_of_the_cost(dtype):
    random = np.random.default_rng(0)
    codes = np.sort(random.integers(0, 3, 70))
    rows = (random.normal(size=(70, 6)) * 40 + 30 * codes[:, None] + 1000).astype(dtype)
    weights = random.uniform(0.5, 2, 70)
    places, classes = random.normal(size=(9, 3)), np.repeat([0, 1, 2], 3)
    row_map = liram.RowMap(rows, weights, 2)
    axes = row_map.first_axes(3)

    def cost(places, axes):
        mapped = np.zeros((70, 3), row_map.dtype)
        row_map.apply(axes, mapped)
        winners = glvq.ClassSearch(mapped, codes, 3, None, "brute").find(places.astype(row_map.dtype), classes)
        return liram.cost_and_gradients(row_map, mapped, weights, places, winners, 3.0)

    _, by_places, by_axes = cost(places, axes)
    step, close = (1e-6, 1e-4) if dtype == np.float64 else (1e-2, 0.02)
    for at in [(0, 0), (4, 2), (8, 1), (5, 0)]:
        moved = np.zeros_like(places)
        moved[at] = step
        numeric = (cost(places + moved, axes)[0] - cost(places - moved, axes)[0]) / (2 * step)
        assert by_places[at] == pytest.approx(numeric, rel=close, abs=1e-8 if dtype == np.float64 else 1e-4)
    for at in [(0, 0), (5, 2), (3, 1)]:
        moved = np.zeros_like(axes)
        moved[at] = step
        numeric = (cost(places, axes + moved)[0] - cost(places, axes - moved)[0]) / (2 * step)
        assert by_axes[at] == pytest.approx(numeric, rel=close, abs=1e-8 if dtype == np.float64 else 1e-3)


@pytest.mark.parametrize("shape", [(30, 200), (300, 12)])
def test_first_axes_are_orthonormal_for_any_shape(shape):
    rows = np.random.default_rng(0).normal(size=shape)
    rows[1:20] = rows[0]
    for rank in (1, 5, 12):
        axes = liram.RowMap(rows, np.ones(len(rows)), 1).first_axes(rank)
        np.testing.assert_allclose(axes.T @ axes, np.eye(rank), atol=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_better_than_the_plain_distance(dtype):
    X, y = _wide(dtype)
    plain_model = LVQ(40, metric_rank=None, random_state=0).fit(X[:1200], y[:1200])
    model = LVQ(40, random_state=0).fit(X[:1200], y[:1200])
    assert model.metric_.shape == (64, 256)
    assert model.prototypes_.shape == (40, 64)
    assert model.prototypes_.dtype == dtype
    assert model.prototype_rows_.shape == (40, 256)
    assert model.score(X[1200:], y[1200:]) > max(plain_model.score(X[1200:], y[1200:]), 0.94)
    assert plain_model.metric_ is None
    assert model.history_["cost"][-1] < model.history_["cost"][0]
    assert len(model.history_["seconds"]) == model.n_iter_ == 30


def test_the_prototypes_rows_look_like_their_class():
    X, y = _wide()
    model = LVQ(40, random_state=0).fit(X, y)
    mapped = read_metric(model).apply(np.rint(np.clip(model.prototype_rows_, 0, 255)), None)
    assert np.abs(mapped.astype(int) - model.prototypes_).mean() < 2  # clipping to bytes moves them a little
    assert (model.predict(np.clip(model.prototype_rows_, 0, 255)) == model.prototype_labels_).mean() > 0.97


@pytest.mark.parametrize("k", [1, 3])
def test_answers_are_exact_under_the_metric(k):
    X, y = _wide()
    model = PrototypeClassifier("lvq", 60, n_neighbors=k, max_iter=5, random_state=0).fit(X, y)
    codes = plain.map_bytes(X, model.metric_center_.astype(np.int64), model.metric_, model.metric_shift_)
    squares = ((codes[:, None].astype(np.int64) - model.prototypes_.astype(np.int64)) ** 2).sum(axis=2)
    nearest = np.argsort(squares, axis=1, kind="stable")[:, :k]
    (found_squares, found), _ = model._votes(X)
    np.testing.assert_array_equal(found, nearest)
    np.testing.assert_array_equal(found_squares, np.take_along_axis(squares, nearest, axis=1))
    (float_squares, found), _ = model._votes(X.astype(np.float64))  # the same numbers in another dtype
    np.testing.assert_array_equal(found, nearest)
    np.testing.assert_array_equal(float_squares, found_squares)
    one_by_one = np.concatenate([model._votes(X[i : i + 1])[0][1] for i in range(20)])
    np.testing.assert_array_equal(one_by_one, nearest[:20])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_threads_and_saving_never_change_the_result(dtype, tmp_path):
    X, y = _wide(dtype)
    first, second = (LVQ(60, max_iter=4, random_state=3, n_jobs=n).fit(X, y) for n in (1, 2))
    np.testing.assert_array_equal(first.metric_, second.metric_)
    np.testing.assert_array_equal(first.prototypes_, second.prototypes_)
    first.save(tmp_path / "model.safetensors")
    loaded = somknn.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict(X), second.predict(X))
    assert (
        loaded.model_bytes_
        == first.model_bytes_
        == sum(
            array.nbytes for array in (first.prototypes_, first.prototype_codes_, first.metric_, first.metric_center_)
        )
    )


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("metric_", lambda array: array[:, :-1]),
        ("metric_", lambda array: array[:-1]),
        ("metric_", lambda array: array.astype(np.int32)),
        ("metric_center_", lambda array: array + 0.5),
        ("metric_center_", lambda array: array - 300),
        ("metric_center_", lambda array: array[:-1]),
        ("prototypes_", lambda array: array[:, :-1]),
        ("prototypes_", lambda array: array.astype(np.float32)),
    ],
)
def test_files_that_no_training_wrote_are_refused(name, change, tmp_path):
    X, y = _wide()
    path = tmp_path / "model.safetensors"
    LVQ(20, max_iter=1, random_state=0).fit(X, y).save(path)
    arrays, document = container.read(path, memory_map=False)
    arrays[name] = np.ascontiguousarray(change(arrays[name]))
    container.write(path, arrays, document)
    with pytest.raises(ValueError, match=r"metric_|prototypes_"):
        somknn.load(path)


@pytest.mark.parametrize("shift", [-1, 25, True, "4", None])
def test_shifts_that_no_training_wrote_are_refused(shift, tmp_path):
    X, y = _wide()
    path = tmp_path / "model.safetensors"
    LVQ(20, max_iter=1, random_state=0).fit(X, y).save(path)
    arrays, document = container.read(path, memory_map=False)
    document["estimator"]["state"]["metric_shift_"] = shift
    container.write(path, arrays, document)
    with pytest.raises(ValueError, match="metric_shift_"):
        somknn.load(path)


def test_axes_beyond_products_of_32_bits_are_refused():
    model = LVQ()
    model.prototypes_, model.n_features_in_ = np.zeros((2, 1), np.uint8), 300
    model.metric_center_, model.metric_shift_ = np.zeros(300), 3
    for value, fits in [(32767, False), (28000, True)]:
        model.metric_ = np.full((1, 300), value, np.int16)
        if fits:
            assert read_metric(model).shift == 3
        else:
            with pytest.raises(ValueError, match="32 bits"):
                read_metric(model)


def test_data_far_from_the_origin_and_of_any_unit():
    X, y = _wide(np.float64)
    wanted = LVQ(40, max_iter=5, random_state=0).fit(X[:1200], y[:1200]).predict(X[1200:])
    for shift, unit in [(2.0**30, 1.0), (0.0, 2.0**60), (0.0, 2.0**-60)]:
        moved = (X + shift) * unit
        found = LVQ(40, max_iter=5, random_state=0).fit(moved[:1200], y[:1200]).predict(moved[1200:])
        assert (found == wanted).mean() > 0.99


def test_rows_beyond_what_the_metric_can_map_are_refused():
    X, y = _wide(np.float32)
    model = LVQ(20, max_iter=1, random_state=0).fit(X, y)
    X = X[:5].astype(np.float64)
    X[3] = 1.7e308
    with pytest.raises(ValueError, match="row 3 is too large"):
        model.predict(X)


def test_the_callback_stops_and_equal_rows_do_no_harm():
    X, y = _wide()
    model = LVQ(20, callback=lambda entry: entry["epoch"] == 2, random_state=0).fit(X, y)
    assert model.n_iter_ == 2
    same = LVQ(4, metric_rank=3, max_iter=3, random_state=0).fit(np.full((40, 5), 7, np.uint8), np.arange(40) % 2)
    assert set(same.predict(np.zeros((3, 5), np.uint8))) <= {0, 1}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"metric_rank": 0}, "metric_rank"),
        ({"metric_rank": "full"}, "metric_rank"),
        ({"metric_rank": 2, "algorithm": "lvq1"}, "metric_rank=2 needs algorithm='glvq'"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        LVQ(**parameters).fit(np.eye(4), [0, 0, 1, 1])
