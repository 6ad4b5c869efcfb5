"""Common parts of the prototype classifiers: labelled prototypes, of which the nearest vote."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from somknn.machine import resolve_n_threads
from somknn.neighbors.backends import fit_codebook_index, make_index
from somknn.neighbors.validation import prepare_rows, validate_rows
from somknn.neighbors.weighting import class_shares, neighbour_weights, winning_codes
from somknn.persistence import ModelFileError, Savable
from somknn.persistence.contents import (
    COLUMNS,
    FLOATS,
    ROWS,
    Array,
    Classes,
    History,
    Integer,
    Kind,
    Optional,
    Saved,
)
from somknn.prototypes.lookup import BackendLookup, MappedLookup
from somknn.prototypes.metric import Metric, read_metric
from somknn.search.few_vectors import FewVectorsSearch
from somknn.search.protocol import Searcher


class PrototypeVoting(Savable, ClassifierMixin, BaseEstimator):
    """Base of classifiers whose `fit` sets `prototypes_` and `prototype_codes_`.

    Subclasses have the parameters n_jobs and, if more than one prototype can vote, n_neighbors and weights.
    """

    _saved_state: ClassVar[dict[str, Kind]] = {
        **COLUMNS,
        "classes_": Classes(),
        "prototypes_": Array((None, None), ROWS),
        "prototype_codes_": Array(("prototypes_",), "int32", below="classes_"),
        "metric_": Optional(Array((None, "n_features_in_"), ("int16", *FLOATS))),
        "metric_center_": Optional(Array(("n_features_in_",), "float64")),
        "metric_shift_": Integer(),
        "n_iter_": Integer(),
        "history_": Optional(History()),
        "screen_*": Saved(),
    }

    @property
    def _input_dtype(self) -> np.dtype:
        return self.prototypes_.dtype

    def _start_fit(self, X: Any, y: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, class codes and weights of the rows with positive weight, sorted by class; sets `classes_`."""
        X, y = validate_data(self, X, y, dtype="numeric", order="C", ensure_all_finite=False, y_numeric=False)
        X = prepare_rows(X, getattr(self, "feature_names_in_", None))
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        weights = _check_sample_weight(sample_weight, np.empty((len(X), 1)), dtype=np.float64, ensure_non_negative=True)
        order = np.argsort(codes, kind="stable")
        order = order[weights[order] > 0]
        present = np.bincount(codes[order], minlength=len(self.classes_))
        if not present.all():
            raise ValueError(f"sample_weight is zero for every row of class {self.classes_[present.argmin()]!r}")
        return np.ascontiguousarray(X[order]), codes[order], weights[order]

    def _set_prototypes(
        self, prototypes: np.ndarray, codes: np.ndarray, rows: np.ndarray, metric: Metric | None = None
    ) -> None:
        """Store the prototypes; `rows` are the training rows.

        For uint8 rows the prototypes are rounded to bytes: an eighth of the memory, and integer distances.
        metric : if given, the prototypes are in its coordinates.
        """
        self.metric_: np.ndarray | None
        self.metric_center_: np.ndarray | None
        self.metric_, self.metric_center_, self.metric_shift_ = (None, None, 0) if metric is None else metric
        if metric is None and rows.dtype == np.uint8:
            prototypes = np.clip(np.rint(prototypes), 0, 255)
        self.prototypes_ = np.ascontiguousarray(prototypes, dtype=rows.dtype)
        self.prototype_codes_ = codes.astype(np.int32)
        self._lookup: Searcher
        if self._backend == "numba":
            lookup = self._own_lookup(metric)
            lookup.prepare(resolve_n_threads(self.n_jobs))
            self._lookup = lookup
        else:
            k = min(getattr(self, "n_neighbors", 1), len(self.prototypes_))
            settings = self._backend, getattr(self, "backend_params", None), self.n_jobs, k
            searched = rows if metric is None else metric.apply(rows, self.n_jobs)
            self._lookup = BackendLookup(fit_codebook_index(self.prototypes_, searched, *settings), metric)

    def _own_lookup(self, metric: Metric | None) -> FewVectorsSearch:
        if metric is None:
            return FewVectorsSearch(self.prototypes_)
        return MappedLookup(metric, self.prototypes_)

    @property
    def _backend(self) -> str:
        return getattr(self, "backend", "numba")

    @property
    def recall_(self) -> float | None:
        """Share of the nearest prototypes found by the backend: 1.0 if exact, otherwise measured on training rows."""
        check_is_fitted(self)
        return self._lookup.index.recall_ if isinstance(self._lookup, BackendLookup) else 1.0

    @property
    def prototype_labels_(self) -> np.ndarray:
        """Class of each prototype, (n_prototypes,)."""
        check_is_fitted(self)
        return self.classes_[self.prototype_codes_]

    @property
    def model_bytes_(self) -> int:
        """Bytes of the prototypes, their classes and the metric."""
        check_is_fitted(self)
        metric = read_metric(self)
        return self.prototypes_.nbytes + self.prototype_codes_.nbytes + (0 if metric is None else metric.nbytes)

    @property
    def prototype_rows_(self) -> np.ndarray:
        """The prototypes as rows (n_prototypes, n_features).

        With a metric: of the rows that it maps to the prototypes, those nearest to its centre. They show the part of a
        row that the metric uses.
        """
        check_is_fitted(self)
        metric = read_metric(self)
        return self.prototypes_ if metric is None else metric.pictures(self.prototypes_)

    def _votes(self, X: Any) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray | None]:
        check_is_fitted(self)
        X = validate_rows(self, X, reset=False)
        k = min(getattr(self, "n_neighbors", 1), len(self.prototypes_))
        neighbours = self._lookup.search(X, k, n_threads=resolve_n_threads(self.n_jobs))
        return neighbours, neighbour_weights(getattr(self, "weights", None), neighbours[0], self.n_jobs)

    def predict(self, X: Any) -> np.ndarray:
        """The class of each row of `X` (m, n_features), with the dtype of `y`; the nearest class wins ties."""
        codes = self._winners(*self._votes(X))
        return self.classes_[codes]

    def _winners(self, neighbours: tuple[np.ndarray, np.ndarray], weights: np.ndarray | None) -> np.ndarray:
        if neighbours[1].shape[1] == 1:
            return self.prototype_codes_[neighbours[1][:, 0]]
        return winning_codes(
            self.prototype_codes_,
            len(self.classes_),
            neighbours,
            weights,
            nearest_first=True,
            n_jobs=self.n_jobs,
        )

    def _predict_in_one_search(self, X: Any) -> tuple[np.ndarray, np.ndarray | None, None]:
        """`predict` as positions in `classes_`, and `predict_proba` if it exists."""
        neighbours, weights = self._votes(X)
        shares = None
        if hasattr(self, "predict_proba"):
            shares = class_shares(self.prototype_codes_, len(self.classes_), neighbours[1], weights, self.n_jobs)
        return self._winners(neighbours, weights), shares, None

    def _state_to_save(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, state = super()._state_to_save()
        lookup = getattr(self, "_lookup", None)
        return arrays | (lookup.index.screen_to_save() if isinstance(lookup, BackendLookup) else {}), state

    def _check_saved(self, values: Mapping[str, Any]) -> None:
        axes, width = values.get("metric_"), values["prototypes_"].shape[1]
        wanted = values["n_features_in_"] if axes is None else len(axes)
        if width != wanted:
            raise ModelFileError(f"array 'prototypes_' has {width} columns, not {wanted}")

    def _restore(self, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        screen = {name: array for name, array in arrays.items() if name.startswith("screen_")}
        super()._restore({name: array for name, array in arrays.items() if name not in screen}, state)
        metric = read_metric(self)
        if self._backend != "numba":
            index = make_index(self._backend, "auto", self.n_jobs, getattr(self, "backend_params", None))
            self._lookup = BackendLookup(index.restore(self.prototypes_, screen), metric)
        elif screen:
            raise ValueError("an index that no backend reads")
        elif hasattr(self, "prototypes_"):
            self._lookup = self._own_lookup(metric)
