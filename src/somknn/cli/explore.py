"""`somknn explore`: describe a data set in numbers and pictures."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from somknn.cli import evaluation as shared
from somknn.cli.errors import one_line_errors
from somknn.cli.parameters import with_options

_SHOWN = 40  # columns in the terminal


@click.command("explore")
@with_options(shared.data_options)
@shared.out_option("somknn-explore", "explore.json and pictures (PNG)")
def command(
    dataset: str,
    train_size: int | None,
    test_size: int | None,
    image_shape: tuple[int, int] | None,
    out: Path,
    **columns: Any,
) -> None:
    """Show shapes, value ranges, class counts, constant and repeated rows, and each column of a table; draw the data.

    Columns of text, missing cells and labels that are numbers are shown as they are, whatever they hold.
    """
    console = Console(highlight=False)
    with one_line_errors():
        from somknn._files import replacing
        from somknn.evaluation import explore
        from somknn.plots import require_matplotlib

        require_matplotlib()
        shared.check_places(dataset, out, "explore.json", "*.png")
        data = _load(dataset, train_size, test_size, image_shape, columns)
        with shared.working("looking at the rows"):
            found = explore(data)
        out.mkdir(parents=True, exist_ok=True)
        paths = [out / "explore.json"]
        with replacing(paths[0]) as temporary:
            temporary.write_text(json.dumps(found.to_dict(), indent=2) + "\n", encoding="utf-8")
        with shared.working("drawing"):
            for name, figure in _figures(data).items():
                paths.append(out / f"{name}.png")
                with replacing(paths[-1]) as temporary:
                    figure.savefig(temporary, format="png", dpi=130)
    _print(console, found)
    console.print("Written: " + ", ".join(map(str, paths)), soft_wrap=True)


def _load(
    dataset: str,
    train_size: int | None,
    test_size: int | None,
    image_shape: tuple[int, int] | None,
    columns: dict[str, Any],
) -> Any:
    """The data set as it is: with texts, missing cells, and labels of any kind."""
    from somknn import datasets
    from somknn.datasets import kinds
    from somknn.datasets.labels import NotClasses

    unlabelled = (columns["label"] or "").strip().lower() == "none"
    files = datasets.files_of(dataset)
    is_table = any(kinds.bare_suffix(path) in kinds.TABLES for path in files[:1])
    if is_table:
        columns |= {"categories": (*columns["categories"], "any text"), "missing": True}
    given = dataset, train_size, test_size, image_shape
    try:
        return shared.load(*given, labels_needed=not unlabelled, encode=False, **columns)
    except NotClasses:
        return shared.load(*given, labels_needed=not unlabelled, encode=False, task="regression", **columns)


def _figures(data: Any) -> dict[str, Any]:
    from somknn.plots import explore as plots

    if data.y_train is None or data.y_train.dtype.kind == "f":  # the pictures are of classes
        return {}
    figures = {"class-frequencies": plots.class_frequencies(data)}
    if data.image_shape is not None and len(data.image_shape) == 2:
        figures["one-image"] = plots.one_image(data)
        figures["first-images"] = plots.first_images(data)
        figures["class-means"] = plots.mean_images(data)
    return figures


def _print_columns(console: Console, found: Any) -> None:
    table = Table(title="columns, training and test rows together", title_justify="left")
    for heading in ("column", "holds", "missing", "distinct", "range", "most frequent"):
        table.add_column(heading, justify="right" if heading in ("missing", "distinct") else "left")
    for each in found[:_SHOWN]:
        span = "" if each.smallest is None else f"{each.smallest:.4g} to {each.largest:.4g}"
        often = "" if each.most_frequent is None or each.times == 1 else f"{each.most_frequent[:20]} ({each.times:,})"
        missing = f"{each.missing:,}" if each.missing else ""
        table.add_row(each.name, each.kind, missing, f"{each.distinct:,}", span, often)
    console.print(table)
    if len(found) > _SHOWN:
        console.print(f"{len(found) - _SHOWN:,} more columns in explore.json")


def _print(console: Console, found: Any) -> None:
    table = Table(title=found.name, title_justify="left")
    table.add_column("")
    table.add_column("training", justify="right")
    table.add_column("test", justify="right")
    for name, train in vars(found.train).items():
        test = getattr(found.test, name)
        if name == "class_counts":
            continue
        cells = [
            f"{v:,.6g}" if isinstance(v, float) else f"{v:,}" if isinstance(v, int) else str(v) for v in (train, test)
        ]
        table.add_row(name.replace("_", " "), *cells)
    table.add_row("test rows also in training", "", f"{found.shared_rows:,}")
    if found.image_shape is not None:
        table.add_row("image shape", "×".join(map(str, found.image_shape)), "")
    names = found.feature_names
    shown = ", ".join(names) if len(names) <= 4 else f"{names[0]}, {names[1]}, … {names[-1]}"
    table.add_row("feature names", shown, "")
    console.print(table)
    if found.columns:
        _print_columns(console, found.columns)
    if not found.train.class_counts:
        return
    counts = Table(title="rows of each class", title_justify="left")
    counts.add_column("class")
    counts.add_column("training", justify="right")
    counts.add_column("test", justify="right")
    counts.add_column("share of training", justify="right")
    classes = list(dict.fromkeys([*found.train.class_counts, *found.test.class_counts]))
    for name in classes:
        n, m = found.train.class_counts.get(name, 0), found.test.class_counts.get(name, 0)
        counts.add_row(name, f"{n:,}", f"{m:,}", f"{100 * n / found.train.rows:.1f} %")
    console.print(counts)
