"""k-NN estimators through a model file."""

import numpy as np
import pytest

import somknn
from somknn import KNeighborsClassifier, KNeighborsRegressor, KNeighborsTransformer, NearestNeighbors
from somknn.persistence import ModelFileError, container

RNG = np.random.default_rng(0)
ROWS = RNG.integers(0, 256, (60, 5)).astype(np.uint8)
QUERIES = RNG.integers(0, 256, (9, 5)).astype(np.uint8)
LABELS = np.array(["a", "b", "c"])[RNG.integers(0, 3, 60)]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(object), np.arange(60) % 3 == 0, np.arange(60) % 7])
def test_a_classifier_comes_back(tmp_path, dtype, labels):
    model = KNeighborsClassifier(4, weights="distance", tie_break="first").fit(ROWS.astype(dtype), labels)
    model.save(tmp_path / "model.safetensors")
    loaded = somknn.load(tmp_path / "model.safetensors")
    assert loaded.get_params() == model.get_params()
    np.testing.assert_array_equal(loaded.predict(QUERIES), model.predict(QUERIES))
    np.testing.assert_array_equal(loaded.predict_proba(QUERIES), model.predict_proba(QUERIES))
    assert loaded.predict(QUERIES).dtype == model.predict(QUERIES).dtype


@pytest.mark.parametrize(
    ("model", "method"),
    [
        (KNeighborsClassifier().fit(ROWS, np.stack([LABELS, LABELS[::-1]], axis=1)), "predict"),
        (KNeighborsRegressor().fit(ROWS, RNG.normal(size=60)), "predict"),
        (KNeighborsRegressor(weights="distance").fit(ROWS, RNG.normal(size=(60, 2))), "predict"),
        (NearestNeighbors().fit(ROWS), "kneighbors"),
    ],
)
def test_the_others_come_back(tmp_path, model, method):
    model.save(tmp_path / "model")
    loaded = somknn.load(tmp_path / "model")
    np.testing.assert_array_equal(getattr(loaded, method)(QUERIES), getattr(model, method)(QUERIES))


def test_a_transformer_comes_back(tmp_path):
    model = KNeighborsTransformer().fit(ROWS)
    model.save(tmp_path / "model")
    graph = somknn.load(tmp_path / "model").transform(QUERIES)
    assert (graph != model.transform(QUERIES)).nnz == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays: arrays | {"codes": arrays["codes"] + 5},
        lambda arrays: arrays | {"codes": arrays["codes"] - 1},
        lambda arrays: arrays | {"codes": arrays["codes"][:, 1:]},
        lambda arrays: arrays | {"fit_X": arrays["fit_X"][:, 1:]},
        lambda arrays: arrays | {"fit_X": arrays["fit_X"][1:]},
        lambda arrays: arrays | {"fit_X": arrays["fit_X"].astype(np.int32)},
    ],
)
def test_contents_that_do_not_fit_are_refused(tmp_path, damage):
    KNeighborsClassifier().fit(ROWS, LABELS).save(tmp_path / "model")
    arrays, document = container.read(tmp_path / "model", memory_map=False)
    container.write(tmp_path / "model", damage(arrays), document)
    with pytest.raises(ModelFileError, match=r"^[^\n]*$"):
        somknn.load(tmp_path / "model")
