"""What compiling costs, from an empty cache: processor seconds of each piece of work and of each kernel.

`BUDGET` is what a first answer may cost. `track_over_budget` is the seconds above it, and 0 if all is well.
`python -m benchmarks.suites.compiling` prints what each costs, and what is over its budget.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .data import Cost, tracked

# Processor seconds from an empty cache, the whole process.
BUDGET = {
    "k-NN, uint8": 4.0,
    "k-NN, float32": 4.0,
    "k-NN, float64": 4.0,
    "K-Means": 4.0,
    "SOM, batch": 5.0,
    "LVQ": 4.0,
}
KERNEL_BUDGET = 4.0  # of one kernel
_ROWS = 5000, 64

_DATA = """
import numpy as np
import somknn
random = np.random.default_rng(0)
X = random.integers(0, 256, {rows}).astype("{kind}")
y = np.arange(len(X)) % 10
"""
_K_NN = "somknn.KNeighborsClassifier().fit(X, y).predict(X[:500])"
WORK = {
    "k-NN, uint8": ("uint8", _K_NN),
    "k-NN, float32": ("float32", _K_NN),
    "k-NN, float64": ("float64", _K_NN),
    "K-Means": ("float64", "somknn.KMeans(10, n_init=1, max_iter=5, random_state=0).fit(X).predict(X)"),
    "SOM, batch": ("float64", "somknn.SOM(10, 10, epochs=2, random_state=0).fit(X).predict(X)"),
    "LVQ": ("float64", "somknn.LVQ(50, max_iter=2, random_state=0).fit(X, y).predict(X)"),
}
_SECONDS = """
import resource
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""


def cost(work):
    """What `work`, a key of `BUDGET`, costs; None at a commit that cannot do it."""
    kind, statement = WORK[work]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        done = subprocess.run(
            [sys.executable, "-c", _DATA.format(rows=_ROWS, kind=kind) + statement + _SECONDS],
            env=os.environ | {"SOMKNN_CACHE_DIR": folder, "SOMKNN_KERNEL_LOG": str(log), "SOMKNN_PREBUILT": "off"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            return None
        lines = log.read_text().splitlines() if log.exists() else []  # commits before the log
    split = [line.split("\t") for line in lines]
    compiled = [(float(seconds), kernel) for origin, seconds, kernel, _ in split if origin == "compiled"]
    return Cost(float(done.stdout.split()[-1]), sorted(compiled, reverse=True))


def report(costs):
    """A line for each work, and one for each budget that is passed."""
    lines = []
    for work, found in costs.items():
        if found is None:
            lines.append(f"{work}: cannot be done")
            continue
        lines.append(f"{work}: {found.seconds:.1f} s, {len(found.kernels)} kernels compiled")
        if found.seconds > BUDGET[work]:
            dearest = ", ".join(f"{kernel} {seconds:.1f}" for seconds, kernel in found.kernels[:4])
            lines.append(
                f"    over its budget of {BUDGET[work]:.1f} s by {found.seconds - BUDGET[work]:.1f}: {dearest}"
            )
        for seconds, kernel in found.kernels:
            if seconds > KERNEL_BUDGET:
                lines.append(f"    {kernel}: {seconds:.1f} s, over a kernel's budget of {KERNEL_BUDGET:.1f}")
    return lines


class FirstAnswer:
    """Fit and predict 5,000 rows of 64 columns in a fresh process with an empty cache."""

    version = "1"
    timeout = 600
    params = (tuple(BUDGET),)
    param_names = ("work",)

    def setup_cache(self):
        return {work: cost(work) for work in BUDGET}

    def setup(self, costs, work):
        if costs[work] is None:
            raise NotImplementedError(f"this commit cannot do {work}")

    @tracked("s")
    def track_processor_seconds(self, costs, work):
        return costs[work].seconds

    @tracked("s")
    def track_over_budget(self, costs, work):
        return max(0.0, costs[work].seconds - BUDGET[work])

    @tracked("kernels")
    def track_kernels(self, costs, work):
        return len(costs[work].kernels)

    @tracked("s")
    def track_dearest_kernel(self, costs, work):
        return costs[work].kernels[0][0] if costs[work].kernels else 0.0


if __name__ == "__main__":
    print("\n".join(report({work: cost(work) for work in BUDGET})))
