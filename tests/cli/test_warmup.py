"""`somknn warmup`: compiles once, says what it did, and leaves nothing behind."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from somknn.cli import beside, main, warmup
from somknn.cli.warmup import jobs, work
from somknn_kernels import origins


def test_every_group_can_be_asked_for_and_is_something():
    told = set(warmup.GROUPS)
    assert told == {"all"}.union(*(job.groups for job in jobs.JOBS))
    names = [job.name for job in jobs.JOBS]
    assert len(set(names)) == len(names)
    for group in told:
        assert work.chosen([group])
    assert work.chosen(["all"]) == jobs.JOBS
    assert {job.name for job in work.chosen(["som", "explore"])} > {"som", "explore"}


@pytest.mark.parametrize("kind", jobs.KINDS)
def test_rows_are_of_their_kind_and_classes(kind):
    rows = jobs.rows(kind, 200, 20)
    assert (rows.shape, rows.dtype) == ((200, 20), kind)
    assert len({*jobs.labels(200)}) == 10


def somknn(*arguments, folder, cache="cache", **settings):
    """The command as a process; its cache and its temporary files lie in `folder`."""
    code = "from somknn.cli import main; main()"
    (folder / "scratch").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"SOMKNN_CACHE_DIR": str(folder / cache), "TMPDIR": str(folder / "scratch")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,
    )


@pytest.mark.slow
def test_what_is_there_is_not_compiled_again(tmp_path):
    for compiled in (True, False):
        process = somknn("warmup", "images", folder=tmp_path)
        out, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors
        assert errors == ""
        first, second = [int(part.split()[0]) for part in out.split(", ")[:2]]
        assert (first > 0, second > 0) == (compiled, not compiled)
    assert len(list((tmp_path / "cache").rglob("*.nbc"))) == second
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.slow
def test_kernels_that_cannot_be_kept_are_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    process = somknn("warmup", "images", folder=tmp_path, cache="file/below")
    out, errors = process.communicate(timeout=500)
    assert process.returncode == 1
    assert " kernels compiled, " in out
    lines = errors.splitlines()
    assert "compiled in memory" in lines[0]
    assert "could not be kept in" in lines[-1]
    assert len(lines) == 2


def test_an_interrupt_ends_it_and_leaves_nothing(tmp_path):
    process = somknn("warmup", "kmeans", folder=tmp_path, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "scratch").rglob("kernels")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("somknn: interrupted")
    assert list((tmp_path / "scratch").glob("somknn-warmup-*")) == []


@pytest.fixture
def job_list(monkeypatch):
    """Jobs that run in this process; returns a function that sets them."""
    monkeypatch.setattr(beside, "processes", lambda n, *modules: contextlib.nullcontext())

    def set_jobs(**functions):
        made = [jobs.Job(name, frozenset({"run"}), function) for name, function in functions.items()]
        monkeypatch.setattr(jobs, "JOBS", made)

    return set_jobs


def note(origin, file):
    return lambda: origins.note(origin, "a.kernel", file, 1.0)


def test_kernels_are_counted_once_over_all_jobs(job_list, monkeypatch, tmp_path):
    monkeypatch.setattr(work, "cache_folder", lambda: tmp_path)
    (tmp_path / "x.nbc").write_text("")
    job_list(
        a=note("compiled", "x.nbc"), b=note("cache", "x.nbc"), c=note("cache", "y.nbc"), d=note("prebuilt", "z.nbc")
    )
    result = CliRunner().invoke(main, ["warmup"])
    assert result.exit_code == 0, result.output
    assert result.stdout == "1 kernels compiled, 2 were there, 1 of them with the installation; 0 s\n"
    assert "SOMKNN_KERNEL_LOG" not in os.environ


def test_a_log_that_was_asked_for_is_added_to(job_list, monkeypatch, tmp_path):
    monkeypatch.setenv("SOMKNN_KERNEL_LOG", str(tmp_path / "log"))
    (tmp_path / "log").write_text("compiled\t1.0\tan.older\tline.nbc\n")
    job_list(a=note("cache", "x.nbc"))
    assert CliRunner().invoke(main, ["warmup", "run"]).stdout == "0 kernels compiled, 1 were there; 0 s\n"
    assert len((tmp_path / "log").read_text().splitlines()) == 2


def test_jobs_that_fail_are_named_and_the_others_done(job_list):
    def fail():
        raise ValueError("no such thing")

    job_list(a=fail, b=note("cache", "x.nbc"), c=fail)
    result = CliRunner().invoke(main, ["warmup"])
    assert result.exit_code == 1
    assert result.stdout == "0 kernels compiled, 1 were there; 0 s\n"
    assert result.stderr == "Error: a: no such thing (and 1 more jobs failed)\n"


def test_a_command_that_fails_fails_its_job():
    with pytest.raises(RuntimeError, match="somknn run: Error: "):
        jobs._command("run", "--dataset", "no-such-file")


def test_what_jobs_say_is_said_once_and_the_announcement_never(job_list):
    def say():
        print("somknn: compiling kernels for this machine", file=sys.stderr)
        print("somknn: a fault", file=sys.stderr)

    job_list(a=say, b=say)
    assert CliRunner().invoke(main, ["warmup"]).stderr == "somknn: a fault\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_moves_on_a_terminal_only(monkeypatch):
    for stderr, shown in ((Terminal(), True), (io.StringIO(), False)):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stderr)
            with work._progress(2) as progress:
                progress(1, 5)
        assert ("5 kernels compiled" in stderr.getvalue()) == shown


def test_what_is_unknown_is_refused():
    result = CliRunner().invoke(main, ["warmup", "everything"])
    assert result.exit_code == 2
    assert "'everything' is not one of 'all'" in result.stderr
