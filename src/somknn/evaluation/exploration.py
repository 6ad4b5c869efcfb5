"""The contents of a data set: sizes, ranges, class counts, constant, repeated or non-finite rows, and its columns."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from somknn.evaluation.columns import ColumnSummary, summaries

_MOST_COLUMNS = 1000  # pixels are no columns to look at one by one


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
    """The result of `explore`; `shared_rows` counts the test rows that also occur among the training rows.

    `columns` are the features one by one and the label; none for images and for more than 1,000 features.
    """

    name: str
    image_shape: tuple[int, ...] | None
    feature_names: list[str]
    train: PartSummary
    test: PartSummary
    shared_rows: int
    columns: list[ColumnSummary]

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
    X_train, X_test = _as_numbers(data)
    train_rows, test_rows = _as_bytes(X_train), _as_bytes(X_test)
    few = data.image_shape is None and data.X_train.shape[1] <= _MOST_COLUMNS
    return Exploration(
        name=data.name,
        image_shape=data.image_shape,
        feature_names=list(data.feature_names),
        train=_summary(data.X_train, data.y_train, X_train, train_rows),
        test=_summary(data.X_test, data.y_test, X_test, test_rows),
        shared_rows=int(np.isin(test_rows, train_rows).sum()) if X_train.dtype == X_test.dtype else 0,
        columns=summaries(data) if few else [],
    )


def _as_numbers(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows with a number for each text, so that rows can be compared; as they are without texts."""
    if data.X_train.dtype != object:
        return data.X_train, data.X_test
    n, rows = len(data.X_train), np.concatenate([data.X_train, data.X_test])
    found = np.empty(rows.shape)
    for j in range(rows.shape[1]):
        texts = j in data.categories
        found[:, j] = np.unique(rows[:, j].astype(str), return_inverse=True)[1] if texts else rows[:, j]
    return found[:n], found[n:]


def _as_bytes(X: np.ndarray) -> np.ndarray:
    """One comparable value per row."""
    X = np.ascontiguousarray(X)
    if X.dtype.kind == "f":
        X = X + X.dtype.type(0)  # -0.0 and 0.0 are the same value
    return X.view(np.dtype((np.void, X.dtype.itemsize * X.shape[1]))).ravel()


def _summary(X: np.ndarray, y: np.ndarray | None, numbers: np.ndarray, as_bytes: np.ndarray) -> PartSummary:
    """`numbers` are the rows with a number for each text; ranges are those of columns of numbers."""
    of_numbers = numbers
    if X.dtype == object:
        of_numbers = numbers[:, [j for j in range(X.shape[1]) if not any(isinstance(each, str) for each in X[:, j])]]
    finite = np.isfinite(of_numbers) if of_numbers.dtype.kind == "f" else None
    values = of_numbers if finite is None or finite.all() else of_numbers[finite]
    classes = y is not None and y.dtype.kind != "f"
    labels, counts = np.unique(np.asarray(y) if classes else np.empty(0), return_counts=True)
    return PartSummary(
        rows=len(X),
        features=X.shape[1],
        dtype=str(X.dtype),
        smallest=float(values.min()) if values.size else None,
        largest=float(values.max()) if values.size else None,
        mean=float(values.mean(dtype=np.float64)) if values.size else None,
        not_finite_values=0 if finite is None else int(finite.size - finite.sum()),
        constant_features=int((numbers[:1] == numbers).all(axis=0).sum()),
        constant_rows=int((numbers[:, :1] == numbers).all(axis=1).sum()),
        duplicate_rows=len(X) - len(np.unique(as_bytes)),
        class_counts={str(label): int(count) for label, count in zip(labels, counts, strict=True)},
    )
