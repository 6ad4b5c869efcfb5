"""Hypothesis: each run tries the same examples, so that a change fails only for what it changed.

HYPOTHESIS_PROFILE=explore tries new ones each time.
"""

import os

from hypothesis import settings

# A first call may compile for seconds: a deadline would fail whichever test comes first.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
