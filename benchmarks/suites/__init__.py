"""asv suites: speed, memory and quality from commit to commit. `docs/how-to/benchmarks.md` says how to run them.

Today's suites run against past commits: `data.feature` looks up a feature, and the benchmark is skipped at commits that
lack it. `version` is raised by hand when a benchmark's work changes; its history then starts again.

In asv's own environments every commit compiles its kernels into a separate folder. Elsewhere the library's cache is
used, in which names are digests of the kernels' sources.
"""

import os
from pathlib import Path

if os.environ.get("ASV_ENV_DIR") and os.environ.get("ASV_COMMIT"):
    _folder = Path(os.environ["ASV_ENV_DIR"]) / "kernels" / os.environ["ASV_COMMIT"]
    os.environ["SOMKNN_CACHE_DIR"] = str(_folder)
