"""Which column of a CSV file is the label: `--label`, `--header` and `--drop` of the commands."""

import csv
import json
import tracemalloc

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_regression

import somknn
from somknn.cli import main

QUICK = {
    "run": [],
    "tune": ["--k", "1-5", "--cv", 3, "--bootstrap", 0],
    "evaluate": ["--bootstrap", 0],
    "explore": [],
    "som": ["--grid", "3x3", "--epochs", 2, "--no-pictures"],
    "prototypes": ["--prototypes", "kmeans", "--numbers", "9", "--no-pictures"],
}


def command(name, *arguments):
    return CliRunner().invoke(main, [name, *map(str, [*QUICK[name], *arguments])])


def assert_refused(result, *texts):
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("Error: "), result.stderr
    assert result.stderr.count("\n") == 1
    for text in texts:
        assert text in result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("csv")
    frame = load_iris(as_frame=True).frame
    frame.to_csv(folder / "iris.csv", index=False)
    frame.to_csv(folder / "index.csv")
    frame.to_csv(folder / "plain.csv", index=False, header=False)
    frame.rename(columns={"target": "kind"}).to_csv(folder / "kind.csv", index=False)
    frame.drop(columns="target").to_csv(folder / "rows.csv", index=False)
    X, y = make_regression(30_000, 4, random_state=0)
    np.savetxt(folder / "quantities.csv", np.column_stack([X, y]), delimiter=",", header="a,b,c,d,target", comments="")
    load_diabetes(as_frame=True).frame.to_csv(folder / "diabetes.csv", index=False)
    return folder


@pytest.mark.parametrize("name", QUICK)
def test_every_command_finds_the_label_or_is_told(folder, tmp_path, name):
    for arguments in (
        ["iris.csv"],
        ["index.csv", "--drop", 1],
        ["kind.csv", "--label", "kind"],
        ["plain.csv", "--label", 5, "--header", "no"],
    ):
        out = tmp_path / arguments[0]
        result = command(name, "--dataset", folder / arguments[0], *arguments[1:], "--out", out)
        assert result.exit_code == 0, result.output
        assert "which column" not in result.stderr
        record = json.loads((out / "metrics.json").read_text()) if (out / "metrics.json").exists() else {}
        assert record.get("features", 4) == 4


@pytest.mark.parametrize("name", QUICK)
def test_every_command_asks_what_it_cannot_know(folder, tmp_path, name):
    out = tmp_path / "out"
    assert_refused(command(name, "--dataset", folder / "index.csv", "--out", out), "--drop 1 ", "--label 1 ")
    result = command(name, "--dataset", folder / "plain.csv", "--out", out)
    assert_refused(result, "--label")
    result = command(name, "--dataset", folder / "kind.csv", "--label", "sort", "--out", out)
    assert_refused(result, "no column 'sort' for --label", "kind")
    result = command(name, "--dataset", folder / "iris.csv", "--header", "maybe", "--out", out)
    assert result.exit_code == 2
    if name != "som":
        result = command(name, "--dataset", folder / "kind.csv", "--out", out)
        assert_refused(result, "which column is the label?", "petal width (cm), kind", "--label")
    assert not out.exists()


@pytest.mark.parametrize("name", [name for name in QUICK if name != "explore"])
def test_quantities_are_no_labels(folder, tmp_path, name):
    """Before memory for 30,000 × 30,000 classes is asked for."""
    tracemalloc.start()
    result = command(name, "--dataset", folder / "quantities.csv", "--out", tmp_path / "out")
    assert tracemalloc.get_traced_memory()[1] < 2e8
    tracemalloc.stop()
    assert_refused(result, "line 2, column 5 (target)", "is a fraction", "--label")
    result = command(name, "--dataset", folder / "diabetes.csv", "--out", tmp_path / "out")
    assert_refused(result, "look like quantities", "214 different ones", "--label")
    np.savez(tmp_path / "d.npz", X=np.ones((300, 2)), y=np.arange(300))
    result = command(name, "--dataset", tmp_path / "d.npz", "--out", tmp_path / "out")
    assert_refused(result, "look like quantities", "300 different ones")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["run", "tune", "evaluate", "prototypes"])
def test_commands_that_need_labels(folder, tmp_path, name):
    for arguments in (["rows.csv"], ["rows.csv", "--label", "none"]):
        result = command(name, "--dataset", folder / arguments[0], *arguments[1:], "--out", tmp_path / "out")
        assert_refused(result, "label", "--label NAME")


@pytest.mark.parametrize("arguments", [["rows.csv"], ["rows.csv", "--label", "none"]])
def test_a_map_of_rows_without_labels(folder, tmp_path, arguments):
    result = command("som", "--dataset", folder / arguments[0], *arguments[1:], "--out", tmp_path / "out", "--pictures")
    assert result.exit_code == 0, result.output
    assert ("all 4 columns are features" in result.stderr) == (len(arguments) == 1)
    assert "label accuracy" not in result.output
    model = somknn.load(tmp_path / "out" / "map.safetensors")
    assert isinstance(model, somknn.SOM)
    assert model.codebook_.shape == (3, 3, 4)
    with open(tmp_path / "out" / "history.csv", newline="") as file:
        (first, *_) = csv.DictReader(file)
    assert "label_accuracy" not in first
    pictures = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert "u-matrix.png" in pictures
    assert "label-map.png" not in pictures


def test_a_map_does_not_take_pixels_for_labels(tmp_path):
    X = load_digits().data
    np.savetxt(tmp_path / "rows.csv", X, fmt="%d", delimiter=",")
    result = command("som", "--dataset", tmp_path / "rows.csv", "--out", tmp_path / "out")
    assert_refused(result, "say --label 1 if the first of its 64 columns is the label", "--label none")
    result = command("som", "--dataset", tmp_path / "rows.csv", "--label", "none", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert somknn.load(tmp_path / "out" / "map.safetensors").codebook_.shape == (3, 3, 64)


def test_exploring_rows_without_labels(folder, tmp_path):
    result = command("explore", "--dataset", folder / "rows.csv", "--label", "none", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "rows of each class" not in result.output
    assert json.loads((tmp_path / "out" / "explore.json").read_text())["train"]["features"] == 4


def test_what_was_taken_for_the_label_is_said(tmp_path):
    X, y = load_digits(return_X_y=True)
    np.savetxt(tmp_path / "rows.csv", np.column_stack([y, X])[:300], fmt="%d", delimiter=",")
    result = command("evaluate", "--dataset", tmp_path / "rows.csv", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    said = "rows.csv: no column names: its first column is the label, 10 classes (0, 1, 2, …, 9); --label NUMBER says"
    assert result.stderr.count(said) == 1
