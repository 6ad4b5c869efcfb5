"""`somknn prototypes`, and the rows of prototypes in `somknn run`."""

import csv
import json

import pytest
from click.testing import CliRunner

import somknn
from somknn import datasets
from somknn.cli import main
from somknn.cli.methods import METHODS, run_method


def test_compares_and_keeps_everything(tmp_path):
    out = tmp_path / "results"
    arguments = [
        "prototypes",
        "--prototypes",
        "lvq",
        "--prototypes",
        "kmeans",
        "--numbers",
        "60, 20",
        "--out",
        str(out),
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "LVQ prototypes, 60" in result.output
    with open(out / "curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["prototypes from"], row["prototypes"]) for row in rows] == [
        ("lvq", "20"),
        ("lvq", "60"),
        ("kmeans", "20"),
        ("kmeans", "60"),
    ]
    model = somknn.load(out / "model.safetensors")
    data = datasets.load("digits")
    assert model.prototypes == "lvq"
    assert len(model.prototypes_) == 60
    assert model.score(data.X_test, data.y_test) == float(rows[1]["accuracy"])
    methods = json.loads((out / "metrics.json").read_text())["methods"]
    assert len(methods) == 5
    assert methods[0]["model_bytes"] > 10 * methods[1]["model_bytes"]
    for name in ("class-frequencies", "accuracy-curve", "confusion-all-rows", "confusion-lvq", "prototypes-kmeans"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--numbers", "ten"], "not a list such as 100,500,1000"),
        (["--numbers", ","], "--numbers is empty"),
        (["--dataset", "no-such-file.npy"], "no-such-file.npy"),
    ],
)
def test_errors_are_one_line(arguments, message, tmp_path):
    result = CliRunner().invoke(main, ["prototypes", *arguments, "--out", str(tmp_path / "results")])
    assert result.exit_code != 0
    assert message in result.output
    assert not (tmp_path / "results").exists()


def test_rows_of_run():
    data = datasets.load("digits", train_size=800, test_size=300)
    methods = {method.name: method for method in METHODS}
    for name in ("K-Means centres", "LVQ prototypes"):
        outcome = run_method(methods[name], data, lambda n: None)
        assert outcome.accuracy > 0.88
        assert outcome.record()["model_bytes"] == 80 * (64 + 4)
