"""Pictures of a map: labels, weights as images, U-matrix, hits, component planes, learning curves, importance."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from somknn.som.grid import Grid

_INCHES = 0.34  # size of a neuron
_MOST_NUMBERED = 900  # most neurons for which each has room for a number


def _cells(grid: Grid) -> np.ndarray:
    """Corners of every neuron's cell, (size, 4 or 6, 2): squares, or hexagons that touch."""
    centres = grid.positions()
    if grid.topology == "hexagonal":
        angle = np.pi / 6 + np.pi / 3 * np.arange(6)
        corners = np.column_stack([np.cos(angle), np.sin(angle)]) / np.sqrt(3)
    else:
        corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    return centres[:, None, :] + corners[None]


def _size(grid: Grid) -> tuple[float, float]:
    width = np.clip(_INCHES * (grid.n_columns + 0.5), 3.6, 14.0)
    return float(width), float(width * max(0.12, grid.n_rows * grid.row_step / (grid.n_columns + 0.5)))


def _draw(axes: Axes, grid: Grid, **style: Any) -> PolyCollection:
    cells = PolyCollection(list(_cells(grid)), **style)
    axes.add_collection(cells)
    axes.set_aspect("equal")
    axes.autoscale_view()
    axes.invert_yaxis()
    axes.set_axis_off()
    return cells


def _number_colour(face: Any) -> str:
    return "black" if np.dot(to_rgb(face), (0.299, 0.587, 0.114)) > 0.55 else "white"


def _values(values: np.ndarray, grid: Grid, title: str, colour_map: str, numbers: bool) -> Figure:
    width, height = _size(grid)
    figure = Figure(figsize=(width + 1.0, height + 0.5), layout="constrained")
    axes = figure.add_subplot()
    flat = np.asarray(values, dtype=np.float64).ravel()
    cells = _draw(axes, grid, array=flat, cmap=colour_map, edgecolors="0.7", linewidths=0.2)
    axes.set_title(title, fontsize=11)
    figure.colorbar(cells, ax=axes, shrink=0.8)
    if numbers and grid.size <= _MOST_NUMBERED:
        scale, palette = Normalize(flat.min(), flat.max()), colormaps[colour_map]
        for (x, y), value in zip(grid.positions(), flat, strict=True):
            if value:
                colour = _number_colour(palette(scale(value))[:3])
                axes.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=5.5, color=colour)
    return figure


def u_matrix(som: Any) -> Figure:
    """Mean distance of every neuron to the adjacent ones: ridges separate clusters."""
    return _values(som.u_matrix(), som.grid_, "U-matrix", "bone_r", numbers=False)


def hit_map(som: Any, X: np.ndarray) -> Figure:
    """The number of rows of `X` that each neuron won."""
    return _values(som.hit_map(X), som.grid_, f"hits of {len(X):,} rows", "viridis", numbers=True)


def label_map(classifier: Any) -> Figure:
    """The class that each neuron of a `SOMClassifier` learned; paler means less certain."""
    grid, classes = classifier.som_.grid_, classifier.classes_
    probability = classifier.probability_map_.reshape(grid.size, -1)
    palette = colormaps["tab10" if len(classes) <= 10 else "hsv"](np.linspace(0, 1, max(len(classes), 2)))[:, :3]
    sure = probability.max(axis=1)[:, None]
    faces = palette[probability.argmax(axis=1)] * sure + (1 - sure)
    width, height = _size(grid)
    figure = Figure(figsize=(width, height + 0.4), layout="constrained")
    axes = figure.add_subplot()
    _draw(axes, grid, facecolors=faces, edgecolors="white", linewidths=0.4)
    axes.set_title("the class that each neuron learned (paler: less sure)", fontsize=11)
    labels = classifier.label_map_.ravel()
    font = 9 if max(len(str(c)) for c in classes) <= 2 else 5
    for (x, y), label, face in zip(grid.positions(), labels, faces, strict=True):
        axes.text(x, y, str(label), ha="center", va="center", fontsize=font, color=_number_colour(face))
    return figure


