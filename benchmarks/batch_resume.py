"""A short version of an overnight run: ten million rows through a k-NN model of all MNIST, killed by -9 and resumed.

    python benchmarks/batch_resume.py FOLDER prepare [--rows 10000000]
    python benchmarks/batch_resume.py FOLDER start --seconds 180
    python benchmarks/batch_resume.py FOLDER resume [--seconds 180]

`prepare` writes the rows (a million variants of MNIST's images, repeated; 7.8 GB) and the model. `start` and `resume`
run `somknn.batch.classify` in a separate process and kill it after the given seconds (without the option they wait for
the end). They print the time until the first part was finished, and the rate from then on. At the end the output is
checked: equal rows have equal labels.
"""

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

REPEATED = 1_000_000
CLASSIFY = "import sys; from somknn.batch import classify; classify(*sys.argv[1:4], resume=sys.argv[4] == 'resume')"


def prepare(folder: Path, n_rows: int) -> None:
    from somknn import KNeighborsClassifier, datasets

    mnist = datasets.load("mnist")
    KNeighborsClassifier(3).fit(mnist.X_train, mnist.y_train).save(folder / "3-nn.safetensors")
    variants = datasets.augmented(mnist.X_train, min(n_rows, REPEATED), mnist.image_shape)
    with open(folder / "rows.part", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (n_rows, 784)})
        for first in range(0, n_rows, REPEATED):
            file.write(variants[: n_rows - first])
    (folder / "rows.part").rename(folder / "rows.npy")


def run(folder: Path, stage: str, seconds: float) -> None:
    output = folder / "labels.npy"
    parts = folder / "labels.npy.parts"
    finished: dict[Path, int] = {}

    def look() -> int:
        """Number of rows in finished parts."""
        for path in parts.glob("part-*.json"):
            with contextlib.suppress(FileNotFoundError):  # the output is complete, and the folder is being removed
                if path not in finished:
                    finished[path] = json.loads(path.read_text())["rows"]
        return sum(finished.values())

    before = look()
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", CLASSIFY, folder / "3-nn.safetensors", folder / "rows.npy", output, stage]
    )
    seen = []  # (seconds, rows)
    while process.poll() is None and time.monotonic() - began < seconds:
        time.sleep(0.1)
        rows = look()
        if rows > (seen[-1][1] if seen else before):
            seen.append((time.monotonic() - began, rows))
    process.kill()
    killed = process.wait() != 0
    if len(seen) < 2:
        raise SystemExit("too few parts were finished to tell a rate")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    new = seen[-1][1] - before
    rate = (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])
    print(
        f"from row {before:,}: first part after {seen[0][0]:.1f} s, then {rate:,.0f} rows a second; {new:,} rows, ",
        end="",
    )
    print(
        f"{(used.ru_utime + used.ru_stime) / new * 1e6:.1f} µs of processor time each, "
        f"peak {used.ru_maxrss / 1e3:,.0f} MB"
    )
    if killed:
        print(f"killed after {time.monotonic() - began:.0f} s; output {'exists' if output.exists() else 'absent'}")
        return
    labels = np.load(output, mmap_mode="r")["label"]
    for first in range(0, len(labels), REPEATED):
        part = labels[first : first + REPEATED]
        assert (part == labels[: len(part)]).all()
    print(f"finished after {time.monotonic() - began:.0f} s; {len(labels):,} labels, those of equal rows equal")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("stage", choices=["prepare", "start", "resume"])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    if options.stage == "prepare":
        prepare(options.folder, options.rows)
    else:
        run(options.folder, options.stage, options.seconds)


if __name__ == "__main__":
    main()
