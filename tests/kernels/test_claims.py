"""Processes that need the same kernel at the same time: one compiles, the others wait, and nothing waits for ever."""

import fcntl
import os
import signal
import time

import numpy as np
import pytest

from processes import python, start
from somknn_kernels import cache_files, claims, origins, policy

KERNEL = """
import sys, time
sys.path[:0] = [{folder!r}]
import numpy as np
from test_claims import total
from somknn_kernels import origins
while time.time() < {begin}:
    time.sleep(0.001)
out = np.empty(1)
total(np.arange(7), out)
assert out[0] == 21
"""


@policy.kernel
def total(values, out):
    out[0] = np.sort(values).sum()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SOMKNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_files, "_announced", True)
    yield tmp_path / "cache" / "somknn-kernels"
    claims.release()


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def script(begin=0.0):
    return KERNEL.format(folder=os.path.dirname(__file__), begin=begin)


def test_processes_at_once_compile_a_kernel_once(folder, tmp_path):
    log, begin = tmp_path / "log", time.time() + 3
    children = [start(script(begin), SOMKNN_KERNEL_LOG=str(log)) for _ in range(4)]
    assert [child.wait(timeout=120) for child in children] == [0] * 4
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    assert sorted(origin for origin, *_ in lines) == ["cache"] * 3 + ["compiled"]
    assert len({name for *_, name in lines}) == 1
    assert files(folder) == [lines[0][3]]  # and no lock is left


def test_a_claim_is_held_until_it_is_released(folder):
    assert not claims.take("a", "b")
    assert files(folder) == [".b.lock"]
    assert not claims.take("a", "c")  # the one before is released: this process compiles one kernel at a time
    assert files(folder) == [".c.lock"]
    claims.release()
    claims.release()
    assert files(folder) == []


HOLD = """
import time
from somknn_kernels import claims
claims.take("a", "b")
print("held", flush=True)
time.sleep(100)
"""


def holder():
    import subprocess

    child = start(HOLD, stdout=subprocess.PIPE)
    assert child.stdout.readline() == "held\n"
    return child


def test_a_process_that_was_killed_holds_nothing_up(folder):
    child = holder()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert files(folder) == [".b.lock"]
    began = time.monotonic()
    assert not claims.take("a", "b")
    assert time.monotonic() - began < 5
    claims.release()
    assert files(folder) == []


def test_patience_ends(folder, monkeypatch):
    child = holder()
    monkeypatch.setattr(claims, "_PATIENCE", 0.2)
    try:
        assert claims.take("a", "b")  # another had it; whoever called compiles if there is still no file
        assert claims._held is None
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.mark.parametrize("problem", [OSError(38, "no locks here"), BlockingIOError(11, "taken")])
def test_where_files_cannot_be_locked_all_compile(problem, folder, monkeypatch):
    def refuse(descriptor, how):
        raise problem

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(claims, "_PATIENCE", 0.1)
    before, open_files = origins.counts()["compiled"], len(os.listdir("/proc/self/fd"))
    out = np.empty(1)
    policy.kernel(total.py_func)(np.arange(7), out)
    assert out[0] == 21
    assert origins.counts()["compiled"] == before + 1
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_without_a_folder_nothing_is_claimed(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SOMKNN_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert not claims.take("a", "b")
    assert claims._held is None


def test_a_link_in_place_of_the_lock_is_not_followed(folder, tmp_path):
    claims.take("a", "c")
    claims.release()
    (folder / "a" / ".b.lock").symlink_to(tmp_path / "target")
    assert not claims.take("a", "b")
    assert not (tmp_path / "target").exists()


def test_a_log_that_cannot_be_written_is_said_once(folder, tmp_path):
    done = python(script() + "total(np.arange(7.0), out)\n", SOMKNN_KERNEL_LOG=str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "SOMKNN_KERNEL_LOG" in line]
    assert len(lines) == 1
    assert "kernels are not listed" in lines[0]
