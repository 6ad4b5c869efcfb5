"""Evaluate several k-NN settings on one test set from one search, for `somknn evaluate` and `somknn tune`."""

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np

from somknn.evaluation import metrics
from somknn.evaluation.results import MethodResult
from somknn.neighbors import KNeighborsClassifier
from somknn.neighbors.weighting import class_shares, neighbour_weights, winning_codes


class Judge:
    """Evaluate settings of k and weights on the data's test rows, from one search.

    The first setting must have the largest k.

    Parameters
    ----------
    model : KNeighborsClassifier
        Fitted on the training rows; its own k and weights are not used.
    data : somknn.datasets.Dataset
    transform : callable, optional
        Computes the features that the model was fitted on from raw rows.
    found : Future, optional
        The result of a search already in progress: squared distances and rows of the test rows' neighbours.
    """

    def __init__(
        self,
        model: KNeighborsClassifier,
        data: Any,
        *,
        transform: Callable[[np.ndarray], np.ndarray] | None = None,
        found: Future | None = None,
    ):
        self._model, self._data, self._transform, self._found = model, data, transform, found
        self._squared = self._indices = np.empty((len(data.X_test), 0))
        self._search_seconds = 0.0

    def __call__(self, name: str, parameters: dict[str, Any], n_resamples: int) -> MethodResult:
        """The result for {"n_neighbors": k, "weights": …}; its `seconds` are those of search and vote."""
        _, complete = self.begin(name, parameters, n_resamples)
        return complete()

    def begin(
        self, name: str, parameters: dict[str, Any], n_resamples: int
    ) -> tuple[MethodResult, Callable[[], MethodResult]]:
        """The result without intervals, and a function that returns the full result.

        A thread resamples in the meantime.
        """
        model, k = self._model, parameters["n_neighbors"]
        start = time.perf_counter()
        if self._found is not None:
            (self._squared, self._indices), self._found = self._found.result(), None
        if k > self._squared.shape[1]:
            X_test = self._data.X_test if self._transform is None else self._transform(self._data.X_test)
            self._squared, self._indices = model._nearest(X_test, k)
        self._search_seconds += time.perf_counter() - start
        codes, n_classes = model._codes[0], len(model.classes_)
        start = time.perf_counter()
        near, rows = np.ascontiguousarray(self._squared[:, :k]), np.ascontiguousarray(self._indices[:, :k])
        weights = neighbour_weights(parameters["weights"], near, model.n_jobs, model._metric)
        won = winning_codes(
            codes,
            n_classes,
            (near, rows),
            weights,
            nearest_first=model.tie_break == "nearest",
            n_jobs=model.n_jobs,
        )
        shares = class_shares(codes, n_classes, rows, weights, model.n_jobs)
        vote_seconds = time.perf_counter() - start
        evaluation, complete = metrics.begin_evaluation(
            self._data.y_test, model.classes_[won], shares, model.classes_, n_resamples
        )
        method = MethodResult(
            name=name,
            evaluation=evaluation,
            parameters=dict(parameters),
            seconds={"search of the test rows": self._search_seconds, "vote": vote_seconds},
            model=model,
            transform=self._transform,
        )
        return method, lambda: dataclasses.replace(method, evaluation=complete())


def of_metric(metric: str) -> str:
    """What the name of a method says about its metric: nothing if it is the Euclidean distance."""
    return "" if metric == "euclidean" else f", {metric}"


def with_fold_scores(method: MethodResult, cv_results: dict[str, Any]) -> MethodResult:
    """Add the scores of every fold for the method's parameters; no change if they were not a candidate."""
    if method.parameters not in cv_results["params"]:
        return method
    place = cv_results["params"].index(method.parameters)
    n_splits = sum(name.startswith("split") for name in cv_results)
    scores = np.array([cv_results[f"split{s}_test_score"][place] for s in range(n_splits)])
    return dataclasses.replace(method, cross_validation=scores)
