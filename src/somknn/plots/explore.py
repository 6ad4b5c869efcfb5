"""First pictures of an image data set: one image, the first hundred, class frequencies, the mean of each class."""

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure


def one_image(data: Any, row: int = 0) -> Figure:
    """One training image, enlarged, with its label and a grey scale."""
    figure = Figure(figsize=(4.6, 4.0), layout="tight")
    axes = figure.add_subplot()
    shown = axes.imshow(data.X_train[row].reshape(data.image_shape), cmap="gray_r")
    axes.set_title(f"training row {row}: {data.y_train[row]}")
    figure.colorbar(shown, label="grey level")
    return figure


def _mosaic(figure: Figure, images: np.ndarray, columns: int, titles: list[str] | None = None) -> None:
    rows = math.ceil(len(images) / columns)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    low, high = float(images.min()), float(images.max())
    for place, axes in enumerate(grid):
        axes.set_axis_off()
        if place < len(images):
            axes.imshow(images[place], cmap="gray_r", vmin=low, vmax=high)
            if titles is not None:
                axes.set_title(titles[place], fontsize=10)


def first_images(data: Any, most: int = 100) -> Figure:
    """The first training images in a square, in reading order."""
    height, width = data.image_shape
    chosen = data.X_train[:most].reshape(-1, height, width)
    columns = math.ceil(math.sqrt(len(chosen)))
    rows = math.ceil(len(chosen) / columns)
    gap = max(1, height // 14)
    paper = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap), float(chosen.min()))
    for place, image in enumerate(chosen):
        top, left = gap + (place // columns) * (height + gap), gap + (place % columns) * (width + gap)
        paper[top : top + height, left : left + width] = image
    figure = Figure(figsize=(7, 7 * paper.shape[0] / paper.shape[1]))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(paper, cmap="gray_r")
    return figure


def class_frequencies(data: Any) -> Figure:
    """The number of training and test rows of each class."""
    figure = Figure(figsize=(7, 3.8), layout="tight")
    axes = figure.add_subplot()
    classes = np.unique(np.concatenate([data.y_train, data.y_test]))
    place = np.arange(len(classes))
    for shift, name, labels in ((-0.2, "training", data.y_train), (0.2, "test", data.y_test)):
        counts = [int((labels == c).sum()) for c in classes]
        bars = axes.bar(place + shift, counts, width=0.4, label=name)
        if len(classes) <= 12:
            axes.bar_label(bars, fontsize=7, padding=1)
    step = -(-len(classes) // 20)
    axes.set_xticks(place[::step], [str(c) for c in classes[::step]])
    axes.set_xlabel("class")
    axes.set_ylabel("rows")
    axes.margins(y=0.12)
    axes.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.14))
    return figure


def mean_images(data: Any, most: int = 40) -> Figure:
    """The mean training image of each class."""
    classes = np.unique(data.y_train)[:most]
    means = np.array([data.X_train[data.y_train == c].mean(axis=0).reshape(data.image_shape) for c in classes])
    columns = min(5, len(classes))
    figure = Figure(figsize=(1.5 * columns, 1.75 * math.ceil(len(classes) / columns)), layout="tight")
    _mosaic(figure, means, columns, [str(c) for c in classes])
    return figure
