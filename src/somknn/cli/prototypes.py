"""`somknn prototypes`: a few rows of each class instead of all of them, compared, and how many are needed."""

import csv
import functools
import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from somknn import KNeighborsClassifier, PrototypeClassifier
from somknn._files import replacing
from somknn.cli import column_names
from somknn.cli import evaluation as shared
from somknn.cli.errors import one_line_errors
from somknn.cli.methods import Method, Outcome, results_table, run_method
from somknn.cli.parameters import COLUMNS, with_options
from somknn.environment import describe
from somknn.plots import require_matplotlib

SOURCES = {"kmeans": "K-Means centres", "lvq": "LVQ prototypes", "som": "SOM neurons", "sample": "sampled rows"}


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    """Whole numbers above 0, separated by commas, ascending."""
    parts = [part.strip() for part in value.split(",") if part.strip()]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{value!r} is not a list such as 100,500,1000")
    return sorted({int(part) for part in parts})


def _methods(sources: tuple[str, ...], numbers: list[int], options: dict[str, Any]) -> list[tuple[str, int, Method]]:
    def make(source: str, number: int, data: Any) -> PrototypeClassifier:
        return PrototypeClassifier(source, number, **options)

    return [
        (source, number, Method(f"{SOURCES[source]}, {number:,}", functools.partial(make, source, number)))
        for source in sources
        for number in numbers
    ]


def _run(methods: list[Method], data: Any, console: Console) -> list[Outcome]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(methods))
        outcomes = []
        for method in methods:
            progress.update(task, description=method.name)
            outcomes.append(run_method(method, data, lambda n: None))
            progress.advance(task)
        return outcomes


def _print(console: Console, data: Any, outcomes: list[Outcome]) -> None:
    classes, counts = np.unique(data.y_train, return_counts=True)
    if len(classes) <= 20:
        table = Table(title=f"{data.name}: training rows of each class", title_justify="left")
        for label in classes:
            table.add_column(str(label), justify="right")
        table.add_row(*(f"{count:,}" for count in counts))
        console.print(table)
    console.print(results_table(data, outcomes))


def _write_pictures(out: Path, data: Any, full: Outcome, chosen: list[Outcome], curves: dict) -> list[Path]:
    from somknn.evaluation import evaluate_predictions
    from somknn.plots import evaluation, explore, prototypes

    figures = {"class-frequencies.png": explore.class_frequencies(data)}
    figures["accuracy-curve.png"] = prototypes.accuracy_curve(curves, (len(data.X_train), full.accuracy))
    for name, outcome in [("all-rows", full), *((outcome.model.prototypes, outcome) for outcome in chosen)]:
        judged = evaluate_predictions(data.y_test, outcome.predictions, n_resamples=0)
        names = [str(label) for label in judged.classes]
        figures[f"confusion-{name}.png"] = evaluation.confusion_matrix(judged.confusion, names)
        if outcome is not full and data.image_shape is not None and len(data.image_shape) == 2:
            figures[f"prototypes-{name}.png"] = prototypes.prototype_images(outcome.model, data.image_shape)
    for name, figure in figures.items():
        with replacing(out / name) as temporary:
            figure.savefig(temporary, format="png", dpi=130)
    return [out / name for name in figures]


@click.command("prototypes")
@click.option("--dataset", default="digits", show_default=True, metavar="digits|mnist|PATH", help="What to classify.")
@click.option("--train-size", type=click.IntRange(min=1), help="Number of training rows.")
@click.option("--test-size", type=click.IntRange(min=1), help="Number of test rows.")
@with_options(COLUMNS)
@click.option(
    "--prototypes",
    "sources",
    type=click.Choice(list(SOURCES)),
    multiple=True,
    help="Where prototypes come from; may be given again. All, if not given; the first one's model is saved.",
)
@click.option(
    "--numbers",
    callback=_numbers,
    default="20,50,100,200",
    show_default=True,
    help="Numbers of prototypes for the curve; the largest is the one compared and saved.",
)
@click.option("--budget", type=click.Choice(["even", "difficulty"]), default="even", show_default=True)
@click.option(
    "--k", "n_neighbors", type=click.IntRange(min=1), default=1, show_default=True, help="Prototypes that vote."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--pictures/--no-pictures", default=True, show_default=True, help="Pictures need somknn[plots].")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("somknn-prototypes"),
    show_default=True,
    help="Folder of the results.",
)
def command(
    dataset: str,
    train_size: int | None,
    test_size: int | None,
    sources: tuple[str, ...],
    numbers: list[int],
    budget: str,
    n_neighbors: int,
    seed: int,
    pictures: bool,
    out: Path,
    **columns: Any,
) -> None:
    """Classify by a few prototypes of each class, and compare with k-NN on all rows.

    Writes model.safetensors, metrics.json, curve.csv (accuracy against the number of prototypes) and pictures: the
    prototypes, class frequencies, confusion matrices and the curve.
    """
    progress_console, console = Console(stderr=True), Console(highlight=False)
    with one_line_errors():
        if not numbers:
            raise ValueError("--numbers is empty; give numbers of prototypes such as 100,1000")
        if pictures:
            require_matplotlib(", or use --no-pictures")
        shared.check_places(dataset, out, "model.safetensors", "metrics.json", "curve.csv", "*.png")
        data = shared.load(dataset, train_size, test_size, None, **columns)
        options = {"budget": budget, "n_neighbors": n_neighbors, "random_state": seed}
        planned = _methods(sources or tuple(SOURCES), numbers, options)
        everything = Method("k-NN on all rows, k=5", lambda data: KNeighborsClassifier(5))
        full, *outcomes = _run([everything, *(method for *_, method in planned)], data, progress_console)
        curves: dict[str, list[tuple[int, float]]] = {}
        for (source, _, _), outcome in zip(planned, outcomes, strict=True):
            point = len(outcome.model.prototypes_), outcome.accuracy
            curves.setdefault(SOURCES[source], []).append(point)
        chosen = [o for (_, number, _), o in zip(planned, outcomes, strict=True) if number == numbers[-1]]
        out.mkdir(parents=True, exist_ok=True)
        paths = [out / "model.safetensors", out / "metrics.json", out / "curve.csv"]
        column_names.save(chosen[0].model, paths[0], data)
        metrics = {
            "dataset": data.name,
            "train_rows": len(data.X_train),
            "test_rows": len(data.X_test),
            "features": data.X_train.shape[1],
            "methods": [outcome.record() for outcome in [full, *outcomes]],
            "environment": describe(),
        }
        with replacing(paths[1]) as temporary:
            temporary.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        with replacing(paths[2]) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["prototypes from", "prototypes", "accuracy", "model bytes", "rows per second"])
            for (source, _, _), outcome in zip(planned, outcomes, strict=True):
                record = outcome.record()
                figures = record["accuracy"], record["model_bytes"], record["rows_per_second"]
                writer.writerow([source, len(outcome.model.prototypes_), *figures])
        if pictures:
            paths += _write_pictures(out, data, full, chosen, curves)
    _print(console, data, [full, *outcomes])
    console.print("\nWritten: " + ", ".join(str(path) for path in paths), soft_wrap=True)
