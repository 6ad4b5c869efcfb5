"""The image estimators as users see them: checks, shapes, dtypes, threads, saving, accuracy on small digits."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import somknn
from somknn import DeformationClassifier, KNeighborsClassifier
from somknn.images import PRESETS, Blur, CenterDigit, Deskew, GradientOrientation, preset
from somknn.images.deformation import cost_weights


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
@parametrize_with_checks(
    [
        Deskew(),
        Blur(),
        GradientOrientation(),
        CenterDigit(),
        DeformationClassifier(),
        DeformationClassifier(1, features="pixels"),
    ],
)
def test_estimator_check(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X * 15.9).astype(np.uint8), y


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_small_digits_are_at_least_as_good_as_raw_neighbours(digits, dtype):
    X, y = digits
    X = X.astype(dtype)
    raw = cross_val_score(KNeighborsClassifier(3), X, y, cv=5).mean()
    for name in PRESETS:
        assert cross_val_score(preset(name), X, y, cv=5).mean() >= raw, name


def test_smaller_images_than_asked_for_are_not_deskewed(digits):
    X, _ = digits
    assert (Deskew(smallest_side=9).fit_transform(X) == X).all()
    assert (Deskew(smallest_side=8).fit_transform(X) == Deskew().fit_transform(X)).all()
    floats = Deskew(smallest_side=9).fit_transform(X / 255)
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, X / 255, rtol=1e-6)


def test_the_nearest_votes_most():
    """Costs 1, 2, 2: with `weighting` 1 the two tie and the nearest wins; with 0 they have the majority."""
    costs = np.array([[1, 2, 2], [0, 0, 5]])
    np.testing.assert_array_equal(cost_weights(costs, 1.0), [[1, 0.5, 0.5], [1, 1, 0]])
    np.testing.assert_array_equal(cost_weights(costs, 0.0), np.ones((2, 3)))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("shape", [(16, 16), (28, 28), (5, 9)])
def test_float_images_of_any_size(name, shape):
    rng = np.random.default_rng(0)
    X = rng.random((30, shape[0] * shape[1]), dtype=np.float32)
    y = np.repeat(["a", "b", "c"], 10)
    model = preset(name, image_shape=shape).fit(X, y)
    assert set(model.predict(X)) <= {"a", "b", "c"}
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)


@pytest.mark.parametrize("name", PRESETS)
def test_saved_presets_predict_the_same(digits, tmp_path, name):
    X, y = digits
    model = preset(name, image_shape=(8, 8)).fit(X[:300], y[:300])
    (model.save if hasattr(model, "save") else lambda p: somknn.persistence.save(model, p))(tmp_path / "m.safetensors")
    again = somknn.load(tmp_path / "m.safetensors")
    assert (again.predict(X[300:400]) == model.predict(X[300:400])).all()


def test_threads_never_change_the_neighbours(digits):
    X, y = digits
    one, two = (DeformationClassifier(n_jobs=n).fit(X[:500], y[:500]).kneighbors(X[500:700]) for n in (1, 2))
    assert all((a == b).all() for a, b in zip(one, two, strict=True))


def test_a_training_image_is_its_own_nearest(digits):
    X, y = digits
    costs, indices = DeformationClassifier(1).fit(X[:200], y[:200]).kneighbors(X[:200])
    assert (costs == 0).all()
    assert (y[indices[:, 0]] == y[:200]).mean() > 0.99


def test_the_number_of_neighbours_can_be_asked_for(digits):
    X, y = digits
    model = DeformationClassifier(1, n_candidates=10).fit(X[:200], y[:200])
    five, one = model.kneighbors(X[200:220], 5), model.kneighbors(X[200:220])
    assert five[0].shape == five[1].shape == (20, 5)
    assert (np.diff(five[0]) >= 0).all()
    assert all((a[:, :1] == b).all() for a, b in zip(five, one, strict=True))
    with pytest.raises(ValueError, match="n_neighbors = 201"):
        model.kneighbors(X[200:220], 201)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((3, 3), "9 pixels, but X has 64 features"), ((0, 64), "0 pixels")],
)
def test_a_wrong_shape_is_named(digits, shape, message):
    with pytest.raises(ValueError, match=message):
        DeformationClassifier(image_shape=shape).fit(*digits)


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(ValueError, match="fast, balanced, accurate"):
        preset("best")


def test_centred_digits_have_their_names_number_and_dtype(digits):
    X, _ = digits
    transformer = CenterDigit(12).fit(X)
    out = transformer.transform(X / 255)
    assert out.dtype == np.uint8
    assert out.shape == (len(X), len(transformer.get_feature_names_out())) == (len(X), 144)
    assert transformer.box_ == 9
    assert np.abs(out.astype(int) - CenterDigit(12, n_jobs=1).fit_transform(X)).max() <= 1


def test_a_box_larger_than_the_image_is_refused(digits):
    with pytest.raises(ValueError, match="box = 9 is larger than size = 8"):
        CenterDigit(8, box=9).fit(digits[0])
