"""The work of `somknn run`: every method on one data set, the table and the files."""

import contextlib
import csv
import dataclasses
import functools
import io
import json
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba.core import event
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from somknn._files import replacing
from somknn.cli import column_names
from somknn.cli.evaluation import command_line
from somknn.cli.methods import METHODS, Method, Outcome, fit_and_predict, results_table
from somknn.cli.pictures import choose_examples, examples, how_many
from somknn.datasets import Dataset
from somknn.environment import describe
from somknn.evaluation import MethodResult, evaluate_predictions, features, report_pictures
from somknn.evaluation.drawing import Drawing
from somknn.evaluation.report import begin_report
from somknn.plots import require_matplotlib

_AHEAD = METHODS[-2:]  # the SOM methods, whose kernels take as long to compile as all others
_AHEAD_ROWS = 2000


def _compile_ahead(data: Dataset) -> None:
    """In a second process: compile the kernels of the last methods into the cache."""
    with contextlib.redirect_stderr(io.StringIO()):  # the command has already said that it is compiling
        for method in _AHEAD:
            fit_and_predict(method, data, lambda n: None)


class _CompilesAhead(event.Listener):
    """Starts compiling for the last methods in the second process when this process first has to compile."""

    def __init__(self, executor: Executor, data: Dataset):
        self._executor, self._data = executor, data
        self._future: Future | None = None

    def on_start(self, event: Any) -> None:
        if self._future is not None:
            return
        data, few = self._data, slice(_AHEAD_ROWS)
        parts = {name: getattr(data, name)[few] for name in ("X_train", "y_train", "X_test", "y_test")}
        with contextlib.suppress(BrokenProcessPool):  # then this process compiles everything
            self._future = self._executor.submit(_compile_ahead, dataclasses.replace(data, **parts))

    def on_end(self, event: Any) -> None:
        pass

    def wait(self) -> None:
        """Wait until the kernels are there. If that failed, they are compiled here, and an error appears here."""
        if self._future is not None:
            self._future.exception()


