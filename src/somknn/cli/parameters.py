"""Kinds of option values that several commands take."""

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
