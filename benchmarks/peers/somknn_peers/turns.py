"""Run the contenders of a work turn by turn and judge their answers."""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from somknn_peers.contender import Contender, Work
from somknn_peers.host import Peaks


class Failed(RuntimeError):
    """A contender's process ended early; the message is the last line of its output."""


class Worker:
    """The process of one contender."""

    def __init__(self, work: Work, contender: Contender, folder: Path, options: dict[str, Any]):
        self.contender = contender
        self._errors = open(folder / f"errors-{len(list(folder.iterdir()))}.txt", "w+", encoding="utf-8")  # noqa: SIM115
        arguments = [work.home, work.name, contender.name, str(folder), json.dumps(options)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "somknn_peers.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **contender.environment},
        )
        self.prepared = self._reply()

    def _reply(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            said = [text.strip() for text in self._errors if text.strip()]
            raise Failed(said[-1] if said else f"exit code {self._process.returncode}")
        return json.loads(line)

    def ask(self, what: str) -> dict[str, Any]:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{what}\n")
            self._process.stdin.flush()
        return self._reply()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def missing(contender: Contender) -> list[str]:
    """Modules that a contender needs and that are not installed."""

    def found(module: str) -> bool:
        try:
            return importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            return False

    return [module for module in contender.needs if not found(module)]


def _version(contender: Contender) -> str:
    versions = []
    for name in contender.distributions:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(name)
    return ", ".join(versions)


def compare(work: Work, data: Any, turns: int, options: dict[str, Any], say=print) -> dict[str, Any]:
    """Run one work with all installed contenders; the others are compared with the first.

    Raises Failed if the first cannot run. Others that are missing or fail are listed under "skipped".
    """
    options = {**options, **work.options}
    skipped: dict[str, str] = {}
    workers: list[Worker] = []
    peaks = Peaks()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = work.inputs(data, options)
        for key, values in inputs.items():
            np.save(folder / f"{key}.npy", values)
        try:
            for contender in work.contenders:
                try:
                    if absent := missing(contender):
                        raise Failed(f"not installed: {', '.join(absent)}")
                    workers.append(Worker(work, contender, folder, options))
                    say(f"  {contender.name}: ready after {workers[-1].prepared['seconds']:.1f} s")
                except Failed as error:
                    skipped[contender.name] = str(error)
                    say(f"  {contender.name}: skipped, {error}")
                    if contender is work.contenders[0]:
                        raise
            seconds = _take_turns(workers, turns, work.repeats, peaks, say)
            answers = {worker.contender.name: worker.ask("answer") for worker in workers}
            found = {name: dict(np.load(answer["path"])) for name, answer in answers.items()}
        finally:
            for worker in workers:
                worker.close()
    sgemm, integers = statistics.median(peaks.sgemm), statistics.median(peaks.integers)
    own = work.contenders[0].name
    rows = []
    for worker in workers:
        contender, times = worker.contender, seconds[worker.contender.name]
        ratios = [theirs / ours for theirs, ours in zip(times, seconds[own], strict=True)]
        deviation, words = work.judge(found[own], found[contender.name], inputs)
        limit = work.multiply_adds(inputs, options) / work.repeats / 1e9 / (sgemm if contender.floats else integers)
        rows.append(
            {
                "contender": contender.name,
                "version": _version(contender),
                "settings": worker.prepared["settings"] or contender.settings,
                "preparation_seconds": worker.prepared["seconds"],
                "fit_seconds": worker.prepared["fit_seconds"],
                "index_bytes": worker.prepared["index_bytes"],
                "seconds": times,
                "median_seconds": statistics.median(times),
                "ratio": statistics.median(ratios),
                "ratio_range": [min(ratios), max(ratios)],
                "share_of_limit": limit / statistics.median(times),
                "arithmetic": "float32" if contender.floats else "bytes",
                "peak_bytes": answers[contender.name]["peak_bytes"],
                "answer": words,
                "answer_equal": deviation <= work.tolerance,
            }
        )
    return {
        "subject": work.subject,
        "title": work.title,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "turns": turns,
        "shapes": {key: list(values.shape) for key, values in inputs.items()},
        "peaks": {"sgemm": sgemm, "integers": integers, "instruction_set": peaks.instruction_set},
        "rows": rows,
        "skipped": skipped,
    }


def _take_turns(workers: list[Worker], turns: int, repeats: int, peaks: Peaks, say) -> dict[str, list[float]]:
    """Seconds by contender. The order rotates by one place each turn, so that neighbours in the order change."""
    seconds: dict[str, list[float]] = {worker.contender.name: [] for worker in workers}
    for turn in range(turns):
        peaks.sample()
        first = turn % len(workers)
        for worker in workers[first:] + workers[:first]:
            time.sleep(0.05)  # let the threads of the previous contender go to sleep
            seconds[worker.contender.name].append(worker.ask("run")["seconds"] / repeats)
        say(f"  turn {turn + 1}: " + ", ".join(f"{name} {times[-1]:.4g} s" for name, times in seconds.items()))
    peaks.sample()
    return seconds
