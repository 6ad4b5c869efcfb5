"""What `run`, `tune` and `evaluate` do with `--task regression`: predict a number for each row, and judge it."""

import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from rich.console import Console
from sklearn.dummy import DummyRegressor

from somknn._files import replacing
from somknn.cli import column_names, comparison
from somknn.cli import evaluation as shared
from somknn.cli.methods import Method, fit_and_time
from somknn.evaluation import KNeighborsRegressorCV, MethodResult, evaluate_regression, features
from somknn.evaluation.drawing import Drawing
from somknn.evaluation.regression_report import begin_regression_report
from somknn.evaluation.report import tuning_section
from somknn.evaluation.study import of_metric
from somknn.neighbors import KNeighborsRegressor
from somknn.plots import require_matplotlib


class Place(NamedTuple):
    """Where the results go, who draws their pictures, and how many resamples their intervals have."""

    out: Path
    executor: Any
    bootstrap: int = 1000


def methods(metric: str) -> list[Method]:
    """The methods that `run` compares; the last one shows what features are worth."""
    name = of_metric(metric)
    return [
        Method(f"k-NN, k=5{name}", lambda data: KNeighborsRegressor(5, metric=metric)),
        Method(
            f"k-NN, k=5, distance weights{name}",
            lambda data: KNeighborsRegressor(5, weights="distance", metric=metric),
        ),
        Method(
            f"k-NN, k=15, distance weights{name}",
            lambda data: KNeighborsRegressor(min(15, len(data.X_train)), weights="distance", metric=metric),
        ),
        Method("mean of the training targets", lambda data: DummyRegressor()),
    ]


def run(data: Any, scaling: str, metric: str, place: Place) -> None:
    """Every method on one data set: the table, the files, the saved model of the first."""
    scaled = comparison.scale(data, scaling)
    results = []
    for method in methods(metric):
        timed = fit_and_time(method, scaled.data, lambda n: None)
        if timed.compiled:
            timed = fit_and_time(method, scaled.data, lambda n: None)
        seconds = {"fit": timed.fit_seconds, "predict": timed.predict_seconds}
        evaluation = evaluate_regression(data.y_test, timed.predictions, n_resamples=place.bootstrap)
        results.append(MethodResult(method.name, evaluation, seconds=seconds, model=timed.model))
    place.out.mkdir(parents=True, exist_ok=True)
    model = features.with_features(results[0].model, scaled.name, scaled.transformer)
    column_names.save(model, place.out / "model.safetensors", data)
    with (
        replacing(place.out / "predictions.csv") as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "value", *(result.name for result in results)])
        columns = [result.evaluation.predicted.tolist() for result in results]
        writer.writerows(zip(range(len(data.y_test)), data.y_test.tolist(), *columns, strict=True))
    chosen = {"name": scaled.name, "cross_validated_rmse": scaled.scores}
    shared.write_metrics(place.out / "metrics.json", data, results, task="regression", scaling=chosen)
    names = ["metrics.json", "predictions.csv", "model.safetensors"]
    try:
        _report(place, f"Regression on {data.name}", results, scaled.data)
        names.append("report.html")
    except ImportError as error:  # the results are valid without their pictures
        click.echo(f"No report.html: {error}", err=True)
    _say(data, results, place.out, names, [scaled.told()] if scaled.scores else [])


def evaluate(data: Any, model: Any, place: Place, cv: int | None, name: str) -> None:
    """A regressor, fitted already or to be fitted on the training rows, judged on the test rows."""
    start = time.perf_counter()
    folds = None
    if cv is not None:
        search = KNeighborsRegressorCV([model.n_neighbors], [model.weights], cv=cv, metric=model.metric)
        folds = _errors_of_folds(search.fit(data.X_train, data.y_train).cv_results_, 0)
    if not hasattr(model, "n_features_in_"):
        model.fit(data.X_train, data.y_train)
    fitted = time.perf_counter()
    predicted = model.predict(data.X_test)
    seconds = {"fit": fitted - start, "predict": time.perf_counter() - fitted}
    evaluation = evaluate_regression(data.y_test, predicted, n_resamples=place.bootstrap)
    parameters = model.get_params(deep=False)
    result = MethodResult(name, evaluation, parameters, cross_validation=folds, seconds=seconds, model=model)
    place.out.mkdir(parents=True, exist_ok=True)
    _report(place, f"{name} on {data.name}", [result], data)
    shared.write_metrics(place.out / "metrics.json", data, [result], task="regression")
    _say(data, [result], place.out, ["report.html", "metrics.json"])


