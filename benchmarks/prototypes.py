"""Accuracy, prediction speed and model size of prototypes and of all rows, on MNIST, for docs/lab-notes/prototypes.md.

    python benchmarks/prototypes.py fit --out FOLDER [--method NAME ...] [--budget N ...] [--deskewed]
    python benchmarks/prototypes.py time --out FOLDER
    python benchmarks/prototypes.py report --out FOLDER --plot docs/lab-notes/prototypes.svg

Needs MNIST under $SOMKNN_DATA. `fit` saves every model and its accuracy on the test set, and skips models that exist.
`time` measures the rows per second of all models turn by turn in one process: the median of five passes over the 10,000
test rows in memory, after one uncounted pass; deskewing is not timed. Every setting is the library's default.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import somknn
from somknn import LVQ, KNeighborsClassifier, PrototypeClassifier, datasets
from somknn.images import Deskew

NAMES = {
    "all": "all rows, 1-NN",
    "kmeans": "K-Means centres",
    "difficulty": "K-Means centres, more for difficult classes",
    "glvq": "GLVQ, plain distance",
    "lvq": "LVQ",
    "som": "maps' neurons",
    "sample": "sampled rows",
}
BUDGETS = (100, 250, 500, 1000, 2500, 5000)


def read(deskewed):
    data = datasets.load("mnist")
    train, test = data.X_train, data.X_test
    if deskewed:
        deskew = Deskew(image_shape=(28, 28))
        train, test = deskew.fit_transform(train), deskew.transform(test)
    return train, data.y_train, test, data.y_test


def make(method, budget):
    if method == "all":
        return KNeighborsClassifier(1)
    if method == "glvq":
        return LVQ(budget, metric_rank=None, random_state=0)
    if method == "difficulty":
        return PrototypeClassifier("kmeans", budget, budget="difficulty", random_state=0)
    return PrototypeClassifier(method, budget, random_state=0)


def fit(options):
    train, labels, test, truth = read(options.deskewed)
    for method in options.method:
        for budget in options.budget if method != "all" else [len(train)]:
            path = options.out / f"{method}-{budget}-{'deskewed' if options.deskewed else 'raw'}"
            if path.with_suffix(".json").exists():
                continue
            model = make(method, budget)
            start = time.perf_counter()
            model.fit(train, labels)
            seconds = time.perf_counter() - start
            model.save(path.with_suffix(".safetensors"))
            record = {
                "method": method,
                "prototypes": len(train) if method == "all" else len(model.prototypes_),
                "deskewed": options.deskewed,
                "accuracy": float((model.predict(test) == truth).mean()),
                "bytes": train.nbytes if method == "all" else model.model_bytes_,
                "fit_seconds": seconds,
            }
            path.with_suffix(".json").write_text(json.dumps(record))
            print(record, flush=True)


def measure(options):
    paths = sorted(options.out.glob("*.json"))
    models = {path: somknn.load(path.with_suffix(".safetensors")) for path in paths}
    rows = {deskewed: read(deskewed)[2] for deskewed in {json.loads(path.read_text())["deskewed"] for path in paths}}
    seconds = {path: [] for path in paths}
    for turn in range(6):
        for path, model in models.items():
            queries = rows[json.loads(path.read_text())["deskewed"]]
            start = time.perf_counter()
            model.predict(queries)
            if turn:
                seconds[path].append(time.perf_counter() - start)
    for path in paths:
        record = json.loads(path.read_text())
        record["rows_per_second"] = len(queries) / statistics.median(seconds[path])
        path.write_text(json.dumps(record))


def report(options):
    records = [json.loads(path.read_text()) for path in sorted(options.out.glob("*.json"))]
    records.sort(key=lambda r: (r["deskewed"], list(NAMES).index(r["method"]), r["prototypes"]))
    print("| rows | method | prototypes | model | accuracy | rows/s |\n| --- | --- | ---: | ---: | ---: | ---: |")
    for r in records:
        kind = "deskewed" if r["deskewed"] else "raw"
        size = f"{r['bytes'] / 1e6:.2f} MB"
        speed = f"{r['rows_per_second']:,.0f}" if "rows_per_second" in r else ""
        print(
            f"| {kind} | {NAMES[r['method']]} | {r['prototypes']:,} | {size} | {100 * r['accuracy']:.2f} % | {speed} |"
        )
    if options.plot:
        draw(records, options.plot)


def draw(records, path):
    from matplotlib.figure import Figure

    timed = all("rows_per_second" in record for record in records)
    figure = Figure(figsize=(11 if timed else 6, 5.4), layout="constrained")
    left, *right = figure.subplots(1, 1 + timed, sharey=True, squeeze=False)[0]
    colours = dict(
        zip(NAMES, ("black", "tab:blue", "tab:cyan", "tab:orange", "tab:red", "tab:green", "tab:gray"), strict=True)
    )
    for deskewed in (False, True):
        for method, name in NAMES.items():
            own = [r for r in records if r["method"] == method and r["deskewed"] == deskewed]
            if not own:
                continue
            style = {
                "color": colours[method],
                "marker": "*" if method == "all" else "o",
                "ls": "--" if deskewed else "-",
            }
            style |= {"markersize": 11 if method == "all" else 4, "markerfacecolor": "white" if deskewed else None}
            error = [100 - 100 * r["accuracy"] for r in own]
            label = name + (", deskewed" if deskewed else "")
            left.plot([r["bytes"] / 1e6 for r in own], error, label=label, **style)
            for axes in right:
                axes.plot([r["rows_per_second"] for r in own], error, label=label, **style)
    left.set_xlabel("model, MB")
    left.set_ylabel("error on the test set, %")
    left.set_yscale("log")
    ticks = [1, 2, 3, 5, 10, 15, 25]
    left.set_yticks(ticks, [str(tick) for tick in ticks])
    left.minorticks_off()
    for axes in (left, *right):
        axes.set_xscale("log")
        axes.grid(alpha=0.3, which="both")
    for axes in right:
        axes.set_xlabel("rows classified a second")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3 if timed else 2, fontsize=8)
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("fit", "time", "report"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--method", nargs="*", default=list(NAMES), choices=NAMES)
    parser.add_argument("--budget", nargs="*", type=int, default=BUDGETS)
    parser.add_argument("--deskewed", action="store_true")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    {"fit": fit, "time": measure, "report": report}[options.step](options)


if __name__ == "__main__":
    main()
