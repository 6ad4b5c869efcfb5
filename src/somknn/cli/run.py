"""`somknn run`: load real digits, classify them with every method, show and keep the results."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from somknn.cli import evaluation as shared
from somknn.cli.beside import second_process
from somknn.cli.errors import one_line_errors
from somknn.cli.parameters import COLUMNS, IMAGE_SHAPE, TASK, with_options


@click.command("run")
@click.option("--dataset", default="digits", show_default=True, metavar="digits|mnist|PATH", help="What to classify.")
@click.option(
    "--train-size",
    type=click.IntRange(min=1),
    help="Number of training rows: the first N, where the data set has a split of its own.",
)
@click.option("--test-size", type=click.IntRange(min=1), help="Number of test rows, likewise.")
@IMAGE_SHAPE
@with_options(COLUMNS)
@TASK
@click.option(
    "--preset",
    type=click.Choice(["fast", "balanced", "accurate"]),
    help="A classifier of images instead of raw k-NN: how much accuracy for how much time.",
)
@shared.METRIC
@click.option(
    "--scaling",
    type=click.Choice(["auto", "raw", "standard", "minmax"]),
    default="auto",
    show_default=True,
    help="Scale the columns of a table: to mean 0 and variance 1, or to 0 to 1; auto: what predicts best in "
    "cross-validation on the training rows. It is saved with the model.",
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
    metric: str,
    scaling: str,
    out: Path,
    **columns: Any,
) -> None:
    """Classify a data set of digits, or another one, with exact nearest neighbours; or predict numbers for its rows.

    The saved model is the first method's. The times are those of compiled code: a first run on a machine
    compiles, and then does the work again.
    """
    console = Console(highlight=False)
    if preset and metric != "euclidean":
        raise click.UsageError("--metric is of the k-NN methods, and a --preset has its own; leave one of them out")
    if preset and columns["task"] == "regression":
        raise click.UsageError(
            "--preset classifies images, and --task regression predicts numbers; leave one of them out"
        )
    with one_line_errors(), second_process(shared.PICTURES) as executor:
        from somknn.cli import comparison, methods

        shared.check_places(dataset, out, "metrics.json", "predictions.csv", "model.safetensors", "report.html")
        data = shared.load(dataset, train_size, test_size, image_shape, **columns)
        methods.require_rows(data, 5)
        if columns["task"] == "regression":
            from somknn.cli import regression

            return regression.run(data, scaling, metric, regression.Place(out, executor))
        if preset and scaling not in ("auto", "raw"):
            raise click.UsageError("--preset makes features of its own; leave --scaling out")
        compared = [methods.preset_method(preset, data)] if preset else methods.methods(metric)
        scaled = comparison.scale(data, "raw" if preset else scaling)
        data = scaled.data
        outcomes = comparison.run_all(compared, data, Console(stderr=True), executor)
        paths = comparison.write_results(out, scaled, outcomes)
        try:
            with shared.plain_warnings():
                comparison.write_run_report(out / "report.html", data, outcomes, executor)
            paths.append(out / "report.html")
        except ImportError as error:  # the results are valid without their pictures
            click.echo(f"No report.html: {error}", err=True)
    comparison.print_results(console, data, outcomes)
    if scaled.scores:
        console.print("\n" + scaled.told())
    console.print("\nWritten: " + ", ".join(str(path) for path in paths), soft_wrap=True)
