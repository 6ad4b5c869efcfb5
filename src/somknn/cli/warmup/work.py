"""Run warm-up jobs in several processes, and count the kernels that they compile."""

import concurrent.futures
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from somknn._ending import undone_unless_finished
from somknn.cli import beside
from somknn.cli.errors import one_line
from somknn.cli.warmup import jobs
from somknn.machine import cache_folder

_LOG = "SOMKNN_KERNEL_LOG"
_LOOK = 0.3  # seconds between looks at the number of kernels


class Kernels(NamedTuple):
    """How many different kernels the jobs used: compiled now, found in the cache, come with the installation."""

    compiled: int
    cached: int
    prebuilt: int


class Result(NamedTuple):
    """What came of the jobs.

    failed : a line for each job that failed
    said : lines that jobs said, each fault once, such as why kernels cannot be kept
    lost : how many compiled kernels were not kept
    """

    kernels: Kernels
    failed: list[str]
    said: list[str]
    lost: int


def chosen(groups: Sequence[str]) -> list[jobs.Job]:
    """The jobs of these groups, in their order; "all" means all."""
    return [job for job in jobs.JOBS if "all" in groups or job.groups & set(groups)]


def run(groups: Sequence[str], n_processes: int | None = None) -> Result:
    """Run the jobs of `groups`, by default in as many processes as there are processors."""
    wanted = chosen(groups)
    n = min(n_processes or beside.processors(), len(wanted))
    failed: list[str] = []
    said: dict[str, str] = {}
    with _scratch() as log, beside.processes(n) as executor, _progress(len(wanted)) as progress:
        first = log.stat().st_size if log.exists() else 0
        for name, outcome in _outcomes([job.name for job in wanted], executor, lambda: progress(0, _count(log, first))):
            if isinstance(outcome, BaseException):
                failed.append(f"{name}: {one_line(outcome)}")
            else:
                for line in outcome:  # the same fault is told with the folder of each kernel
                    said.setdefault(line.partition(str(cache_folder()))[0], line)
            progress(1, _count(log, first))
        origins = _origins(log, first)
    return Result(_kernels(origins), failed, list(said.values()), len(_lost(origins)))


def _outcomes(names: list[str], executor: Any, waiting: Any) -> Iterator[tuple[str, Any]]:
    """The name of each job that ended, with what it said or its error. `waiting()` is called now and then."""
    if executor is None:  # the system provides no processes
        for name in names:
            try:
                yield name, jobs.run(name)
            except Exception as error:
                yield name, error
        return
    running = {executor.submit(jobs.run, name): name for name in names}
    while running:
        ended, _ = concurrent.futures.wait(running, _LOOK, concurrent.futures.FIRST_COMPLETED)
        for future in ended:
            yield running.pop(future), future.exception() or future.result()
        waiting()


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for what jobs write, which goes away whatever happens, and the file in which kernels are listed."""
    before = {name: os.environ.get(name) for name in (_LOG, "TMPDIR", "MPLBACKEND")}
    folder = tempfile.mkdtemp(prefix="somknn-warmup-")

    def remove() -> None:
        shutil.rmtree(folder, ignore_errors=True)

    with undone_unless_finished(remove):
        os.environ.setdefault(_LOG, os.path.join(folder, "kernels"))
        os.environ |= {"TMPDIR": folder, "MPLBACKEND": "agg"}
        try:
            yield Path(os.environ[_LOG])
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
    remove()


def _origins(log: Path, first: int) -> dict[str, str]:
    """Where each kernel came from that the log names from its byte `first` on, by the name of its file."""
    found: dict[str, str] = {}
    with contextlib.suppress(FileNotFoundError), open(log, "rb") as file:
        file.seek(first)
        for line in file.read().decode().splitlines():
            origin, _, _, name = line.split("\t")
            found[name] = origin if origin == "compiled" else found.get(name, origin)
    return found


def _count(log: Path, first: int) -> int:
    return list(_origins(log, first).values()).count("compiled")


def _kernels(origins: dict[str, str]) -> Kernels:
    values = list(origins.values())
    return Kernels(*(values.count(origin) for origin in ("compiled", "cache", "prebuilt")))


def _lost(origins: dict[str, str]) -> set[str]:
    """Kernels that were compiled and are not in the cache."""
    folder = cache_folder()
    kept = set() if folder is None else {path.name for path in folder.rglob("*.nbc")}
    return {name for name, origin in origins.items() if origin == "compiled"} - kept


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar on stderr, moved by `progress(jobs, kernels)`; nothing without a terminal."""
    if not sys.stderr.isatty():
        yield lambda ended, compiled: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("compiling"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[compiled]}")
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total, compiled="")
        yield lambda ended, compiled: bar.update(task, advance=ended, compiled=f"{compiled} kernels compiled")
