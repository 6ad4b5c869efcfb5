"""Compile every kernel for named levels of processors: `python -m somknn_kernels.prebuild`.

The kernels are those that `WORKLOAD` uses: `somknn warmup` runs every estimator and command once. It runs in processes
of their own, for each level: Numba takes the processor that it compiles for from its environment. What these processes
keep in a cache of their own becomes `FOLDER/LEVEL`, with a manifest beside it; `prebuilt` says what is in it.

Jobs run what they compile. So a level is built only on a machine that has all of its features.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import llvmlite.binding

from somknn_kernels import prebuilt
from somknn_kernels.levels import BY_NAME, LEVELS, Level

# A name, and not an import: kernels know nothing of what calls them.
WORKLOAD = ("-c", "from somknn.cli import main; main()", "warmup")


def build(levels: Sequence[Level], folder: Path) -> list[str]:
    """Build `folder/LEVEL` for each of `levels` that runs here; a line for each about what was done or left out.

    Raises RuntimeError if a workload fails; it has said why on stderr.
    """
    lines: list[str] = []
    for level in levels:
        if lacking := level.lacking():
            lines.append(f"{level.name}: left out, this processor lacks {', '.join(lacking)}")
            continue
        with tempfile.TemporaryDirectory() as scratch:
            _compile(level, scratch)
            sums, size = _collect(Path(scratch) / "somknn-kernels", folder / level.name)
        text = json.dumps(_manifest(level) | {"kernels": sums}, indent=1)
        (folder / level.name / prebuilt.MANIFEST).write_text(text + "\n", encoding="utf-8")
        lines.append(f"{level.name}: {len(sums)} kernels, {size / 1e6:.1f} MB")
    return lines


def _compile(level: Level, cache: str) -> None:
    """Fill the folder `cache` by the workload, with kernels for `level`."""
    settings = {
        "NUMBA_CPU_NAME": level.processor,
        "NUMBA_CPU_FEATURES": level.target_features,
        "SOMKNN_ISA": level.isa,
        "SOMKNN_CACHE_DIR": cache,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    others = {name: value for name, value in os.environ.items() if name != "SOMKNN_KERNEL_LOG"}
    done = subprocess.run([sys.executable, *WORKLOAD], env=others | settings, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"the workload failed for {level.name}; {done.stdout.strip()}")


def _collect(cache: Path, folder: Path) -> tuple[dict[str, str], int]:
    """Copy the kernels of a cache to `folder`, which is made anew; their SHA-256 by path, and their bytes."""
    shutil.rmtree(folder, ignore_errors=True)
    sums, size = {}, 0
    for path in sorted(cache.rglob("*.nbc")):
        name, contents = path.relative_to(cache).as_posix(), path.read_bytes()
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(contents)
        sums[name], size = hashlib.sha256(contents).hexdigest(), size + len(contents)
    if not sums:
        raise RuntimeError(f"the workload kept no kernel in {cache}")
    return sums, size


def _manifest(level: Level) -> dict[str, object]:
    """All of the manifest but its kernels."""
    import numpy as np

    return {
        "layout": prebuilt.LAYOUT,
        "level": level.name,
        "triple": llvmlite.binding.get_process_triple(),
        "processor": level.processor,
        "features": level.target_features,
        **prebuilt.versions(),
        "numpy": np.__version__,
        "sources": prebuilt.sources_digest(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m somknn_kernels.prebuild", description=__doc__.splitlines()[0])
    parser.add_argument("levels", nargs="*", metavar="LEVEL", help=f"of {', '.join(BY_NAME)}; by default all")
    parser.add_argument("--folder", type=Path, default=prebuilt.FOLDER, help="where to [default: the installation]")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.levels) - set(BY_NAME))
    if unknown:
        parser.error(f"unknown level {', '.join(unknown)}; there are {', '.join(BY_NAME)}")
    try:
        lines = build([BY_NAME[name] for name in given.levels] or LEVELS, given.folder)
    except (RuntimeError, OSError) as error:
        sys.exit(f"somknn_kernels.prebuild: {error}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
