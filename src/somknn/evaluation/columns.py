"""The columns of a table one by one: what stands in them, how often it is missing, the range, the most frequent."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from somknn.datasets.readers import is_missing


@dataclass(frozen=True)
class ColumnSummary:
    """A column of the training and test rows together.

    `kind` is "whole numbers", "fractions", "text", "text and numbers" or "nothing"; `smallest`, `largest` and `mean`
    are None for text. `most_frequent` is the value that occurs `times` times; of equally frequent ones the first in
    order.
    """

    name: str
    kind: str
    rows: int
    missing: int
    distinct: int
    smallest: float | None
    largest: float | None
    mean: float | None
    most_frequent: str | None
    times: int

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text for JSON."""
        return asdict(self)


def summarise(name: str, values: Any) -> ColumnSummary:
    """The summary of a column of numbers (n,), NaN for missing ones, or of texts."""
    values = np.asarray(values)
    if values.dtype.kind in "OU" and any(isinstance(each, str) for each in values.tolist()):
        return _of_texts(name, [str(each) for each in values.tolist()])
    numbers = values.astype(np.float64)
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return ColumnSummary(name, "nothing", len(values), len(values), 0, None, None, None, None, 0)
    different, counts = np.unique(known, return_counts=True)
    whole = bool((different == np.rint(different)).all())
    most = int(np.argmax(counts))
    return ColumnSummary(
        name,
        "whole numbers" if whole else "fractions",
        *(len(values), len(values) - len(known), len(different)),
        *(float(different[0]), float(different[-1]), float(known.mean())),
        *(f"{different[most]:.0f}" if whole else repr(float(different[most])), int(counts[most])),
    )


def _of_texts(name: str, cells: list[str]) -> ColumnSummary:
    from somknn.datasets.columns import is_plain_number

    counts: dict[str, int] = {}
    for cell in cells:
        counts[cell] = counts.get(cell, 0) + 1
    missing = sum(count for cell, count in counts.items() if is_missing(cell))
    known = {cell: count for cell, count in counts.items() if not is_missing(cell)}
    if not known:
        return ColumnSummary(name, "nothing", len(cells), missing, 0, None, None, None, None, 0)
    kind = "text and numbers" if any(map(is_plain_number, known)) else "text"
    most = max(sorted(known), key=lambda cell: known[cell])
    return ColumnSummary(name, kind, len(cells), missing, len(known), None, None, None, most, known[most])


def summaries(data: Any, label: str = "label") -> list[ColumnSummary]:
    """The summary of each feature of a data set, and of its label where it has one."""
    columns: Iterable[tuple[str, Any]] = [
        (name, np.concatenate([data.X_train[:, j], data.X_test[:, j]])) for j, name in enumerate(data.feature_names)
    ]
    found = [summarise(str(name), values) for name, values in columns]
    if data.y_train is not None:
        found.append(summarise(label, np.concatenate([data.y_train, data.y_test])))
    return found
