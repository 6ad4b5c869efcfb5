"""scikit-learn's scalers, imputer and PCA in a saved Pipeline: the same answers, and no file that says otherwise."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
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
    [OneHotEncoder(handle_unknown="ignore", sparse_output=False)],
    [OneHotEncoder(drop="first", sparse_output=False), StandardScaler()],
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
        (KBinsDiscretizer(3, encode="ordinal"), "KBinsDiscretizer cannot be saved.*StandardScaler, MinMaxScaler"),
        (OneHotEncoder(sparse_output=False, max_categories=3), "max_categories and drop by category are not saved"),
        (ColumnTransformer([("pca", PCA(1), [0])]), "a PCA in it is not saved"),
        (ColumnTransformer([("s", StandardScaler(), [0])], remainder=MinMaxScaler()), "remainder must be drop"),
        (ColumnTransformer([("f", FunctionTransformer(np.log1p), [0])]), "a FunctionTransformer in it is not saved"),
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


COLOURS = np.array(["red", "grün", "", "1"], dtype=object)
TABLE = np.column_stack([COLOURS[np.arange(len(X)) % 4], X[:, :3].astype(object), COLOURS[::-1][Y]])
TABLE[::9, 2] = np.nan
PARTS = {
    "positions": ColumnTransformer(
        [("c", OneHotEncoder(handle_unknown="ignore", sparse_output=False), [4, 0]), ("i", SimpleImputer(), [2])],
        remainder="passthrough",
    ),
    "sparse": ColumnTransformer(
        [("c", OneHotEncoder(drop="if_binary"), slice(4, 5)), ("i", SimpleImputer(strategy="median"), slice(1, 4))],
        sparse_threshold=0,
        verbose_feature_names_out=False,
    ),
    "pipelines": ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(strategy="most_frequent"), RobustScaler()), [2, 1]),
            ("x", "drop", [3]),
            ("c", make_pipeline(OneHotEncoder(sparse_output=False), MaxAbsScaler()), [0]),
        ],
        transformer_weights={"c": 0.5},
    ),
    "filled": ColumnTransformer(
        [("i", SimpleImputer(), [1, 2, 3]), ("c", OneHotEncoder(handle_unknown="ignore", sparse_output=False), [4, 0])]
    ),
    "known": ColumnTransformer(
        [("c", OneHotEncoder(categories=[["red", "grün", "", "1", "never"]], sparse_output=False), [0])]
    ),
}


def of_table(name):
    return make_pipeline(PARTS[name], MinMaxScaler(), somknn.KNeighborsClassifier(3)).fit(TABLE, Y)


@pytest.mark.parametrize("name", PARTS)
def test_columns_of_text(tmp_path, name):
    model = of_table(name)
    save(model, tmp_path / "m")
    again = somknn.load(tmp_path / "m")
    np.testing.assert_array_equal(again[:-1].transform(TABLE), model[:-1].transform(TABLE))
    np.testing.assert_array_equal(again.predict_proba(TABLE), model.predict_proba(TABLE))
    assert list(again[0].get_feature_names_out()) == list(model[0].get_feature_names_out())
    assert again[0].output_indices_ == model[0].output_indices_
    save(again, tmp_path / "twice")
    assert (tmp_path / "twice").read_bytes() == (tmp_path / "m").read_bytes()


def test_names_of_a_frame_are_kept(tmp_path):
    frame = pd.DataFrame(TABLE, columns=["colour", "a", "b", "c", "other"]).astype({"a": float, "b": float, "c": float})
    parts = [("c", OneHotEncoder(sparse_output=False), ["other", "colour"]), ("i", SimpleImputer(), ["b", "a"])]
    model = make_pipeline(ColumnTransformer(parts), somknn.KNeighborsClassifier(3)).fit(frame, Y)
    save(model, tmp_path / "m")
    again = somknn.load(tmp_path / "m")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(frame))
        turned = again.predict_proba(frame.iloc[:, ::-1])  # by name, as scikit-learn does
    np.testing.assert_array_equal(turned, model.predict_proba(frame))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["params"].update(remainder="sklearn"), "remainder"),
        (lambda c: c["params"].update(transformers=[]), "ColumnTransformer"),
        (lambda c: c["params"]["transformers"][0]["$tuple"].__setitem__(2, [4, 9]), "are no positions below 5"),
        (lambda c: c["params"]["transformers"][0]["$tuple"].__setitem__(2, [4, 4]), "are no positions below 5"),
        (lambda c: c["params"]["transformers"][0]["$tuple"].__setitem__(2, [4]), "another number of columns"),
        (lambda c: c["params"]["transformers"][0]["$tuple"].__setitem__(1, "all"), "a step of a ColumnTransformer"),
        (lambda c: c["params"]["transformers"][1]["$tuple"].__setitem__(0, "c"), "ColumnTransformer.*unique"),
        (lambda c: c["params"].update(n_jobs="many"), "n_jobs"),
        (lambda c: c["params"].update(force=1), "no parameter"),
        (lambda c: c["state"].update(n_features_in_=2**40), "ColumnTransformer"),
        (lambda c: c["state"].update(sparse_output_=1), "not true or false"),
        (lambda c: c["state"].update(transformers_=1), "no fitted attribute"),
        (lambda c: encoder(c)["state"].update(categories_=[]), "not a list"),
        (lambda c: encoder(c)["state"]["categories_"].pop(), "not those of 2 columns"),
        (lambda c: texts(c).__setitem__("values", [*texts(c)["values"][:-1], 7]), "no text"),
        (lambda c: texts(c).__setitem__("values", [texts(c)["values"][0]] * len(texts(c)["values"])), "twice"),
        (lambda c: encoder(c)["params"].update(handle_unknown="eval"), "handle_unknown"),
        (lambda c: encoder(c)["params"].update(min_frequency=3), "min_frequency"),
    ],
)
def test_column_transformers_that_lie(tmp_path, change, message):
    save(of_table("positions"), tmp_path / "m")
    arrays, document = container.read(tmp_path / "m")
    change(document["estimator"]["params"]["steps"][0]["$tuple"][1]["$estimator"])
    container.write(tmp_path / "m", arrays, document)
    with pytest.raises(ModelFileError, match=message) as raised:
        somknn.load(tmp_path / "m")
    assert "\n" not in str(raised.value)


def encoder(content):
    return content["params"]["transformers"][0]["$tuple"][1]["$estimator"]


def texts(content):
    return encoder(content)["state"]["categories_"][0]["$objects"]


def test_a_file_of_very_many_categories_is_refused(tmp_path):
    save(of_table("known"), tmp_path / "m")
    arrays, document = container.read(tmp_path / "m")
    content = document["estimator"]["params"]["steps"][0]["$tuple"][1]["$estimator"]
    texts(content).update(values=[str(i) for i in range(100_001)], shape=[100_001])
    container.write(tmp_path / "m", arrays, document)
    with pytest.raises(ModelFileError, match="categories_ are not those of"):
        somknn.load(tmp_path / "m")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_files_of_texts_are_classified(tmp_path, ending):
    """Columns of text, missing numbers, and rows with texts that training did not see."""
    model = of_table("filled")
    save(model, tmp_path / "m")
    frame = pd.DataFrame(TABLE, columns=list("cdefg")).astype({"d": float, "e": float, "f": float})
    path = tmp_path / f"rows.{ending}"
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    given = {"columns": "given", "chunk_bytes": 9 * 40 * 5}
    assert classify(tmp_path / "m", path, tmp_path / "o.npy", **given).rows == len(TABLE)
    np.testing.assert_array_equal(np.load(tmp_path / "o.npy")["label"], model.predict(TABLE))
    frame.loc[7, "c"] = "mauve"
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    with pytest.raises(BatchError, match=r"row 7, column 1: a category that the model does not know; .*\(mauve\)"):
        classify(tmp_path / "m", path, tmp_path / "o.npy", **given)
    summary = classify(tmp_path / "m", path, tmp_path / "o.npy", on_bad_row="skip", **given)
    assert (summary.rows, summary.rejects) == (len(TABLE) - 1, 1)
    assert 7 not in np.load(tmp_path / "o.npy")["row"]
    classify(tmp_path / "m", path, tmp_path / "o.npy", unknown_categories="ignore", **given)
    expected = TABLE.copy()
    expected[7, 0] = "mauve"
    np.testing.assert_array_equal(np.load(tmp_path / "o.npy")["label"], model.predict(expected))


def test_arrays_have_no_texts(tmp_path):
    save(of_table("positions"), tmp_path / "m")
    np.save(tmp_path / "rows.npy", X[:, :5])
    with pytest.raises(BatchError, match="numbers only, and the model has columns of categories"):
        classify(tmp_path / "m", tmp_path / "rows.npy", tmp_path / "o.npy")
    pd.DataFrame(TABLE[:, :4]).to_csv(tmp_path / "rows.csv", index=False, header=["a", "b", "c", "d"])
    with pytest.raises(BatchError, match="4 columns, the model expects 5"):
        classify(tmp_path / "m", tmp_path / "rows.csv", tmp_path / "o.npy")
