"""The kernel cache as a security boundary: damaged or untrusted files are neither loaded nor raise an error."""

import contextlib
import errno
import os
import pickle
import stat
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from damages import DAMAGES
from processes import python, start
from somknn_kernels import cache_files, policy

HOME_VARIABLES = ("HOME", "XDG_CACHE_HOME", "SOMKNN_CACHE_DIR", "NUMBA_CACHE_DIR")
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
WRITABLE = [
    pytest.param(lambda path: os.chown(path, NOBODY, -1), "belongs to another user (65534)", marks=as_root, id="owner"),
    pytest.param(lambda path: os.chmod(path, os.stat(path).st_mode | stat.S_IWGRP), "others can write", id="group"),
    pytest.param(lambda path: os.chmod(path, os.stat(path).st_mode | stat.S_IWOTH), "others can write", id="others"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of all kernels, which does not exist yet; no message has been printed."""
    monkeypatch.setenv("SOMKNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_files, "_told", False)
    monkeypatch.setattr(cache_files, "_announced", False)
    return tmp_path / "cache" / "somknn-kernels"


@policy.kernel
def total(values, out):
    out[0] = 0
    for value in values:
        out[0] += value


def hits():
    """Run a kernel as a new process would; return whether it came from the cache. The result must be the same."""
    dispatcher = policy.kernel(total.py_func)
    out = np.empty(1)
    dispatcher(np.arange(7), out)
    assert out[0] == 21
    return sum(dispatcher.stats.cache_hits.values())


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_absent(damage, folder, capfd):
    payload = bytes(range(256)) * 20
    cache_files.write("a", "b", b"holds", payload)
    path = folder / "a" / "b"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert cache_files.read("a", "b", b"holds") is None
    cache_files.write("a", "b", b"holds", payload)
    assert cache_files.read("a", "b", b"holds") == payload
    assert capfd.readouterr() == ("", "")


def test_a_file_of_something_else_is_absent(folder):
    cache_files.write("a", "b", b"holds", b"payload")
    assert cache_files.read("a", "b", b"hold") is None
    assert cache_files.read("a", "b", b"holds") == b"payload"


def test_a_kernel_whose_file_is_damaged_is_compiled_anew_and_kept(folder, capfd):
    assert [hits(), hits()] == [0, 1]
    (path,) = folder.rglob("*.nbc")
    contents = path.read_bytes()
    for damage in DAMAGES.values():
        path.write_bytes(damage(contents))
        assert [hits(), hits()] == [0, 1]
    assert capfd.readouterr() == ("", "")


def test_folders_and_files_are_for_their_owner_alone(folder):
    before = os.umask(0)
    try:
        cache_files.write("a", "b", b"holds", b"payload")
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder, *folder.rglob("*"))}
    assert list(modes.values()) == [0o700, 0o700, 0o700, 0o600]


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def lay_trap(monkeypatch, marker):
    """Replace the kernel's file by one that creates `marker` when it is unpickled; return its path."""
    written = []
    with monkeypatch.context() as patch:
        patch.setattr(cache_files, "write", lambda *given: written.append(given))
        hits()
    ((folder, name, holds, _),) = written
    cache_files.write(folder, name, holds, pickle.dumps(Touch(marker)))
    return cache_files.cache_folder() / folder / name


@pytest.mark.parametrize(("give_away", "why"), WRITABLE)
@pytest.mark.parametrize("what", ["file", "its folder", "folder of all"])
def test_what_others_can_write_is_not_unpickled(what, give_away, why, folder, tmp_path, monkeypatch, capfd):
    marker = tmp_path / "marker"
    path = lay_trap(monkeypatch, marker)
    given = {"file": path, "its folder": path.parent, "folder of all": folder}[what]
    give_away(given)
    assert hits() == 0
    assert not marker.exists()
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert why in line
    assert str(given) in line
    assert "SOMKNN_CACHE_DIR" in line
    assert hits() == (what == "file")  # it was replaced by a new file
    assert capfd.readouterr() == ("", "")


def test_the_trap_of_these_tests_works(folder, tmp_path, monkeypatch, capfd):
    path = lay_trap(monkeypatch, tmp_path / "marker")
    path.chmod(0o644)  # others may read
    assert hits() == 0
    assert (tmp_path / "marker").exists()
    assert "cannot be used" in capfd.readouterr().err
    assert hits() == 1


@pytest.mark.parametrize(("give_away", "why"), WRITABLE)
@pytest.mark.parametrize("what", ["file", "its folder", "folder of all"])
def test_links_count_as_what_they_lead_to(what, give_away, why, folder, tmp_path, monkeypatch, capfd):
    marker = tmp_path / "marker"
    path = lay_trap(monkeypatch, marker)
    given = {"file": path, "its folder": path.parent, "folder of all": folder}[what]
    elsewhere = tmp_path / "elsewhere"
    given.rename(elsewhere)
    give_away(elsewhere)
    given.symlink_to(elsewhere)
    assert hits() == 0
    assert not marker.exists()
    assert why in capfd.readouterr().err


def test_a_pipe_in_place_of_a_file_is_not_waited_for(folder, capfd):
    cache_files.write("a", "b", b"holds", b"payload")
    (folder / "a" / "c").unlink(missing_ok=True)
    os.mkfifo(folder / "a" / "c")
    assert cache_files.read("a", "c", b"holds") is None
    assert "another kind" in capfd.readouterr().err


def test_a_link_of_ones_own_is_followed(folder, tmp_path):
    (tmp_path / "disk").mkdir(0o755)
    folder.parent.mkdir()
    folder.symlink_to(tmp_path / "disk")
    cache_files.write("a", "b", b"holds", b"payload")
    assert cache_files.read("a", "b", b"holds") == b"payload"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_what_cannot_be_written_is_said_once_and_leaves_nothing(number, folder, monkeypatch, capfd):
    @contextlib.contextmanager
    def half(name, mode, opener):
        with open(name, mode, opener=opener) as file:

            def write(contents):
                file.write(contents[: len(contents) // 2])
                raise OSError(number, os.strerror(number))

            yield SimpleNamespace(write=write)

    monkeypatch.setattr(cache_files, "open", half, raising=False)
    cache_files.announce("a")
    cache_files.write("a", "b", b"holds", b"payload")
    cache_files.write("a", "c", b"holds", b"payload")
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert os.strerror(number) in line
    assert str(folder) in line
    assert "SOMKNN_CACHE_DIR" in line
    assert [path for path in folder.rglob("*") if path.is_file()] == []


FULL = """
import resource
import numpy as np
from somknn_kernels.exact.selection import sorted_heaps
from somknn_kernels.votes.voting import inverse_distance_weights

resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
print(sorted_heaps(np.array([[3, 1]]), np.array([[0, 1]]))[0].tolist())
inverse_distance_weights(np.ones((1, 1)), np.ones((1, 1)))
"""


def test_without_room_for_a_kernel_all_runs_and_one_line_says_so(tmp_path):
    """A limit on the file size is the closest imitation of a full disk that every system has."""
    done = python(FULL, SOMKNN_CACHE_DIR=str(tmp_path))
    assert done.stdout == "[[1, 3]]\n"
    assert done.stderr.count("\n") == 1
    assert "compiled in memory" in done.stderr
    assert str(tmp_path) in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@as_root
def test_a_cache_of_root_s_serves_other_users(folder, monkeypatch, capfd):
    """As in a container image: readable by all, writable by root."""
    with tempfile.TemporaryDirectory() as image:
        if any(path.stat().st_mode & stat.S_IXOTH == 0 for path in Path(image).parents):
            pytest.skip("other users cannot reach the folder of temporary files")
        monkeypatch.setenv("SOMKNN_CACHE_DIR", image)
        cache_files.write("a", "b", b"holds", b"payload")
        for path in (Path(image), *Path(image).rglob("*")):
            path.chmod(0o755)
        os.seteuid(NOBODY)
        try:
            assert cache_files.read("a", "b", b"holds") == b"payload"
            assert capfd.readouterr() == ("", "")
            cache_files.write("a", "c", b"holds", b"payload")
            assert "Permission denied" in capfd.readouterr().err
        finally:
            os.seteuid(0)


def test_a_cache_that_cannot_be_written_is_used(folder, capfd):
    cache_files.write("a", "b", b"holds", b"payload")
    (folder / "a").chmod(0o500)
    folder.chmod(0o500)
    try:
        assert cache_files.read("a", "b", b"holds") == b"payload"
        assert capfd.readouterr() == ("", "")
    finally:
        folder.chmod(0o700)
        (folder / "a").chmod(0o700)


WRITERS = """
import sys
from somknn_kernels import cache_files

for i in range(300):
    payload = bytes([i % 251]) * 20_000
    cache_files.write("a", "b", b"holds", payload)
    found = cache_files.read("a", "b", b"holds")
    assert found is not None and found == found[:1] * 20_000, i
"""


def test_processes_that_share_a_folder_see_whole_files(folder):
    children = [start(WRITERS) for _ in range(4)]
    assert [child.wait(timeout=120) for child in children] == [0, 0, 0, 0]
    assert [path.name for path in (folder / "a").iterdir()] == ["b"]


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """No variable says where files go, and the current folder is empty.

    Returns a function that sets the home folder that the system knows.
    """
    for name in HOME_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cache_files, "_told", False)
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    import pwd

    def set_home(folder):
        def entry(uid):
            if folder is None:
                raise KeyError(uid)
            return SimpleNamespace(pw_dir=str(folder))

        monkeypatch.setattr(pwd, "getpwuid", entry)

    return set_home


@pytest.mark.parametrize("home", [None, "", "relative", "."])
def test_without_a_home_in_the_environment_it_is_the_one_that_the_system_knows(home, homeless, tmp_path, monkeypatch):
    if home is not None:
        monkeypatch.setenv("HOME", home)
    homeless(tmp_path / "known")
    (tmp_path / "known").mkdir()
    cache_files.write("a", "b", b"holds", b"payload")
    assert cache_files.cache_folder() == tmp_path / "known" / ".cache" / "somknn" / "kernels"
    assert cache_files.read("a", "b", b"holds") == b"payload"
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("base", ["", "relative", "./cache"])
def test_a_relative_xdg_cache_home_is_ignored(base, homeless, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", base)
    assert cache_files.cache_folder() == tmp_path / ".cache" / "somknn" / "kernels"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_files.cache_folder() == tmp_path / "x" / "somknn" / "kernels"


def world_writable(path):
    path.mkdir()
    path.chmod(0o1777)


def of_another(path):
    path.mkdir()
    os.chown(path, NOBODY, -1)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_text("a file"), "Not a directory"),
        (world_writable, "not this user's own"),
        pytest.param(of_another, "not this user's own", marks=as_root),
        (None, "no home folder"),
    ],
    ids=["missing", "a file", "like /tmp", "another's", "unknown"],
)
def test_nothing_is_made_outside_the_user_s_own_folders(make, why, homeless, tmp_path, monkeypatch, capfd):
    if make is not None:
        make(tmp_path / "home")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
    homeless(None)
    before = sorted(tmp_path.rglob("*"))
    cache_files.announce("a")
    cache_files.write("a", "b", b"holds", b"payload")
    assert cache_files.read("a", "b", b"holds") is None
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert why in line
    assert "SOMKNN_CACHE_DIR" in line
    assert sorted(tmp_path.rglob("*")) == before


HOMELESS = """
import pwd
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
import numpy as np
from somknn.environment import describe
from somknn_kernels.exact.selection import sorted_heaps
print(sorted_heaps(np.array([[3, 1]]), np.array([[0, 1]]))[0].tolist(), describe()["cache_folder"])
"""


def test_kernels_run_without_a_home(tmp_path):
    done = python(HOMELESS, unset=HOME_VARIABLES, cwd=tmp_path)
    assert done.stdout.startswith("[[1, 3]] none"), done.stderr
    assert done.stderr.count("\n") == 1
    assert "no home folder" in done.stderr
    assert list(tmp_path.iterdir()) == []
