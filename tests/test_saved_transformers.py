"""scikit-learn's scalers, imputer and PCA in a saved Pipeline: the same answers, and no file that says otherwise."""

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    RobustScaler,
    StandardScaler,
)

import somknn
from somknn.batch import BatchError, classify
from somknn.persistence import ModelFileError, container, save
from somknn.persistence.transformers import TRANSFORMERS

X, Y = load_wine(return_X_y=True)
STEPS = [
    [StandardScaler()],
    [StandardScaler(with_mean=False)],
    [StandardScaler(with_std=False)],
    [StandardScaler(with_mean=False, with_std=False)],
    [MinMaxScaler((-1, 2), clip=True)],
    [MaxAbsScaler()],
    [RobustScaler(quantile_range=(10, 90))],
    [RobustScaler(with_centering=False)],
    [Normalizer("l1")],
    [SimpleImputer()],
    [SimpleImputer(strategy="median"), StandardScaler()],
    [SimpleImputer(strategy="constant", fill_value=3)],
    [SimpleImputer(strategy="most_frequent"), MinMaxScaler()],
    [StandardScaler(), PCA(5, whiten=True)],
    [PCA(0.9)],
]


def fitted(steps, dtype=np.float64):
    rows = X.astype(dtype)
    if isinstance(steps[0], SimpleImputer):
        rows[::7, 3] = np.nan
    return make_pipeline(*steps, somknn.KNeighborsClassifier(3)).fit(rows, Y), rows


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("steps", STEPS, ids=str)
def test_the_same_answers(tmp_path, steps, dtype):
    model, rows = fitted(steps, dtype)
    save(model, tmp_path / "m")
    again = somknn.load(tmp_path / "m")
    np.testing.assert_array_equal(again[:-1].transform(rows), model[:-1].transform(rows))
    np.testing.assert_array_equal(again.predict_proba(rows), model.predict_proba(rows))
    save(again, tmp_path / "twice")
    assert (tmp_path / "twice").read_bytes() == (tmp_path / "m").read_bytes()


def test_every_transformer_of_the_list_is_tried():
    assert {type(step).__name__ for steps in STEPS for step in steps} == set(TRANSFORMERS)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (OneHotEncoder(sparse_output=False), "OneHotEncoder cannot be saved.*StandardScaler, MinMaxScaler"),
        (ColumnTransformer([("scale", StandardScaler(), [0])]), "ColumnTransformer cannot be saved"),
        (FunctionTransformer(np.log1p), "FunctionTransformer cannot be saved"),
        (SimpleImputer(missing_values=0), "missing_values other than NaN are not saved"),
        (SimpleImputer(add_indicator=True), "add_indicator and strategies of one's own"),
        (SimpleImputer(strategy=np.max), "SimpleImputer.*"),
    ],
)
def test_what_is_not_saved(tmp_path, step, message):
    model = make_pipeline(step, somknn.KNeighborsClassifier(3)).fit(X, Y)
    with pytest.raises((TypeError, ValueError), match=message):
        save(model, tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("step", "change", "message"),
    [
        (StandardScaler(), {"0/scale_": np.zeros(13)}, "scale_ holds numbers that are not above 0"),
        (StandardScaler(), {"0/mean_": np.zeros(12)}, r"array 'mean_' has shape \(12,\), not 13"),
        (StandardScaler(), {"0/mean_": np.full(13, np.inf)}, "NaN or infinity"),
        (MinMaxScaler(), {"0/scale_": np.zeros(13, np.int64)}, "has dtype int64, not float32 or float64"),
        (PCA(2), {"0/components_": np.zeros((3, 13))}, r"'components_' has shape \(3, 13\), not 2 × 13"),
    ],
)
def test_files_that_lie(tmp_path, step, change, message):
    save(make_pipeline(step, somknn.KNeighborsClassifier(3)).fit(X, Y), tmp_path / "m")
    arrays, document = container.read(tmp_path / "m")
    (place,) = [name for name in arrays if name.endswith(next(iter(change)).removeprefix("0"))]
    container.write(tmp_path / "m", {**arrays, place: next(iter(change.values()))}, document)
    with pytest.raises(ModelFileError, match=message) as raised:
        somknn.load(tmp_path / "m")
    assert "\n" not in str(raised.value)


def test_files_are_classified_through_the_saved_scaling(tmp_path):
    model, _ = fitted([StandardScaler()])
    save(model, tmp_path / "m")
    np.savetxt(tmp_path / "rows.csv", X, "%.17g", ",")
    classify(tmp_path / "m", tmp_path / "rows.csv", tmp_path / "out.npy", header=False)
    assert list(np.load(tmp_path / "out.npy")["label"]) == list(model.predict(X))
    assert (np.load(tmp_path / "out.npy")["label"] == Y).mean() > 0.95


@pytest.mark.parametrize("ending", ["csv", "npy"])
def test_missing_values_are_for_an_imputer(tmp_path, ending):
    model, rows = fitted([SimpleImputer(strategy="median"), StandardScaler()])
    save(model, tmp_path / "imputed")
    save(fitted([StandardScaler()])[0], tmp_path / "scaled")
    path = tmp_path / f"rows.{ending}"
    if ending == "csv":
        lines = [",".join("" if np.isnan(value) else repr(float(value)) for value in row) for row in rows]
        path.write_text("\n".join(lines).replace(",,", ",NA,", 3))
    else:
        np.save(path, rows)
    classify(tmp_path / "imputed", path, tmp_path / "out.npy", header=False)
    assert list(np.load(tmp_path / "out.npy")["label"]) == list(model.predict(rows))
    with pytest.raises(BatchError, match=r"column 4: (missing value or )?not a finite number"):
        classify(tmp_path / "scaled", path, tmp_path / "out.npy", header=False)
    rows[5, 2] = np.inf
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(BatchError, match="row 5, column 3: not a finite number"):
        classify(tmp_path / "imputed", tmp_path / "rows.npy", tmp_path / "out.npy")
