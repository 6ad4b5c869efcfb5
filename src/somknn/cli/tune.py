"""`somknn tune`: the best k, weighting and features by cross-validation, and a report on before and after."""

import csv
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from somknn.cli import evaluation as shared
from somknn.cli.beside import second_process
from somknn.cli.errors import one_line_errors
from somknn.cli.parameters import TASK, with_options
from somknn.plots import require_matplotlib
from somknn.threads import in_thread

_BEFORE: dict[str, Any] = {"n_neighbors": 5, "weights": "uniform"}


class _Range(click.ParamType):
    """Numbers like 1-30, 5 or 1,3,5-9."""

    name = "range"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[int]:
        if isinstance(value, list):
            return value
        numbers: list[int] = []
        for part in value.split(","):
            low, dash, high = part.strip().partition("-")
            try:
                first = int(low)
                last = int(high) if dash else first
            except ValueError:
                self.fail(f"{value!r} is not like 1-30 or 1,3,5", param, ctx)
            if not 1 <= first <= last:
                self.fail(f"{part!r} must go up from at least 1", param, ctx)
            numbers += [k for k in range(first, last + 1) if k not in numbers]
        return numbers


class _Names(click.ParamType):
    """A list of names, separated by commas."""

    name = "names"

    def __init__(self, known: tuple[str, ...]):
        self._known = known

    def convert(self, value: Any, param: Any, ctx: Any) -> list[str]:
        if isinstance(value, list):
            return value
        names = list(dict.fromkeys(name.strip() for name in value.split(",")))
        for name in names:
            if name not in self._known:
                self.fail(f"{name!r} is not one of {', '.join(self._known)}", param, ctx)
        return names


