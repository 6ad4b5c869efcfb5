"""Pictures of prototypes: the prototypes themselves, and accuracy against their number."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

_COLUMNS = 20  # most prototypes shown per class
_MOST_CLASSES = 40


def prototype_images(model: Any, image_shape: Sequence[int]) -> Figure:
    """The first prototypes of each class, one class per row, with its label and number of prototypes."""
    height, width = image_shape
    codes = model.prototype_codes_
    counts = np.bincount(codes, minlength=len(model.classes_))[:_MOST_CLASSES]
    columns = int(min(_COLUMNS, counts.max()))
    gap = max(1, height // 14)
    rows = model.prototype_rows_
    low, high = float(rows.min()), float(rows.max())
    paper = np.full((len(counts) * (height + gap) - gap, columns * (width + gap) - gap), low)
    for c in range(len(counts)):
        for place, image in enumerate(rows[codes == c][:columns]):
            top, left = c * (height + gap), place * (width + gap)
            paper[top : top + height, left : left + width] = image.reshape(height, width)
    wide = 0.42 * columns + 1.3
    figure = Figure(figsize=(wide, 0.42 * len(counts) * height / width + 0.5), layout="tight")
    axes = figure.add_subplot()
    axes.imshow(paper, cmap="gray_r", vmin=low, vmax=high)
    axes.set_yticks(
        (height + gap) * np.arange(len(counts)) + height / 2,
        [f"{label}  ({count})" for label, count in zip(model.classes_, counts, strict=False)],
    )
    axes.set_xticks([])
    axes.set_frame_on(False)
    axes.tick_params(length=0)
    axes.set_title("class, and how many prototypes it has", fontsize=9, loc="left")
    return figure


def accuracy_curve(curves: dict[str, list[tuple[int, float]]], full: tuple[int, float]) -> Figure:
    """Error on the test rows against the number of prototypes, one line per source.

    full : number of rows and accuracy of k-NN on all rows
    """
    figure = Figure(figsize=(6.4, 4.2), layout="tight")
    axes = figure.add_subplot()
    for name, points in curves.items():
        axes.plot(
            [n for n, _ in points], [100 * (1 - accuracy) for _, accuracy in points], marker="o", ms=4, label=name
        )
    axes.axhline(100 * (1 - full[1]), color="black", lw=1, ls=":", label=f"k-NN on all {full[0]:,} rows")
    ticks: list[int] = []
    for n in sorted({n for points in curves.values() for n, _ in points}):
        if not ticks or n > 1.25 * ticks[-1]:  # the largest grid of a map may have a few neurons less
            ticks.append(n)
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{n:,}" for n in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("prototypes")
    axes.set_ylabel("error on the test rows, %")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure
