"""Jobs that use every compiled kernel once: what `somknn warmup` runs, and what platform wheels are built from.

What decides which kernels a program needs is the kind of its rows and queries, the instruction set, and which search
it takes. So each job fits and asks estimators, or calls commands, on a few rows of one kind, and names the search where
`auto` would take another for so few. `tests/cli/test_warmup.py` says which kernels no job reaches.
"""

import contextlib
import functools
import io
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

KINDS = ("uint8", "float64", "float32", "int8", "int16", "float16")  # of rows, the most used first
_TABLES = ("uint8", "float64", "float32")  # the kinds to which estimators other than k-NN convert


class Job(NamedTuple):
    """A piece of work for one process.

    name : what is told while it runs
    groups : the names by which it is asked for
    """

    name: str
    groups: frozenset[str]
    run: Callable[[], object]


def rows(kind: str, n: int, d: int, seed: int = 0) -> np.ndarray:
    """Rows (n, d) of this kind, of 10 classes (`labels`) on few axes, with noise: short vectors rule much out."""
    centres = np.random.default_rng(1).standard_normal((10, min(d, 8))) * 3
    axes = np.random.default_rng(2).standard_normal((min(d, 8), d))
    random = np.random.default_rng(seed)
    values = (centres[labels(n)] + random.standard_normal((n, min(d, 8)))) @ axes + random.standard_normal((n, d)) / 4
    if kind == "uint8":
        return np.clip(128 + 6 * values, 0, 255).astype(np.uint8)
    return np.clip(6 * values, -127, 127).astype(kind)


def labels(n: int) -> np.ndarray:
    """The classes (n,) of `rows`."""
    return np.arange(n) % 10


def _search(kind: str) -> None:
    """Every search of an exact index, with queries of the rows' own kind and of other kinds."""
    from somknn.machine import select
    from somknn.neighbors import ExactIndex
    from somknn.search.brute import BruteSearch

    kinds = {kind, *(_TABLES if kind in _TABLES else ("float64", "float32"))}
    for algorithm, d in (("brute", 64), ("pruned", 64), ("pruned", 320), ("tree", 6)):
        given = rows(kind, 6000 if algorithm == "brute" else 3000, d)  # codes of bytes (AVX2) need so many
        index = ExactIndex(algorithm).fit(given)
        for other in kinds:
            queries = rows(other, 600, d, seed=1)
            for m in (600, 1):
                index.search(queries[:m], 3)
            index.search_within(queries[:20], float(np.median(index.search(queries[:20], 5)[0][:, -1])))
            if algorithm == "brute" and other not in ("int8", "float16"):  # what an index of FAISS proposes
                search = BruteSearch(given, select())
                found = np.zeros((20, 3), np.int64 if search.integers(queries) else np.float64), np.zeros((20, 3), int)
                search.rerank(queries[:20], np.tile(np.arange(10), (20, 1)), *found, 1)
        if algorithm != "brute":
            index.search_rows(3, np.arange(len(given)))
            index.search_rows(3, labels(len(given)))


def _cosine(kind: str) -> None:
    from somknn.neighbors import CosineIndex

    for algorithm, d in (("brute", 64), ("pruned", 64), ("tree", 6)):
        index = CosineIndex(algorithm).fit(rows(kind, 3000, d))
        index.search(rows(kind, 200, d, seed=1), 3)
        index.search(rows(kind, 1, d, seed=1), 3)


def _neighbors(kind: str) -> None:
    """Every k-NN estimator."""
    import somknn

    X, y, Q = rows(kind, 3000, 64), labels(3000), rows(kind, 300, 64, seed=1)
    for weights, algorithm in itertools.product(("uniform", "distance"), ("brute", "pruned")):
        model = somknn.KNeighborsClassifier(3, weights=weights, algorithm=algorithm).fit(X, y)
        for m in (300, 1):
            model.predict(Q[:m])
            model.predict_proba(Q[:m])
        somknn.KNeighborsRegressor(3, weights=weights).fit(X, y.astype(float)).predict(Q)
    somknn.KNeighborsClassifier(3, tie_break="first").fit(X, y).predict(Q)
    neighbours = somknn.NearestNeighbors(n_neighbors=3).fit(X)
    neighbours.kneighbors()
    neighbours.radius_neighbors(Q[:20], float(neighbours.kneighbors(Q[:20])[0].max()))
    somknn.KNeighborsTransformer(n_neighbors=3).fit_transform(X[:300])
    for metric, algorithm in itertools.product(("euclidean", "cosine"), ("brute", "pruned")):
        choice = somknn.KNeighborsClassifierCV([1, 3], cv=10, metric=metric, algorithm=algorithm)
        choice.fit(X[:300], y[:300]).predict(Q)


