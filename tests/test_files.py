"""Atomic replacement of files: complete or absent, with the permissions of any other file."""

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
    """Sets the umask; restores it at the end."""
    old = os.umask(0o022)
    yield os.umask
    os.umask(old)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def write_text(path):
    path.write_text("x")


def write_tensors(path):
    save_file({"x": np.zeros(3)}, path)  # replaces `path` by a file of its own with mode 0600


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


def save_model(path):
    rows = np.arange(40, dtype=np.uint8).reshape(20, 2)
    KNeighborsClassifier(1).fit(rows, rows[:, 0] // 20).save(path)


def replace_text(path):
    with replacing(path) as temporary:
        temporary.write_text("new")


@pytest.mark.parametrize("write", [replace_text, save_model])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_its_target_is_replaced(tmp_path, write, there):
    """Written next to the target, where a rename is possible; a missing target is created."""
    (tmp_path / "far").mkdir()
    target, link, relative = tmp_path / "far" / "target", tmp_path / "link", tmp_path / "relative"
    if there:
        target.write_text("old")
    link.symlink_to(target)
    relative.symlink_to("link")
    for path in (link, relative):
        write(path)
        assert path.is_symlink()
        assert target.is_file()
        assert not target.is_symlink()
        assert target.read_bytes() != b"old"
        assert list((tmp_path / "far").iterdir()) == [target]
        assert {p.name for p in tmp_path.iterdir()} == {"far", "link", "relative"}


def test_links_that_lead_to_no_file(tmp_path):
    (tmp_path / "folder").mkdir()
    for name, target, error in (
        ("a", "folder", IsADirectoryError),
        ("b", "nowhere/file", FileNotFoundError),
        ("c", "c", FileExistsError),
        ("d", "e", FileExistsError),
        ("e", "d", FileExistsError),
    ):
        (tmp_path / name).symlink_to(target)
        if (tmp_path / "e").is_symlink() or name < "d":
            with pytest.raises(error):
                replace_text(tmp_path / name)
            assert os.readlink(tmp_path / name) == target
    assert {p.name for p in tmp_path.iterdir()} == {"folder", "a", "b", "c", "d", "e"}


def test_devices_and_pipes_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path in (tmp_path / "pipe", tmp_path / "link"):
        with pytest.raises(FileExistsError, match="no regular file"):
            replace_text(path)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert {p.name for p in tmp_path.iterdir()} == {"pipe", "link"}