def weight_images(som: Any, image_shape: tuple[int, int]) -> Figure:
    """The weights of every neuron as an image, at the neuron's position."""
    rows, columns, _ = som.codebook_.shape
    height, width = image_shape
    shift = width // 2 if som.topology == "hexagonal" else 0
    sheet = np.full((rows * height, columns * width + shift), np.nan)
    for r in range(rows):
        for c in range(columns):
            left = c * width + (shift if r % 2 else 0)
            sheet[r * height : (r + 1) * height, left : left + width] = som.codebook_[r, c].reshape(image_shape)
    inches = float(np.clip(0.42 * columns, 3.0, 14.0))
    figure = Figure(figsize=(inches, inches * sheet.shape[0] / sheet.shape[1] + 0.4), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(sheet, cmap="gray_r", interpolation="nearest")
    axes.set_title("weights of the neurons", fontsize=11)
    axes.set_axis_off()
    return figure


def component_planes(som: Any, features: Any, names: Any = None) -> Figure:
    """One small map per feature, coloured by its weight; every feature has its own scale."""
    features = list(features)
    columns = min(4, len(features))
    lines = -(-len(features) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.7 * lines), layout="constrained")
    for position, feature in enumerate(features):
        axes = figure.add_subplot(lines, columns, position + 1)
        values = som.component_planes()[feature].ravel()
        cells = _draw(axes, som.grid_, array=values, cmap="viridis", edgecolors="face", linewidths=0.1)
        bar = figure.colorbar(cells, ax=axes, shrink=0.7, pad=0.02, ticks=MaxNLocator(4))
        bar.ax.tick_params(labelsize=7)
        axes.set_title(str(names[feature]) if names is not None else f"feature {feature}", fontsize=9)
    return figure


def learning_curves(history: dict[str, list[float]]) -> Figure:
    """Quantization error, topographic error and, if present, accuracies over the epochs."""
    accuracies = [name for name in history if name.endswith("accuracy")]
    panels = (
        [["quantization_error"], ["topographic_error"], accuracies]
        if accuracies
        else [
            ["quantization_error"],
            ["topographic_error"],
        ]
    )
    figure = Figure(figsize=(3.6 * len(panels), 3.0), layout="constrained")
    for position, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), position + 1)
        for name in panel:
            values = history[name]
            axes.plot(range(1, len(values) + 1), values, marker=".", label=name.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.set_title(panel[0].replace("_", " ") if len(panel) == 1 else "accuracy", fontsize=10)
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(panel) > 1:
            axes.legend(fontsize=8)
    return figure


def importance_overlay(selector: Any, row: np.ndarray, image_shape: tuple[int, int], title: str = "") -> Figure:
    """One image, overlaid with the importance of the features and the selected features."""
    importance = selector.importances_ / max(float(selector.importances_.max()), 1e-300)
    image, heat = np.asarray(row).reshape(image_shape), np.sqrt(np.maximum(importance, 0)).reshape(image_shape)
    figure = Figure(figsize=(7.4, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(image, cmap="gray_r")
    left.set_title(title or "the row", fontsize=10)
    right.imshow(image, cmap="gray_r", alpha=0.55)
    shown = right.imshow(heat, cmap="inferno", alpha=np.where(heat > 0, 0.25 + 0.6 * heat, 0.0), vmin=0, vmax=1)
    y, x = np.divmod(np.flatnonzero(selector.get_support()), image_shape[1])
    right.scatter(x, y, s=7, facecolors="none", edgecolors="#0a84ff", linewidths=0.7)
    right.set_title(f"importance, and the {len(x)} features kept", fontsize=10)
    figure.colorbar(shown, ax=right, shrink=0.85, label="√ importance")
    for axes in (left, right):
        axes.set_axis_off()
    return figure
