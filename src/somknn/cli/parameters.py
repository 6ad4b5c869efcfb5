"""Kinds of option values that several commands take."""

import csv
from collections.abc import Sequence
from typing import Any

import click


def with_options(options: Sequence[Any]) -> Any:
    """A decorator that adds click options in their order."""

    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


class RowsByColumns(click.ParamType):
    """Two numbers such as 28x28."""

    name = "ROWSxCOLUMNS"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        rows, _, columns = str(value).lower().partition("x")
        if not (rows.isdigit() and columns.isdigit() and int(rows) and int(columns)):
            self.fail(f"{value!r} is not a number of rows and columns such as 28x28", param, ctx)
        return int(rows), int(columns)


IMAGE_SHAPE = click.option(
    "--image-shape", type=RowsByColumns(), help="The rows are images of so many pixels: 28x28; needed for a CSV file."
)


def _yes_or_no(context: click.Context, parameter: click.Parameter, value: str | None) -> bool | None:
    return None if value is None else value == "yes"


def split_names(text: str) -> list[str]:
    """The names in a list separated by commas; one with a comma, or of nothing, is in double quotes, as in a CSV."""
    names = [name.strip() for row in csv.reader([text], skipinitialspace=True) for name in row]
    return [name for name in names if name or '""' in text]


def _list(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(split_names(value))


HEADER = click.option(
    "--header",
    type=click.Choice(["yes", "no"]),
    callback=_yes_or_no,
    help="Whether a CSV file's first line names the columns. By default text does, numbers that count up too.",
)
# How the cells of a CSV file are written.
CELLS = [
    click.option(
        "--separator",
        metavar="CHARACTER",
        help="What separates the cells of a CSV file: a character, or comma, semicolon, tab, bar, space. By default "
        "its first lines tell.",
    ),
    click.option(
        "--decimal",
        type=click.Choice(["point", "comma"]),
        help="The sign before fractions in a CSV file.  [default: point]",
    ),
]
TASK = click.option(
    "--task",
    type=click.Choice(["classification", "regression"]),
    default="classification",
    show_default=True,
    help="Whether the label is a class, or a number to predict.",
)
# What the columns of a table are.
COLUMNS = [
    click.option(
        "--label",
        metavar="NAME|NUMBER|none",
        help="The label's column in a table, by name or counted from 1; none: no labels. By default the one named "
        "label, target, class or y; without column names the first, if it looks like classes.",
    ),
    HEADER,
    *CELLS,
    click.option(
        "--drop",
        metavar="NAME[,NAME…]",
        default="",
        callback=_list,
        help="Columns of a table that are neither label nor features, by name or number: an id, an index.",
    ),
    click.option(
        "--categories",
        metavar="NAME[,NAME…]|text",
        default="",
        callback=_list,
        help="Columns of a table whose cells are categories, coded one-hot: by name or number; text: all columns of "
        "text. The codes are saved with the model.",
    ),
    click.option(
        "--impute",
        type=click.Choice(["mean", "median", "most_frequent"]),
        help="What of a column's training rows takes the place of a missing number. It is saved with the model.",
    ),
]
