"""Draw rows of pixels in the terminal."""

from collections.abc import Sequence

import numpy as np
from rich.color import Color
from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

_RAMP = " .:-=+*#%@"
_SMALL = 16  # pictures up to this height are drawn twice as large


def draw(pixels: np.ndarray, *, colour: bool) -> Text:
    """A grey picture (height, width), values 0 to 1: half blocks in colour, otherwise characters of rising density."""
    if len(pixels) <= _SMALL:
        pixels = pixels.repeat(2, axis=0).repeat(2, axis=1)
    if len(pixels) % 2:
        pixels = np.vstack([pixels, np.zeros((1, pixels.shape[1]))])
    upper, lower = pixels[::2], pixels[1::2]
    picture = Text(no_wrap=True)
    for i in range(len(upper)):
        if i:
            picture.append("\n")
        if colour:
            for top, bottom in zip(upper[i], lower[i], strict=True):
                picture.append("▀", Style(color=_grey(top), bgcolor=_grey(bottom)))
        else:
            levels = (upper[i] + lower[i]) / 2 * (len(_RAMP) - 1)
            picture.append("".join(_RAMP[level] for level in levels.round().astype(int)))
    return picture


def _grey(value: float) -> Color:
    level = round(255 * float(value))
    return Color.from_rgb(level, level, level)


def choose_examples(predictions: np.ndarray, labels: np.ndarray, count: int) -> list[int]:
    """Up to `count` rows: the first ones, with up to two mistakes (the first found) in the last places."""
    mistakes = np.flatnonzero(predictions != labels)[: min(2, count // 2)].tolist()
    others = [i for i in range(min(len(labels), count + 2)) if i not in mistakes]
    return [*others[: count - len(mistakes)], *mistakes]


def examples(
    console: Console, rows: np.ndarray, shape: tuple[int, ...], captions: Sequence[RenderableType]
) -> RenderableType:
    """Pictures of `rows` side by side, each with its caption below; as many as fit the width of the console."""
    scale = rows.max() or 1
    colour = console.is_terminal and console.color_system in ("truecolor", "256")
    grid = Table.grid(padding=(0, 3, 0, 0))
    cells = [
        Group(draw(row.reshape(shape) / scale, colour=colour), caption)
        for row, caption in zip(rows, captions, strict=True)
    ]
    grid.add_row(*cells)
    return grid


def how_many(console: Console, shape: tuple[int, ...], most: int = 5) -> int:
    """How many pictures of this shape fit side by side."""
    width = shape[1] * (2 if shape[0] <= _SMALL else 1)
    return max(1, min(most, (console.width + 3) // (width + 3)))
