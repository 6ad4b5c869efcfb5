"""Kinds of option values that several commands take."""

import csv
from typing import Any

import click


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
    """The names in a list separated by commas; a name that has a comma itself is in double quotes, as in a CSV."""
    return [name.strip() for row in csv.reader([text], skipinitialspace=True) for name in row if name.strip()]


def _list(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(split_names(value))


HEADER = click.option(
    "--header",
    type=click.Choice(["yes", "no"]),
    callback=_yes_or_no,
    help="Whether a CSV file's first line names the columns. By default text does, numbers that count up too.",
)
# What the columns of a CSV file are.
COLUMNS = [
    click.option(
        "--label",
        metavar="NAME|NUMBER|none",
        help="The label's column in a CSV file, by name or counted from 1; none: no labels. By default the one named "
        "label, target, class or y; without column names the first, if it looks like classes.",
    ),
    HEADER,
    click.option(
        "--drop",
        metavar="NAME[,NAME…]",
        default="",
        callback=_list,
        help="Columns of a CSV file that are neither label nor features, by name or number: an id, an index.",
    ),
]
