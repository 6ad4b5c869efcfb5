"""Hypothesis: each run tries the same examples, so that a change fails only for what it changed.

HYPOTHESIS_PROFILE=explore tries new ones each time.

Several test processes (`pytest -n auto`) share the processors: OpenMP's threads, which other libraries bring
along, would spin while they wait for each other. Tests of threads are about somknn's own, which are not OpenMP's.
"""

import os

if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)) > 1:  # before scikit-learn is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# A first call may compile for seconds: a deadline would fail whichever test comes first.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
