"""A report on one or several methods as a single HTML file that opens from disk, without a network."""

import datetime
import html
import importlib.resources
import os
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from somknn._files import replacing
from somknn.evaluation.drawing import Drawing
from somknn.evaluation.metrics import METRIC_LABELS, Score
from somknn.evaluation.report_pictures import class_pictures, mistakes, pictures_of
from somknn.evaluation.results import MethodResult
from somknn.plots import require_matplotlib

_SMALLER_IS_BETTER = {"log_loss"}
_UNIT_FREE = {"log_loss"}


def write_report(
    path: str | os.PathLike,
    methods: Sequence[MethodResult],
    *,
    data: Any,
    title: str = "somknn report",
    tuning: dict[str, Any] | None = None,
    command: str | None = None,
    seconds: dict[str, float] | None = None,
) -> None:
    """Write a self-contained HTML report; the file is either complete or absent.

    Parameters
    ----------
    path : path of the file
    methods : sequence of MethodResult
        Shown side by side; the mistakes are those of the most accurate method, of the last one if several are equal.
    data : somknn.datasets.Dataset
        The data set that the methods were trained and tested on.
    title : str
    tuning : dict, optional
        `cv_results_` of a `KNeighborsClassifierCV`.
    command : str, optional
        The command that makes this report.
    seconds : dict, optional
        Durations of the steps that the methods share.

    Raises
    ------
    ImportError
        Without matplotlib (`pip install "somknn[plots]"`).
    ValueError
        Without a method, or if an evaluation does not belong to the data's test rows.
    """
    require_matplotlib()
    drawing = Drawing()
    classes = class_pictures([pictures_of(method, drawing) for method in methods], drawing)
    tuned = "" if tuning is None else tuning_section(tuning, drawing)
    begin_report(methods, tuned + classes, drawing, data=data, title=title, command=command, seconds=seconds)(path)


def begin_report(
    methods: Sequence[MethodResult],
    pictures: str,
    drawing: Drawing,
    *,
    data: Any,
    title: str,
    wrong: str | None = None,
    command: str | None = None,
    seconds: dict[str, float] | None = None,
) -> Callable[[str | os.PathLike], None]:
    """Build the report of `write_report` except its pictures; return a function that waits for them and writes it.

    `pictures` is HTML from `tuning_section` and `class_pictures` with `drawing`, requested as soon as their data was
    known; `wrong` is the HTML from `mistakes`, if it exists already.
    """
    if not methods:
        raise ValueError("a report needs at least one method")
    for method in methods:
        if method.evaluation.n_rows != len(data.X_test):
            raise ValueError(
                f"method {method.name!r} was evaluated on {method.evaluation.n_rows} rows, "
                f"but the data set has {len(data.X_test)} test rows"
            )
    sections = [
        _head(title, methods, data),
        _metrics(methods),
        pictures,
        mistakes(methods, data) if wrong is None else wrong,
        _reports(methods),
        _making(methods, command, seconds or {}),
    ]
    text = page(title, "\n".join(sections))

    def finish(path: str | os.PathLike) -> None:
        complete = drawing.put_into(text)
        with replacing(path) as temporary:
            temporary.write_text(complete, encoding="utf-8")

    return finish


def page(title: str, body: str) -> str:
    """The page around `body`, which is HTML; `title` is plain text."""
    template = importlib.resources.files("somknn.evaluation").joinpath("page.html").read_text(encoding="utf-8")
    return string.Template(template).substitute(title=html.escape(title), body=body)


def _formatted(name: str, value: float) -> str:
    if np.isnan(value):
        return "n/a"
    return f"{value:.4f}" if name in _UNIT_FREE else f"{100 * value:.2f}"


def _head(title: str, methods: Sequence[MethodResult], data: Any) -> str:
    (n, d), m = data.X_train.shape, len(data.X_test)
    sentences = []
    for method in methods:
        score = method.evaluation.scores["accuracy"]
        interval = ""
        if not np.isnan(score.low):
            interval = f" ({100 * method.evaluation.confidence:g}% interval {_range('accuracy', score)})"
        sentences.append(
            f"<li><b>{html.escape(method.name)}</b>: {_formatted('accuracy', score.value)} % of the "
            f"test rows right{interval}</li>"
        )
    unseen = methods[0].evaluation.unseen
    note = ""
    if len(unseen):
        names = ", ".join(map(str, unseen))
        note = f"<p>Classes without a training row, counted as errors: {html.escape(names)}.</p>"
    return (
        f"<h1>{html.escape(title)}</h1>"
        f'<p class="soft">{n:,} training rows, {m:,} test rows, {d:,} features, '
        f"{html.escape(str(data.X_train.dtype))}; {len(methods[0].evaluation.classes)} classes.</p>"
        f"<ul>{''.join(sentences)}</ul>{note}"
    )


def _range(name: str, score: Score) -> str:
    return f"{_formatted(name, score.low)} to {_formatted(name, score.high)}"


