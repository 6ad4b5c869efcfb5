"""The contents of a data set: sizes, ranges, class counts, and constant, repeated or non-finite rows."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PartSummary:
    """Facts about the training or the test rows; counts are of rows unless the name says features."""

    rows: int
    features: int
    dtype: str
    smallest: float | None
    largest: float | None
    mean: float | None
    not_finite_values: int
    constant_features: int
    constant_rows: int
    duplicate_rows: int
    class_counts: dict[str, int]


@dataclass(frozen=True)
class Exploration:
    """The result of `explore`; `shared_rows` counts the test rows that also occur among the training rows."""

    name: str
    image_shape: tuple[int, ...] | None
    feature_names: list[str]
    train: PartSummary
    test: PartSummary
    shared_rows: int

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers for JSON."""
        return asdict(self)


def explore(data: Any) -> Exploration:
    """Summarise a `somknn.datasets.Dataset`.

    Examples
    --------
    >>> from somknn import datasets
    >>> from somknn.evaluation import explore
    >>> found = explore(datasets.load("digits"))
    >>> found.train.rows, found.train.largest, found.shared_rows
    (1438, 16.0, 0)
    """
    train_rows, test_rows = _as_bytes(data.X_train), _as_bytes(data.X_test)
    return Exploration(
        name=data.name,
        image_shape=data.image_shape,
        feature_names=list(data.feature_names),
        train=_summary(data.X_train, data.y_train, train_rows),
        test=_summary(data.X_test, data.y_test, test_rows),
        shared_rows=int(np.isin(test_rows, train_rows).sum()) if data.X_train.dtype == data.X_test.dtype else 0,
    )


def _as_bytes(X: np.ndarray) -> np.ndarray:
    """One comparable value per row."""
    X = np.ascontiguousarray(X)
    if X.dtype.kind == "f":
        X = X + X.dtype.type(0)  # -0.0 and 0.0 are the same value
    return X.view(np.dtype((np.void, X.dtype.itemsize * X.shape[1]))).ravel()


def _summary(X: np.ndarray, y: np.ndarray | None, as_bytes: np.ndarray) -> PartSummary:
    finite = np.isfinite(X) if X.dtype.kind == "f" else None
    values = X if finite is None or finite.all() else X[finite]
    labels, counts = (np.empty(0), np.empty(0, int)) if y is None else np.unique(y, return_counts=True)
    return PartSummary(
        rows=len(X),
        features=X.shape[1],
        dtype=str(X.dtype),
        smallest=float(values.min()) if values.size else None,
        largest=float(values.max()) if values.size else None,
        mean=float(values.mean(dtype=np.float64)) if values.size else None,
        not_finite_values=0 if finite is None else int(X.size - finite.sum()),
        constant_features=int((X[:1] == X).all(axis=0).sum()),
        constant_rows=int((X[:, :1] == X).all(axis=1).sum()),
        duplicate_rows=len(X) - len(np.unique(as_bytes)),
        class_counts={str(label): int(count) for label, count in zip(labels, counts, strict=True)},
    )
