"""Rows of a file on their way: chunks of them, and those that cannot be read."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


class BatchError(ValueError):
    """A file that cannot be read, or does not fit; the message is one line and says where."""


@dataclass(frozen=True)
class Reject:
    """One rejected row. `row` counts from 0 in its file; `line` (text files) and `column` from 1, 0 if unknown."""

    file: str
    row: int
    line: int
    column: int
    reason: str
    value: str

    def __str__(self) -> str:
        place = f"line {self.line}" if self.line else f"row {self.row}"
        column = f", column {self.column}" if self.column else ""
        return f"{self.file}, {place}{column}: {self.reason}" + (f" ({self.value})" if self.value else "")


@dataclass
class Chunk:
    """Consecutive rows of one input; `seen` counts them including the rejected ones.

    `columns` are the positions in the file of the columns of `values`, None if they are all, in the file's order.
    `marks` are columns of the file that go to the output as they are, such as an id: int64, uint64 or text (n,).
    """

    file: int
    values: np.ndarray
    numbers: np.ndarray
    seen: int
    cursor: Any
    rejects: list[Reject] = field(default_factory=list)
    columns: list[int] | None = None
    marks: dict[str, np.ndarray] = field(default_factory=dict)
