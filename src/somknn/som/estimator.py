"""The self-organizing map as a scikit-learn transformer and clusterer."""

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from somknn.fitted import one_state
from somknn.machine import resolve_n_threads
from somknn.neighbors.validation import prepare_rows
from somknn.persistence import ModelFileError, Savable
from somknn.persistence.contents import (
    COLUMNS,
    FLOATS,
    Array,
    Either,
    History,
    Integer,
    Kind,
    Number,
    Optional,
    check_positions,
)
from somknn.progress import CallbackSupportMixin, Passes, Task, with_callbacks
from somknn.scaling import check_squares
from somknn.search.all_distances import distances_to_all
from somknn.search.allowance import Allowance
from somknn.search.best_units import BMUSearch, Found, find
from somknn.search.directions import Directions, checked_start, unit_codebook
from somknn.search.frames import Axes
from somknn.search.metrics import METRICS
from somknn.som import quality
from somknn.som.grid import Grid
from somknn.som.initialization import as_codebook, initial_codebook
from somknn.som.neighborhoods import check_neighborhood
from somknn.som.online import train_online
from somknn.som.schedules import schedule_values
from somknn.som.trained import TrainedMap
from somknn.som.training import (
    Assigned,
    Rows,
    Rule,
    batch_update,
    find_units,
    rows_without_values,
    sums_by_unit,
    train_batch,
    warn_of_rows_without_values,
    weights_of_valued,
)

_HISTORY = ("quantization_error", "topographic_error", "radius", "seconds")
_MOST_EPOCHS = 10_000_000  # limit because a radius is stored for each epoch


