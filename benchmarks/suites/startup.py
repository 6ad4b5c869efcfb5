"""Startup time: fresh interpreters, with all kernels in the cache."""

from .data import feature

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


def answer_once():
    """Compile what `timeraw_first_answer` needs."""
    import numpy as np

    rows = np.arange(4000, dtype=np.uint8).reshape(40, 100)
    feature("somknn.neighbors", "ExactIndex")().fit(rows).search(rows, 1)
