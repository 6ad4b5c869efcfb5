"""Files that replace others: complete or absent, with the permissions of any other file."""

import os
import stat

import numpy as np
import pytest
from safetensors.numpy import save_file

from somknn import KNeighborsClassifier
from somknn._files import replacing
from somknn.batch import classify


@pytest.fixture
def umask():
    """Sets the umask, and puts the old one back."""
    old = os.umask(0o022)
    yield os.umask
    os.umask(old)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def write_text(path):
    path.write_text("x")


def write_tensors(path):
    save_file({"x": np.zeros(3)}, path)  # puts a file of its own, with mode 0600, in the place of `path`


@pytest.mark.parametrize("write", [write_text, write_tensors])
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_follows_the_umask(tmp_path, umask, write, mask):
    umask(mask)
    with replacing(tmp_path / "new") as temporary:
        write(temporary)
    (tmp_path / "plain").write_text("")
    assert mode(tmp_path / "new") == mode(tmp_path / "plain") == 0o666 & ~mask


@pytest.mark.parametrize("write", [write_text, write_tensors])
def test_a_replaced_file_keeps_its_permissions(tmp_path, umask, write):
    path = tmp_path / "old"
    path.write_text("")
    path.chmod(0o640)
    with replacing(path) as temporary:
        write(temporary)
    assert mode(path) == 0o640


def test_models_and_predictions_follow_the_umask(tmp_path, umask):
    rows = np.arange(40, dtype=np.uint8).reshape(20, 2)
    np.save(tmp_path / "rows.npy", rows)
    KNeighborsClassifier(1).fit(rows, rows[:, 0] // 20).save(tmp_path / "model")
    assert mode(tmp_path / "model") == 0o644
    for ending in ("npy", "csv", "parquet"):
        classify(tmp_path / "model", tmp_path / "rows.npy", tmp_path / f"out.{ending}", on_bad_row="quarantine")
        assert mode(tmp_path / f"out.{ending}") == mode(tmp_path / f"out.{ending}.rejects.csv") == 0o644


@pytest.mark.parametrize("begun", [False, True])
def test_nothing_is_left_when_writing_fails(tmp_path, begun):
    path = tmp_path / "kept"
    path.write_text("old")

    def fail(temporary):
        if begun:
            temporary.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError), replacing(path) as temporary:
        fail(temporary)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