@one_state
class SOM(
    CallbackSupportMixin,
    TrainedMap,
    Savable,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClusterMixin,
    BaseEstimator,
):
    """Self-organizing map (Kohonen 2001) with exact best-matching units.

    Parameters
    ----------
    n_rows, n_columns : int
        Size of the grid, each at least 1.
    training : {"batch", "online"}
        Batch training, or the classical rule that updates the map after every row.
    epochs : int
        Passes over the data.
    topology : {"rectangular", "hexagonal"}
    boundary : {"planar", "cylinder", "torus"}
        A cylinder joins the first and last column, a torus also the first and last row (hexagonal: `n_rows` must be
        even).
    neighborhood : {"gaussian", "bubble", "mexican_hat", "triangle", "epanechnikov"}
    compact_support : bool
        Set "gaussian" and "mexican_hat" to 0 beyond the radius; the others end there anyway.
    initial_radius, final_radius : float
        In grid steps. None for the first means half of the longer side.
    radius_schedule, rate_schedule : {"linear", "exponential", "inverse"} or callable
        Course from the first epoch to the last. A callable takes the progress in [0, 1] and returns the value.
    initial_rate, final_rate : float
        Learning rate of online training, in (0, 1].
    initialization : {"pca", "sample", "random"} or array of shape (n_rows, n_columns, n_features)
    missing_values : {"error", "ignore"}
        "ignore": NaN is a missing value; distances and updates use only the values that a row has. A row without any
        value is as near to every unit: it gets unit 0, moves no unit, and counts in no error. A warning says so.
    metric : {"euclidean", "cosine"}
        "cosine": rows count by their direction. Batch training only; weights have unit length, errors are mean cosine
        distances, and a row of zeros has distance 1 to every unit: it gets unit 0 and moves none.
    tol : float or None
        Stop when the quantization error improves by less than this share of itself in `n_iter_no_change` consecutive
        epochs. None: never.
    n_iter_no_change : int
    verbose : int
        1 prints a line per epoch.
    decay : float
        Factor applied to the sums of earlier chunks at each `partial_fit`, in [0, 1].
    callback : callable or None
        Called after every epoch with a dict: epoch, codebook (read-only view), labels, and the entries of `history_`.
        Training ends when it returns True.
    random_state : int, RandomState or None
        The same seed gives the same map, for any number of threads.
    n_jobs : int or None
        Threads; None means all.

    Attributes
    ----------
    codebook_ : ndarray (n_rows, n_columns, n_features)
        float64, or float32 for uint8 and float32 rows.
    labels_ : ndarray (n_samples,), int64
        Best-matching unit of every training row, as row·n_columns + column.
    history_ : dict of lists of equal length
        "quantization_error", "topographic_error", "radius", "seconds" and, with class labels, "label_accuracy" (of the
        training rows under the majority label of their unit), one entry per epoch.
    quantization_error_, topographic_error_ : float
        Errors of the final codebook on the training rows. After `partial_fit`: errors on the last chunk, before its
        update.
    n_iter_ : int
        Number of epochs.
    sums_, totals_ : ndarray
        After `partial_fit`: the decayed sums of rows, and their number, of every neuron.

    Examples
    --------
    >>> import numpy as np
    >>> from somknn import SOM
    >>> X = np.random.default_rng(0).normal(size=(500, 3))
    >>> som = SOM(4, 5, epochs=5, random_state=0).fit(X)
    >>> som.codebook_.shape, som.transform(X).shape
    ((4, 5, 3), (500, 20))
    >>> bool((som.predict(X) == som.labels_).all())
    True
    """

    _parameter_constraints: dict = {}  # noqa: RUF012 (scikit-learn's own name); `_rule` checks
    _stream: tuple[Axes | None, Allowance]  # of partial_fit

    _saved_state: ClassVar[dict[str, Kind]] = {
        **COLUMNS,
        "codebook_": Array((None, None, "n_features_in_"), FLOATS),
        "labels_": Optional(Array((None,), "int64")),
        "sums_": Optional(Array((None, "n_features_in_"), "float64")),
        "totals_": Optional(Either(Array(("sums_",), "float64"), Array(("sums_", "n_features_in_"), "float64"))),
        "quantization_error_": Number(),
        "topographic_error_": Number(),
        "n_iter_": Integer(),
        "history_": History(_HISTORY),
    }

    def __init__(
        self,
        n_rows: int = 10,
        n_columns: int = 10,
        *,
        training: str = "batch",
        epochs: int = 10,
        topology: str = "rectangular",
        boundary: str = "planar",
        neighborhood: str = "gaussian",
        compact_support: bool = False,
        initial_radius: float | None = None,
        final_radius: float = 0.5,
        radius_schedule: str | Callable[[float], float] = "exponential",
        initial_rate: float = 0.5,
        final_rate: float = 0.01,
        rate_schedule: str | Callable[[float], float] = "linear",
        initialization: Any = "pca",
        missing_values: str = "error",
        metric: str = "euclidean",
        tol: float | None = None,
        n_iter_no_change: int = 2,
        decay: float = 0.9,
        verbose: int = 0,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_rows = n_rows
        self.n_columns = n_columns
        self.training = training
        self.epochs = epochs
        self.topology = topology
        self.boundary = boundary
        self.neighborhood = neighborhood
        self.compact_support = compact_support
        self.initial_radius = initial_radius
        self.final_radius = final_radius
        self.radius_schedule = radius_schedule
        self.initial_rate = initial_rate
        self.final_rate = final_rate
        self.rate_schedule = rate_schedule
        self.initialization = initialization
        self.missing_values = missing_values
        self.metric = metric
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.decay = decay
        self.verbose = verbose
        self.callback = callback
        self.random_state = random_state
        self.n_jobs = n_jobs

    @with_callbacks
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train the map.

        Parameters
        ----------
        X : array (n_samples, n_features)
            uint8, float32 and float64 are used as they are, also from a memory map; at least two rows.
        y : array (n_samples,), optional
            Classes, for the label accuracy in `history_`; continuous targets are ignored.
        sample_weight : array (n_samples,), optional

        Raises
        ------
        ValueError
            For an empty grid, a negative radius, one row, NaN without `missing_values="ignore"`, or `y` of another
            length.
        """
        rule = self._rule()
        X = self._validate(X, reset=True)
        rows = Rows.taken(X, *self._targets(X, y, sample_weight), rule.metric, rule.n_threads)
        random = check_random_state(self.random_state)
        codebook = self._first_codebook(rows, X.dtype, rule, random)
        fitting = Task.of_fit(self, self.epochs, X, y, sample_weight)
        report = self._recorder(rule, rows, fitting)
        search: Found | BMUSearch
        if self.training == "online":
            codebook, search = train_online(rows, codebook, rule, random, report)
        else:
            data = Assigned(rows, rule)
            codebook, search = train_batch(data, codebook, rule, report), data.search
        self.labels_ = search.units[:, 0].copy()
        qe = quality.quantization_error_of(search.distances, rows.weights, rule.metric)
        self._trained(rule, codebook, qe, quality.topographic_error_of(search.units, rule.grid, rows.weights))
        fitting.end(lambda: {"codebook_": self.codebook_})
        return self

    def _first_codebook(self, rows: Rows, dtype: np.dtype, rule: Rule, random: np.random.RandomState) -> np.ndarray:
        """The initial weights (K, d) for rows that came in `dtype`."""
        weights = rows.weights
        if rows.zeros is not None and len(rows.zeros):  # they have no direction to begin from
            weights = np.ones(len(rows.X)) if weights is None else weights.copy()
            weights[rows.zeros] = 0.0
        start = initial_codebook(rows.X, rule.grid, self.initialization, weights, random)
        if rule.metric.unit_rows:
            start = checked_start(start, "initialization", rule.n_threads)
        return as_codebook(start, dtype)

    def _recorder(self, rule: Rule, rows: Rows | None, fitting: Task) -> Passes:
        """Start a new history; return what training calls before and after every epoch.

        `rows` is None if the rows are not in this process. The call gets the codebook (K, d) as a callable, because
        online training must compute it and it is rarely needed.
        """
        self._clear_stream()
        classes, weights = (None, None) if rows is None else (rows.labels, rows.weights)
        names = _HISTORY if classes is None else (*_HISTORY, "label_accuracy")
        self.history_: dict[str, list[float]] = {name: [] for name in names}

        def report(codebook: Callable[[], np.ndarray], units: np.ndarray, *figures: float) -> bool:
            if classes is not None:
                figures = (*figures, quality.label_accuracy(units[:, 0], classes, weights, rule.grid.size))
            entry = {name: float(value) for name, value in zip(names, figures, strict=True)}
            for name, value in entry.items():
                self.history_[name].append(value)
            if self.verbose:
                shown = ", ".join(f"{name} {value:.6g}" for name, value in entry.items())
                print(f"Epoch {len(self.history_['radius'])}: {shown}")
            if self.callback is None:
                return False
            view = codebook().reshape(rule.grid.n_rows, rule.grid.n_columns, -1).view()
            view.flags.writeable = False
            labels = {} if rows is None else {"labels": units[:, 0].copy()}
            return bool(self.callback({"epoch": len(self.history_["radius"]), "codebook": view, **labels, **entry}))

        shape = rule.grid.n_rows, rule.grid.n_columns, -1
        return Passes(fitting, report, lambda codebook, *figures: {"codebook_": codebook().reshape(shape)})

    def _trained(self, rule: Rule, codebook: np.ndarray, quantization_error: float, topographic_error: float) -> "SOM":
        self.codebook_ = codebook.reshape(rule.grid.n_rows, rule.grid.n_columns, -1)
        self.quantization_error_, self.topographic_error_ = quantization_error, topographic_error
        self.n_iter_ = len(self.history_["radius"])
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, radius: float | None = None) -> Self:
        """Take one step of streaming batch training: decay the sums of earlier chunks, then add the sums of this chunk.

        Parameters
        ----------
        X : array (n_samples, n_features)
            The first chunk also initialises the map.
        y : ignored
        sample_weight : array (n_samples,), optional
        radius : float, optional
            Default: the radius schedule with each call counted as one epoch; after `epochs` calls the final radius.
        """
        rule = self._rule()
        first = not hasattr(self, "codebook_")
        X = self._validate(X, reset=first, least=2 if first else 1)
        weights = self._targets(X, None, sample_weight)[0]
        rows = Rows.taken(X, weights, None, rule.metric, rule.n_threads)
        if first:
            random = check_random_state(self.random_state)
            start = self._first_codebook(rows, X.dtype, rule, random)
            self.codebook_ = start.reshape(rule.grid.n_rows, rule.grid.n_columns, -1)
            self.history_ = {name: [] for name in _HISTORY}
            self.n_iter_ = 0
        if self.codebook_.shape[:2] != (rule.grid.n_rows, rule.grid.n_columns):
            raise ValueError("the grid has changed since the map was trained; use fit for a new map")
        if radius is None:
            radius = rule.radii[min(self.n_iter_, len(rule.radii) - 1)]
        if not (np.isfinite(radius) and radius >= 0):
            raise ValueError(f"radius must be 0 or above, got {radius}")
        codebook = np.ascontiguousarray(self._flat())
        axes, allowance = getattr(self, "_stream", (None, Allowance()))
        search = BMUSearch(rows.X, axes=axes, missing=rule.missing, n_threads=rule.n_threads, allowance=allowance)
        units, distances = find_units(search, rows, codebook, rule)
        self._stream = axes if axes is not None else search.axes_if_made(), allowance
        sums, totals = sums_by_unit(rows, units[:, 0], rule.grid.size, rule.missing, rule.n_threads)
        sums, totals = sums.astype(np.float64), totals.astype(np.float64)
        if hasattr(self, "sums_"):
            sums += self.decay * self.sums_
            totals += self.decay * self.totals_
        self.sums_: np.ndarray = sums
        self.totals_: np.ndarray = totals
        self.codebook_ = batch_update(codebook, self.sums_, self.totals_, rule, radius).reshape(self.codebook_.shape)
        self.labels_ = units[:, 0].copy()
        self.quantization_error_ = quality.quantization_error_of(distances, rows.weights, rule.metric)
        self.topographic_error_ = quality.topographic_error_of(units, rule.grid, rows.weights)
        self.n_iter_ += 1
        entry = {
            "quantization_error": self.quantization_error_,
            "topographic_error": self.topographic_error_,
            "radius": float(radius),
        }
        # New lists, because the caller may hold the old ones.
        self.history_ = {name: [*values, entry.get(name, np.nan)] for name, values in self.history_.items()}
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Best-matching unit of every row, (n_samples,) int64: row·n_columns + column."""
        return self._search(X).units[:, 0].copy()

    def transform(self, X: Any) -> np.ndarray:
        """Distances to all neurons, (n_samples, n_rows·n_columns), in the codebook's dtype; exact, 0 for equal rows."""
        check_is_fitted(self)
        X = self._validate(X, reset=False, least=1)
        codebook, missing = np.ascontiguousarray(self._flat()), self.missing_values == "ignore"
        return distances_to_all(X, codebook, METRICS[self.metric], resolve_n_threads(self.n_jobs), missing=missing)

    @property
    def _n_features_out(self) -> int:
        return self.codebook_.shape[0] * self.codebook_.shape[1]

    def _clear_stream(self) -> None:
        for name in ("_stream", "sums_", "totals_"):
            if hasattr(self, name):
                delattr(self, name)

    def _search(self, X: Any) -> Found:
        check_is_fitted(self)
        X = self._validate(X, reset=False, least=1)
        missing, n_threads = self.missing_values == "ignore", resolve_n_threads(self.n_jobs)
        codebook = np.ascontiguousarray(self._flat())
        if self.metric == "cosine":
            directions = Directions.of(X, n_threads)
            found = find(directions.rows, unit_codebook(codebook, n_threads), missing, n_threads)
            directions.settle(found.units, found.distances, len(codebook))
            return found
        found = find(X, codebook, missing, n_threads)
        check_squares(found.distances, X, codebook)
        return found

    def _validate(self, X: Any, *, reset: bool, least: int = 2) -> np.ndarray:
        X = validate_data(
            self, X, reset=reset, dtype="numeric", order="C", ensure_all_finite=False, ensure_min_samples=least
        )
        if self.missing_values == "ignore":
            if X.dtype.kind == "f" and np.isinf(X).any():
                row, column = np.argwhere(np.isinf(X))[0]
                raise ValueError(f"X contains infinity at row {row}, column {column}")
            X = np.ascontiguousarray(X, np.float32 if X.dtype == np.float32 else np.float64)
            empty = rows_without_values(X)
            if empty.any():
                warn_of_rows_without_values(int(empty.sum()), int(empty.argmax()))
            return X
        return prepare_rows(X, getattr(self, "feature_names_in_", None))

    def _targets(self, X: np.ndarray, y: Any, sample_weight: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The caller's values as (weights (n,) or None, classes as integers (n,) or None)."""
        n, weights = len(X), None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, np.empty((n, 1)), dtype=np.float64, ensure_non_negative=True)
            if not weights.sum() > 0:
                raise ValueError("sample_weight must not be zero for every row")
        if self.missing_values == "ignore":
            weights = weights_of_valued(X, weights)
        if y is None:
            return weights, None
        y = column_or_1d(y, warn=True)
        if len(y) != n:
            raise ValueError(f"y has {len(y)} labels for {n} rows")
        if type_of_target(y) not in ("binary", "multiclass"):
            return weights, None
        return weights, np.unique(y, return_inverse=True)[1]

    def _check_parameters(self) -> None:
        self._rule()

    def _check_saved(self, values: Mapping[str, Any]) -> None:
        rows, columns, _ = values["codebook_"].shape
        if "labels_" in values:
            check_positions("labels_", values["labels_"], rows * columns)
        if unknown := sorted(values["history_"].keys() - {*_HISTORY, "label_accuracy"}):
            raise ModelFileError(f"history_ has an entry {unknown[0]!r}")
        if ("sums_" in values) != ("totals_" in values) or len(
            values.get("sums_", range(rows * columns))
        ) != rows * columns:
            raise ModelFileError(f"arrays 'sums_' and 'totals_' are not those of {rows} × {columns} neurons")

    def _rule(self) -> Rule:
        grid = Grid.checked(self.n_rows, self.n_columns, self.topology, self.boundary)
        for name, options in (
            ("training", ("batch", "online")),
            ("missing_values", ("error", "ignore")),
            ("metric", ("euclidean", "cosine")),
        ):
            if getattr(self, name) not in options:
                raise ValueError(f"{name} must be one of {', '.join(options)}; got {getattr(self, name)!r}")
        if self.metric == "cosine" and (self.training, self.missing_values) != ("batch", "error"):
            raise ValueError("metric='cosine' needs training='batch' and missing_values='error'")
        check_neighborhood(self.neighborhood)
        for name in ("epochs", "n_iter_no_change"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or not 1 <= int(value) <= _MOST_EPOCHS:
                raise ValueError(f"{name} must be an integer from 1 to {_MOST_EPOCHS:,}, got {value!r}")
        initial = max(grid.n_rows, grid.n_columns) / 2 if self.initial_radius is None else self.initial_radius
        for name, value, top in (
            ("initial_radius", initial, np.inf),
            ("final_radius", self.final_radius, np.inf),
            ("initial_rate", self.initial_rate, 1.0),
            ("final_rate", self.final_rate, 1.0),
            ("decay", self.decay, 1.0),
            ("tol", 0.0 if self.tol is None else self.tol, np.inf),
        ):
            if not isinstance(value, Real) or not 0 <= float(value) <= top or not np.isfinite(float(value)):
                raise ValueError(f"{name} must be a number from 0 to {top:g}, got {value!r}")
        rates = schedule_values(self.rate_schedule, self.initial_rate, self.final_rate, self.epochs)
        if rates.max() > 1:
            raise ValueError(
                f"rate_schedule gives {rates.max():g} in epoch {int(rates.argmax())}: rates go from 0 to 1"
            )
        return Rule(
            grid,
            self.neighborhood,
            bool(self.compact_support),
            schedule_values(self.radius_schedule, initial, self.final_radius, self.epochs),
            rates,
            self.tol,
            self.n_iter_no_change,
            self.missing_values == "ignore",
            resolve_n_threads(self.n_jobs),
            METRICS[self.metric],
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing_values == "ignore"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
