"""`--task regression` of `run`, `tune` and `evaluate`, as a user types it."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_diabetes

import somknn
from somknn.cli import main

QUICK = {
    "run": [],
    "tune": ["--k", "1-12", "--cv", "4", "--bootstrap", "20"],
    "evaluate": ["--bootstrap", "20"],
}


def command(name, *arguments):
    return CliRunner().invoke(main, [name, *map(str, [*QUICK.get(name, []), *arguments])])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("regression") / "diabetes.csv"
    load_diabetes(as_frame=True).frame.to_csv(path, index=False)
    return path


def values(path):
    with open(path, newline="") as file:
        return np.array([float(row["value"]) for row in csv.DictReader(file)])


def test_from_a_csv_to_predictions_by_three_commands(tmp_path, table):
    frame = load_diabetes(as_frame=True).frame
    out = tmp_path / "run"
    result = command("run", "--dataset", table, "--task", "regression", "--out", out)
    assert result.exit_code == 0, result.output
    for name in ("RMSE", "MAE", "R²", "Scaling of the columns"):
        assert name in result.output
    record = json.loads((out / "metrics.json").read_text())
    assert record["task"] == "regression"
    rmse = [method["scores"]["rmse"]["value"] for method in record["methods"]]
    assert record["methods"][3]["method"] == "mean of the training targets"
    assert max(rmse[:3]) < rmse[3]
    truth = values(out / "predictions.csv")
    assert len(truth) == 88

    tuned = tmp_path / "tune"
    result = command("tune", "--dataset", table, "--task", "regression", "--out", tuned)
    assert result.exit_code == 0, result.output
    record = json.loads((tuned / "metrics.json").read_text())
    before, after = record["methods"]
    assert after["cross_validation_mean"] < before["cross_validation_mean"]
    page = (tuned / "report.html").read_text()
    for shown in ("Predicted and true values", "Cross-validated RMSE", "Largest errors of", "Tuning", "image/svg+xml"):
        assert shown in page
    rows = list(csv.DictReader((tuned / "tuning.csv").read_text().splitlines()))
    assert len(rows) == 3 * 12 * 2
    np.testing.assert_allclose(-float(rows[0]["mean_test_score"]), after["cross_validation_mean"])

    new = tmp_path / "new.csv"  # columns in another order
    frame.drop(columns="target").iloc[:, ::-1].to_csv(new, index=False)
    for place in (out, tuned):
        result = command("predict", place / "model.safetensors", new, "-o", place / "values.csv")
        assert result.exit_code == 0, result.output
        model = somknn.load(place / "model.safetensors")
        expected = model.predict(frame.drop(columns="target"))
        assert (values(place / "values.csv") == expected).all()
        assert expected.std() > 20


def test_a_saved_regressor_is_judged_again(tmp_path, table):
    tuned = tmp_path / "tune"
    assert command("tune", "--dataset", table, "--task", "regression", "--out", tuned).exit_code == 0
    after = json.loads((tuned / "metrics.json").read_text())["methods"][1]
    judge = "evaluate", "--dataset", table, "--model", tuned / "model.safetensors", "--out", tmp_path / "e"
    result = command(*judge, "--task", "regression")
    assert result.exit_code == 0, result.output
    (of_saved,) = json.loads((tmp_path / "e" / "metrics.json").read_text())["methods"]
    assert of_saved["scores"] == after["scores"]
    other = pd.read_csv(table)
    other["target"] = (other["target"] > 100).astype(int)
    other.to_csv(tmp_path / "classes.csv", index=False)
    result = command(*judge[:2], tmp_path / "classes.csv", *judge[3:])
    assert result.exit_code == 1
    assert "no classifier; --task regression judges it" in result.stderr
    result = command("evaluate", "--dataset", table, "--task", "regression", "--cv", 5, "--out", tmp_path / "c")
    assert result.exit_code == 0, result.output
    (method,) = json.loads((tmp_path / "c" / "metrics.json").read_text())["methods"]
    assert len(method["cross_validation"]) == 5
    assert abs(method["cross_validation_mean"] - method["scores"]["rmse"]["value"]) < 15


@pytest.mark.parametrize("name", QUICK)
def test_a_continuous_target_asks_for_regression(tmp_path, table, name):
    result = command(name, "--dataset", table, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "--task regression" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["parquet", "npz", "npy", "arrow"])
def test_other_kinds_of_files(tmp_path, kind):
    frame = load_diabetes(as_frame=True).frame.astype({"target": float})
    frame["target"] += 0.25
    path = tmp_path / f"d.{kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "arrow":
        frame.to_feather(path)
    elif kind == "npz":
        np.savez(path, X=frame.drop(columns="target"), y=frame["target"])
    else:
        np.save(path, frame[["target", *frame.columns[:-1]]].to_numpy())
    result = command("evaluate", "--dataset", path, "--out", tmp_path / "no")
    assert result.exit_code == 1
    assert "--task regression" in result.stderr
    result = command("evaluate", "--dataset", path, "--task", "regression", "--out", tmp_path / "e")
    assert result.exit_code == 0, result.output
    (method,) = json.loads((tmp_path / "e" / "metrics.json").read_text())["methods"]
    assert 50 < method["scores"]["rmse"]["value"] < 75


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (
            "a,target\n1,2\n3,x\n5,6\n",
            [],
            "line 3, column 2 (target): 'x' is not a finite number, which --task regression",
        ),
        ("a,target\n1,2\n3,\n5,6\n", [], "line 3, column 2 (target): the label is missing"),
        ("1.5,2\n3,4\n5,6\n", [], "no column names: say --label 1"),
        ("a,b,c\n1,2,3\n3,4,5\n", [], "which column is the label?"),
        (None, [], "digits has classes; --task regression is for"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, text, arguments, message):
    path = tmp_path / "rows.csv"
    path.write_text(text or "")
    result = command(
        "run",
        "--dataset",
        "digits" if text is None else path,
        "--task",
        "regression",
        *arguments,
        "--out",
        tmp_path / "o",
    )
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_a_preset_predicts_no_numbers(tmp_path):
    result = command("run", "--preset", "fast", "--task", "regression", "--out", tmp_path / "o")
    assert result.exit_code == 2
    assert "--preset classifies images" in result.output


def test_one_row_too_few_for_k_is_told(tmp_path):
    path = tmp_path / "few.csv"
    path.write_text("a,target\n" + "".join(f"{i},{i * 1.5}\n" for i in range(5)))
    result = command("run", "--dataset", path, "--task", "regression", "--out", tmp_path / "o")
    assert result.exit_code == 1
    assert "n_neighbors" in result.stderr
    assert "Traceback" not in result.output