def _maps(kind: str) -> None:
    import somknn

    for n, d in ((300, 16), (2500, 64)):
        X, y = rows(kind, n, d), labels(n)
        for training in ("batch", "online"):
            model = somknn.SOM(9, 9, training=training, epochs=2, random_state=0).fit(X)
            model.predict(X[:100])
            model.topographic_error(X)
            model.partial_fit(X)
        somknn.SOM(9, 9, epochs=2, random_state=0).fit(X, sample_weight=np.ones(n))
        for neighborhood in ("bubble", "mexican_hat"):
            somknn.SOM(9, 9, epochs=2, neighborhood=neighborhood, topology="hexagonal", random_state=0).fit(X)
        somknn.SOMClassifier(somknn.SOM(9, 9, epochs=2, random_state=0)).fit(X, y).predict(X)
    somknn.SOMFeatureSelector(somknn.SOM(5, 5, random_state=0), n_features=5).fit(X, y).transform(X)
    if kind != "uint8":
        X[::7, ::5] = np.nan
        for training in ("batch", "online"):
            model = somknn.SOM(5, 5, training=training, epochs=2, missing_values="ignore", random_state=0).fit(X)
            model.predict(X)


def _kmeans(kind: str) -> None:
    import somknn

    for n, d, clusters in ((500, 16, 5), (3000, 64, 10), (3000, 64, 120)):
        X = rows(kind, n, d)
        model = somknn.KMeans(clusters, max_iter=3, random_state=0).fit(X)
        model.predict(X)
        model.score(X)
        model.partial_fit(X)
        somknn.KMeans(clusters, max_iter=3, random_state=0).fit(X, sample_weight=np.linspace(1, 2, n))


def _prototypes(kind: str) -> None:
    import somknn

    X, y = rows(kind, 3000, 160), labels(3000)
    for algorithm in ("glvq", "lvq1", "lvq2.1"):
        somknn.LVQ(60, algorithm=algorithm, max_iter=2, random_state=0).fit(X, y).predict(X)
    somknn.LVQ(60, metric_rank=None, max_iter=2, random_state=0).fit(X, y).predict(X)
    for source, budget in itertools.product(("kmeans", "lvq", "som", "sample"), ("even", "difficulty")):
        model = somknn.PrototypeClassifier(source, 60, budget=budget, n_neighbors=3, random_state=0).fit(X, y)
        model.predict(X)
        model.predict_proba(X[:50])


def _images() -> None:
    from somknn import DeformationClassifier
    from somknn.images import Blur, CenterDigit, Deskew, GradientOrientation, preset

    for kind in _TABLES:
        pictures = rows(kind, 200, 784)
        for transformer in (Deskew(), Blur(), GradientOrientation(), CenterDigit()):
            with contextlib.suppress(TypeError, ValueError):  # one that takes bytes only
                transformer.fit_transform(pictures)
    X, y = rows("uint8", 2500, 784), labels(2500)
    for name in ("fast", "balanced"):
        preset(name, image_shape=(28, 28)).fit(X, y).predict(X[:100])
    DeformationClassifier(n_candidates=20).fit(X[:300], y[:300]).predict(X[:20])


