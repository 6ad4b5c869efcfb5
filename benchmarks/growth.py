"""Time of a search against the number of rows: MNIST's rows, then as many variants of them as needed.

    python benchmarks/growth.py --rows 60000 240000 960000 --turns 5 --out docs/lab-notes

Needs MNIST under $SOMKNN_DATA, faiss-cpu and matplotlib; 960,000 rows take 4.5 GB with FAISS, which `--no-faiss` leaves
out. Turn by turn: 10,000 test images searched by somknn, 1,000 by FAISS (its time per query does not change with more),
and single queries by both. Writes growth.json and growth.svg.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from somknn import datasets
from somknn.neighbors import ExactIndex

FAISS_QUERIES = 1000
SINGLE = 20


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def faiss_index(rows):
    import faiss

    faiss.cvar.distance_compute_blas_query_bs, faiss.cvar.distance_compute_blas_database_bs = 4096, 1024
    index = faiss.IndexFlatL2(rows.shape[1])
    for start in range(0, len(rows), 60_000):
        index.add(rows[start : start + 60_000].astype(np.float32))
    return index


def measure(rows, queries, k, turns, with_faiss) -> dict:
    ours = ExactIndex().fit(rows)
    fit = statistics.median(seconds(lambda: ExactIndex().fit(rows)) for _ in range(3))
    works = {
        "somknn": lambda: ours.search(queries, k),
        "somknn_single": lambda: [ours.search(queries[i : i + 1], k) for i in range(SINGLE)],
    }
    if with_faiss:
        theirs = faiss_index(rows)
        floats = queries[:FAISS_QUERIES].astype(np.float32)
        works["faiss"] = lambda: theirs.search(floats, k)
        works["faiss_single"] = lambda: [theirs.search(floats[i : i + 1], k) for i in range(SINGLE)]
        equal = float((theirs.search(floats, k)[1] == ours.search(queries[:FAISS_QUERIES], k)[1]).mean())
    counts = {"somknn": len(queries), "faiss": FAISS_QUERIES, "somknn_single": SINGLE, "faiss_single": SINGLE}
    times = {name: [] for name in works}
    for _ in range(turns):
        for name, work in works.items():
            times[name].append(seconds(work) / counts[name])
    ours.search(queries, k)
    result = {"rows": len(rows), "algorithm": ours.algorithm_, "fit_seconds": fit, **ours.search_stats_}
    result |= {f"{name}_microseconds": statistics.median(t) * 1e6 for name, t in times.items()}
    if with_faiss:
        result["equal_neighbours"] = equal  # FAISS computes in float32, and does not order ties
        for kind in ("", "_single"):
            pairs = zip(times["faiss" + kind], times["somknn" + kind], strict=True)
            result["ratio" + kind] = statistics.median(f / s for f, s in pairs)
    return result


def draw(results: list[dict], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.add_subplot()
    rows = [r["rows"] for r in results]
    names = {
        "faiss_single": ("FAISS IndexFlatL2, one query", "C1", "--"),
        "faiss": ("FAISS IndexFlatL2, a batch", "C1", "-"),
        "somknn_single": ("somknn, one query", "C0", "--"),
        "somknn": ("somknn, a batch", "C0", "-"),
    }
    for name, (label, colour, dashes) in names.items():
        key = f"{name}_microseconds"
        if key in results[0]:
            axes.plot(rows, [r[key] for r in results], dashes, color=colour, marker="o", label=label)
    axes.set(xscale="log", yscale="log", xlabel="rows", ylabel="microseconds per query", title="Time per query, k = 5")
    axes.set_xticks(rows, [f"{r:,}" for r in rows])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[60_000, 240_000, 960_000])
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--no-faiss", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("."))
    options = parser.parse_args()
    data = datasets.load("mnist")
    queries = np.ascontiguousarray(data.X_test)
    results = []
    for n in options.rows:
        rows = datasets.augmented(data.X_train, n, data.image_shape)
        results.append(measure(rows, queries, options.k, options.turns, not options.no_faiss))
        print(json.dumps(results[-1]), flush=True)
    (options.out / "growth.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(results, options.out / "growth.svg")


if __name__ == "__main__":
    main()
