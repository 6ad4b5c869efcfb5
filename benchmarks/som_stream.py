"""SOM training on more rows than should be in memory: `partial_fit` from a memory-mapped uint8 file; prints the peak.

    python benchmarks/som_stream.py --rows 1000000 --file big.npy

Creates the file (random mixtures of a few prototypes, 784 columns) if it does not exist. The peak is that of private
memory: pages of the mapped file belong to the system's cache.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from somknn import SOM


def private_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))


def make(path: Path, rows: int) -> None:
    random = np.random.default_rng(0)
    prototypes = random.integers(0, 256, (50, 784))
    out = np.lib.format.open_memmap(path, "w+", np.uint8, (rows, 784))
    for first in range(0, rows, 20_000):
        count = min(20_000, rows - first)
        noise = random.integers(-20, 21, (count, 784))
        out[first : first + count] = np.clip(prototypes[random.integers(0, 50, count)] + noise, 0, 255)
    out.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--chunk", type=int, default=20_000)
    parser.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    if not options.file.exists():
        make(options.file, options.rows)
    X = np.load(options.file, mmap_mode="r")
    som = SOM(20, 20, epochs=len(X) // options.chunk, random_state=0)
    before = peak = private_bytes()
    began = time.perf_counter()
    for first in range(0, len(X), options.chunk):
        som.partial_fit(X[first : first + options.chunk])
        peak = max(peak, private_bytes())
    seconds = time.perf_counter() - began
    print(f"{len(X):,} rows in {seconds:.1f} s; QE of the last chunk {som.quantization_error_:.1f}")
    print(
        f"private memory: {before / 2**20:.0f} MiB before, {peak / 2**20:.0f} MiB at most; "
        f"file {X.nbytes / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    main()
