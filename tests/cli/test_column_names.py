"""Models that commands save from a table know its column names, and saved models find their columns by name."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_wine

import somknn
from somknn import datasets
from somknn.cli import main

WINE = load_wine()
NAMES = [str(name) for name in WINE.feature_names]
COMMANDS = {
    "run": ("model.safetensors", []),
    "tune": ("model.safetensors", ["--k", "3", "--weights", "uniform", "--cv", "3", "--bootstrap", "0"]),
    "prototypes": ("model.safetensors", ["--prototypes", "sample", "--numbers", "20", "--no-pictures"]),
    "som": ("map.safetensors", ["--grid", "3x3", "--epochs", "2", "--no-pictures"]),
}


def command(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def write(path, names, rows, labels=None):
    head, columns = list(names), [rows[:, NAMES.index(name)] if name in NAMES else rows[:, 0] for name in names]
    if labels is not None:
        head, columns = ["class", *head], [labels, *columns]
    lines = [",".join(map(str, line)) for line in (head, *zip(*columns, strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def wine(tmp_path):
    return write(tmp_path / "wine.csv", NAMES, WINE.data, WINE.target)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_saved_model_knows_the_names(tmp_path, wine, name):
    saved, options = COMMANDS[name]
    result = command(name, "--dataset", wine, "--out", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert "valid feature names" not in result.output
    model = somknn.load(tmp_path / "out" / saved)
    assert list(model.feature_names_in_) == NAMES
    answers = []
    for order in (NAMES, NAMES[::-1]):
        path = write(tmp_path / "rows.csv", order, WINE.data)
        result = command("classify", "--overwrite", tmp_path / "out" / saved, path, "-o", tmp_path / "labels.npy")
        assert result.exit_code == 0, result.output
        answers.append(np.load(tmp_path / "labels.npy")["label"])
    np.testing.assert_array_equal(answers[0], answers[1])


@pytest.mark.parametrize("text", ["class,feature_0,feature_1\n", ""])
def test_names_as_they_are_made_up(tmp_path, text):
    path = tmp_path / "rows.csv"
    path.write_text(text + "".join(f"{i % 2},{i % 2 * 100 + i / 7},{i}\n" for i in range(40)))
    data = datasets.load(path)
    assert data.feature_names == ["feature_0", "feature_1"]
    assert data.column_names == (data.feature_names if text else None)


def test_data_sets_without_names():
    assert datasets.load("digits").column_names is None


def test_a_pipeline_of_images_knows_the_names(tmp_path):
    digits = datasets.load("digits", train_size=200, test_size=50)
    names = [f"p{i}" for i in range(64)]
    lines = [",".join(["label", *names])]
    lines += [",".join(map(str, (y, *row))) for y, row in zip(digits.y_train, digits.X_train, strict=True)]
    (tmp_path / "digits.csv").write_text("\n".join(lines) + "\n")
    arguments = "--image-shape", "8x8", "--preset", "fast", "--out", tmp_path / "out"
    result = command("run", "--dataset", tmp_path / "digits.csv", *arguments)
    assert result.exit_code == 0, result.output
    model = somknn.load(tmp_path / "out" / "model.safetensors")
    assert list(model.feature_names_in_) == names


def test_evaluate_finds_the_columns_of_a_saved_model(tmp_path, wine):
    command("run", "--dataset", wine, "--out", tmp_path / "out")
    model, accuracies = tmp_path / "out" / "model.safetensors", []
    for names in (NAMES, NAMES[::-1]):
        path = write(tmp_path / "again.csv", names, WINE.data, WINE.target)
        arguments = "--dataset", path, "--model", model, "--out", tmp_path / "eva", "--bootstrap", 0
        result = command("evaluate", *arguments)
        assert result.exit_code == 0, result.output
        assert "Warning" not in result.output
        metrics = json.loads((tmp_path / "eva" / "metrics.json").read_text())
        accuracies.append(metrics["methods"][0]["scores"]["accuracy"])
    assert accuracies[0] == accuracies[1]
    write(path, [*NAMES[:-1], "prolin"], WINE.data, WINE.target)
    result = command("evaluate", *arguments)
    assert result.exit_code == 1
    assert (
        "no column 'proline', which the model needs (it has 'prolin', which the model does not know)" in result.stderr
    )
    assert "--" not in result.stderr
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    result = command("evaluate", *arguments)
    assert result.exit_code == 0
    assert "has no column names: its columns are taken in the model's order" in result.output
