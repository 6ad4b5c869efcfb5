"""The methods that `somknn run` compares: one list with one entry per method."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba.core import event
from rich.table import Table
from sklearn.pipeline import Pipeline

from somknn.neighbors import KNeighborsClassifier
from somknn.prototypes import PrototypeClassifier
from somknn.som import SOM, SOMClassifier, som_features_knn

_ROWS_PER_STEP = 10_000  # per step of the progress bar; large enough not to slow the search
_WARM_UP_QUERIES = 64


class Method(NamedTuple):
    """A name for the table, and a function that makes the unfitted classifier for a data set."""

    name: str
    make: Callable[[Any], Any]


def _n_prototypes(data: Any) -> int:
    """A tenth of the rows, at most 1,000; one of each class at least."""
    return max(len(np.unique(data.y_train)), min(1000, len(data.X_train) // 10))


def require_rows(data: Any, k: int) -> None:
    """Raise ValueError if there are fewer training rows than neighbours that vote."""
    n = len(data.X_train)
    if n < k:
        raise ValueError(
            f"{data.name}: {n} training row{'s' if n > 1 else ''}, and the methods ask for n_neighbors={k}: too few "
            "rows; is it the whole file, and is the separator right?"
        )


METHODS = [
    Method("k-NN, k=5", lambda data: KNeighborsClassifier(5)),
    Method("k-NN, k=4, distance weights", lambda data: KNeighborsClassifier(4, weights="distance")),
    Method("K-Means centres", lambda data: PrototypeClassifier("kmeans", _n_prototypes(data), random_state=0)),
    Method("LVQ prototypes", lambda data: PrototypeClassifier("lvq", _n_prototypes(data), random_state=0)),
    Method("SOM label map", lambda data: SOMClassifier(SOM(20, 20, epochs=25, final_radius=0.3, random_state=0))),
    Method("SOM features + k-NN", lambda data: som_features_knn(SOM(20, 20, epochs=10, random_state=0))),
]


def methods(metric: str) -> list[Method]:
    """The methods, with k-NN on the rows themselves under this metric; the others know the Euclidean distance only."""
    if metric == "euclidean":
        return METHODS
    return [
        Method(f"k-NN, k=5, {metric}", lambda data: KNeighborsClassifier(5, metric=metric)),
        Method(
            f"k-NN, k=4, distance weights, {metric}",
            lambda data: KNeighborsClassifier(4, weights="distance", metric=metric),
        ),
        *METHODS[2:],
    ]


def preset_method(name: str, data: Any) -> Method:
    """The preset with this name; ValueError if the rows are not images of one channel."""
    from somknn.images import preset  # imports scipy.ndimage, which the other methods do not need

    shape = data.image_shape
    if shape is None or len(shape) != 2:
        raise ValueError(f"--preset needs images of rows and columns; {data.name} has no such image shape")
    return Method(f"preset {name}", lambda data: preset(name, image_shape=tuple(shape)))


class Outcome(NamedTuple):
    """The result of a method on a data set."""

    name: str
    model: Any
    predictions: np.ndarray
    accuracy: float
    fit_seconds: float
    predict_seconds: float

    def record(self) -> dict[str, Any]:
        """The entry of `metrics.json`."""
        record = {
            "method": self.name,
            "accuracy": self.accuracy,
            "fit_seconds": self.fit_seconds,
            "predict_seconds": self.predict_seconds,
            "rows_per_second": len(self.predictions) / self.predict_seconds,
            "model_bytes": model_bytes(self.model),
        }
        return record if self.history is None else {**record, "history": self.history}

    @property
    def history(self) -> dict[str, list[float]] | None:
        """Figures per epoch, for a method that has them (a SOM classifier)."""
        return self.model.som_.history_ if isinstance(self.model, SOMClassifier) else None


def model_bytes(model: Any) -> int | None:
    """Bytes of the stored rows that a fitted model searches, with their classes; None if it stores none."""
    final = model[-1] if isinstance(model, Pipeline) else model
    if isinstance(final, PrototypeClassifier):
        return final.model_bytes_
    if isinstance(final, SOMClassifier):
        return final.som_.codebook_.nbytes + final.probability_map_.nbytes
    if isinstance(final, KNeighborsClassifier):
        return final._fit_X.nbytes + final._codes.nbytes
    return None


def results_table(data: Any, outcomes: list[Outcome]) -> Table:
    """One row per method: accuracy, size of the model, fit time and prediction rate."""
    (n, d), m = data.X_train.shape, len(data.X_test)
    table = Table(title=f"{data.name}: {n:,} training rows, {m:,} test rows, {d:,} features", title_justify="left")
    table.add_column("method")
    for heading in ("accuracy", "model", "fit s", "rows/s"):
        table.add_column(heading, justify="right")
    for outcome in outcomes:
        record = outcome.record()
        table.add_row(
            outcome.name,
            f"{100 * outcome.accuracy:.2f} %",
            "" if record["model_bytes"] is None else f"{record['model_bytes'] / 1e6:.2f} MB",
            f"{outcome.fit_seconds:.3f}",
            f"{record['rows_per_second']:,.0f}",
        )
    return table


class Timed(NamedTuple):
    """A fitted model, its predictions for the test rows, the times, and whether kernels were compiled meanwhile."""

    model: Any
    predictions: np.ndarray
    fit_seconds: float
    predict_seconds: float
    compiled: bool


def fit_and_time(method: Method, data: Any, advance: Callable[[int], object]) -> Timed:
    """Fit on the training rows and predict the test rows; `advance(n)` is called after every n predicted rows."""
    with event.install_recorder("numba:compile") as compilations:
        start = time.perf_counter()
        model = method.make(data).fit(data.X_train, data.y_train)
        fit_seconds = time.perf_counter() - start
        model.predict(data.X_test[:_WARM_UP_QUERIES])  # the first use of a kernel loads it from the disk
        parts = []
        start = time.perf_counter()
        for first in range(0, len(data.X_test), _ROWS_PER_STEP):
            parts.append(model.predict(data.X_test[first : first + _ROWS_PER_STEP]))
            advance(len(parts[-1]))
        predictions = np.concatenate(parts)
        predict_seconds = time.perf_counter() - start
    return Timed(model, predictions, fit_seconds, predict_seconds, bool(compilations.buffer))


def fit_and_predict(method: Method, data: Any, advance: Callable[[int], object]) -> tuple[Outcome, bool]:
    """The outcome of `fit_and_time` for classes; also return whether kernels were compiled on the way."""
    timed = fit_and_time(method, data, advance)
    accuracy = float(np.mean(timed.predictions == data.y_test))
    outcome = Outcome(method.name, timed.model, timed.predictions, accuracy, timed.fit_seconds, timed.predict_seconds)
    return outcome, timed.compiled


def run_method(method: Method, data: Any, advance: Callable[[int], object]) -> Outcome:
    """The outcome of `fit_and_predict`, repeated if it had to compile: times are those of compiled code."""
    outcome, compiled = fit_and_predict(method, data, advance)
    return fit_and_predict(method, data, lambda n: None)[0] if compiled else outcome
