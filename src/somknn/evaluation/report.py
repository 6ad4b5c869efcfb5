"""A report on one or several methods as a single HTML file that opens from disk, without a network."""

import base64
import datetime
import html
import importlib.resources
import io
import os
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from somknn._files import replacing
from somknn.evaluation.metrics import METRIC_LABELS, Evaluation, Score

MISTAKES = 25
_NEIGHBOURS_SHOWN = 5
_SMALLER_IS_BETTER = {"log_loss"}
_UNIT_FREE = {"log_loss"}


@dataclass(frozen=True, eq=False)
class MethodResult:
    """What the report says about one method.

    Attributes
    ----------
    name : str
        Heading of its column.
    evaluation : Evaluation
    parameters : dict
        Shown as given.
    cross_validation : ndarray of shape (n_folds,), or None
        Score of every fold.
    seconds : dict of str to float
        Durations by what was done, such as {"fit": 1.1, "predict": 0.5}.
    model : object or None
        A fitted estimator; where it has `kneighbors`, the mistakes are shown with their neighbours.
    transform : callable or None
        Makes the features of rows that the model was fitted on.
    """

    name: str
    evaluation: Evaluation
    parameters: dict[str, Any] = field(default_factory=dict)
    cross_validation: np.ndarray | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    model: Any = None
    transform: Callable[[np.ndarray], np.ndarray] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers for JSON."""
        folds = None if self.cross_validation is None else [float(score) for score in self.cross_validation]
        return {
            "method": self.name,
            "parameters": {name: _plain(value) for name, value in self.parameters.items()},
            "seconds": self.seconds,
            "cross_validation": folds,
            "cross_validation_mean": None if folds is None else float(np.average(folds)),
            **self.evaluation.to_dict(),
        }


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else str(value)


def write_report(
    path: str | os.PathLike,
    methods: Sequence[MethodResult],
    *,
    data: Any,
    title: str = "somknn report",
    tuning: dict[str, Any] | None = None,
    command: str | None = None,
    seconds: dict[str, float] | None = None,
    pictured: Sequence[str] | None = None,
) -> None:
    """Write a self-contained HTML report; the file is complete or absent.

    Parameters
    ----------
    path : path of the file
    methods : sequence of MethodResult
        Shown side by side; the mistakes are those of the last one.
    data : somknn.datasets.Dataset
        What the methods were trained and tested on.
    title : str
    tuning : dict, optional
        `cv_results_` of a `KNeighborsClassifierCV`.
    command : str, optional
        The command that makes this report.
    seconds : dict, optional
        Durations of the steps that the methods share.
    pictured : sequence of str, optional
        Names of the methods that get pictures; all of them by default.

    Raises
    ------
    ImportError
        Without matplotlib (`pip install "somknn[plots]"`).
    ValueError
        Without a method, or where an evaluation is not of the data's test rows.
    """
    if not methods:
        raise ValueError("a report needs at least one method")
    for method in methods:
        if method.evaluation.n_rows != len(data.X_test):
            raise ValueError(
                f"method {method.name!r} was evaluated on {method.evaluation.n_rows} rows, "
                f"but the data set has {len(data.X_test)} test rows"
            )
    require_matplotlib()
    sections = [
        _head(title, methods, data),
        _metrics(methods),
        "" if tuning is None else _tuning(tuning),
        _pictures([m for m in methods if pictured is None or m.name in pictured]),
        _mistakes(methods[-1], data),
        _reports(methods),
        _making(methods, command, seconds or {}),
    ]
    with replacing(path) as temporary:
        temporary.write_text(page(title, "\n".join(sections)), encoding="utf-8")


def require_matplotlib() -> None:
    """Raise an ImportError that says what to install where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError('pictures need matplotlib; run: pip install "somknn[plots]"') from error


def page(title: str, body: str) -> str:
    """The page around `body`, which is HTML; `title` is plain text."""
    template = importlib.resources.files("somknn.evaluation").joinpath("page.html").read_text(encoding="utf-8")
    return string.Template(template).substitute(title=html.escape(title), body=body)


def picture(figure: Any, alt: str, caption: str = "") -> str:
    """A matplotlib figure as an HTML figure with its data inside."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "somknn"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img class="plot" alt="{html.escape(alt)}" src="data:image/svg+xml;base64,{data}">{below}</figure>'


def image_uri(row: np.ndarray, shape: tuple[int, ...], limits: tuple[float, float]) -> str:
    """A row of grey levels as a PNG in a data URI: ink black, paper white."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, row.reshape(shape), cmap="gray_r", vmin=limits[0], vmax=limits[1], format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


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


def _tuning(results: dict[str, Any]) -> str:
    from somknn.plots import evaluation as plots

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
        f"{picture(plots.tuning_curve(results), alt, caption)}</section>"
        f'<div class="scroll"><table>{heads}<tbody>{rows(order[:5])}</tbody></table></div>'
        f"<details><summary>All {len(order)} candidates</summary>"
        f'<div class="scroll"><table>{heads}<tbody>{rows(order)}</tbody></table></div></details>'
    )


def _pictures(methods: Sequence[MethodResult]) -> str:
    from somknn.plots import evaluation as plots

    def side_by_side(heading: str, note: str, draw: Any, alt: str, probabilities: bool) -> str:
        shown = [m for m in methods if m.evaluation.probabilities is not None or not probabilities]
        figures = "".join(
            f"<div><h3>{html.escape(m.name)}</h3>{picture(draw(m.evaluation), f'{alt}: {_alt(m)}')}</div>"
            for m in shown
        )
        if not shown:
            return ""
        return f'<section><h2>{heading}</h2><p>{note}</p><div class="side">{figures}</div></section>'

    parts = [
        side_by_side(
            "Confusion matrices",
            "Rows are the true classes. The colour is the share of the row; small shares are lifted, so that "
            "errors can be seen.",
            plots.confusion_matrix,
            "Confusion matrix",
            False,
        ),
        side_by_side("Classes one by one", "Percent.", plots.per_class_heatmap, "Scores of every class", False),
    ]
    known = [(m.name, m.evaluation) for m in methods if m.evaluation.probabilities is not None]
    if known:
        parts.append(
            "<section><h2>Calibration</h2><p>Of all predictions made with a certain probability, the share that was right; "
            "each class against the rest, all classes together.</p>"
            + picture(plots.calibration(known), "Calibration curves of " + ", ".join(name for name, _ in known))
            + "</section>"
        )
    parts += [
        side_by_side("ROC curves", "Each class against the rest.", plots.roc_curves, "ROC curve of every class", True),
        side_by_side(
            "Precision-recall curves",
            "Each class against the rest.",
            plots.precision_recall_curves,
            "Precision-recall curve of every class",
            True,
        ),
    ]
    return "".join(parts)


def _alt(method: MethodResult) -> str:
    wrong = int((method.evaluation.truth != method.evaluation.predicted).sum())
    return f"{method.name}, {wrong:,} of {method.evaluation.n_rows:,} test rows wrong"


def worst_mistakes(evaluation: Evaluation, most: int = MISTAKES) -> np.ndarray:
    """Test rows predicted wrongly, the surest first (then in the order of the rows)."""
    wrong = np.flatnonzero(evaluation.truth != evaluation.predicted)
    if evaluation.probabilities is not None:
        sure = evaluation.probabilities[wrong, evaluation.predicted[wrong]]
        wrong = wrong[np.argsort(-sure, kind="stable")]
    return wrong[:most]


def _mistakes(method: MethodResult, data: Any) -> str:
    evaluation = method.evaluation
    rows = worst_mistakes(evaluation)
    if len(rows) == 0:
        return "<h2>Mistakes</h2><p>None.</p>"
    shape = data.image_shape
    limits = (float(data.X_test.min()), float(data.X_test.max())) if shape is not None else (0.0, 1.0)
    distances, neighbours = _neighbours(method, data, rows)
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
        why = " Below each one its nearest training rows, with their labels and distances: why it was taken for that."
    wrong = int((evaluation.truth != evaluation.predicted).sum())
    return (
        f"<h2>Mistakes of {html.escape(method.name)}</h2>"
        f"<p>{len(rows)} of {wrong:,}, the surest first.{why}</p>"
        f'<div class="cards">{"".join(cards)}</div>'
    )


def _neighbours(method: MethodResult, data: Any, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    nothing = np.empty((len(rows), 0)), np.empty((len(rows), 0), np.int64)
    model, n = method.model, len(data.X_train)
    if not hasattr(model, "kneighbors") or getattr(model, "n_samples_fit_", None) != n:
        return nothing
    queries = data.X_test[rows]
    if method.transform is not None:
        queries = method.transform(queries)
    return model.kneighbors(queries, min(_NEIGHBOURS_SHOWN, n))


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
        if name == "cache_folder":  # of no interest to a reader elsewhere, and it names the user
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
