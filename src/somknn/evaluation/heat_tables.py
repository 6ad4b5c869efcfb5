"""Confusion matrix and scores by class as HTML tables with shaded cells.

Unlike a drawing, a table can be read aloud, copied, searched and printed; it stays sharp on a phone, and takes a
hundredth of the time. If there are too many classes for a page, the report draws a picture instead (`somknn.plots`).
"""

import html

import numpy as np

from somknn.evaluation.curves import per_class_scores
from somknn.evaluation.metrics import Evaluation

MOST_CLASSES = 20  # with more classes there is no room for a column each
_PAPER, _BLUE, _AMBER = (255, 255, 255), (8, 69, 148), (240, 148, 80)
_LIFT = 0.35  # exponent of a share: with it an error rate of 1% gets a fifth of the full colour
SCORE_TITLES = {"precision": "Precision", "recall": "Recall", "f1": "F1", "roc_auc": "ROC-AUC"}


def _shade(strength: float, colour: tuple[int, int, int]) -> str:
    """The style of a cell: white at 0, `colour` at 1, and a readable text colour."""
    mixed = [round(p + (c - p) * strength) for p, c in zip(_PAPER, colour, strict=True)]
    brightness = float(np.dot(mixed, (0.299, 0.587, 0.114)))
    ink = ";color:#fff" if brightness < 140 else ""
    return f' style="background:#{bytes(mixed).hex()}{ink}"'


def confusion_table(evaluation: Evaluation) -> str:
    """True classes in rows, predicted classes in columns; the colour is the share of the row, enhanced if small."""
    counts, names = evaluation.confusion, [html.escape(str(c)) for c in evaluation.classes]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = []
    for name, row, share in zip(names, counts, shares, strict=True):
        cells = "".join(
            f"<td{_shade(float(s) ** _LIFT, _BLUE)}>{n}</td>" if n else "<td></td>"
            for n, s in zip(row, share, strict=True)
        )
        rows.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    wrong = int(counts.sum() - np.trace(counts))
    return (
        f'<div class="scroll"><table class="heat confusion">'
        f"<caption>{wrong:,} of {evaluation.n_rows:,} test rows wrong</caption>"
        f'<thead><tr><th scope="col">true</th><th colspan="{len(names)}">predicted</th></tr>'
        f"<tr><td></td>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def class_table(evaluation: Evaluation) -> str:
    """Precision, recall, F1 and ROC-AUC of every class in percent; stronger colour means a lower score."""
    scores, shown = per_class_scores(evaluation)
    known = scores[~np.isnan(scores)]
    span = max(1.0 - float(known.min()), 1e-12) if len(known) else 1.0
    rows = []
    for label, support, row in zip(evaluation.classes, evaluation.support, scores, strict=True):
        cells = "".join(
            "<td>n/a</td>" if np.isnan(v) else f"<td{_shade((1 - float(v)) / span, _AMBER)}>{100 * v:.2f}</td>"
            for v in row
        )
        rows.append(f'<tr><th scope="row">{html.escape(str(label))}</th>{cells}<td>{support:,}</td></tr>')
    heads = "".join(f'<th scope="col">{SCORE_TITLES[name]}</th>' for name in shown)
    return (
        '<div class="scroll"><table class="heat by-class"><thead><tr><th scope="col">Class</th>'
        f'{heads}<th scope="col">Rows</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )
