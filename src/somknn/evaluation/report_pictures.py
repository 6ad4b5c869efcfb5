"""The pictures of the report as HTML with embedded data: coloured tables, curves, mistakes."""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline

from somknn.evaluation import curves
from somknn.evaluation.drawing import Drawing
from somknn.evaluation.heat_tables import MOST_CLASSES, SCORE_TITLES, class_table, confusion_table
from somknn.evaluation.metrics import Evaluation
from somknn.evaluation.results import MethodResult

MISTAKES = 25
_ROC, _PRECISION_RECALL = "ROC curves", "Precision-recall curves"
_NEIGHBOURS_SHOWN = 5


def image_uri(row: np.ndarray, shape: tuple[int, ...], limits: tuple[float, float]) -> str:
    """A row of grey levels as a PNG in a data URI; high values are dark."""
    from PIL import Image  # installed with matplotlib; matplotlib's own imsave takes ten times as long

    span = (limits[1] - limits[0]) or 1.0
    ink = np.clip((row.reshape(shape).astype(np.float64) - limits[0]) / span, 0.0, 1.0)
    buffer = io.BytesIO()
    Image.fromarray(255 - np.rint(255 * ink).astype(np.uint8)).save(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


class Pictures(NamedTuple):
    """The parts of a method's pictures, as HTML or as placeholders of drawings in progress.

    None for parts that need probabilities if the evaluation has none.
    """

    method: MethodResult
    confusion: str
    by_class: str
    roc: str | None
    precision_recall: str | None


def pictures_of(method: MethodResult, drawing: Drawing) -> Pictures:
    """Confusion matrix, scores by class, ROC and precision-recall curves, requested from `drawing`."""
    evaluation = method.evaluation
    wrong = int((evaluation.truth != evaluation.predicted).sum())
    whose = f"{method.name}, {wrong:,} of {evaluation.n_rows:,} test rows wrong"
    if len(evaluation.classes) <= MOST_CLASSES:
        confusion, by_class = confusion_table(evaluation), class_table(evaluation)
    else:
        names = [str(c) for c in evaluation.classes]
        confusion = drawing.ask(
            "drawn", "confusion_matrix", evaluation.confusion, names, alt=f"Confusion matrix: {whose}"
        )
        scores, shown = curves.per_class_scores(evaluation)
        names = [f"{c} ({n:,})" for c, n in zip(evaluation.classes, evaluation.support, strict=True)]
        titles = [SCORE_TITLES[name] for name in shown]
        alt = f"Scores of every class: {whose}"
        by_class = drawing.ask("drawn", "per_class_heatmap", scores, titles, names, alt=alt)
    if evaluation.probabilities is None:
        return Pictures(method, confusion, by_class, None, None)

    enlarged = curves.are_in_the_corner(evaluation)

    def of_classes(plot: str, found: list[curves.Curve], what: str) -> str:
        alt = f"{what} of every class: {whose}"
        return drawing.ask("drawn", plot, found, len(evaluation.classes), enlarged=enlarged, alt=alt)

    roc = of_classes("roc_curves", curves.roc(evaluation), _ROC)
    precision_recall = of_classes("precision_recall_curves", curves.precision_recall(evaluation), _PRECISION_RECALL)
    return Pictures(method, confusion, by_class, roc, precision_recall)


def _side_by_side(heading: str, note: str, parts: Sequence[tuple[MethodResult, str | None]], more: str = "") -> str:
    shown = "".join(f"<div><h3>{html.escape(method.name)}</h3>{part}</div>" for method, part in parts if part)
    return f'<section><h2>{heading}</h2><p>{note}</p>{more}<div class="side">{shown}</div></section>'


def class_pictures(pictured: Sequence[Pictures], drawing: Drawing) -> str:
    """Confusion matrices, scores by class, calibration, ROC and precision-recall curves of every method."""
    sections = [
        _side_by_side(
            "Confusion matrices",
            "Rows are the true classes. The colour is the share of the row; small shares are lifted, so that "
            "errors can be seen.",
            [(p.method, p.confusion) for p in pictured],
        ),
        _side_by_side(
            "Classes one by one",
            "Percent; the stronger the colour, the lower the score.",
            [(p.method, p.by_class) for p in pictured],
        ),
    ]
    known = [p.method for p in pictured if p.method.evaluation.probabilities is not None]
    if not known:
        return "".join(sections)
    calibration = drawing.ask(
        "drawn",
        "calibration",
        [(m.name, *curves.calibration(m.evaluation)) for m in known],
        alt="Calibration curves of " + ", ".join(m.name for m in known),
    )
    sections.append(
        "<section><h2>Calibration</h2><p>Of all predictions made with a certain probability, the share that was "
        f"right; each class against the rest, all classes together.</p>{calibration}</section>"
    )
    names = [str(c) for c in known[0].evaluation.classes]
    legend = drawing.ask("class_legend", names) if len(names) <= MOST_CLASSES else ""
    each = "Each class against the rest."
    sections.append(_side_by_side(_ROC, each, [(p.method, p.roc) for p in pictured], legend))
    sections.append(_side_by_side(_PRECISION_RECALL, each, [(p.method, p.precision_recall) for p in pictured], legend))
    return "".join(sections)


def best_method(methods: Sequence[MethodResult]) -> MethodResult:
    """The most accurate method; the last one if several are equal."""
    return max(reversed(methods), key=lambda method: method.evaluation.scores["accuracy"].value)


def worst_mistakes(evaluation: Evaluation, most: int = MISTAKES) -> np.ndarray:
    """Test rows predicted wrongly, the most confident first (then in row order)."""
    wrong = np.flatnonzero(evaluation.truth != evaluation.predicted)
    if evaluation.probabilities is not None:
        sure = evaluation.probabilities[wrong, evaluation.predicted[wrong]]
        wrong = wrong[np.argsort(-sure, kind="stable")]
    return wrong[:most]


def mistakes(methods: Sequence[MethodResult], data: Any) -> str:
    """The section on test rows that the best method predicted wrongly, with their neighbours.

    If the best method uses no training rows, the neighbours of the first method that does are shown.
    """
    method = best_method(methods)
    evaluation = method.evaluation
    rows = worst_mistakes(evaluation)
    if len(rows) == 0:
        return "<h2>Mistakes</h2><p>None.</p>"
    shape = data.image_shape
    limits = (float(data.X_test.min()), float(data.X_test.max())) if shape is not None else (0.0, 1.0)
    for looking in (method, *methods):
        distances, neighbours = _neighbours(looking, data, rows)
        if neighbours.shape[1]:
            break
    cards = []
    for place, row in enumerate(rows):
        true, said = (str(evaluation.classes[c[row]]) for c in (evaluation.truth, evaluation.predicted))
        sure = ""
        if evaluation.probabilities is not None:
            sure = f", probability {evaluation.probabilities[row, evaluation.predicted[row]]:.2f}"
        head = f"{html.escape(true)} taken for {html.escape(said)}"
        body = ""
        if shape is not None:
            body = (
                f'<img class="query" alt="Test row {row}: {head}" src="{image_uri(data.X_test[row], shape, limits)}">'
            )
        items = []
        for rank in range(neighbours.shape[1]):
            near = neighbours[place, rank]
            label = str(data.y_train[near])
            image = ""
            if shape is not None:
                source = image_uri(data.X_train[near], shape, limits)
                image = f'<img alt="Neighbour {rank + 1}: {html.escape(label)}" src="{source}">'
            kind = "right" if label == true else "wrong"
            items.append(f'<li class="{kind}">{image}<b>{html.escape(label)}</b><br>{distances[place, rank]:.4g}</li>')
        listed = f"<ol>{''.join(items)}</ol>" if items else ""
        cards.append(
            f'<div class="card"><h3>{head}</h3>{body}<div class="soft">test row {row}{sure}</div>{listed}</div>'
        )
    why = ""
    if neighbours.shape[1]:
        whose = "" if looking is method else f", as {html.escape(looking.name)} sees them"
        why = f" Below each one its nearest training rows{whose}, with their labels and distances"
        why += "." if whose else ": why it was taken for that."
    wrong = int((evaluation.truth != evaluation.predicted).sum())
    return (
        f"<h2>Mistakes of {html.escape(method.name)}</h2>"
        f"<p>{len(rows)} of {wrong:,}, the surest first.{why}</p>"
        f'<div class="cards">{"".join(cards)}</div>'
    )


def _neighbours(method: MethodResult, data: Any, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances and training rows of a model's neighbours of these test rows; empty if it has none."""
    model, queries = method.model, data.X_test[rows]
    if method.transform is not None:
        queries = method.transform(queries)
    if isinstance(model, Pipeline):
        queries, model = model[:-1].transform(queries), model[-1]
    n = len(data.X_train)
    if not hasattr(model, "kneighbors") or getattr(model, "n_samples_fit_", None) != n:
        return np.empty((len(rows), 0)), np.empty((len(rows), 0), np.int64)
    return model.kneighbors(queries, min(_NEIGHBOURS_SHOWN, n))
