"""Tables with columns of text and missing cells: `--categories` and `--impute`, from a file to predictions."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import somknn
from somknn import datasets
from somknn.cli import main

QUICK: dict[str, list] = {
    "run": [],
    "tune": ["--k", "1-5", "--cv", 3, "--bootstrap", 0],
    "evaluate": ["--bootstrap", 0],
    "som": ["--grid", "3x3", "--epochs", 2, "--no-pictures"],
    "prototypes": ["--prototypes", "kmeans", "--numbers", "9", "--no-pictures"],
}
SAVED = {
    "run": "model.safetensors",
    "tune": "model.safetensors",
    "som": "map.safetensors",
    "prototypes": "model.safetensors",
}


def command(name, *arguments):
    return CliRunner().invoke(main, [name, *map(str, [*QUICK.get(name, []), *arguments])])


def assert_refused(result, *texts):
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    for text in texts:
        assert text in result.stderr


def penguins():
    """600 rows: the island and the mass tell the species, one cell in ten of the masses and the sexes is missing."""
    rng, n = np.random.default_rng(0), 600
    species, islands = rng.integers(0, 3, n), np.array(["Biscoe", "Dream, West", "Torgersen"])
    frame = pd.DataFrame(
        {
            "island": np.where(rng.random(n) < 0.85, islands[species], rng.choice(islands, n)),
            "bill": rng.normal(40 + 3 * species, 3, n).round(1),
            "sex": rng.choice(["m", "f", ""], n, p=[0.45, 0.45, 0.1]),
            "mass": rng.normal(4000 + 200 * species, 300, n).round(),
            "zone": rng.integers(1, 4, n),
            "target": np.array(["Adelie", "Chinstrap", "Gentoo"])[species],
        }
    )
    frame.loc[rng.random(n) < 0.1, "mass"] = np.nan
    return frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    frame = penguins()
    frame.to_csv(folder / "p.csv", index=False)
    frame.to_parquet(folder / "p.parquet")
    frame.astype({"island": "category", "zone": float}).to_feather(folder / "p.feather")
    frame.drop(columns="target").iloc[:, ::-1].to_csv(folder / "new.csv", index=False)
    frame.drop(columns="target").iloc[:, ::-1].to_parquet(folder / "new.parquet")
    return folder


def labels(path):
    with open(path, newline="") as file:
        return [row["label"] for row in csv.DictReader(file)]


CODED = "--categories", "text,zone", "--impute", "mean"


@pytest.mark.parametrize("name", SAVED)
def test_from_a_table_of_texts_to_predictions(folder, tmp_path, name):
    frame = penguins()
    for ending in ("csv", "parquet", "feather") if name == "run" else ("csv",):
        out = tmp_path / ending
        result = command(name, "--dataset", folder / f"p.{ending}", *CODED, "--out", out)
        assert result.exit_code == 0, result.output
        model, found = out / SAVED[name], []
        for rows in ("csv", "parquet"):
            result = command("classify", model, folder / f"new.{rows}", "-o", tmp_path / f"{ending}-{rows}.csv")
            assert result.exit_code == 0, result.output
            found.append(labels(tmp_path / f"{ending}-{rows}.csv"))
        assert found[0] == found[1]
        assert np.mean(found[0] == frame["target"]) > (0.4 if name in ("som", "prototypes") else 0.9)
        loaded = somknn.load(model)
        given = frame.drop(columns="target").astype({"zone": str})
        assert list(loaded.predict(given)) == found[0]


def test_the_same_rows_whatever_the_kind_of_file(folder):
    wanted = {"categories": ["text", "zone"], "missing": True}
    first = datasets.load(folder / "p.csv", **wanted)
    assert first.categories == (0, 2, 4)
    assert first.X_train.dtype == object
    for ending in ("parquet", "feather"):
        other = datasets.load(folder / f"p.{ending}", **wanted)
        assert other.categories == first.categories
        for part in ("X_train", "X_test"):
            one, two = getattr(first, part), getattr(other, part)
            assert ((one == two) | ((one != one) & (two != two))).all()


def test_the_codes_are_scikit_learn_s(folder):
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder

    from somknn.evaluation.encoding import encoded

    raw = datasets.load(folder / "p.csv", categories="text", missing=True)
    data = encoded(raw, "median")
    texts, numbers = raw.X_train[:, [0, 2]], raw.X_train[:, [1, 3, 4]].astype(float)
    coder = OneHotEncoder(sparse_output=False).fit(texts)
    filler = SimpleImputer(strategy="median").fit(numbers)
    expected = np.hstack([coder.transform(raw.X_test[:, [0, 2]]), filler.transform(raw.X_test[:, [1, 3, 4]])])
    np.testing.assert_array_equal(data.X_test, expected)
    assert data.feature_names[:3] == ["island_Biscoe", "island_Dream, West", "island_Torgersen"]
    assert data.column_names == ["island", "bill", "sex", "mass", "zone"]


def test_what_is_not_said_is_asked(folder, tmp_path):
    out = "--out", tmp_path / "out"
    for name in QUICK:
        said = command(name, "--dataset", folder / "p.csv", *out)
        assert_refused(said, ", column 1 (island): '", "--categories island", "--drop island")
        assert_refused(command(name, "--dataset", folder / "p.parquet", *out), "'island'", "--categories")
        for ending, place in (("csv", "line "), ("parquet", "row ")):
            said = command(name, "--dataset", folder / f"p.{ending}", "--categories", "text", *out)
            assert_refused(said, place, "column 4 (mass): a missing value: --impute mean, median or most_frequent")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "arguments", "messages"),
    [
        ("a,target\n1,x\n?,y\n3,x\n", ["text"], ["line 3, column 1 (a): '?' among numbers", "text,a", "--drop a"]),
        ("a,target\n1,x\n?,y\n3,x\n", ["target"], ["column target is given to --categories and to --label"]),
        ("a,target\n1,x\n?,y\n3,x\n", ["b"], ["no column 'b' for --categories"]),
        ("a,target\n1,x\n,y\n3,x\n", ["text"], ["line 3, column 1 (a): a missing value: --impute"]),
        ("a,target\nNA,x\n2,y\n3,x\n", ["text"], ["line 2, column 1 (a): 'NA' is a missing value: --impute"]),
        (
            "a,target\n" + "".join(f"name {i},{i % 2}\n" for i in range(50)),
            ["text"],
            ["'name 0' is one of 50 different texts in 50 rows", "--drop a"],
        ),
        (
            "a,target\n" + "".join(f"name {i},{i % 2}\n" for i in range(1500)),
            ["a"],
            ["column 1 (a): 1,500 different texts, more than 1,000 categories: --drop a"],
        ),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_odd_columns_are_one_clear_line(tmp_path, text, arguments, messages, ending):
    path = tmp_path / "t.csv"
    path.write_text(text)
    if ending == "parquet":
        path = tmp_path / "t.parquet"
        pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False).to_parquet(path)
        messages = [message.replace("line 2", "row 0").replace("line 3", "row 1") for message in messages]
    result = command("run", "--dataset", path, "--categories", ",".join(arguments), "--out", tmp_path / "o")
    assert_refused(result, *messages)


def test_a_column_without_values_is_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,target\n" + "".join(f",{i},{i % 2}\n" for i in range(20)))
    result = command("run", "--dataset", path, "--impute", "mean", "--out", tmp_path / "o")
    assert_refused(result, "the column a has no value in the training rows: --drop a")


def test_missing_numbers_only(tmp_path):
    """An imputer alone: no category."""
    frame = penguins()[["bill", "mass", "target"]]
    frame.to_csv(tmp_path / "t.csv", index=False)
    result = command("tune", "--dataset", tmp_path / "t.csv", "--impute", "median", "--out", tmp_path / "o")
    assert result.exit_code == 0, result.output
    model = somknn.load(tmp_path / "o" / "model.safetensors")
    assert type(model[0]).__name__ == "SimpleImputer"
    frame.drop(columns="target").to_csv(tmp_path / "new.csv", index=False)
    result = command("classify", tmp_path / "o" / "model.safetensors", tmp_path / "new.csv", "-o", tmp_path / "p.csv")
    assert result.exit_code == 0, result.output
    assert labels(tmp_path / "p.csv") == list(model.predict(frame.drop(columns="target")))


def test_categories_that_only_test_rows_have(tmp_path):
    frame = penguins()
    frame.iloc[:400].to_csv(tmp_path / "train.csv", index=False)
    test = frame.iloc[400:].copy()
    test.iloc[3, 0] = "Elsewhere"
    test.to_csv(tmp_path / "test.csv", index=False)
    result = command("evaluate", "--dataset", tmp_path / "train.csv", *CODED, "--out", tmp_path / "o")
    assert result.exit_code == 0, result.output
    assert "Warning: 1 test rows have a category of island that training rows lack ('Elsewhere')" in result.stderr


def test_a_saved_model_is_judged_on_the_table_itself(folder, tmp_path):
    assert command("tune", "--dataset", folder / "p.csv", *CODED, "--out", tmp_path / "t").exit_code == 0
    after = json.loads((tmp_path / "t" / "metrics.json").read_text())["methods"][1]
    judged = "--model", tmp_path / "t" / "model.safetensors", "--out", tmp_path / "e"
    for ending in ("csv", "parquet"):
        result = command("evaluate", "--dataset", folder / f"p.{ending}", *judged)
        assert result.exit_code == 0, result.output
        (method,) = json.loads((tmp_path / "e" / "metrics.json").read_text())["methods"]
        assert method["scores"]["accuracy"]["value"] == after["scores"]["accuracy"]["value"]


def test_regression_on_texts(folder, tmp_path):
    frame = penguins().drop(columns="mass").rename(columns={"target": "species"}).assign(target=penguins()["mass"])
    frame.dropna().to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "o"
    result = command(
        *("tune", "--dataset", tmp_path / "t.csv", "--task", "regression", "--categories", "text", "--out", out)
    )
    assert result.exit_code == 0, result.output
    frame.drop(columns="target").to_csv(tmp_path / "new.csv", index=False)
    result = command("predict", out / "model.safetensors", tmp_path / "new.csv", "-o", tmp_path / "v.csv")
    assert result.exit_code == 0, result.output
    values = pd.read_csv(tmp_path / "v.csv")["value"]
    truth = frame["target"]
    assert np.sqrt(np.nanmean((values - truth) ** 2)) < 0.95 * truth.std()


def test_integers_for_a_scaled_model_of_fractions_are_asked_about(tmp_path):
    """A Pipeline's scaler does not know whether it saw integers or fractions; the saved model does."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((90, 3)) * [1, 100, 1e4], columns=list("abc")).assign(target=np.arange(90) % 3)
    frame["a"] += frame["target"]
    frame.to_csv(tmp_path / "t.csv", index=False)
    for name in ("run", "tune"):
        scaled = ["--scaling", "standard"] if name == "run" else ["--features", "standard"]
        out = tmp_path / name
        assert command(name, "--dataset", tmp_path / "t.csv", *scaled, "--out", out).exit_code == 0
        np.save(tmp_path / "new.npy", np.arange(30, dtype=np.uint8).reshape(-1, 3))
        arguments = "classify", out / "model.safetensors", tmp_path / "new.npy", "-o", out / "o.csv"
        result = command(*arguments)
        assert result.exit_code == 3
        assert (
            "uint8 values, but the model was fitted on float64; if they have the same scale, allow it" in result.stderr
        )
        result = command(*arguments, "--cast")
        assert result.exit_code == 0, result.output


