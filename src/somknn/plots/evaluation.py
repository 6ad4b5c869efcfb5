"""Pictures of evaluations from numbers alone: confusion, scores by class, curves, predicted values and their errors.

A process that only draws does not import scikit-learn: `somknn.evaluation.curves` computes the data. Margins are
computed from the text in them, because a layout engine would draw every figure twice.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm, to_hex
from matplotlib.figure import Figure

_MOST_LABELLED = 20  # most classes for which each has its own number or tick

_LETTER = 0.085  # upper bound for the width of a letter of a tick label, in inches


def _axes(width: float, height: float, left: float = 0.75, bottom: float = 0.55) -> tuple[Figure, Axes]:
    """A figure and its axes; all in inches, `left` and `bottom` are the margins for ticks and labels."""
    figure = Figure(figsize=(width, height))
    right, top = 0.15, 0.3
    box = (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    return figure, figure.add_axes(box)


def _beside_ticks(names: Sequence[str]) -> float:
    """Width in inches of the tick labels `names` and an axis label next to them."""
    return 0.5 + _LETTER * max(map(len, names))


def _class_ticks(names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    step = -(-len(names) // _MOST_LABELLED)
    return np.arange(0, len(names), step), list(names[::step])


def confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """True classes in rows, predicted classes in columns; the colour is the share of the row, rare errors enhanced."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    margin = _beside_ticks(names)
    rotated = max(map(len, names)) > 3
    figure, axes = _axes(4.4 + margin, 4.4 + (margin if rotated else 0.6), margin, margin if rotated else 0.55)
    axes.imshow(share, cmap="Blues", norm=PowerNorm(0.35, 0, 1))
    if len(names) <= _MOST_LABELLED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if share[row, column] > 0.3 else "#222222"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    where, labels = _class_ticks(names)
    axes.set_xticks(where, labels, rotation=90 if rotated else 0)
    axes.set_yticks(where, labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure


def per_class_heatmap(table: np.ndarray, titles: Sequence[str], names: Sequence[str]) -> Figure:
    """Scores (n_classes, n_scores) as a heatmap, with `titles` above the columns and `names` left of the rows."""
    margin = _beside_ticks(names)
    figure, axes = _axes(4.4 + margin, max(2.4, min(8.0, 0.36 * len(names) + 0.9)), margin)
    known = table[~np.isnan(table)]
    low = float(known.min()) if len(known) else 0.0
    axes.imshow(table, cmap="viridis", vmin=low, vmax=1, aspect="auto")
    if len(names) <= _MOST_LABELLED:
        for row, column in np.ndindex(table.shape):
            value = table[row, column]
            text = "n/a" if np.isnan(value) else f"{100 * value:.2f}"
            colour = "black" if value > (low + 1) / 2 else "white"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    where, labels = _class_ticks(names)
    axes.set_yticks(where, labels)
    axes.set_xticks(range(len(titles)), titles)
    axes.set_ylabel("class (test rows)")
    return figure


def calibration(curves: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> Figure:
    """For each name, the share of correct rows at each predicted probability; the arrays have equal lengths."""
    figure, axes = _axes(5.4, 4.4)
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="perfectly calibrated")
    for marker, (name, probability, share) in zip("osD^v*PX" * len(curves), curves, strict=False):
        axes.plot(probability, share, marker=marker, markersize=4, linewidth=1.3, label=name)
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("share that was right")
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.25)
    return figure


def class_colours(n_classes: int) -> list[str]:
    """The colour of each class's curves, as #rrggbb."""
    palette = colormaps["tab10" if n_classes <= 10 else "turbo"]
    return [to_hex(palette(c if n_classes <= 10 else c / n_classes)) for c in range(n_classes)]


def _curves(
    curves: Sequence[tuple[int, np.ndarray, np.ndarray]], n_classes: int, corner: tuple[tuple, tuple] | None
) -> Figure:
    figure, axes = _axes(5.4, 4.6)
    colours = class_colours(n_classes)
    for c, x, y in curves:
        axes.plot(x, y, color=colours[c], linewidth=1.2)
    axes.grid(alpha=0.25)
    if corner is not None:
        axes.set_xlim(corner[0])
        axes.set_ylim(corner[1])
        # A fixed height: finding it automatically would draw the ticks once more.
        axes.set_title("corner, enlarged", fontsize=9, color="0.35", y=1.0)
    else:
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
    return figure


