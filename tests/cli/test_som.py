"""`somknn som`, and the rows of maps in `somknn run`."""

import csv

import pytest
from click.testing import CliRunner

import somknn
from somknn import datasets
from somknn.cli import main
from somknn.cli.methods import METHODS, run_method


def test_trains_and_keeps_everything(tmp_path):
    out = tmp_path / "map"
    arguments = ["som", "--grid", "6x7", "--epochs", "4", "--topology", "hexagonal", "--out", str(out)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "6×7 hexagonal map" in result.output
    with open(out / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert {"quantization_error", "topographic_error", "label_accuracy"} <= set(rows[0])
    model = somknn.load(out / "map.safetensors")
    data = datasets.load("digits")
    assert f"{100 * model.score(data.X_test, data.y_test):.2f} %" in result.output
    for name in ("label-map", "u-matrix", "hit-map", "component-planes", "learning-curves", "weights"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "20"], "is not a number of rows and columns"),
        (["--grid", "0x5"], "is not a number of rows and columns"),
        (["--grid", "3x4", "--topology", "hexagonal", "--boundary", "torus"], "even n_rows"),
        (["--dataset", "no-such-file.npy"], "no-such-file.npy"),
    ],
)
def test_errors_are_one_line(arguments, message, tmp_path):
    result = CliRunner().invoke(main, ["som", *arguments, "--out", str(tmp_path / "map")])
    assert result.exit_code != 0
    assert message in result.output
    assert not (tmp_path / "map").exists()


def test_rows_of_run():
    data = datasets.load("digits", train_size=400, test_size=100)
    methods = {method.name: method for method in METHODS}
    outcome = run_method(methods["SOM label map"], data, lambda n: None)
    history = outcome.record()["history"]
    assert len(history["label_accuracy"]) == len(history["quantization_error"]) == 25
    assert history["quantization_error"][-1] < history["quantization_error"][0]
    assert outcome.accuracy > 0.85
    assert run_method(methods["SOM features + k-NN"], data, lambda n: None).accuracy > 0.85
