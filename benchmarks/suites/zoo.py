"""Everyone's rows: the table of `somknn-zoo` (`benchmarks/zoo`) from commit to commit, with fewer queries."""

import functools
import sys
from pathlib import Path

from . import data
from .data import feature

_ZOO = Path(__file__).resolve().parents[1] / "zoo"
if str(_ZOO) not in sys.path:
    sys.path.append(str(_ZOO))  # not installed where asv runs; its table of rows needs NumPy alone

from somknn_zoo import rows as table  # noqa: E402

QUERIES = 500
SINGLES = 20


@functools.lru_cache(maxsize=1)  # asv calls `setup` before each sample
def _made(name):
    """Rows, queries and k of an entry. Raises NotImplementedError if its source is not on this machine."""
    entry = table.find(name)
    try:
        rows, queries = entry.make(min(entry.n, data.ZOO_ROWS), min(entry.queries, QUERIES))
    except ImportError as error:
        raise NotImplementedError(f"{name} needs {error.name}") from error
    return rows, queries, min(entry.k, len(rows))


@functools.lru_cache(maxsize=1)
def _fitted(name):
    rows, queries, k = _made(name)
    index = feature("somknn.neighbors", "ExactIndex")("auto").fit(rows)
    index.search(queries, k)  # compiles
    index.search(queries[:1], k)
    return index


class Zoo:
    """`ExactIndex` with `algorithm="auto"`: a batch of 500 queries, 20 queries one after the other, and the fit."""

    params = (tuple(entry.name for entry in table.ALL if not entry.optional),)
    param_names = ("rows",)
    version = "1"
    number = 1
    repeat = 5
    rounds = 1
    warmup_time = 0
    timeout = 600

    def setup(self, name):
        self.rows, self.queries, self.k = _made(name)
        self.index = _fitted(name)

    def time_batch(self, name):
        self.index.search(self.queries, self.k)

    def time_one_query(self, name):
        for i in range(min(SINGLES, len(self.queries))):
            self.index.search(self.queries[i : i + 1], self.k)

    def time_fit(self, name):
        feature("somknn.neighbors", "ExactIndex")("auto").fit(self.rows)