def roc_curves(curves: Sequence[tuple[int, np.ndarray, np.ndarray]], n_classes: int, enlarged: bool = False) -> Figure:
    """False and true positive rates of classes, each given by its position.

    enlarged : show only the corner where the curves of good classifiers are
    """
    figure = _curves(curves, n_classes, ((-0.002, 0.1), (0.9, 1.002)) if enlarged else None)
    figure.axes[0].set_xlabel("false positive rate")
    figure.axes[0].set_ylabel("true positive rate")
    return figure


def precision_recall_curves(
    curves: Sequence[tuple[int, np.ndarray, np.ndarray]], n_classes: int, enlarged: bool = False
) -> Figure:
    """Recall and precision of classes, as in `roc_curves`."""
    figure = _curves(curves, n_classes, ((0.8, 1.003), (0.8, 1.004)) if enlarged else None)
    figure.axes[0].set_xlabel("recall")
    figure.axes[0].set_ylabel("precision")
    return figure


def tuning_curve(cv_results: dict[str, Any], scoring: str = "accuracy") -> Figure:
    """Mean score over k, one line per weighting, with a band of one standard error of the mean."""
    figure, axes = _axes(7.2, 4.2, _beside_ticks(["0.9725"]))
    ks = np.asarray(cv_results["param_n_neighbors"])
    weightings = list(dict.fromkeys(cv_results["param_weights"]))
    mean, std = cv_results["mean_test_score"], cv_results["std_test_score"]
    n_splits = sum(name.startswith("split") for name in cv_results)
    for marker, weighting in zip("os^Dv" * len(weightings), weightings, strict=False):
        mine = np.array([w == weighting for w in cv_results["param_weights"]])
        order = np.argsort(ks[mine])
        x, y, error = ks[mine][order], mean[mine][order], std[mine][order] / np.sqrt(n_splits)
        name = weighting if isinstance(weighting, str) else getattr(weighting, "__name__", "function")
        (line,) = axes.plot(x, y, marker=marker, markersize=4, linewidth=1.3, label=f"weights: {name}")
        axes.fill_between(x, y - error, y + error, color=line.get_color(), alpha=0.15, linewidth=0)
    best = int(np.argmin(cv_results["rank_test_score"]))
    axes.plot(ks[best], mean[best], "o", markersize=12, fillstyle="none", color="black")
    axes.annotate(
        f"best: k = {ks[best]}, {mean[best]:.5g}",
        (ks[best], mean[best]),
        xytext=(10, 10),
        textcoords="offset points",
        fontsize=9,
        bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.2},
    )
    axes.set_xlabel("number of neighbours k")
    axes.set_ylabel(f"cross-validated {scoring}")
    axes.legend(frameon=False, loc="lower left")
    axes.grid(alpha=0.25)
    return figure


def predicted_and_true(truth: np.ndarray, predicted: np.ndarray, name: str) -> Figure:
    """Predicted over true values (m,), with the line on which they are equal."""
    figure, axes = _axes(5.0, 4.6, _beside_ticks(["12345.6"]))
    ends = [float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))]
    axes.plot(ends, ends, color="0.6", linewidth=1, linestyle="--")
    axes.plot(truth, predicted, "o", markersize=3, alpha=0.5, markeredgewidth=0)
    axes.set_xlabel("true value")
    axes.set_ylabel("predicted value")
    axes.set_title(name, fontsize=9, color="0.35", y=1.0)
    axes.grid(alpha=0.25)
    return figure


def error_histogram(errors: np.ndarray, name: str) -> Figure:
    """How often each error, predicted minus true value (m,), occurs."""
    figure, axes = _axes(5.0, 3.2)
    axes.hist(errors, bins=min(60, max(10, len(errors) // 10)), color="#4c78a8")
    axes.axvline(0, color="0.3", linewidth=1, linestyle="--")
    axes.set_xlabel("predicted minus true value")
    axes.set_ylabel("test rows")
    axes.set_title(name, fontsize=9, color="0.35", y=1.0)
    return figure
