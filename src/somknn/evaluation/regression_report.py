"""The report on predicted values: figures, predicted against true values, errors, the rows that were missed most."""

import html
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from somknn.evaluation.drawing import Drawing
from somknn.evaluation.regression import RegressionEvaluation
from somknn.evaluation.report import check_rows, finisher, making, metrics_table, page
from somknn.evaluation.results import MethodResult

_WORST = 20
_POINTS = 5000  # more of them would only darken the picture


def begin_regression_report(
    methods: Sequence[MethodResult],
    drawing: Drawing,
    *,
    data: Any,
    title: str,
    tuning: str = "",
    command: str | None = None,
    seconds: dict[str, float] | None = None,
) -> Callable[[str | os.PathLike], None]:
    """Build the report on methods that predict values; return a function that waits for its pictures and writes it.

    `tuning` is HTML from `tuning_section` with `drawing`. Raises ValueError without a method, or if an evaluation does
    not belong to the data's test rows.
    """
    if not methods:
        raise ValueError("a report needs at least one method")
    check_rows(methods, data)
    shown = methods[0] if len(methods) == 1 else min(methods, key=lambda m: m.evaluation.scores["rmse"].value)
    sections = [
        _head(title, methods, data),
        metrics_table(methods),
        tuning,
        _pictures(shown, drawing),
        _worst(shown),
        making(methods, command, seconds or {}),
    ]
    return finisher(page(title, "\n".join(sections)), drawing)


def _head(title: str, methods: Sequence[MethodResult], data: Any) -> str:
    (n, d), m = data.X_train.shape, len(data.X_test)
    lines = []
    for method in methods:
        found: RegressionEvaluation = method.evaluation
        figures = ", ".join(f"{found.labels[name]} {found.formatted(name, found.scores[name].value)}" for name in _HEAD)
        lines.append(f"<li><b>{html.escape(method.name)}</b>: {figures}</li>")
    y = np.concatenate([data.y_train, data.y_test])
    return (
        f"<h1>{html.escape(title)}</h1>"
        f'<p class="soft">{n:,} training rows, {m:,} test rows, {d:,} features, {data.X_train.dtype}; '
        f"the target lies between {y.min():.5g} and {y.max():.5g}.</p><ul>{''.join(lines)}</ul>"
    )


_HEAD = ("rmse", "mae", "r2")


def _pictures(method: MethodResult, drawing: Drawing) -> str:
    truth, predicted = method.evaluation.truth, method.evaluation.predicted
    chosen = np.unique(np.linspace(0, len(truth) - 1, min(len(truth), _POINTS)).astype(int))
    points = drawing.ask(
        *("drawn", "predicted_and_true", truth[chosen], predicted[chosen], method.name),
        alt=f"Predicted against true values: {method.name}, {len(chosen):,} of {len(truth):,} test rows",
    )
    errors = drawing.ask(
        *("drawn", "error_histogram", predicted - truth, method.name),
        alt=f"Histogram of the errors of {method.name}",
    )
    return (
        "<section><h2>Predicted and true values</h2><p>On the dashed line both are equal.</p>"
        f'<div class="side"><div>{points}</div><div>{errors}</div></div></section>'
    )


def _worst(method: MethodResult) -> str:
    truth, predicted = method.evaluation.truth, method.evaluation.predicted
    errors = abs(predicted - truth)
    rows = np.argsort(-errors, kind="stable")[:_WORST]
    cells = "".join(
        f"<tr><td>{row}</td><td>{truth[row]:.6g}</td><td>{predicted[row]:.6g}</td><td>{errors[row]:.4g}</td></tr>"
        for row in rows
    )
    heads = "<thead><tr><th>Test row</th><th>True</th><th>Predicted</th><th>Error</th></tr></thead>"
    return (
        f"<h2>Largest errors of {html.escape(method.name)}</h2>"
        f'<div class="scroll"><table>{heads}<tbody>{cells}</tbody></table></div>'
    )
