"""Rate and memory of batch classification: files of augmented MNIST rows against the same model in memory.

    python benchmarks/batch_throughput.py FOLDER [--rows 1000000] [--turns 5] [--prototypes 1000]

FOLDER receives the inputs (created once). Prints for each turn the in-memory rate, then the rate from .npy and from
Parquet to Parquet. Each runs in a separate process; printed are its peak of resident memory, and that of a process that
loads the same model and classifies 16,384 rows: the difference is the memory of the run itself. Processor time per row
is printed with the rates; other work on the machine disturbs it less.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np

MEASURE = """
import json, resource, sys, time
import numpy as np
from somknn import batch, load
from somknn.batch import Wanted, predict_columns
model, source, output, kind = sys.argv[1:5]
warm = np.zeros((16384, 784), np.uint8)
loaded = load(model)
predict_columns(loaded, warm, Wanted())
start, cpu = time.perf_counter(), time.process_time()
if kind == "memory":
    rows = np.load(source, mmap_mode="r")[:200_000]
    rows = np.array(rows)
    start, cpu = time.perf_counter(), time.process_time()
    loaded.predict(rows)
    n = len(rows)
elif kind == "nothing":
    n = 0
else:
    n = batch.classify(model, source, output).rows
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"rate": n / seconds, "cpu": cpu / max(n, 1), "peak": peak}))
"""


def make_inputs(folder: Path, n_rows: int) -> tuple[Path, Path]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from somknn import datasets

    npy, parquet = folder / f"rows-{n_rows}.npy", folder / f"rows-{n_rows}.parquet"
    if not npy.exists():
        mnist = datasets.load("mnist")
        part = npy.with_suffix(".part")
        with open(part, "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (n_rows, 784)})
            for block in datasets.iter_augmented(mnist.X_train, n_rows, mnist.image_shape):
                file.write(block)
        part.rename(npy)
    if not parquet.exists():
        rows = np.load(npy, mmap_mode="r")
        schema = pa.schema([("pixels", pa.list_(pa.uint8(), 784))])
        part = parquet.with_suffix(".part")
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for at in range(0, n_rows, 50_000):
                flat = pa.array(np.ascontiguousarray(rows[at : at + 50_000]).ravel())
                writer.write_table(pa.table([pa.FixedSizeListArray.from_arrays(flat, 784)], schema=schema))
        part.rename(parquet)
    return npy, parquet


def measure(model: Path, source: Path, output: Path, kind: str) -> dict:
    command = [sys.executable, "-c", MEASURE, str(model), str(source), str(output), kind]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--prototypes", type=int, default=1000)
    options = parser.parse_args()
    from somknn import PrototypeClassifier, datasets

    npy, parquet = make_inputs(options.folder, options.rows)
    model = options.folder / f"{options.prototypes}-prototypes.safetensors"
    if not model.exists():
        mnist = datasets.load("mnist")
        classifier = PrototypeClassifier(n_prototypes=options.prototypes, random_state=0)
        classifier.fit(mnist.X_train, mnist.y_train).save(model)
    output = options.folder / "out.parquet"
    measure(model, npy, output, "nothing")  # compiles
    turns = []
    for _ in range(options.turns):
        turn = {
            "memory": measure(model, npy, output, "memory"),
            "npy": measure(model, npy, output, "npy"),
            "parquet": measure(model, parquet, output, "parquet"),
            "nothing": measure(model, npy, output, "nothing"),
        }
        turns.append(turn)
        rates = {kind: f"{turn[kind]['rate']:,.0f}" for kind in ("memory", "npy", "parquet")}
        peaks = {kind: f"{turn[kind]['peak'] / 1e6:,.0f} MB" for kind in turn}
        costs = {kind: f"{turn[kind]['cpu'] * 1e6:.1f} µs" for kind in rates}
        print(rates, costs, peaks, flush=True)
    for kind in ("npy", "parquet"):
        share = median(turn[kind]["rate"] / turn["memory"]["rate"] for turn in turns)
        grown = median(turn[kind]["peak"] - turn["nothing"]["peak"] for turn in turns)
        cpu = median(turn["memory"]["cpu"] / turn[kind]["cpu"] for turn in turns)
        print(f"{kind}: {share:.0%} of the in-memory rate, {cpu:.0%} by processor time; ", end="")
        print(f"peak {grown / 1e6:,.0f} MB above a loaded model")


if __name__ == "__main__":
    main()
