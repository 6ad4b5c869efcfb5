"""Parts shared by `evaluate` and `tune`: options, the table of metrics, the output files."""

import contextlib
import copy
import json
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from somknn.cli.parameters import COLUMNS, IMAGE_SHAPE
from somknn.threads import in_thread

if TYPE_CHECKING:  # commands start their second process before slow imports
    from somknn.evaluation.results import MethodResult

PICTURES = "somknn.plots.markup"  # the module that draws the pictures of a report

data_options = [
    click.option("--dataset", default="digits", show_default=True, metavar="digits|mnist|PATH", help="The data."),
    click.option("--train-size", type=click.IntRange(min=1), help="Use only N training rows."),
    click.option("--test-size", type=click.IntRange(min=1), help="Use only N test rows."),
    IMAGE_SHAPE,
    *COLUMNS,
]


def metric_option(what: str) -> Any:
    """The option --metric, with its help."""
    choice = click.Choice(["euclidean", "cosine"])
    return click.option("--metric", type=choice, default="euclidean", show_default=True, help=what)


METRIC = metric_option("The distance of k-NN.")
method_options = [
    click.option(
        "--tie-break",
        type=click.Choice(["nearest", "first"]),
        default="nearest",
        show_default=True,
        help="Who wins a tied vote: the nearest, or the first class as in scikit-learn.",
    ),
    click.option(
        "--bootstrap", type=click.IntRange(min=0), default=1000, show_default=True, help="Resamples for intervals."
    ),
]


def out_option(default: str, files: str) -> Any:
    """The option --out: a folder of results."""
    return click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(default),
        show_default=True,
        help=f"Folder of the results: {files}.",
    )


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on stderr during slow work; nothing if stderr is not a terminal."""
    console = Console(stderr=True)
    with console.status(what) if console.is_terminal else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Show each warning to the user once, as one line after the work, without its place in the code."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        click.echo(f"Warning: {message}", err=True)


def command_line() -> str:
    """The command line in a form that can be typed again."""
    return shlex.join(["somknn", *sys.argv[1:]])


def print_metrics(console: Console, title: str, methods: Sequence["MethodResult"]) -> None:
    """Print the table of all metrics: one column per method, intervals after the values."""
    import numpy as np

    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    for method in methods:
        table.add_column(method.name, justify="right")
    for name, label in methods[0].evaluation.labels.items():
        cells = []
        for method in methods:
            formatted, score = method.evaluation.formatted, method.evaluation.scores.get(name)
            cell = "" if score is None else formatted(name, score.value)
            if score is not None and not np.isnan(score.low):
                cell += f"  [{formatted(name, score.low)}, {formatted(name, score.high)}]"
            if name == "cross_validation" and method.cross_validation is not None:
                cell = formatted(name, method.cross_validation_mean)
            cells.append(cell.replace("[", r"\["))
        if any(cells):
            table.add_row(label, *cells)
    console.print(table)


def write_metrics(path: Path, data: Any, methods: Sequence["MethodResult"], **more: Any) -> None:
    """Write metrics.json: the methods' figures, the data, the command and the environment."""
    from somknn._files import replacing
    from somknn.environment import describe

    record = {
        "dataset": data.name,
        "train_rows": len(data.X_train),
        "test_rows": len(data.X_test),
        "features": data.X_train.shape[1],
        "command": command_line(),
        **more,
        "methods": [method.to_dict() for method in methods],
        "environment": describe(),
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def check_places(dataset: str, out: Path, *names: str, also: Path | None = None) -> None:
    """Raise ValueError before reading anything if a file that will be written into `out` is one that is read.

    `names` are the names of the files written, or patterns such as *.png; `also` is an input besides the data set.
    """
    from somknn import datasets
    from somknn._files import refuse_to_overwrite

    inputs = datasets.files_of(dataset) + ([] if also is None else [also])
    refuse_to_overwrite([path for name in names for path in out.glob(name)], inputs)


def load(
    dataset: str,
    train_size: int | None,
    test_size: int | None,
    image_shape: tuple[int, int] | None,
    *,
    labels_needed: bool = True,
    model: Any = None,
    encode: bool = True,
    impute: str | None = None,
    **columns: Any,
) -> Any:
    """Load the data set; its labels, if it has any, must be classes. `columns` are the values of `COLUMNS`.

    Categories are coded and missing cells filled in as training rows say, unless a saved `model` does so, or without
    `encode`. What was taken for granted about the columns is said on stderr.
    """
    from somknn import datasets

    if model is not None:
        from somknn.cli.column_names import what_it_takes

        columns |= what_it_takes(model, columns["categories"])

    with working(f"loading {dataset}"):
        data = datasets.load(
            dataset,
            train_size=train_size,
            test_size=test_size,
            image_shape=image_shape,
            labels_needed=labels_needed,
            missing=columns.pop("missing", False) or impute is not None,
            **columns,
        )
    for note in data.notes:
        click.echo(note, err=True)
    if labels_needed:
        require_labels(data, dataset, of_two_classes=encode)
    if data.y_train is not None and columns.get("task") != "regression":
        require_classes(data, dataset)
    if model is not None or not encode or not (data.categories or impute):
        return data
    from somknn.evaluation.encoding import encoded

    with plain_warnings():
        return encoded(data, impute)


def require_labels(data: Any, dataset: str, *, of_two_classes: bool = False) -> None:
    """Raise ValueError if training or test labels are missing, or if all are the same where that is of no use."""
    for part, labels in (("training", data.y_train), ("test", data.y_test)):
        if labels is None or len(labels) == 0:
            raise ValueError(
                f"{dataset}: the {part} rows have no labels, which this command needs (--label NAME or NUMBER)"
            )

    first = data.y_train[0]
    if of_two_classes and (data.y_train == first).all() and (data.y_test == first).all():
        raise ValueError(f"{dataset}: all labels are {first}; --label NAME or NUMBER names another column")


def require_classes(data: Any, dataset: str) -> None:
    """Raise ValueError for labels that look like quantities: many of them, and most with no more than a row or two.

    Tables of classes by classes, of which an evaluation makes some, would fill the memory.
    """
    import numpy as np

    labels = [np.asarray(part).astype(str) for part in (data.y_train, data.y_test)]
    _, counts = np.unique(np.concatenate(labels), return_counts=True)
    few = 2 if len(counts) > 100 else 1
    rare = int((counts <= few).sum())
    if len(counts) > 20 and 2 * rare > len(counts):
        rows = "one row" if few == 1 else "one or two rows"
        from somknn.datasets.labels import NotClasses

        raise NotClasses(
            f"{dataset}: the labels look like quantities, not classes: {len(counts):,} different ones, {rare:,} of "
            f"them with {rows}: --task regression (of run, tune and evaluate) predicts numbers; --label NAME or NUMBER "
            "names another column"
        )


def indexed_ahead(data: Any, k: int, metric: str) -> tuple[Any, Future | None]:
    """An index of the training rows, and a future of each test row's k nearest.

    The search starts before scikit-learn is imported. That import holds the interpreter lock for a second or more, and
    the search runs meanwhile. This is for uint8 rows and the Euclidean distance only; other rows are returned as they
    are, with None, because scikit-learn's configuration decides how numbers with fractions are checked.
    """
    if (data.X_train.dtype, data.X_test.dtype, metric) != ("uint8", "uint8", "euclidean"):
        return data.X_train, None
    from somknn.search.index import ExactIndex

    index = ExactIndex().fit(data.X_train)
    beside = copy.copy(index)
    beside.n_jobs = -2  # the import takes one processor
    return index, in_thread(beside.search, data.X_test, min(k, len(data.X_train)))
