"""`somknn run`: load real digits, classify them with every method, show and keep the results."""

import contextlib
import csv
import functools
import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from somknn import datasets, persistence
from somknn._files import replacing
from somknn.cli.errors import one_line_errors
from somknn.cli.evaluation import plain_warnings, write_run_report
from somknn.cli.methods import METHODS, Method, Outcome, preset_method, results_table, run_method
from somknn.cli.parameters import IMAGE_SHAPE
from somknn.cli.pictures import choose_examples, examples, how_many
from somknn.environment import describe
from somknn.images.presets import PRESETS


def _run_all(methods: list[Method], data: Any, console: Console) -> list[Outcome]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        outcomes = []
        for method in methods:
            task = progress.add_task(method.name, total=len(data.X_test))
            outcomes.append(run_method(method, data, functools.partial(progress.advance, task)))
            progress.remove_task(task)
    return outcomes


def _print_results(console: Console, data: Any, outcomes: list[Outcome]) -> None:
    console.print(results_table(data, outcomes))
    for outcome in outcomes:
        if outcome.history is not None:
            _print_epochs(console, outcome)
    shape = data.image_shape
    if shape is None or len(shape) != 2:
        return
    first = outcomes[0]
    rows = choose_examples(first.predictions, data.y_test, how_many(console, shape))
    captions = []
    for i in rows:
        right = first.predictions[i] == data.y_test[i]
        truth = "" if right else f", is {data.y_test[i]}"
        captions.append(Text(f"row {i}\nsays {first.predictions[i]}{truth}", style="green" if right else "bold red"))
    console.print(f"\nExamples ({first.name}):\n")
    console.print(examples(console, data.X_test[rows], shape, captions))


def _print_epochs(console: Console, outcome: Outcome) -> None:
    history = outcome.history or {}
    table = Table(title=f"\n{outcome.name}, epoch by epoch", title_justify="left")
    for heading in ("epoch", "accuracy", "loss (mean distance)"):
        table.add_column(heading, justify="right")
    epochs = zip(history["label_accuracy"], history["quantization_error"], strict=True)
    for epoch, (accuracy, loss) in enumerate(epochs, start=1):
        table.add_row(str(epoch), f"{100 * accuracy:.2f} %", f"{loss:.4g}")
    console.print(table)


def _write_results(out: Path, data: Any, outcomes: list[Outcome]) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / "metrics.json", out / "predictions.csv", out / "model.safetensors"]
    metrics = {
        "dataset": data.name,
        "train_rows": len(data.X_train),
        "test_rows": len(data.X_test),
        "features": data.X_train.shape[1],
        "dtype": str(data.X_train.dtype),
        "methods": [outcome.record() for outcome in outcomes],
        "environment": describe(),
    }
    persistence.save(outcomes[0].model, paths[2])
    with replacing(paths[1]) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "label", *(outcome.name for outcome in outcomes)])
        writer.writerows(zip(range(len(data.y_test)), data.y_test, *(o.predictions for o in outcomes), strict=True))
    with replacing(paths[0]) as temporary:
        temporary.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return paths


@click.command("run")
@click.option("--dataset", default="digits", show_default=True, metavar="digits|mnist|PATH", help="What to classify.")
@click.option(
    "--train-size",
    type=click.IntRange(min=1),
    help="Number of training rows: the first N, where the data set has a split of its own.",
)
@click.option("--test-size", type=click.IntRange(min=1), help="Number of test rows, likewise.")
@IMAGE_SHAPE
@click.option(
    "--preset",
    type=click.Choice(PRESETS),
    help="A classifier of images instead of raw k-NN: how much accuracy for how much time.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("somknn-run"),
    show_default=True,
    help="Folder of the results: metrics.json, predictions.csv, model.safetensors, report.html.",
)
def command(
    dataset: str,
    train_size: int | None,
    test_size: int | None,
    image_shape: tuple[int, int] | None,
    preset: str | None,
    out: Path,
) -> None:
    """Classify a data set of digits, or another one, with exact nearest neighbours.

    The saved model is the first method's. The times are those of compiled code: a first run on a machine
    compiles, and then does the work again.
    """
    progress_console = Console(stderr=True)
    console = Console(highlight=False)
    with one_line_errors():
        with (
            progress_console.status(f"loading {dataset}") if progress_console.is_terminal else contextlib.nullcontext()
        ):
            data = datasets.load(dataset, train_size=train_size, test_size=test_size, image_shape=image_shape)
        methods = [preset_method(preset, data)] if preset else METHODS
        outcomes = _run_all(methods, data, progress_console)
        paths = _write_results(out, data, outcomes)
        try:
            with plain_warnings():
                write_run_report(out / "report.html", data, outcomes)
            paths.append(out / "report.html")
        except ImportError as error:  # the results stand without their pictures
            click.echo(f"No report.html: {error}", err=True)
    _print_results(console, data, outcomes)
    console.print("\nWritten: " + ", ".join(str(path) for path in paths), soft_wrap=True)
