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
from somknn.evaluation.metrics import Score
from somknn.evaluation.report_pictures import class_pictures, mistakes, pictures_of
from somknn.evaluation.results import MethodResult
from somknn.plots import require_matplotlib


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
    check_rows(methods, data)
    sections = [
        _head(title, methods, data),
        metrics_table(methods),
        pictures,
        mistakes(methods, data) if wrong is None else wrong,
        _reports(methods),
        making(methods, command, seconds or {}),
    ]
    return finisher(page(title, "\n".join(sections)), drawing)


def check_rows(methods: Sequence[MethodResult], data: Any) -> None:
    """Raise ValueError if an evaluation does not belong to the data's test rows."""
    for method in methods:
        if method.evaluation.n_rows != len(data.X_test):
            raise ValueError(
                f"method {method.name!r} was evaluated on {method.evaluation.n_rows} rows, "
                f"but the data set has {len(data.X_test)} test rows"
            )


def finisher(text: str, drawing: Drawing) -> Callable[[str | os.PathLike], None]:
    """A function that waits for the pictures of a page and writes it, completely or not at all."""

    def finish(path: str | os.PathLike) -> None:
        complete = drawing.put_into(text)
        with replacing(path) as temporary:
            temporary.write_text(complete, encoding="utf-8")

    return finish


def page(title: str, body: str) -> str:
    """The page around `body`, which is HTML; `title` is plain text."""
    template = importlib.resources.files("somknn.evaluation").joinpath("page.html").read_text(encoding="utf-8")
    return string.Template(template).substitute(title=html.escape(title), body=body)


def _head(title: str, methods: Sequence[MethodResult], data: Any) -> str:
    (n, d), m = data.X_train.shape, len(data.X_test)
    sentences = []
    for method in methods:
        score = method.evaluation.scores["accuracy"]
        interval = ""
        if not np.isnan(score.low):
            shown = _range(method.evaluation, "accuracy", score)
            interval = f" ({100 * method.evaluation.confidence:g}% interval {shown})"
        sentences.append(
            f"<li><b>{html.escape(method.name)}</b>: {method.evaluation.formatted('accuracy', score.value)} % of the "
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


def _range(evaluation: Any, name: str, score: Score) -> str:
    return f"{evaluation.formatted(name, score.low)} to {evaluation.formatted(name, score.high)}"


def metrics_table(methods: Sequence[MethodResult]) -> str:
    """The section with all figures of the methods side by side, of classes or of values."""
    first = methods[0].evaluation
    rows = []
    for name, label in first.labels.items():
        cells = []
        if name == "cross_validation":
            scores = [Score(m.cross_validation_mean) for m in methods]
        else:
            scores = [m.evaluation.scores.get(name, Score(float("nan"))) for m in methods]
        if all(np.isnan(score.value) for score in scores) and not any(name in m.evaluation.scores for m in methods):
            continue
        values = [score.value for score in scores]
        for column, (method, score) in enumerate(zip(methods, scores, strict=True)):
            folds = method.cross_validation
            if name == "cross_validation":
                small = "" if folds is None else f"{len(folds)} folds, σ {first.formatted(name, float(np.std(folds)))}"
            else:
                small = "" if np.isnan(score.low) else _range(first, name, score)
            cells.append(_cell(first, name, column, values, small))
        rows.append(f'<tr><th scope="row">{html.escape(label)}</th>{"".join(cells)}</tr>')
    heads = "".join(f'<th scope="col">{html.escape(m.name)}</th>' for m in methods)
    caption = first.unit
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


def _cell(evaluation: Any, name: str, column: int, values: list[float], small: str) -> str:
    value, known = values[column], [v for v in values if not np.isnan(v)]
    best = min(known, default=0) if name in evaluation.smaller_is_better else max(known, default=0)
    kind = ' class="best"' if len(known) > 1 and value == best else ""
    below = f'<span class="interval">{html.escape(small)}</span>' if small else ""
    return (
        f'<td{kind} data-metric="{name}" data-method="{column}" data-value="{float(value)!r}">'
        f"<span>{evaluation.formatted(name, value)}</span>{below}</td>"
    )


def tuning_section(results: dict[str, Any], drawing: Drawing, *, scoring: str = "accuracy") -> str:
    """The section on the `cv_results_` of a `KNeighborsClassifierCV`, or with the scoring "RMSE" of a regressor's."""
    unit, formatted = (" %", lambda value: f"{100 * value:.3f}") if scoring == "accuracy" else ("", "{:.5g}".format)
    if scoring == "RMSE":  # a score is the negative error
        results = {**results, "mean_test_score": -results["mean_test_score"]}
    ranks, mean, std = (results[f"{name}_test_score"] for name in ("rank", "mean", "std"))
    order = np.argsort(ranks, kind="stable")
    folds = sum(name.startswith("split") for name in results)
    best = results["params"][order[0]]

    def rows(chosen: np.ndarray) -> str:
        return "".join(
            f"<tr><td>{ranks[i]}</td><td>{results['params'][i]['n_neighbors']}</td>"
            f'<td class="text">{html.escape(str(results["params"][i]["weights"]))}</td>'
            f"<td>{formatted(mean[i])}</td><td>{formatted(std[i])}</td></tr>"
            for i in chosen
        )

    heads = f"<thead><tr><th>Rank</th><th>k</th><th>Weights</th><th>Mean{unit}</th><th>σ of folds</th></tr></thead>"
    alt = (
        f"Cross-validated score over k for each weighting; the best is k = {best['n_neighbors']} with "
        f"{best['weights']} weights, {mean[order[0]]:.5g}"
    )
    caption = f"Means of {folds} folds; the bands show one standard error."
    return (
        "<section><h2>Tuning</h2><p>Chosen on the training rows only; the test rows had no part in it.</p>"
        f"{drawing.ask('drawn', 'tuning_curve', results, scoring, alt=alt, caption=caption)}</section>"
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


def making(methods: Sequence[MethodResult], command: str | None, seconds: dict[str, float]) -> str:
    """The sections on durations, environment, command and time."""
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