def _metrics(methods: Sequence[MethodResult]) -> str:
    names = [name for name in METRIC_LABELS if any(name in m.evaluation.scores for m in methods)]
    rows = []
    if any(m.cross_validation is not None for m in methods):
        means = [float("nan") if m.cross_validation is None else np.average(m.cross_validation) for m in methods]
        cells = []
        for column, (method, mean) in enumerate(zip(methods, means, strict=True)):
            folds = method.cross_validation
            spread = "" if folds is None else f"{len(folds)} folds, σ {100 * np.std(folds):.2f}"
            cells.append(_cell("cross_validation", column, mean, spread, _is_best("cross_validation", mean, means)))
        rows.append(f'<tr><th scope="row">Cross-validated accuracy</th>{"".join(cells)}</tr>')
    for name in names:
        scores = [m.evaluation.scores.get(name, Score(float("nan"))) for m in methods]
        values = [score.value for score in scores]
        cells = [
            _cell(
                name,
                column,
                score.value,
                "" if np.isnan(score.low) else _range(name, score),
                _is_best(name, score.value, values),
            )
            for column, score in enumerate(scores)
        ]
        rows.append(f'<tr><th scope="row">{html.escape(METRIC_LABELS[name])}</th>{"".join(cells)}</tr>')
    heads = "".join(f'<th scope="col">{html.escape(m.name)}</th>' for m in methods)
    first = methods[0].evaluation
    caption = "Percent, except for the log loss."
    if first.n_resamples:
        caption += (
            f" Small: {100 * first.confidence:g}% percentile intervals of {first.n_resamples:,} bootstrap "
            "resamples of the test rows."
        )
    if len(methods) > 1:
        caption += " The best value of a row is in bold."
    return (
        f'<h2>Metrics</h2><div class="scroll"><table id="metrics"><caption>{caption}</caption>'
        f'<thead><tr><th scope="col">Metric</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _is_best(name: str, value: float, values: list[float]) -> bool:
    known = [v for v in values if not np.isnan(v)]
    return len(known) > 1 and value == (min(known) if name in _SMALLER_IS_BETTER else max(known))


def _cell(name: str, column: int, value: float, small: str, best: bool) -> str:
    kind = ' class="best"' if best else ""
    below = f'<span class="interval">{html.escape(small)}</span>' if small else ""
    return (
        f'<td{kind} data-metric="{name}" data-method="{column}" data-value="{float(value)!r}">'
        f"<span>{_formatted(name, value)}</span>{below}</td>"
    )


def tuning_section(results: dict[str, Any], drawing: Drawing) -> str:
    """The section on the `cv_results_` of a `KNeighborsClassifierCV`."""
    ranks, mean, std = (results[f"{name}_test_score"] for name in ("rank", "mean", "std"))
    order = np.argsort(ranks, kind="stable")
    folds = sum(name.startswith("split") for name in results)
    best = results["params"][order[0]]

    def rows(chosen: np.ndarray) -> str:
        return "".join(
            f"<tr><td>{ranks[i]}</td><td>{results['params'][i]['n_neighbors']}</td>"
            f'<td class="text">{html.escape(str(results["params"][i]["weights"]))}</td>'
            f"<td>{100 * mean[i]:.3f}</td><td>{100 * std[i]:.3f}</td></tr>"
            for i in chosen
        )

    heads = "<thead><tr><th>Rank</th><th>k</th><th>Weights</th><th>Mean %</th><th>σ of folds</th></tr></thead>"
    alt = (
        f"Cross-validated score over k for each weighting; the best is k = {best['n_neighbors']} with "
        f"{best['weights']} weights, {mean[order[0]]:.4f}"
    )
    caption = f"Means of {folds} folds; the bands show one standard error."
    return (
        "<section><h2>Tuning</h2><p>Chosen on the training rows only; the test rows had no part in it.</p>"
        f"{drawing.ask('drawn', 'tuning_curve', results, alt=alt, caption=caption)}</section>"
        f'<div class="scroll"><table>{heads}<tbody>{rows(order[:5])}</tbody></table></div>'
        f"<details><summary>All {len(order)} candidates</summary>"
        f'<div class="scroll"><table>{heads}<tbody>{rows(order)}</tbody></table></div></details>'
    )


def _reports(methods: Sequence[MethodResult]) -> str:
    texts = "".join(
        f"<details><summary>{html.escape(m.name)}</summary>"
        f"<pre>{html.escape(m.evaluation.classification_report())}</pre></details>"
        for m in methods
    )
    return f"<h2>Classification reports</h2>{texts}"


def _making(methods: Sequence[MethodResult], command: str | None, seconds: dict[str, float]) -> str:
    from somknn.environment import describe

    durations = dict(seconds)
    for method in methods:
        durations |= {f"{method.name}: {what}": value for what, value in method.seconds.items()}
    times = "".join(
        f'<tr><th scope="row">{html.escape(what)}</th><td>{value:.3f} s</td></tr>' for what, value in durations.items()
    )
    facts = []
    for name, value in describe().items():
        if name == "cache_folder":  # of no interest to a reader elsewhere, and it contains the user's name
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{key} {version}" for key, version in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        facts.append(
            f'<tr><th scope="row">{html.escape(name.replace("_", " "))}</th>'
            f'<td class="text">{html.escape(str(value))}</td></tr>'
        )
    parts = [f'<h2>Timings</h2><div class="scroll"><table>{times}</table></div>' if times else ""]
    parts.append(f'<h2>Environment</h2><div class="scroll"><table>{"".join(facts)}</table></div>')
    if command:
        parts.append(f'<h2>Made by</h2><pre id="command">{html.escape(command)}</pre>')
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts.append(f'<p class="soft">{now}</p>')
    return "".join(parts)