def run_all(methods: list[Method], data: Dataset, console: Console, executor: Executor | None) -> list[Outcome]:
    """The outcome of every method, timed with compiled code: methods that had to compile are run again at the end."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    ahead = None if executor is None or not set(_AHEAD) <= set(methods) else _CompilesAhead(executor, data)
    outcomes, again = [], []
    with contextlib.ExitStack() as stack:
        if ahead is not None:
            stack.enter_context(event.install_listener("numba:compile", ahead))
        progress = stack.enter_context(
            Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        )
        for i, method in enumerate(methods):
            if ahead is not None and method in _AHEAD:
                ahead.wait()
            task = progress.add_task(method.name, total=len(data.X_test))
            outcome, compiled = fit_and_predict(method, data, functools.partial(progress.advance, task))
            progress.remove_task(task)
            outcomes.append(outcome)
            if compiled:
                again.append(i)
    for i in again:
        outcomes[i], _ = fit_and_predict(methods[i], data, lambda n: None)
    return outcomes


def print_results(console: Console, data: Dataset, outcomes: list[Outcome]) -> None:
    """Print the table of methods, the epochs of methods that have them, and a few predictions of the first."""
    console.print(results_table(data, outcomes))
    for outcome in outcomes:
        if outcome.history is not None:
            _print_epochs(console, outcome)
    shape = data.image_shape
    if shape is None or len(shape) != 2:
        return
    first = outcomes[0]
    rows = choose_examples(first.predictions, data.y_test, how_many(console, shape))
    captions = []
    for i in rows:
        right = first.predictions[i] == data.y_test[i]
        truth = "" if right else f", is {data.y_test[i]}"
        captions.append(Text(f"row {i}\nsays {first.predictions[i]}{truth}", style="green" if right else "bold red"))
    console.print(f"\nExamples ({first.name}):\n")
    console.print(examples(console, data.X_test[rows], shape, captions))


def _print_epochs(console: Console, outcome: Outcome) -> None:
    history = outcome.history or {}
    table = Table(title=f"\n{outcome.name}, epoch by epoch", title_justify="left")
    for heading in ("epoch", "accuracy", "loss (mean distance)"):
        table.add_column(heading, justify="right")
    epochs = zip(history["label_accuracy"], history["quantization_error"], strict=True)
    for epoch, (accuracy, loss) in enumerate(epochs, start=1):
        table.add_row(str(epoch), f"{100 * accuracy:.2f} %", f"{loss:.4g}")
    console.print(table)


class Scaled(NamedTuple):
    """A data set with scaled columns, how they were scaled, the figure of each way, and the training rows before."""

    data: Dataset
    name: str
    transformer: Any
    scores: dict[str, float]
    rows: np.ndarray

    def told(self) -> str:
        """A line about the choice."""
        quantities = self.data.y_train.dtype.kind == "f"
        figures = {
            name: f"{value:.5g}" if quantities else f"{100 * value:.1f} %" for name, value in self.scores.items()
        }
        shown = ", ".join(f"{name} {figure}" for name, figure in figures.items())
        what = "RMSE of 5-NN" if quantities else "5-NN"
        told = f"{what} cross-validated on training rows: {shown}"
        return f"Scaling of the columns: {self.name} ({told}); saved in the model"


def scale(data: Dataset, scaling: str) -> Scaled:
    """The data set with its columns scaled; "auto" chooses by cross-validation on the training rows."""
    name, scores = features.choose_scaling(data) if scaling == "auto" else (scaling, {})
    transformer = features.fitted_transformer(name, data)
    if transformer is None:
        return Scaled(data, name, None, scores, data.X_train)
    X_train, X_test = transformer.transform(data.X_train), transformer.transform(data.X_test)
    return Scaled(dataclasses.replace(data, X_train=X_train, X_test=X_test), name, transformer, scores, data.X_train)


def write_results(out: Path, scaled: Scaled, outcomes: list[Outcome]) -> list[Path]:
    """Write metrics.json, predictions.csv and the first method's model, which scales and knows the columns' names."""
    data = scaled.data
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / "metrics.json", out / "predictions.csv", out / "model.safetensors"]
    metrics = {
        "dataset": data.name,
        "train_rows": len(data.X_train),
        "test_rows": len(data.X_test),
        "features": data.X_train.shape[1],
        "dtype": str(data.X_train.dtype),
        "scaling": {"name": scaled.name, "cross_validated_accuracy": scaled.scores},
        "methods": [outcome.record() for outcome in outcomes],
        "environment": describe(),
    }
    model = features.with_features(outcomes[0].model, scaled.name, scaled.transformer)
    column_names.save(model, paths[2], dataclasses.replace(data, X_train=scaled.rows))
    with replacing(paths[1]) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "label", *(outcome.name for outcome in outcomes)])
        writer.writerows(zip(range(len(data.y_test)), data.y_test, *(o.predictions for o in outcomes), strict=True))
    with replacing(paths[0]) as temporary:
        temporary.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return paths


def write_run_report(path: Path, data: Dataset, outcomes: list[Outcome], executor: Executor | None) -> None:
    """Write the report that compares all methods; `executor` draws. Raises ImportError without matplotlib."""
    require_matplotlib()

    def judged(outcome: Outcome) -> MethodResult:
        model = outcome.model
        shares = np.asarray(model.predict_proba(data.X_test)) if hasattr(model, "predict_proba") else None
        evaluation = evaluate_predictions(data.y_test, outcome.predictions, shares, classes=model.classes_)
        seconds = {"fit": outcome.fit_seconds, "predict": outcome.predict_seconds}
        return MethodResult(outcome.name, evaluation, seconds=seconds, model=model)

    # Pictures of all methods would fill pages: show the first, whose model is saved, and the best of the others.
    best = max(outcomes[1:], key=lambda outcome: outcome.accuracy, default=outcomes[0])
    drawing = Drawing(executor)
    pictured, pictures = {}, []
    for outcome in {outcome.name: outcome for outcome in (outcomes[0], best)}.values():
        pictured[outcome.name] = judged(outcome)
        pictures.append(report_pictures.pictures_of(pictured[outcome.name], drawing))
    classes = report_pictures.class_pictures(pictures, drawing)
    results = [pictured.get(outcome.name) or judged(outcome) for outcome in outcomes]
    title = f"Classifiers on {data.name}"
    begin_report(results, classes, drawing, data=data, title=title, command=command_line())(path)
