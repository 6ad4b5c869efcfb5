"""`somknn run` and `somknn info` as a user calls them."""

import csv
import dataclasses
import json
import os
import re
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import somknn
from somknn import datasets
from somknn.cli import beside, comparison, main

MNIST = Path(os.environ.get("SOMKNN_DATA", "no-such-folder")) / "mnist"


def somknn_command(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_one_line_error(result, text, exit_code=1):
    assert result.exit_code == exit_code, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert len(lines) == 1
    assert text in lines[0]
    assert "Traceback" not in result.output


def test_run_leaves_metrics_predictions_and_model(tmp_path):
    out = tmp_path / "results"
    result = somknn_command("run", "--out", out)
    assert result.exit_code == 0, result.output
    files = ["metrics.json", "model.safetensors", "predictions.csv", "report.html"]
    assert sorted(path.name for path in out.iterdir()) == files

    digits = datasets.load("digits")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["train_rows"] == len(digits.X_train)
    assert metrics["environment"]["somknn"] == somknn.__version__
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_array_equal([int(row["label"]) for row in rows], digits.y_test)
    for record in metrics["methods"]:
        predicted = np.array([int(row[record["method"]]) for row in rows])
        assert record["accuracy"] == np.mean(predicted == digits.y_test) > 0.95
        assert record["rows_per_second"] == pytest.approx(len(rows) / record["predict_seconds"])
        assert record["fit_seconds"] > 0
        assert record["method"] in result.output
    model = somknn.load(out / "model.safetensors")
    first = metrics["methods"][0]["method"]
    np.testing.assert_array_equal(model.predict(digits.X_test), [int(row[first]) for row in rows])


def test_sizes(tmp_path):
    result = somknn_command("run", "--train-size", 300, "--test-size", 50, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["train_rows"], metrics["test_rows"]) == (300, 50)


def test_a_csv_of_text_labels(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["label,a,b"]
    for kind, centre in (("left", 0), ("right", 100)):
        lines += [f"{kind},{centre + rng.integers(9)},{rng.integers(9)}" for _ in range(40)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    result = somknn_command("run", "--dataset", tmp_path / "rows.csv", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "100.00 %" in result.output
    assert "Examples" not in result.output, "rows that are no images are not drawn"


@pytest.mark.parametrize(
    ("arguments", "text", "exit_code"),
    [
        (["--dataset", "no-such-thing"], "no-such-thing", 1),
        (["--train-size", 10**6], "train", 1),
        (["--train-size", 3, "--test-size", 9], "n_neighbors", 1),
        (["--train-size", 0], "'--train-size'", 2),
        (["--test-size", -5], "'--test-size'", 2),
        (["--test-size", "many"], "'--test-size'", 2),
    ],
)
def test_bad_arguments_write_nothing(tmp_path, arguments, text, exit_code):
    out = tmp_path / "out"
    assert_one_line_error(somknn_command("run", *arguments, "--out", out), text, exit_code)
    assert not out.exists()


def test_a_bad_cell_is_named_and_nothing_is_written(tmp_path):
    (tmp_path / "rows.csv").write_text("1,2,3\n0,4,5\n1,oops,6\n0,1,2\n")
    result = somknn_command("run", "--dataset", tmp_path / "rows.csv", "--out", tmp_path / "out")
    assert_one_line_error(result, "3")
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("mine")
    result = somknn_command("run", "--out", tmp_path / "out")
    assert_one_line_error(result, "out", 2)
    assert (tmp_path / "out").read_text() == "mine"


def test_an_instruction_set_that_does_not_exist(monkeypatch):
    monkeypatch.setenv("SOMKNN_ISA", "abacus")
    assert_one_line_error(somknn_command("info"), "abacus")


def test_info():
    result = somknn_command("info")
    assert result.exit_code == 0
    for text in (somknn.__version__, "instruction set", "threading layer", "cache folder", "numba"):
        assert text in result.output


def test_the_drawing_shows_the_picture():
    from somknn.cli.pictures import choose_examples, draw

    picture = np.zeros((20, 3))
    picture[:, 1] = 1
    assert draw(picture, colour=False).plain.splitlines() == [" @ "] * 10
    assert choose_examples(np.array([1, 2, 3, 9, 9, 9]), np.array([1, 2, 3, 4, 5, 6]), 4) == [0, 1, 3, 4]
    assert choose_examples(np.array([1, 2]), np.array([1, 2]), 5) == [0, 1]


def test_quiet_where_there_is_no_terminal(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from somknn.cli import main; main()", "run", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b" not in done.stdout + done.stderr
    assert all(line.startswith("somknn: compiling") for line in done.stderr.splitlines())


@pytest.mark.mnist
@pytest.mark.skipif(not MNIST.is_dir(), reason="no $SOMKNN_DATA/mnist")
def test_mnist(tmp_path):
    result = somknn_command("run", "--dataset", "mnist", "--train-size", 5000, "--test-size", 500, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    for record in json.loads((tmp_path / "metrics.json").read_text())["methods"]:
        # 400 neurons share 5,000 rows: a label map is coarser than the nearest neighbours.
        assert record["accuracy"] > (0.85 if record["method"] == "SOM label map" else 0.9)


def test_both_processes_together_answer_like_one(tmp_path, monkeypatch):
    pages = []
    for processors in (1, 2):
        monkeypatch.setattr(beside, "processors", lambda processors=processors: processors)
        out = tmp_path / str(processors)
        result = somknn_command("run", "--train-size", 200, "--test-size", 60, "--out", out)
        assert result.exit_code == 0, result.output
        pages.append([(out / "predictions.csv").read_text(), *_pictures(out / "report.html")])
    assert len(pages[0]) > 5
    assert pages[0] == pages[1]


def _pictures(path):
    return re.findall(r'<img class="plot"[^>]*>', path.read_text(encoding="utf-8"))


class _Immediately:
    """An executor in this process that counts its calls."""

    def __init__(self):
        self.calls = []

    def submit(self, function, *arguments):
        future = Future()
        self.calls.append(arguments)
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


def test_kernels_of_the_last_methods_are_compiled_ahead_once(capsys):
    data = datasets.load("digits")
    executor = _Immediately()
    ahead = comparison._CompilesAhead(executor, data)
    ahead.wait()
    for _ in range(3):
        ahead.on_start(None)
        ahead.on_end(None)
    ((few,),) = executor.calls
    assert len(few.X_train) == len(few.y_train) <= len(data.X_train)
    assert few.X_train.dtype == data.X_train.dtype
    ahead.wait()
    assert ahead._future.exception() is None
    assert capsys.readouterr().err == ""


def test_a_failure_ahead_is_left_to_the_command():
    data = datasets.load("digits", train_size=30, test_size=3)
    ahead = comparison._CompilesAhead(_Immediately(), dataclasses.replace(data, y_train=data.y_train[:1]))
    ahead.on_start(None)
    ahead.wait()
    assert isinstance(ahead._future.exception(), ValueError)


def test_choices_that_are_written_out_are_those_that_exist():
    """Commands list these names without importing the modules, which would take two seconds."""
    from somknn.cli import run, tune
    from somknn.evaluation.features import FEATURES
    from somknn.images import PRESETS

    kinds = {option.name: option.type for command in (run.command, tune.command) for option in command.params}
    assert tuple(kinds["preset"].choices) == PRESETS
    assert kinds["features"]._known == FEATURES


def test_run_with_a_preset_saves_a_model_that_loads(tmp_path):
    result = CliRunner().invoke(main, ["run", "--preset", "fast", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "preset fast" in result.output
    assert somknn.load(tmp_path / "out" / "model.safetensors").named_steps["deskew"].image_shape_ == (8, 8)


def test_run_under_the_cosine_distance(tmp_path):
    from somknn import KNeighborsClassifier

    result = somknn_command(
        "run", "--metric", "cosine", "--train-size", 200, "--test-size", 60, "--out", tmp_path / "r"
    )
    assert result.exit_code == 0, result.output
    names = [record["method"] for record in json.loads((tmp_path / "r" / "metrics.json").read_text())["methods"]]
    assert names[:3] == ["k-NN, k=5, cosine", "k-NN, k=4, distance weights, cosine", "K-Means centres"]
    model = somknn.load(tmp_path / "r" / "model.safetensors")
    assert isinstance(model, KNeighborsClassifier)
    assert model.effective_metric_ == "cosine"
    result = somknn_command("run", "--metric", "cosine", "--preset", "fast")
    assert result.exit_code == 2
    assert "--preset has its own" in result.output