@contextlib.contextmanager
def _tables() -> Iterator[dict[str, Path]]:
    """A file of each kind of rows, in a folder of its own, with the label in the column of that name.

    Shorter texts are not read by the kernel.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for kind in ("uint8", "float64"):
            found[kind] = Path(folder) / f"{kind}.csv"
            table = np.column_stack([labels(2000), rows(kind, 2000, 64)])
            names = ",".join(["label", *(f"f{i}" for i in range(64))])
            np.savetxt(found[kind], table, fmt="%g", delimiter=",", header=names, comments="")
        with contextlib.suppress(ImportError):  # without pyarrow nobody reads such files here
            import pyarrow
            from pyarrow import parquet

            found["float32"] = Path(folder) / "float32.parquet"
            columns = {f"f{i}": column for i, column in enumerate(rows("float32", 400, 64).T)}
            parquet.write_table(pyarrow.table({"label": labels(400), **columns}), found["float32"])
        yield found


def _command(*arguments: Any) -> None:
    """Call a command as users do, in a process of its own, and pass on what it says about kernels.

    RuntimeError with its last line if it fails.
    """
    code = "from somknn.cli import main; main()"
    called = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(called, env={"MPLBACKEND": "agg", **os.environ}, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RuntimeError(f"somknn {arguments[0]}: {last}")
    print(*(line for line in done.stderr.splitlines() if line.startswith("somknn: ")), sep="\n", file=sys.stderr)


def _commands(name: str, *options: str) -> Callable[[], None]:
    def run() -> None:
        with _tables() as tables, tempfile.TemporaryDirectory() as out:
            for dataset in ("digits", *map(str, tables.values())):
                _command(name, "--dataset", dataset, *options, "--out", Path(out) / Path(dataset).stem)

    return run


def _files(command: str) -> Callable[[], None]:
    def run() -> None:
        from somknn import KNeighborsClassifier

        with _tables() as tables:
            for kind, table in tables.items():
                file = table.with_suffix(".safetensors")
                for weights in ("uniform", "distance"):
                    model = KNeighborsClassifier(3, weights=weights).fit(rows(kind, 2500, 64), labels(2500))
                    model.save(file)
                    given = (
                        "--drop",
                        "label",
                        "--proba",
                        "--neighbors",
                        "--overwrite",
                        "-o",
                        table.with_suffix(".out.csv"),
                    )
                    _command(command, file, table, *given)

    return run


def _as_many_and_as_few(run: Callable[..., None], *arguments: str) -> None:
    """Let few rows be searched as many are, then as few are."""
    from somknn.search.allowance import withheld

    with withheld():
        run(*arguments)
    run(*arguments)


def _of_kinds(kinds: tuple[str, ...], name: str, run: Callable[[str], None], *groups: str) -> list[Job]:
    return [
        Job(f"{name} ({kind})", frozenset(groups), functools.partial(_as_many_and_as_few, run, kind)) for kind in kinds
    ]


_K_NN = ("run", "evaluate", "tune", "classify", "predict")  # commands that search rows for neighbours
JOBS = [
    *_of_kinds(_TABLES, "search", _search, "neighbors", *_K_NN),
    *_of_kinds(_TABLES, "maps", _maps, "som", "run"),
    *_of_kinds(_TABLES, "K-Means", _kmeans, "kmeans", "prototypes", "run"),
    *_of_kinds(_TABLES, "prototypes", _prototypes, "lvq", "prototypes", "run"),
    *_of_kinds(_TABLES, "k-NN", _neighbors, "neighbors", *_K_NN),
    *_of_kinds(KINDS[3:], "search", _search, "neighbors"),
    *_of_kinds(KINDS, "cosine", _cosine, "neighbors"),
    *_of_kinds(KINDS[3:], "k-NN", _neighbors, "neighbors"),
    Job("images", frozenset({"images", "run"}), functools.partial(_as_many_and_as_few, _images)),
    Job("run", frozenset({"run"}), _commands("run")),
    Job("tune", frozenset({"tune"}), _commands("tune", "--k", "1-3", "--cv", "3")),
    Job("evaluate", frozenset({"evaluate"}), _commands("evaluate", "--cv", "3")),
    Job("explore", frozenset({"explore"}), _commands("explore")),
    Job("som", frozenset({"som"}), _commands("som", "--grid", "6x6", "--epochs", "2", "--no-pictures")),
    Job("prototypes", frozenset({"prototypes"}), _commands("prototypes", "--numbers", "20,40", "--no-pictures")),
    Job("classify", frozenset({"classify"}), _files("classify")),
    Job("predict", frozenset({"predict"}), _files("predict")),
]
GROUPS = sorted(set().union(*(job.groups for job in JOBS)))


def run(name: str) -> list[str]:
    """Run the job of this name; what it said on stderr, but for the announcement that kernels are compiled."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        next(job for job in JOBS if job.name == name).run()
    return [line for line in said.getvalue().splitlines() if line and "compiling kernels" not in line]
