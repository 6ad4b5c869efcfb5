"""Recall against speed and memory on MNIST and variants of its rows: FAISS's indexes in `FaissIndex`, and exact search.

    python benchmarks/recall_curves.py --rows 60000 1000000 --store recall-store --out docs/lab-notes

Needs MNIST under $SOMKNN_DATA, faiss-cpu and matplotlib; a million rows take 6 GB of memory, 2 GB under --store, and an
hour on two cores. Everything prepared or measured stays in the store, so a run can be split: `--stage prepare` builds
indexes and measures recall, `--stage time` only measures times, `--index` selects the indexes of this run. The graph of
"hnsw", which takes longest, is saved every 50,000 rows, and an interrupted run continues from there.

Recall is that of 2,000 test images; the parameters of "tuned" points were chosen on 1,000 others. Times are medians of
turns; in each turn the exact engine and one index answer the same queries.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import numpy as np

from somknn import datasets
from somknn.neighbors import ExactIndex, FaissIndex, faiss_arrays, faiss_factory, recall
from somknn_kernels.parallel import resolve_n_threads

K = 10
TARGET = 0.99
# name: (the varied parameter of FaissIndex, its values, queries per turn)
INDEXES = {
    "flat": (None, (None,), 250),
    "sq8": (None, (None,), 100),
    "ivf": ("nprobe", (2, 4, 8, 16, 32, 64, 128), 500),
    "ivfpq": ("nprobe", (2, 4, 8, 16, 32, 64, 128), 500),
    "hnsw": ("ef_search", (10, 16, 32, 64, 128, 256), 1000),
}
SINGLE = 20
GROWN_AT_ONCE = 50_000
QUERIES, TUNING = slice(0, None, 5), slice(1, None, 10)  # of the 10,000 test images


def read_rows(n: int, store: Path) -> tuple[np.ndarray, np.ndarray]:
    """n rows and the test images, both uint8."""
    data = datasets.load("mnist")
    path = store / f"rows-{n}.npy"
    if not path.exists():
        with_name = path.with_suffix(".part.npy")
        np.save(with_name, datasets.augmented(data.X_train, n, data.image_shape))
        with_name.rename(path)
    return np.load(path), np.ascontiguousarray(data.X_test)


def set_up(name: str, n: int, parameter: str | None) -> FaissIndex:
    # A given parameter keeps `fit` from tuning: here it is tuned on test images.
    given = {parameter: 1} if parameter else {}
    if parameter == "nprobe":
        given["nlist"] = 1024 if n < 250_000 else 2048
    return FaissIndex(name, n_neighbors=K, **given)


def grow(index: FaissIndex, rows: np.ndarray, path: Path) -> float:
    """Fit a graph in steps, saving each at `path`; return the processor seconds of all steps."""
    spent, n = 0.0, len(rows)
    fitted = index._empty(rows)
    engine, vectors_at = fitted.list.engine, fitted.list.vectors_at
    if path.exists():
        with np.load(path) as kept:
            arrays = dict(kept)
        spent = float(arrays.pop("spent"))
        faiss_arrays.from_arrays(index.index, engine, len(arrays["levels"]), arrays, vectors_at)
    while engine.ntotal < n:
        started = time.process_time()
        with faiss_factory.faiss_threads(resolve_n_threads(None)):
            faiss_factory.fill(engine, engine.ntotal, min(engine.ntotal + GROWN_AT_ONCE, n), vectors_at)
        spent += time.process_time() - started
        np.savez(path.with_suffix(".part.npz"), spent=spent, **faiss_arrays.to_arrays(index.index, engine))
        path.with_suffix(".part.npz").rename(path)
        print(f"{index.index}: {engine.ntotal:,} of {n:,} rows, {spent:,.0f} processor seconds", flush=True)
    index._become(fitted)
    return spent


def restore(index: FaissIndex, rows: np.ndarray, path: Path) -> float:
    """Load a saved index; return the processor seconds that it took to build."""
    with np.load(path) as kept:
        arrays = dict(kept)
    spent = float(arrays.pop("spent"))
    index.restore(rows, arrays)
    return spent


def prepare(name: str, n: int, store: Path) -> None:
    """Build and save an index, and measure the recall of every setting, and of the setting tuned on other images."""
    parameter, values, _ = INDEXES[name]
    rows, images = read_rows(n, store)
    queries, others = (np.ascontiguousarray(images[part]) for part in (QUERIES, TUNING))
    index = set_up(name, n, parameter)
    built = store / f"{name}-{n}.npz"
    if built.exists():
        spent = restore(index, rows, built)
    elif name == "hnsw":
        spent = grow(index, rows, store / f"{name}-{n}-growing.npz")
    else:
        started = time.process_time()
        # If each query compares all rows, a few queries are enough to choose the length of the shortlist.
        index.fit(rows, None if parameter else others[:50])
        spent = time.process_time() - started
    if not built.exists():
        np.savez(built.with_suffix(".part.npz"), spent=spent, **index.screen_to_save())
        built.with_suffix(".part.npz").rename(built)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {"index": name, "rows": n, "build_cpu_seconds": spent, "bytes": index.nbytes, "peak_bytes": peak}
    kth = ExactIndex().fit(rows).search(queries, K)[0][:, -1]
    if parameter:
        result["tuned_recall"] = index.tune(others, K, TARGET)
        result["tuned"] = index.nprobe_ if parameter == "nprobe" else index.ef_search_
        values = sorted({*values, result["tuned"]})
    result |= {"parameter": parameter, "rerank": index.rerank_, "points": []}
    subset = queries if parameter else queries[: INDEXES[name][2]]
    for value in values:
        if parameter:
            setattr(index, parameter, value)
        found = float(recall.recalls(index.search(subset, K)[0], kth[: len(subset)]).mean())
        answered = index.search_stats_["answered_exactly"]
        result["points"].append({"value": value, "recall": found, "answered_exactly": answered})
        print(json.dumps({"index": name, **result["points"][-1]}), flush=True)
    (store / f"{name}-{n}-prepared.json").write_text(json.dumps(result, indent=1) + "\n")


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def take_times(name: str, exact: ExactIndex, images: np.ndarray, store: Path, turns: int) -> None:
    """Microseconds per query of every setting, in turns with exact search; single queries at the tuned setting."""
    import faiss

    faiss.cvar.distance_compute_blas_query_bs, faiss.cvar.distance_compute_blas_database_bs = 4096, 1024
    rows = exact.rows_
    n = len(rows)
    parameter, _, n_queries = INDEXES[name]
    result = json.loads((store / f"{name}-{n}-prepared.json").read_text())
    if name == "sq8" and n > 250_000:
        n_queries //= 4
    queries = np.ascontiguousarray(images[QUERIES][:n_queries])
    index = set_up(name, n, parameter)
    restore(index, rows, store / f"{name}-{n}.npz")
    index.rerank = result["rerank"]

    def batch(value):
        if parameter:
            setattr(index, parameter, value)
        return seconds(lambda: index.search(queries, K)) / len(queries)

    one_by_one = SINGLE if parameter else 1 + SINGLE * 60_000 // n

    def singles(search):
        return seconds(lambda: [search(queries[i : i + 1], K) for i in range(one_by_one)]) / one_by_one

    exact.search(queries, K), index.search(queries[:50], K)
    values = [point["value"] for point in result["points"]]
    taken = {value: [] for value in values}
    ours, single, our_single, alone = [], [], [], []
    floats = queries.astype(np.float32)
    for _ in range(turns):
        ours.append(seconds(lambda: exact.search(queries, K)) / len(queries))
        for value in values:
            taken[value].append(batch(value))
        batch(result.get("tuned"))
        alone.append(seconds(lambda: index._list.engine.search(floats, K)) / len(queries))
        single.append(singles(index.search))
        our_single.append(singles(exact.search))
    microseconds = {name: statistics.median(t) * 1e6 for name, t in taken.items()}
    for point in result["points"]:
        point["microseconds"] = microseconds[point["value"]]
        point["ratio_to_exact"] = statistics.median(t / e for t, e in zip(taken[point["value"]], ours, strict=True))
    result |= {
        "turns": turns,
        "queries": n_queries,
        "exact_microseconds": statistics.median(ours) * 1e6,
        "exact_single_microseconds": statistics.median(our_single) * 1e6,
        "single_microseconds": statistics.median(single) * 1e6,
        "faiss_alone_microseconds": statistics.median(alone) * 1e6,
        "exact_bytes": exact.nbytes,
        "exact_algorithm": exact.algorithm_,
    }
    (store / f"{name}-{n}-timed.json").write_text(json.dumps(result, indent=1) + "\n")


def exact_of(results: list[dict]) -> dict:
    """The result with the largest batches: the exact engine gets faster with the batch size."""
    return max(results, key=lambda r: r["queries"])


def table(results: list[dict]) -> str:
    """A Markdown table with one line per index at its tuned setting."""
    head = (
        "| rows | index | setting | recall | batch | queries/s | exact is faster | one query, ms "
        "| bytes a row | build, CPU s |"
    )
    lines = [head, "| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for n in sorted({r["rows"] for r in results}):
        these = [r for r in results if r["rows"] == n]
        ours = exact_of(these)
        single = statistics.median(r["exact_single_microseconds"] for r in these)
        lines.append(
            f"| {n:,} | **exact, {ours['exact_algorithm']}** | | **1** | {ours['queries']:,} | "
            f"**{1e6 / ours['exact_microseconds']:,.0f}** | | **{single / 1e3:.2f}** | "
            f"{ours['exact_bytes'] / n:,.0f} | |"
        )
        for r in these:
            point = next(p for p in r["points"] if p["value"] == r.get("tuned"))
            setting = f"`{r['parameter']}={point['value']}`, `rerank={r['rerank']}`" if r["parameter"] else ""
            lines.append(
                f"| {n:,} | {r['index']} | {setting} | {point['recall']:.4f} | {r['queries']:,} | "
                f"{1e6 / point['microseconds']:,.0f} | {point['ratio_to_exact']:.1f}× | "
                f"{r['single_microseconds'] / 1e3:.2f} | {r['bytes'] / n:,.0f} | {r['build_cpu_seconds']:,.0f} |"
            )
    return "\n".join(lines)


def draw(results: list[dict], path: Path) -> None:
    from matplotlib.figure import Figure

    sizes = sorted({r["rows"] for r in results})
    figure = Figure(figsize=(4.6 * len(sizes) + 0.6, 4.8), layout="constrained")
    panels = figure.subplots(1, len(sizes), squeeze=False)[0]
    colours = {"ivf": "C1", "ivfpq": "C4", "hnsw": "C2", "flat": "C3", "sq8": "C5"}
    labels = {}
    # Share of missed neighbours, logarithmic, smallest at the right: the distance of recall from 1 matters.
    least = 5e-5
    for axes, n in zip(panels, sizes, strict=True):
        these = [r for r in results if r["rows"] == n]
        ours = 1e6 / exact_of(these)["exact_microseconds"]
        axes.axhline(ours, color="C0", linewidth=0.8, linestyle=":")
        for r in these:
            missed = [max(1 - p["recall"], least) for p in r["points"]]
            speeds = [1e6 / p["microseconds"] for p in r["points"]]
            style = {"color": colours[r["index"]], "marker": "o" if r["parameter"] else "s", "markersize": 4}
            labels[f"FAISS {r['index']}"] = axes.plot(missed, speeds, "-", **style)[0]
        labels["somknn exact"] = axes.plot([least], [ours], "*", color="C0", markersize=13, zorder=5)[0]
        axes.axvline(1 - TARGET, color="0.6", linewidth=0.8, linestyle="--")
        axes.set(xscale="log", yscale="log", xlabel=f"recall of the {K} nearest", title=f"{n:,} rows")
        axes.set_xlim(0.5, least / 1.6)
        axes.set_xticks([0.5, 0.1, 0.01, 0.001, least], ["0.5", "0.9", "0.99", "0.999", "1"])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("queries per second")
    figure.legend(labels.values(), labels, loc="outside lower center", ncols=3 * len(sizes), frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[60_000])
    parser.add_argument("--index", nargs="+", choices=list(INDEXES), default=list(INDEXES))
    parser.add_argument("--stage", choices=["prepare", "time", "draw", "all"], default="all")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("."))
    options = parser.parse_args()
    options.store.mkdir(parents=True, exist_ok=True)
    for n in options.rows:
        missing = {
            stage: [name for name in options.index if not (options.store / f"{name}-{n}-{stage}.json").exists()]
            for stage in ("prepared", "timed")
        }
        for name in missing["prepared"] if options.stage in ("prepare", "all") else ():
            prepare(name, n, options.store)
        if options.stage in ("time", "all") and missing["timed"]:
            rows, images = read_rows(n, options.store)
            exact = ExactIndex().fit(rows)
            for name in missing["timed"]:
                if not (options.store / f"{name}-{n}-prepared.json").exists():
                    print(f"{name} of {n} rows is not prepared yet", flush=True)
                    continue
                take_times(name, exact, images, options.store, options.turns)
    paths = [options.store / f"{name}-{n}-timed.json" for n in options.rows for name in options.index]
    results = [json.loads(path.read_text()) for path in paths if path.exists()]
    if options.stage in ("draw", "all") and results:
        print(table(results))
        draw(results, options.out / "recall.svg")


if __name__ == "__main__":
    main()