class Candidates(NamedTuple):
    """What `tune` tries: numbers of neighbours, weightings, features, and by how many folds."""

    ks: list[int]
    weights: list[str]
    features: list[str]
    cv: int


def tune(
    data: Any, tried: Candidates, metric: str, place: Place, write: Callable[[Path, dict[str, Any]], None]
) -> None:
    """k, weighting and features by cross-validation; then k = 5 before and the best after on the test rows.

    `write` writes the table of candidates.
    """
    searches, transformers = {}, {}
    with shared.plain_warnings(), shared.working("cross-validating"):
        for name in tried.features:
            transformers[name] = features.fitted_transformer(name, data)
            X = data.X_train if transformers[name] is None else transformers[name].transform(data.X_train)
            search = KNeighborsRegressorCV(tried.ks, tried.weights, cv=tried.cv, metric=metric)
            searches[name] = search.fit(X, data.y_train)
        best = max(searches, key=lambda name: searches[name].best_score_)
        first = tried.features[0]
        before = KNeighborsRegressor(min(5, len(data.X_train)), metric=metric)
        before.fit(searches[first].best_estimator_.index_, data.y_train)
        after = searches[best].best_estimator_
        results = []
        for setting, name, model in (("Before", first, before), ("After", best, after)):
            shown = "" if name == "raw" else f", {name}"
            title = f"{setting}: k = {model.n_neighbors}, {model.weights}{of_metric(metric)}{shown}"
            parameters = {"n_neighbors": model.n_neighbors, "weights": model.weights}
            predicted = features.with_features(model, name, transformers[name]).predict(data.X_test)
            evaluation = evaluate_regression(data.y_test, predicted, n_resamples=place.bootstrap)
            table = searches[name].cv_results_
            folds = None
            if parameters in table["params"]:
                folds = _errors_of_folds(table, table["params"].index(parameters))
            results.append(MethodResult(title, evaluation, parameters, folds, model=model))
    out, drawing = place.out, Drawing(place.executor)
    out.mkdir(parents=True, exist_ok=True)
    column_names.save(features.with_features(after, best, transformers[best]), out / "model.safetensors", data)
    write(out / "tuning.csv", searches)
    tuning = tuning_section(searches[best].cv_results_, drawing, scoring="RMSE")
    _report(place, f"k-NN on {data.name}: before and after tuning", results, data, tuning, drawing)
    chosen = {"features": best, **searches[best].best_params_}
    shared.write_metrics(out / "metrics.json", data, results, task="regression", best=chosen)
    _say(data, results, out, ["report.html", "metrics.json", "tuning.csv", "model.safetensors"])


def _errors_of_folds(table: dict[str, Any], candidate: int) -> np.ndarray:
    """The RMSE of each fold."""
    folds = sum(name.startswith("split") for name in table)
    return -np.array([table[f"split{s}_test_score"][candidate] for s in range(folds)])


def _report(
    place: Place,
    title: str,
    results: list[MethodResult],
    data: Any,
    tuning: str = "",
    drawing: Drawing | None = None,
) -> None:
    require_matplotlib()
    begin_regression_report(
        results,
        drawing or Drawing(place.executor),
        data=data,
        title=title,
        tuning=tuning,
        command=shared.command_line(),
    )(place.out / "report.html")


def _say(data: Any, results: list[MethodResult], out: Path, names: list[str], more: list[str] | None = None) -> None:
    console = Console(highlight=False)
    shared.print_metrics(
        console, f"{data.name}: {len(data.X_train):,} training rows, {len(data.X_test):,} test rows", results
    )
    for line in more or []:
        console.print("\n" + line)
    console.print("\nWritten: " + ", ".join(str(out / name) for name in names), soft_wrap=True)
