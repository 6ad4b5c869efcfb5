"""No command overwrites its inputs, and each names the package that it lacks."""

import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from somknn import KNeighborsClassifier, datasets
from somknn.cli import main
from somknn.cli.commands import group

WRITES = {
    "run": ["metrics.json", "predictions.csv", "model.safetensors", "report.html"],
    "evaluate": ["metrics.json", "report.html"],
    "tune": ["metrics.json", "report.html", "tuning.csv", "model.safetensors"],
    "explore": ["explore.json", "class-frequencies.png"],
    "som": ["map.safetensors", "history.csv", "label-map.png"],
    "prototypes": ["model.safetensors", "metrics.json", "curve.csv", "accuracy-curve.png"],
}
PLACES = {
    "itself": lambda data, out: data.rename(out) and out,
    "symbolic link": lambda data, out: out.symlink_to(data) or data,
    "hard link": lambda data, out: os.link(data, out) or data,
    "an input that is a link": lambda data, out: data.rename(out) and (data.symlink_to(out) or data),
}


def refused(tmp_path, *arguments):
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("Error: the output would overwrite ")
    assert result.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("command", "name"), [(command, name) for command in WRITES for name in WRITES[command]])
def test_an_output_that_is_the_data_set(tmp_path, command, name, place):
    """The file is not a data set, so nothing was read before the error."""
    (tmp_path / "out").mkdir()
    data = tmp_path / "rows.csv"
    data.write_bytes(b"\xff\x00")
    data = PLACES[place](data, tmp_path / "out" / name)
    refused(tmp_path, command, "--dataset", data, "--out", tmp_path / "out")


def test_an_output_that_is_the_model(tmp_path):
    rows = np.zeros((4, 2), np.uint8)
    KNeighborsClassifier(1).fit(rows, [0, 0, 1, 1]).save(tmp_path / "model")
    os.link(tmp_path / "model", tmp_path / "metrics.json")
    refused(tmp_path, "evaluate", "--model", tmp_path / "model", "--out", tmp_path)


def test_files_of_a_data_set(tmp_path, monkeypatch):
    """All files that `load` reads, including labels and test rows next to the given file."""
    monkeypatch.setenv("SOMKNN_DATA", str(tmp_path))
    monkeypatch.setattr(datasets.sources, "cache_folder", lambda: tmp_path / "nowhere")
    assert datasets.files_of("digits") == datasets.files_of("mnist") == []
    assert datasets.files_of(tmp_path / "absent.csv") == [tmp_path / "absent.csv"]
    assert datasets.files_of(tmp_path) == []
    (tmp_path / "mnist").mkdir()
    stems = [
        "train-images-idx3-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte",
        "t10k-labels-idx1-ubyte",
    ]
    for name in stems:
        (tmp_path / "mnist" / name).touch()
    four = {tmp_path / "mnist" / name for name in stems}
    for source in ("mnist", tmp_path / "mnist", tmp_path / "mnist" / stems[0]):
        assert set(datasets.files_of(source)) == four
    assert set(datasets.files_of((tmp_path / "a", tmp_path / "b"))) == {tmp_path / "a", tmp_path / "b"}
    for name in ("train.csv", "test.csv.gz"):
        (tmp_path / name).touch()
    assert datasets.files_of(tmp_path / "train.csv") == [tmp_path / "train.csv", tmp_path / "test.csv.gz"]
    assert datasets.files_of(tmp_path) == [tmp_path / "train.csv", tmp_path / "test.csv.gz"]


def test_files_beside_the_inputs_are_no_hindrance(tmp_path):
    """Results may be written to the folder of the data."""
    rows = np.random.default_rng(0).integers(0, 9, (40, 3))
    np.savetxt(tmp_path / "train.csv", rows, fmt="%d", delimiter=",")
    for _ in range(2):  # the second time replaces the first
        result = CliRunner().invoke(
            main, ["evaluate", "--dataset", str(tmp_path / "train.csv"), "--out", str(tmp_path)]
        )
        assert result.exit_code == 0, result.output


WITHOUT = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
del sys.argv[1]
from somknn.cli import main
main(prog_name="somknn")
"""


def without(package, *arguments):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, package, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("command", ["som", "prototypes", "explore", "evaluate", "tune"])
def test_without_matplotlib(tmp_path, command):
    """The error comes before anything is read or written."""
    done = without("matplotlib", command, "--dataset", "no such data", "--out", tmp_path / "out")
    otherwise = ", or use --no-pictures" if command in ("som", "prototypes") else ""
    assert done.stderr == f'Error: pictures need matplotlib; run: pip install "somknn[plots]"{otherwise}\n'
    assert done.returncode == 1
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_and_pictures(tmp_path):
    done = without("matplotlib", "som", "--grid", "3x3", "--epochs", 1, "--no-pictures", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["history.csv", "map.safetensors"]


@pytest.mark.faiss
def test_a_model_that_needs_faiss(tmp_path):
    pytest.importorskip("faiss")
    data = datasets.load("digits")
    KNeighborsClassifier(3, backend="faiss").fit(data.X_train, data.y_train).save(tmp_path / "model")
    np.save(tmp_path / "rows.npy", data.X_test)
    for arguments, code in (
        (["evaluate", "--model", tmp_path / "model", "--out", tmp_path / "out"], 1),
        (["classify", tmp_path / "model", tmp_path / "rows.npy", "-o", tmp_path / "out.csv"], 3),
    ):
        done = without("faiss", *arguments)
        assert done.returncode == code
        assert "pip install 'somknn[faiss]'" in done.stderr
        assert done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"model", "rows.npy"}


@pytest.mark.parametrize("command", group.list_commands(None))
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError("Unable to allocate 8 GiB"), "not enough memory: Unable to allocate 8 GiB"),
        (ModuleNotFoundError("No module named 'PIL.Image'", name="PIL.Image"), 'pip install "somknn[files]"'),
    ],
)
def test_memory_and_packages_are_one_line(tmp_path, monkeypatch, command, error, text):
    """Wherever in the command the error occurs."""

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(group.get_command(None, command), "callback", fail)
    arguments = ["model", "rows.npy", "-o", "out.csv"] if command in ("classify", "predict") else []
    result = CliRunner().invoke(main, [command, *arguments])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert text in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("a,target\n1,x\n2,y\n3,x\n", [], "2 training rows, and the methods ask for n_neighbors=5: too few rows"),
        ("a,target\n" + "1,x\n" * 30, [], "all labels are x; --label NAME or NUMBER names another column"),
    ],
)
def test_tables_of_which_nothing_can_be_learnt(tmp_path, text, arguments, message):
    (tmp_path / "t.csv").write_text(text)
    result = CliRunner().invoke(main, ["run", "--dataset", str(tmp_path / "t.csv"), "--out", str(tmp_path / "o")])
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_a_data_set_without_its_option(tmp_path):
    result = CliRunner().invoke(main, ["run", str(tmp_path / "t.csv")])
    assert result.exit_code == 2
    assert "unexpected extra argument" in result.output
    assert "the data set is named by --dataset" in result.output


def test_six_rows_are_enough(tmp_path):
    (tmp_path / "t.csv").write_text("a,target\n" + "".join(f"{i},{'xy'[i % 2]}\n" for i in range(8)))
    result = CliRunner().invoke(main, ["run", "--dataset", str(tmp_path / "t.csv"), "--out", str(tmp_path / "o")])
    assert result.exit_code == 0, result.output
