"""`LVQ`: prototypes that are trained to separate the classes."""

import time
import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from somknn.fitted import one_state
from somknn.machine import Steps, per_task, resolve_n_threads
from somknn.progress import CallbackSupportMixin, Passes, Task, with_callbacks
from somknn.prototypes import glvq, liram
from somknn.prototypes.budget import split_budget
from somknn.prototypes.kmeans import KMeans
from somknn.prototypes.metric import Metric
from somknn.prototypes.spread import mean_variance
from somknn.prototypes.voting import PrototypeVoting
from somknn.scaling import BEYOND, exponent_of
from somknn_kernels.learn import lvq as kernels

_ROUNDS = 20  # of K-Means within a class
_RANK = 64  # of the metric: 32 lose 0.2 points on MNIST, 96 gain nothing
_WIDEST_RANK = 4096
_RATES = {"glvq": 0.1, "lvq1": 0.02, "lvq2.1": 0.01}


def class_centres(
    rows: np.ndarray, weights: np.ndarray, size: int, seed: int, max_iter: int | None, n_jobs: int | None
) -> np.ndarray:
    """`size` K-Means centres of the rows of one class; all rows if there are no more than `size`."""
    if size >= len(rows):
        return rows.astype(np.float32 if rows.dtype == np.float32 else np.float64)
    kmeans = KMeans(size, max_iter=max_iter or _ROUNDS, random_state=seed, n_jobs=n_jobs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal rows: duplicate prototypes do no harm
        return kmeans.fit(rows, sample_weight=weights).cluster_centers_


@one_state
class LVQ(CallbackSupportMixin, PrototypeVoting):
    """Learning vector quantization: a few prototypes of each class, trained so that the nearest one gives the class.

    "glvq" minimises a smooth cost over all training rows with an optimiser and exact winners
    (`somknn.prototypes.glvq`), and can train the metric as well (`somknn.prototypes.liram`); "lvq1" and "lvq2.1" are
    Kohonen's rules, which process one row at a time. All start from K-Means centres of each class.

    Parameters
    ----------
    n_prototypes : int
        In total, equally many for each class; at least one per class, at most as many as there are rows.
    algorithm : {"glvq", "lvq1", "lvq2.1"}
    metric_rank : int, "auto" or None
        "glvq": number of coordinates of a trained linear map, in which rows and prototypes are compared (LiRAM LVQ, or
        GMLVQ if it equals the number of features); larger values mean the number of features. None: distances of the
        features as they are. "auto": 64 if there are at least 128 features and 1,000 rows, otherwise None.
    max_iter : int
        Passes over the training rows: steps of "glvq", epochs of the others.
    learning_rate : float or None
        "glvq": length of the first steps of a coordinate, in standard deviations of the features. "lvq1", "lvq2.1":
        initial share of the distance to a row by which a prototype moves. Falls to zero during training. None: 0.1,
        0.02 and 0.01.
    slope : float
        "glvq": steepness of the cost at the border between classes. Few prototypes need a flatter one.
    window : float, between 0 and 1
        "lvq2.1": relative width of the window around the border in which prototypes move.
    verbose : int
        1 prints a line per pass.
    callback : callable or None
        Called after every pass with a dict: epoch, error_rate, seconds, prototypes and, for "glvq", cost; training ends
        when it returns True. With a metric these prototypes are in its coordinates, not yet rounded.
    random_state : int, RandomState or None
        Initial centres of K-Means; order of the rows in "lvq1" and "lvq2.1".
    n_jobs : int or None
        Threads; never changes the result. "lvq1" and "lvq2.1" use one.

    Attributes
    ----------
    prototypes_ : ndarray (n_prototypes, n_features), of the dtype of the training rows
        Sorted by class. Rounded for uint8 rows. With a metric: (n_prototypes, rank), mapped by the metric.
    prototype_rows_ : ndarray (n_prototypes, n_features)
        The prototypes as rows, also with a metric.
    metric_ : ndarray (rank, n_features) or None
        The trained map: a row x is mapped to `metric_ @ (x - metric_center_)`. For uint8 rows it is int16, and the
        product is divided by 2**metric_shift_, rounded, increased by 128 and clipped to 0 to 255: mapped rows are uint8
        too.
    metric_center_ : ndarray (n_features,), float64, or None
    metric_shift_ : int
    prototype_labels_ : ndarray (n_prototypes,)
    prototype_codes_ : ndarray (n_prototypes,), int32
        Positions of the labels in `classes_`.
    classes_ : ndarray (n_classes,)
    history_ : dict of lists of equal length
        "error_rate" on the training rows ("glvq": before each step; others: as rows are presented), "seconds" and, for
        "glvq", "cost".
    n_iter_ : int
        Passes completed.
    model_bytes_ : int
    n_features_in_ : int

    References
    ----------
    A. Sato and K. Yamada, "Generalized learning vector quantization", NIPS 1995. K. Bunte et al., "Limited rank matrix
    learning, discriminative dimension reduction and visualization", Neural Networks 26, 2012. T. Kohonen,
    "Self-Organizing Maps", 1995, chapter 6.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from somknn import LVQ
    >>> X, y = load_digits(return_X_y=True)
    >>> model = LVQ(n_prototypes=50, random_state=0).fit(X[:1000], y[:1000])
    >>> model.score(X[1000:], y[1000:]) > 0.92
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_prototypes": [Interval(Integral, 1, None, closed="left")],
        "algorithm": [StrOptions({"glvq", "lvq1", "lvq2.1"})],
        "metric_rank": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "slope": [Interval(Real, 0, None, closed="neither")],
        "window": [Interval(Real, 0, 1, closed="neither")],
        "verbose": ["verbose"],
        "callback": [callable, None],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        n_prototypes: int = 1000,
        *,
        algorithm: str = "glvq",
        metric_rank: int | str | None = "auto",
        max_iter: int = 30,
        learning_rate: float | None = None,
        slope: float = 20.0,
        window: float = 0.2,
        verbose: int = 0,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_prototypes = n_prototypes
        self.algorithm = algorithm
        self.metric_rank = metric_rank
        self.max_iter = max_iter
        self.learning_rate = learning_rate
        self.slope = slope
        self.window = window
        self.verbose = verbose
        self.callback = callback
        self.random_state = random_state
        self.n_jobs = n_jobs

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on the rows `X` (n, n_features) with classes `y` (n,).

        sample_weight : (n,), not negative, optional; weight of each row. In "lvq1" and "lvq2.1" it scales the movement
        of prototypes.
        """
        self._validate_params()
        rows, codes, weights = self._start_fit(X, y, sample_weight)
        self._fitting = Task.of_fit(self, self.max_iter, X, y, sample_weight)
        random = check_random_state(self.random_state)
        counts = np.bincount(codes)
        edges = np.concatenate([[0], np.cumsum(counts)])
        starts = []
        for c, size in enumerate(split_budget(counts, self.n_prototypes)):
            at = slice(edges[c], edges[c + 1])
            seed = random.randint(2**31 - 1)
            starts.append(class_centres(rows[at], weights[at], int(size), seed, None, self.n_jobs))
        labels = np.repeat(np.arange(len(counts)), [len(part) for part in starts])
        prototypes, metric = self.refine(np.concatenate(starts), labels, rows, codes, weights)
        self._set_prototypes(prototypes, labels, rows, metric)
        self._fitting.end(self._state)
        del self._fitting
        return self

    def _state(self) -> dict[str, Any]:
        """The fitted attributes, private ones included."""
        return {name: value for name, value in vars(self).items() if name.startswith("_") or name.endswith("_")}

    def _rank(self, rows: np.ndarray) -> int | None:
        """Number of coordinates of the metric to train; None for no metric."""
        if self.metric_rank == "auto":
            return _RANK if self.algorithm == "glvq" and len(rows) >= 1000 and rows.shape[1] >= 2 * _RANK else None
        if self.metric_rank is not None and self.algorithm != "glvq":
            raise ValueError(f"metric_rank={self.metric_rank} needs algorithm='glvq', got {self.algorithm!r}")
        return None if self.metric_rank is None else min(self.metric_rank, rows.shape[1], _WIDEST_RANK)

    def refine(
        self,
        prototypes: np.ndarray,
        prototype_codes: np.ndarray,
        rows: np.ndarray,
        codes: np.ndarray,
        weights: np.ndarray,
    ) -> tuple[np.ndarray, Metric | None]:
        """Train given prototypes; prototypes and rows are sorted by class. Sets `history_` and `n_iter_`.

        Returns the prototypes and the metric; with a metric the prototypes are in its coordinates.
        """
        rank, report = self._rank(rows), Passes(getattr(self, "_fitting", Task(self, None, {})), self._report)
        random = check_random_state(self.random_state)
        self.history_: dict[str, list[float]] = {"error_rate": [], "seconds": []}
        if codes[0] == codes[-1]:  # one class: nothing to separate
            self.n_iter_ = 1
            return prototypes, None
        rate = _RATES[self.algorithm] if self.learning_rate is None else self.learning_rate
        metric = None
        if rank is not None:
            settings = self.max_iter, rate, self.slope
            given = rows, codes, weights, prototypes, prototype_codes, rank
            prototypes, metric, self.history_ = liram.train(*given, settings, self.n_jobs, report)
        elif self.algorithm == "glvq":
            search = glvq.ClassSearch(rows, codes, int(codes[-1]) + 1, self.n_jobs)
            exponent = exponent_of(rows)
            deviation = float(np.sqrt(mean_variance(rows, resolve_n_threads(self.n_jobs), exponent))) * 2.0**exponent
            settings = self.max_iter, rate * deviation, self.slope
            prototypes, self.history_ = glvq.train(
                search, weights, prototypes, prototype_codes, *settings, report, exponent
            )
        else:
            steps = rate * weights / weights.max()
            prototypes = prototypes.astype(np.float64)
            prototypes = self._show_rows(prototypes, prototype_codes, rows, codes, steps, random, report)
        self.n_iter_ = len(self.history_["seconds"])
        return prototypes, metric

    def _show_rows(
        self,
        prototypes: np.ndarray,
        prototype_codes: np.ndarray,
        rows: np.ndarray,
        codes: np.ndarray,
        steps: np.ndarray,
        random: np.random.RandomState,
        report: Passes,
    ) -> np.ndarray:
        n_steps = self.max_iter * len(rows)
        for epoch in range(1, self.max_iter + 1):
            report.begin()
            start = time.perf_counter()
            order = random.permutation(len(rows))
            left = 1.0 - ((epoch - 1) * len(rows) + np.arange(len(rows))) / n_steps
            rates, wrong = left * steps[order], 0

            def show(first: int, last: int, order: np.ndarray = order, rates: np.ndarray = rates) -> None:
                nonlocal wrong
                given = rows, codes, order[first:last], rates[first:last]
                if self.algorithm == "lvq1":
                    mistakes = kernels.lvq1_epoch(*given, prototypes, prototype_codes)
                else:
                    mistakes = kernels.lvq21_epoch(*given, float(self.window), prototypes, prototype_codes)
                if mistakes < 0:
                    raise ValueError(BEYOND)
                wrong += mistakes

            Steps(per_task(len(rows), prototypes.size)).run(show, 0, len(rows))
            entry = {"error_rate": wrong / len(rows), "seconds": time.perf_counter() - start}
            for name, value in entry.items():
                self.history_[name].append(value)
            if report({"epoch": epoch, "prototypes": prototypes, **entry}):
                break
        return prototypes

    def _report(self, entry: dict[str, Any]) -> bool:
        if self.verbose:
            cost = f", cost {entry['cost']:.6g}" if "cost" in entry else ""
            print(f"Pass {entry['epoch']}: training error {100 * entry['error_rate']:.2f} %{cost}")
        return self.callback is not None and bool(self.callback(entry))
