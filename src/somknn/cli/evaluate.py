"""`somknn evaluate`: every metric of one classifier with confidence intervals, and a report."""

import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from somknn.cli import column_names
from somknn.cli import evaluation as shared
from somknn.cli.beside import second_process
from somknn.cli.errors import one_line_errors
from somknn.cli.parameters import TASK, with_options
from somknn.plots import require_matplotlib


@click.command("evaluate")
@with_options(shared.data_options)
@TASK
@click.option("--k", type=click.IntRange(min=1), default=5, show_default=True, help="Neighbours that vote.")
@click.option("--weights", type=click.Choice(["uniform", "distance"]), default="uniform", show_default=True)
@shared.METRIC
@click.option("--cv", type=click.IntRange(min=2), help="Also cross-validate on the training rows with this many folds.")
@click.option(
    "--model",
    "model_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Judge this saved classifier instead; it was trained already.",
)
@click.option(
    "--columns",
    "by",
    type=click.Choice(["names", "given"]),
    default="names",
    show_default=True,
    help="Find the columns by the names that --model was fitted with, or take them in the order given.",
)
@with_options(shared.method_options)
@shared.out_option("somknn-evaluate", "report.html and metrics.json")
def command(
    dataset: str,
    train_size: int | None,
    test_size: int | None,
    image_shape: tuple[int, int] | None,
    k: int,
    weights: str,
    metric: str,
    cv: int | None,
    model_path: Path | None,
    by: str,
    tie_break: str,
    bootstrap: int,
    out: Path,
    **columns: Any,
) -> None:
    """Train k-NN on the training rows (or load a model) and judge it on the test rows."""
    console = Console(highlight=False)
    if model_path is not None and cv is not None:
        raise click.UsageError("--cv trains on folds, which a saved --model cannot; leave one of them out")
    if model_path is not None and metric != "euclidean":
        raise click.UsageError("--metric is for training, and a saved --model has its own; leave one of them out")
    with one_line_errors(), second_process(shared.PICTURES) as executor:
        require_matplotlib()
        shared.check_places(dataset, out, "report.html", "metrics.json", also=model_path)
        kind = "regressor" if columns["task"] == "regression" else "classifier"
        model: Any = None if model_path is None else _load(model_path, kind)
        data = shared.load(dataset, train_size, test_size, image_shape, model=model, **columns)
        if model is not None:
            with shared.plain_warnings():
                data = column_names.in_the_order_of(model, data, dataset, by_name=by == "names")
        if kind == "regressor":
            from somknn.cli import regression
            from somknn.neighbors import KNeighborsRegressor

            name = f"k-NN, k = {k}, {weights}" if model_path is None else model_path.name
            model = KNeighborsRegressor(k, weights=weights, metric=metric) if model is None else model
            return regression.evaluate(data, model, regression.Place(out, executor, bootstrap), cv, name)
        ahead = shared.indexed_ahead(data, k, metric) if model_path is None else (None, None)

        from somknn.evaluation import report, report_pictures
        from somknn.evaluation.drawing import Drawing
        from somknn.neighbors import KNeighborsClassifier

        with shared.plain_warnings(), shared.working("judging on the test rows"):
            if model_path is not None:
                result = judge_model(model_path.name, model, data, bootstrap)
            else:
                model = KNeighborsClassifier(k, weights=weights, tie_break=tie_break, metric=metric)
                result = _judge_neighbors(model, data, ahead, cv, bootstrap)
        out.mkdir(parents=True, exist_ok=True)
        paths = [out / "report.html", out / "metrics.json"]
        drawing = Drawing(executor)
        report.begin_report(
            [result],
            report_pictures.class_pictures([report_pictures.pictures_of(result, drawing)], drawing),
            drawing,
            data=data,
            title=f"{result.name} on {data.name}",
            command=shared.command_line(),
        )(paths[0])
        shared.write_metrics(paths[1], data, [result])
    shared.print_metrics(console, f"{data.name}: {len(data.X_test):,} test rows", [result])
    console.print()
    click.echo(result.evaluation.classification_report())
    console.print("Written: " + ", ".join(map(str, paths)), soft_wrap=True)


def _judge_neighbors(model: Any, data: Any, ahead: tuple[Any, Any], cv: int | None, bootstrap: int) -> Any:
    from somknn.evaluation import KNeighborsClassifierCV, study

    k, weights, rule = model.n_neighbors, model.weights, {"tie_break": model.tie_break, "metric": model.metric}
    name = f"k-NN, k = {k}, {weights}{study.of_metric(model.metric)}"
    rows, found = ahead
    model.fit(rows, data.y_train)
    result = study.Judge(model, data, found=found)(name, {"n_neighbors": k, "weights": weights}, bootstrap)
    if cv is None:
        return result
    search = KNeighborsClassifierCV([k], [weights], cv=cv, **rule).fit(model.index_, data.y_train)
    return study.with_fold_scores(result, search.cv_results_)


def _load(path: Path, kind: str) -> Any:
    """The saved model at `path`; ValueError unless it is of this kind, "classifier" or "regressor"."""
    from sklearn.base import is_classifier, is_regressor

    import somknn

    model = somknn.load(path)
    if not (is_classifier if kind == "classifier" else is_regressor)(model):
        other = "; --task regression judges it" if is_regressor(model) else ""
        other = "; it is judged without --task regression" if is_classifier(model) else other
        raise ValueError(f"{path} holds a {type(model).__name__}, which is no {kind}{other}")
    return model


def judge_model(name: str, model: Any, data: Any, bootstrap: int) -> Any:
    """A fitted classifier's result on the data's test rows."""
    import numpy as np

    from somknn.evaluation import MethodResult, evaluate_predictions

    start = time.perf_counter()
    predicted = model.predict(data.X_test)
    seconds = {"predict": time.perf_counter() - start}
    shares = np.asarray(model.predict_proba(data.X_test)) if hasattr(model, "predict_proba") else None
    evaluation = evaluate_predictions(data.y_test, predicted, shares, classes=model.classes_, n_resamples=bootstrap)
    return MethodResult(name, evaluation, parameters=model.get_params(deep=False), seconds=seconds, model=model)
