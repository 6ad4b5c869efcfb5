"""asv suites: what of speed, memory and quality is followed from commit to commit. `docs/how-to/benchmarks.md` says how to run them.

The suites of today run against commits of the past: a feature that a commit lacks is looked up by `data.feature`, which skips the
benchmark there. `version` is raised by hand when a benchmark's work changes, and with it its history begins anew.

In asv's own environments every commit compiles its kernels into a folder of its own; elsewhere the library's cache serves, whose
names are digests of the kernels' sources.
"""

import os
from pathlib import Path

if os.environ.get("ASV_ENV_DIR") and os.environ.get("ASV_COMMIT"):
    _folder = Path(os.environ["ASV_ENV_DIR"]) / "kernels" / os.environ["ASV_COMMIT"]
    os.environ["SOMKNN_CACHE_DIR"] = str(_folder)