def explored(path, tmp_path, *more):
    result = command("explore", "--dataset", path, "--out", tmp_path / "x", *more)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "x" / "explore.json").read_text())
    return result, found, {column["name"]: column for column in found["columns"]}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_explore_shows_each_column(folder, tmp_path, ending):
    frame = penguins()
    result, found, columns = explored(folder / f"p.{ending}", tmp_path)
    for shown in ("whole numbers", "fractions", "text", "Torgersen (", "rows of each class"):
        assert shown in result.output
    assert [*columns] == ["island", "bill", "sex", "mass", "zone", "label"]
    bill, mass, sex = columns["bill"], columns["mass"], columns["sex"]
    assert (bill["kind"], mass["kind"], sex["kind"]) == ("fractions", "whole numbers", "text")
    assert (bill["smallest"], bill["largest"]) == (frame["bill"].min(), frame["bill"].max())
    assert bill["distinct"] == frame["bill"].nunique()
    np.testing.assert_allclose(mass["mean"], frame["mass"].mean())
    assert (mass["missing"], sex["missing"]) == (frame["mass"].isna().sum(), (frame["sex"] == "").sum())
    assert (sex["distinct"], sex["smallest"]) == (2, None)
    counts = frame["island"].value_counts()
    assert (columns["island"]["most_frequent"], columns["island"]["times"]) == (counts.index[0], counts.iloc[0])
    assert found["train"]["not_finite_values"] + found["test"]["not_finite_values"] == mass["missing"]
    assert found["train"]["largest"] == max(found["train"]["largest"], bill["largest"])


def test_explore_shows_what_training_would_refuse(tmp_path):
    """Numbers beside texts, names, an empty column, a label that is a number, many classes."""
    path = tmp_path / "t.csv"
    rows = [f"{'?' if i == 3 else i},name {i},,{i / 4}" for i in range(60)]
    path.write_text("age,name,empty,target\n" + "\n".join(rows) + "\n")
    result, found, columns = explored(path, tmp_path)
    assert [column["kind"] for column in columns.values()] == ["text and numbers", "text", "nothing", "fractions"]
    assert columns["label"]["largest"] == 59 / 4
    assert found["train"]["class_counts"] == {}
    assert "rows of each class" not in result.output
    many = tmp_path / "many.csv"
    many.write_text("a,target\n" + "".join(f"{i % 7},{i}\n" for i in range(300)))
    _, found, columns = explored(many, tmp_path)
    assert columns["label"]["distinct"] == 300
    assert columns["a"]["distinct"] == 7
    _, _, columns = explored(many, tmp_path, "--label", "none")
    assert [*columns] == ["a", "target"]


def test_explore_shows_pixels_as_pictures(tmp_path):
    _, found, columns = explored("digits", tmp_path)
    assert columns == {}
    assert found["image_shape"] == [8, 8]