@click.command("tune")
@with_options(shared.data_options)
@TASK
@click.option("--k", "ks", type=_Range(), default="1-30", show_default=True, help="Candidates: 1-30 or 1,3,5-9.")
@click.option(
    "--weights",
    type=_Names(("uniform", "distance")),
    default="uniform,distance",
    show_default=True,
    help="Candidate weightings.",
)
@click.option(
    "--features",
    type=_Names(("raw", "standard", "minmax", "normalised", "deskewed")),
    default=None,
    help="Candidate features: raw, standard (columns of mean 0 and variance 1), minmax (columns from 0 to 1), "
    "normalised (rows of unit length), deskewed (images).  [default: raw,standard,minmax for a table, raw for images]",
)
@shared.METRIC
@click.option("--cv", type=click.IntRange(min=2), default=10, show_default=True, help="Folds, stratified.")
@with_options(shared.method_options)
@shared.out_option("somknn-tune", "report.html, metrics.json, tuning.csv, model.safetensors")
def command(
    dataset: str,
    train_size: int | None,
    test_size: int | None,
    image_shape: tuple[int, int] | None,
    ks: list[int],
    weights: list[str],
    features: list[str] | None,
    metric: str,
    cv: int,
    tie_break: str,
    bootstrap: int,
    out: Path,
    **columns: Any,
) -> None:
    """Choose k, weighting and features by cross-validation on the training rows; then judge on the test rows.

    All candidates of k and weighting share one neighbour search. "Before" is k = 5 with uniform weights.
    """
    start, seconds = time.perf_counter(), {}
    with one_line_errors(), second_process(shared.PICTURES) as executor:
        require_matplotlib()
        shared.check_places(dataset, out, "report.html", "metrics.json", "tuning.csv", "model.safetensors")
        data = shared.load(dataset, train_size, test_size, image_shape, **columns)
        seconds["load"] = time.perf_counter() - start
        if features is None:
            features = ["raw", "standard", "minmax"] if data.image_shape is None else ["raw"]
        if columns["task"] == "regression":
            return _tune_regressor(data, (ks, weights, features, cv), metric, (out, executor, bootstrap))
        raw, found = shared.indexed_ahead(data, _BEFORE["n_neighbors"], metric) if "raw" in features else (None, None)

        from somknn.cli import column_names
        from somknn.evaluation import KNeighborsClassifierCV, report, report_pictures, study
        from somknn.evaluation import features as kinds
        from somknn.evaluation.drawing import Drawing
        from somknn.neighbors import KNeighborsClassifier

        drawing = Drawing(executor)
        judges: dict[str, Any] = {}
        transformers: dict[str, Any] = {}

        def judged(setting: str, features: str, parameters: dict[str, Any]) -> tuple[Any, Any, Any]:
            title = f"{setting}: k = {parameters['n_neighbors']}, {parameters['weights']}{study.of_metric(metric)}"
            title += "" if features == "raw" else f", {features}"
            method, complete = judges[features].begin(title, parameters, bootstrap)
            return method, complete, report_pictures.pictures_of(method, drawing)

        searches: dict[str, Any] = {}
        with shared.plain_warnings():
            for name in features:
                step = time.perf_counter()
                transformers[name] = kinds.fitted_transformer(name, data)
                transform = None if transformers[name] is None else transformers[name].transform
                with shared.working(f"cross-validating {len(ks) * len(weights)} candidates on {name} features"):
                    rows = raw if transform is None else transform(data.X_train)
                    model = KNeighborsClassifier(tie_break=tie_break, metric=metric).fit(rows, data.y_train)
                    judges[name] = study.Judge(
                        model, data, transform=transform, found=found if transform is None else None
                    )
                    if not searches:  # judged and drawn during the search
                        k = min(_BEFORE["n_neighbors"], len(data.X_train))
                        before = in_thread(judged, "Before", name, _BEFORE | {"n_neighbors": k})
                    search = KNeighborsClassifierCV(ks, weights, cv=cv, tie_break=tie_break, metric=metric)
                    searches[name] = search.fit(model.index_, data.y_train)
                seconds[f"fit and cross-validate, {name}"] = time.perf_counter() - step
            best = max(searches, key=lambda name: searches[name].best_score_)
            tuned = searches[best]
            out.mkdir(parents=True, exist_ok=True)
            paths = [out / name for name in ("report.html", "metrics.json", "tuning.csv", "model.safetensors")]
            classifier = kinds.with_features(tuned.best_estimator_, best, transformers[best])
            saving = in_thread(column_names.save, classifier, paths[-1], data)
            with shared.working("judging on the test rows"):
                tuning = report.tuning_section(tuned.cv_results_, drawing)
                judgements = before.result(), judged("After", best, tuned.best_params_)
                pictures = report_pictures.class_pictures([each for _, _, each in judgements], drawing)
                wrong = report_pictures.mistakes([method for method, _, _ in judgements], data)
        methods = [
            study.with_fold_scores(complete(), searches[name].cv_results_)
            for (_, complete, _), name in zip(judgements, (features[0], best), strict=True)
        ]
        finish_report = report.begin_report(
            methods,
            tuning + pictures,
            drawing,
            data=data,
            title=f"k-NN on {data.name}: before and after tuning",
            wrong=wrong,
            command=shared.command_line(),
            seconds=seconds,
        )
        _write_candidates(paths[2], searches)
        with shared.working("writing the report"):
            finish_report(paths[0])
        saving.result()
        seconds["all"] = time.perf_counter() - start
        shared.write_metrics(paths[1], data, methods, best={"features": best, **tuned.best_params_}, seconds=seconds)
    console = Console(highlight=False)
    _print_candidates(console, searches, cv)
    shared.print_metrics(console, f"{data.name}: {len(data.X_test):,} test rows", methods)
    console.print(f"{seconds['all']:.1f} s. Written: " + ", ".join(map(str, paths)), soft_wrap=True)


def _tune_regressor(data: Any, candidates: tuple, metric: str, place: tuple) -> None:
    from somknn.cli import regression

    regression.tune(data, regression.Candidates(*candidates), metric, regression.Place(*place), _write_candidates)


def _ranked(searches: dict[str, Any]) -> list[tuple[float, float, str, dict[str, Any]]]:
    rows = [
        (float(mean), float(std), features, parameters)
        for features, search in searches.items()
        for mean, std, parameters in zip(
            search.cv_results_["mean_test_score"],
            search.cv_results_["std_test_score"],
            search.cv_results_["params"],
            strict=True,
        )
    ]
    return sorted(rows, key=lambda row: -row[0])


def _print_candidates(console: Console, searches: dict[str, Any], cv: int) -> None:
    table = Table(title=f"Best candidates, {cv}-fold cross-validation", title_justify="left")
    for heading in ("features", "weights", "k", "mean %", "σ of folds"):
        table.add_column(heading, justify="left" if heading in ("features", "weights") else "right")
    for mean, std, features, parameters in _ranked(searches)[:5]:
        cells = parameters["weights"], str(parameters["n_neighbors"]), f"{100 * mean:.3f}", f"{100 * std:.3f}"
        table.add_row(features, *cells)
    console.print(table)


def _write_candidates(path: Path, searches: dict[str, Any]) -> None:
    from somknn._files import replacing

    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["features", "n_neighbors", "weights", "mean_test_score", "std_test_score"])
        for mean, std, features, parameters in _ranked(searches):
            cells = parameters["n_neighbors"], parameters["weights"], repr(mean), repr(std)
            writer.writerow([features, *cells])
