"""`somknn som`: train a self-organizing map, show its progress, save the map, its history and pictures."""

import csv
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from somknn import SOM, SOMClassifier
from somknn._files import replacing
from somknn.cli import column_names
from somknn.cli import evaluation as shared
from somknn.cli.errors import one_line_errors
from somknn.cli.parameters import COLUMNS, IMAGE_SHAPE, RowsByColumns, with_options
from somknn.plots import require_matplotlib
from somknn.som.feature_selection import select_without_redundancy
from somknn.som.grid import BOUNDARIES, TOPOLOGIES
from somknn.som.neighborhoods import NEIGHBORHOODS
from somknn.som.schedules import SCHEDULES


def _train(data: Any, model: SOMClassifier | SOM, console: Console) -> SOM:
    """Fit the classifier, or the map alone where there are no labels; return the fitted map."""
    som = model if isinstance(model, SOM) else model.som
    assert som is not None
    columns = (TextColumn("epoch {task.completed}/{task.total}"), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=som.epochs)

        def show(epoch: dict[str, Any]) -> None:
            text = f"QE {epoch['quantization_error']:.4g}  TE {epoch['topographic_error']:.3f}"
            if "label_accuracy" in epoch:
                text += f"  label accuracy {100 * epoch['label_accuracy']:.2f} %"
            progress.update(task, completed=epoch["epoch"], description=text)

        som.set_params(callback=show)
        model.fit(data.X_train, data.y_train)
        # A saved map holds arrays and JSON, no functions.
        som.set_params(callback=None)
        fitted = som if model is som else model.som_
        return fitted.set_params(callback=None)


def _print_history(console: Console, data: Any, som: SOM, accuracy: float | None) -> None:
    history = som.history_
    rows, columns, _ = som.codebook_.shape
    table = Table(
        title=f"{data.name}: {rows}×{columns} {som.topology} map, {len(data.X_train):,} rows", title_justify="left"
    )
    labelled = ["label accuracy"] if accuracy is not None else []
    for heading in ("epoch", "QE", "TE", "radius", *labelled, "seconds"):
        table.add_column(heading, justify="right")
    for epoch in range(som.n_iter_):
        table.add_row(
            str(epoch + 1),
            f"{history['quantization_error'][epoch]:.4g}",
            f"{history['topographic_error'][epoch]:.4f}",
            f"{history['radius'][epoch]:.3f}",
            *(f"{100 * history['label_accuracy'][epoch]:.2f} %" for _ in labelled),
            f"{history['seconds'][epoch]:.3f}",
        )
    console.print(table)
    if accuracy is not None:
        console.print(f"\nLabel accuracy on {len(data.X_test):,} test rows: {100 * accuracy:.2f} %")


def _write_history(path: Path, history: dict[str, list[float]]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["epoch", *history])
        writer.writerows((i + 1, *values) for i, values in enumerate(zip(*history.values(), strict=True)))


def _write_pictures(out: Path, data: Any, model: SOMClassifier | SOM, som: SOM) -> list[Path]:
    from somknn.plots import som as plots

    codebook = som.codebook_.reshape(-1, som.n_features_in_).astype(np.float64)
    telling, _ = select_without_redundancy(codebook - codebook.mean(axis=0), 8)
    figures = {
        **({"label-map.png": plots.label_map(model)} if isinstance(model, SOMClassifier) else {}),
        "u-matrix.png": plots.u_matrix(som),
        "hit-map.png": plots.hit_map(som, data.X_train),
        "component-planes.png": plots.component_planes(som, np.sort(telling), data.feature_names),
        "learning-curves.png": plots.learning_curves(som.history_),
    }
    if data.image_shape is not None and len(data.image_shape) == 2:
        figures["weights.png"] = plots.weight_images(som, data.image_shape)
    paths = []
    for name, figure in figures.items():
        paths.append(out / name)
        with replacing(paths[-1]) as temporary:
            figure.savefig(temporary, format="png", dpi=130)
    return paths


@click.command("som")
@click.option("--dataset", default="digits", show_default=True, metavar="digits|mnist|PATH", help="What to train on.")
@click.option("--train-size", type=click.IntRange(min=2), help="Number of training rows.")
@click.option("--test-size", type=click.IntRange(min=1), help="Number of test rows.")
@IMAGE_SHAPE
@with_options(COLUMNS)
@click.option("--grid", type=RowsByColumns(), default="20x20", show_default=True, help="Rows and columns of the map.")
@click.option("--epochs", type=click.IntRange(min=1), default=25, show_default=True)
@click.option("--training", type=click.Choice(["batch", "online"]), default="batch", show_default=True)
@shared.metric_option("The distance of rows and neurons; cosine needs batch training.")
@click.option("--topology", type=click.Choice(TOPOLOGIES), default="rectangular", show_default=True)
@click.option("--boundary", type=click.Choice(BOUNDARIES), default="planar", show_default=True)
@click.option("--neighborhood", type=click.Choice(NEIGHBORHOODS), default="gaussian", show_default=True)
@click.option("--radius-schedule", type=click.Choice(SCHEDULES), default="exponential", show_default=True)
@click.option("--final-radius", type=click.FloatRange(min=0), default=0.3, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of online training's order.")
@click.option("--pictures/--no-pictures", default=True, show_default=True, help="Pictures need somknn[plots].")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("somknn-som"),
    show_default=True,
    help="Folder of the map, its history and pictures.",
)
def command(
    dataset: str,
    train_size: int | None,
    test_size: int | None,
    image_shape: tuple[int, int] | None,
    grid: tuple[int, int],
    seed: int,
    pictures: bool,
    out: Path,
    label: str | None,
    header: bool | None,
    drop: tuple[str, ...],
    separator: str | None,
    decimal: str | None,
    categories: tuple[str, ...],
    impute: str | None,
    **parameters: Any,
) -> None:
    """Train a self-organizing map and label its neurons.

    Writes map.safetensors (a SOMClassifier; a SOM for rows without labels), history.csv and pictures of the map.
    """
    columns: dict[str, Any] = {
        "label": label,
        "header": header,
        "drop": drop,
        "separator": separator,
        "decimal": decimal,
    }
    columns |= {"categories": categories, "impute": impute}
    progress_console = Console(stderr=True)
    console = Console(highlight=False)
    with one_line_errors():
        if pictures:
            require_matplotlib(", or use --no-pictures")
        shared.check_places(dataset, out, "map.safetensors", "history.csv", "*.png")
        data = shared.load(dataset, train_size, test_size, image_shape, labels_needed=False, **columns)
        som = SOM(*grid, random_state=seed, **parameters)
        model = som if data.y_train is None else SOMClassifier(som)
        som, accuracy = _train(data, model, progress_console), None
        if isinstance(model, SOMClassifier):
            accuracy = model.score(data.X_test, data.y_test)
        out.mkdir(parents=True, exist_ok=True)
        paths = [out / "map.safetensors", out / "history.csv"]
        column_names.save(model, paths[0], data)
        _write_history(paths[1], som.history_)
        if pictures:
            paths += _write_pictures(out, data, model, som)
    _print_history(console, data, som, accuracy)
    console.print("\nWritten: " + ", ".join(str(path) for path in paths), soft_wrap=True)
