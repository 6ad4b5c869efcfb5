"""One search gives all columns: they equal the separate results of predict, predict_proba and kneighbors."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from somknn import LVQ, SOM, KNeighborsClassifier, PrototypeClassifier, SOMClassifier
from somknn.batch import BatchError, Wanted, classify, predict_columns
from somknn.batch.prediction import check_model
from somknn.images import DeformationClassifier, Deskew
from somknn.neighbors import ExactIndex
from somknn.persistence import save

SHAPE = (6, 7)
MODELS = {
    "uniform": KNeighborsClassifier(4),
    "first": KNeighborsClassifier(4, tie_break="first"),
    "distance": KNeighborsClassifier(5, weights="distance"),
    "prototypes": PrototypeClassifier(n_prototypes=12, n_neighbors=3, random_state=0),
    "lvq": LVQ(9, random_state=0),
    "map": SOMClassifier(SOM(4, 3, epochs=2, random_state=0)),
    "deformation": DeformationClassifier(3, n_candidates=10, image_shape=SHAPE),
    "pipeline": make_pipeline(Deskew(SHAPE), "passthrough", KNeighborsClassifier(3)),
}


@pytest.fixture(params=MODELS)
def fitted(request):
    rng = np.random.default_rng(5)
    X = rng.integers(0, 256, (60, 42), dtype=np.uint8)
    X[30:45] = X[:15]  # equal distances, so that votes tie
    return MODELS[request.param].fit(X, np.array(["a", "b", "c"])[rng.integers(0, 3, 60)]), X[::2]


def test_columns_equal_the_single_answers(fitted):
    model, rows = fitted
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    neighbors = hasattr(last, "kneighbors")
    proba = hasattr(model, "predict_proba")
    columns = predict_columns(model, rows, Wanted(proba=proba, top=2 if proba else 1, neighbors=neighbors))
    np.testing.assert_array_equal(model.classes_[columns["code"]], model.predict(rows))
    if proba:
        np.testing.assert_array_equal(columns["proba"], model.predict_proba(rows))
        np.testing.assert_array_equal(columns["top_code"][:, 0], columns["code"])
    else:
        assert "confidence" not in columns
        with pytest.raises(BatchError, match="gives no probabilities"):
            check_model(model, Wanted(top=2))
    if neighbors:
        distances, indices = last.kneighbors(rows if last is model else model[:-1].transform(rows))
        np.testing.assert_array_equal(columns["neighbor"], indices)
        np.testing.assert_array_equal(columns["distance"], distances)
    else:
        with pytest.raises(BatchError, match="has no neighbours"):
            check_model(model, Wanted(neighbors=True))


@pytest.mark.parametrize("name", ["distance", "deformation", "pipeline"])
def test_one_search_is_enough(monkeypatch, name):
    rows = np.random.default_rng(6).integers(0, 256, (30, 42), dtype=np.uint8)
    model, calls, real = MODELS[name].fit(rows, rows[:, 0] % 2), [], ExactIndex.search
    monkeypatch.setattr(ExactIndex, "search", lambda *given, **named: calls.append(1) or real(*given, **named))
    predict_columns(model, rows, Wanted(proba=True, top=2, neighbors=True))
    assert calls == [1]


@pytest.mark.parametrize("name", ["uniform", "map", "pipeline"])
def test_a_model_with_column_names_does_not_warn(tmp_path, name):
    pandas = pytest.importorskip("pandas")
    rows = np.random.default_rng(7).integers(0, 256, (30, 42), dtype=np.uint8)
    frame = pandas.DataFrame(rows, columns=[f"pixel {i}" for i in range(42)])
    save(clone(MODELS[name]).fit(frame, rows[:, 0] % 2), tmp_path / "model")
    frame.to_parquet(tmp_path / "rows.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classify(tmp_path / "model", tmp_path / "rows.parquet", tmp_path / "out.npy")
    frame[["pixel 1", "pixel 0", *frame.columns[2:]]].to_parquet(tmp_path / "rows.parquet")
    classify(tmp_path / "model", tmp_path / "rows.parquet", tmp_path / "again.npy")
    assert (tmp_path / "again.npy").read_bytes() == (tmp_path / "out.npy").read_bytes()
