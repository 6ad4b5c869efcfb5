"""Ctrl-C during a long search takes effect at once, whichever thread is working."""

import signal
import subprocess
import time

import pytest

from processes import start

SEARCHES = """
import sys, time
import numpy as np
from somknn.neighbors import ExactIndex

random = np.random.default_rng(0)
rows = random.integers(0, 256, (60_000, 784), dtype=np.uint8).astype({dtype!r})
queries = rows[:2560] if {n_queries} is None else rows[:{n_queries}]
index = ExactIndex({algorithm!r}, n_jobs={n_jobs}, isa="portable")  # where a search takes longest
index.fit(rows[:3000]).search(queries[:100], 5)  # compiles what is not in the cache
index.fit(rows)
print("begun", flush=True)
try:
    while True:
        index.search(queries, 5)
except KeyboardInterrupt:
    print(time.time(), flush=True)
    sys.exit(130)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGINT"), reason="no signals here")
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize(
    ("algorithm", "dtype", "n_queries"),
    [("brute", "u1", None), ("brute", "f4", None), ("brute", "u1", 1), ("pruned", "u1", 300), ("tree", "u1", 300)],
)
def test_a_long_search_ends_soon_after_ctrl_c(algorithm, dtype, n_queries, n_jobs):
    """A search of 2,560 queries in one call took some 7 s here; pruning rules out no such rows."""
    code = SEARCHES.format(algorithm=algorithm, dtype=dtype, n_queries=n_queries, n_jobs=n_jobs)
    child = start(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, NUMBA_NUM_THREADS="2")
    try:
        assert child.stdout.readline() == "begun\n", child.stderr.read()
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(timeout=0.5)
        sent = time.time()
        child.send_signal(signal.SIGINT)
        heard, _ = child.communicate(timeout=30)
    finally:
        child.kill()
        child.communicate()
    assert float(heard) - sent < 3
    assert child.returncode == 130
