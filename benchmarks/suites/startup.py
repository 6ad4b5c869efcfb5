"""Startup time: fresh interpreters, with all kernels in the cache, and what commands take before they begin."""

import resource
import statistics
import subprocess
import sys

from .data import feature, tracked

_FIRST_ANSWER = """
import numpy as np
from somknn.neighbors import ExactIndex
X = np.arange(4000, dtype=np.uint8).reshape(40, 100)
ExactIndex().fit(X).search(X, 1)
"""


class Startup:
    """Seconds in an interpreter that has imported nothing yet."""

    version = "1"
    number = 1
    repeat = 5
    warmup_time = 0

    def setup(self):
        feature("somknn", "KNeighborsClassifier")
        answer_once()

    def timeraw_import(self):
        return "import somknn"

    def timeraw_import_estimator(self):
        return "from somknn import KNeighborsClassifier"

    def timeraw_first_answer(self):
        return _FIRST_ANSWER


class Commands:
    """Processor seconds of a whole process: starts wait for the disk and for other processes, and these do not."""

    version = "1"
    timeout = 600
    params = (("import somknn", "--help", "info", "run --help"),)
    param_names = ("start",)

    def setup(self, start):
        self._code = (
            start if start.startswith("import") else f"from somknn.cli import main; main.main({start.split()!r})"
        )
        if self._seconds() is None:
            raise NotImplementedError(f"this commit has no {start}")

    def _seconds(self):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", self._code], capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            return None
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    @tracked("s")
    def track_processor_seconds(self, start):
        return statistics.median(self._seconds() for _ in range(5))


def answer_once():
    """Compile what `timeraw_first_answer` needs."""
    import numpy as np

    rows = np.arange(4000, dtype=np.uint8).reshape(40, 100)
    feature("somknn.neighbors", "ExactIndex")().fit(rows).search(rows, 1)
