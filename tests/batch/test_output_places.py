"""No output overwrites an input; an output that is a link stays a link."""

import os

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from somknn.batch import BatchError, UsageError, classify
from somknn.cli import main


def files_in(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(model, inputs, out, *options):
    """One line, exit code 2, and all files unchanged."""
    folder = out.parent.parent if out.parent.name == "pictures" else out.parent
    before = files_in(folder)
    result = CliRunner().invoke(main, ["classify", *map(str, [model, *inputs, "-o", out, *options])])
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("somknn classify: the ")
    assert files_in(folder) == before
    return result.stderr


NAMES = {
    "itself": lambda path, other: path,
    "another spelling": lambda path, other: path.parent / "folder" / ".." / path.name,
    "a symbolic link": lambda path, other: other.symlink_to(path) or other,
    "a link to a link": lambda path, other: (other.with_name("l").symlink_to(path), other.symlink_to("l"))[0] or other,
    "a hard link": lambda path, other: os.link(path, other) or other,
}


@pytest.fixture
def garbage(tmp_path):
    """An input that cannot be read, which shows that the refusal comes before reading."""
    (tmp_path / "folder").mkdir()
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xff\x00 no rows")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_an_input(tmp_path, model_file, garbage, name):
    out = NAMES[name](garbage, tmp_path / "out.csv")
    said = refused(model_file, [garbage], out)
    assert f"would overwrite {out}, which is" in said
    refused("no such model", [garbage], out)
    refused(model_file, [tmp_path / "*.csv"], out)
    refused(model_file, [garbage], out, "--resume")
    with pytest.raises(UsageError, match="would overwrite"):
        classify(model_file, str(garbage), out)


@pytest.mark.parametrize("name", NAMES)
def test_the_model(tmp_path, garbage, name):
    out = NAMES[name](garbage, tmp_path / "out.csv")
    rows = tmp_path / "in.npy"
    np.save(rows, np.zeros((3, 12), np.uint8))
    refused(garbage, [rows], out)


def test_the_file_of_rejects(tmp_path, rows, model_file):
    path = tmp_path / "out.csv.rejects.csv"
    np.savetxt(path, rows[:5], fmt="%d", delimiter=",")
    assert "out.csv.rejects.csv, which is an input" in refused(
        model_file, [path], tmp_path / "out.csv", "--on-bad-row", "quarantine"
    )
    assert classify(model_file, path, tmp_path / "out.csv").rows == 5  # this run writes no such file
    assert path.exists()


def test_a_folder_of_images(tmp_path, rows, model_file):
    """Its list of files is part of what --resume compares."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    Image.fromarray(rows[0].reshape(3, 4)).save(folder / "0.png")
    (tmp_path / "link").symlink_to(folder)
    for place in (folder, tmp_path / "link"):
        assert "would lie in the input folder" in refused(model_file, [place], folder / "out.csv")
    with pytest.raises(UsageError, match="would lie in the input folder"):
        classify(model_file, folder, folder / "more" / "out.csv")
    (folder / "linked.csv").symlink_to(tmp_path / "out.csv")
    assert "would lie in the input folder" in refused(model_file, [folder], folder / "linked.csv")
    (folder / "linked.csv").unlink()
    assert classify(model_file, folder, tmp_path / "out.csv").rows == 1


@pytest.mark.parametrize("as_model", [False, True])
def test_the_work_folder(tmp_path, rows, model_file, as_model):
    """Files in it would be deleted."""
    (tmp_path / "out.npy.parts").mkdir()
    path = tmp_path / "out.npy.parts" / "part-1.npz"
    np.savez(path, rows)
    other = tmp_path / "other.npy"
    np.save(other, rows)
    model, inputs = (path, [other]) if as_model else (model_file, [path])
    assert "the work folder of this output" in refused(model, inputs, tmp_path / "out.npy")


@pytest.mark.parametrize("ending", ["csv", "npy", "parquet"])
def test_a_link_stays_and_its_target_is_replaced(tmp_path, rows, model_file, ending):
    (tmp_path / "far").mkdir()
    np.save(tmp_path / "in.npy", rows)
    target, link = tmp_path / "far" / f"target.{ending}", tmp_path / f"out.{ending}"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    classify(model_file, tmp_path / "in.npy", link, on_bad_row="quarantine")
    classify(model_file, tmp_path / "in.npy", tmp_path / f"plain.{ending}")
    assert link.is_symlink()
    assert link.resolve() == target
    assert target.read_bytes() == (tmp_path / f"plain.{ending}").read_bytes()
    assert target.stat().st_mode & 0o777 == 0o640
    names = {"in.npy", "far", link.name, f"{link.name}.rejects.csv", f"plain.{ending}"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert list((tmp_path / "far").iterdir()) == [target]


def test_two_runs_share_no_output_through_a_link(tmp_path, rows, model_file):
    from somknn.batch.manifest import WorkFolder

    np.save(tmp_path / "in.npy", rows)
    (tmp_path / "link.csv").symlink_to("out.csv")
    folder = WorkFolder(tmp_path / "out.csv", {})
    folder.open(False)
    with pytest.raises(BatchError, match="in use by another run"):
        classify(model_file, tmp_path / "in.npy", tmp_path / "link.csv")
    folder.close()


def test_an_output_that_is_there_is_kept(tmp_path, rows, model_file):
    np.save(tmp_path / "rows.npy", rows)
    out = tmp_path / "out.csv"
    out.write_text("the work of a day")
    arguments = ["classify", *map(str, (model_file, tmp_path / "rows.npy", "-o", out))]
    done = CliRunner().invoke(main, arguments)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "is there already; choose another place, or say --overwrite" in done.stderr
    assert out.read_text() == "the work of a day"
    assert CliRunner().invoke(main, [*arguments, "--overwrite"]).exit_code == 0
    assert out.read_text().startswith("row,label")
