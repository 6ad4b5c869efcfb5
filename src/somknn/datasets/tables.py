"""What Parquet and Arrow files share: streamed rows of columns, or of one column of vectors.

See `somknn.batch.sources` for the interface of a source.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from somknn.datasets import columns
from somknn.datasets.arrow_cells import (
    Odd,
    is_text,
    is_vector,
    marks_of,
    number_type,
    numbers_of,
    require_exact,
    rows_of,
    storage,
)
from somknn.datasets.chunks import BatchError, Chunk, Reject


class TableSource:
    """One column per feature, or one column of vectors: lists or images (see `somknn.datasets.arrow_cells`)."""

    advice = ""  # what else helps where a column is of texts

    def __init__(self, path: Path):
        self.path = path
        self.n_rows: int | None = None
        self._dtype: np.dtype | None = None
        with self._damage():
            schema = self._open()
        self._describe(schema)

    def _open(self) -> Any:
        raise NotImplementedError

    def _describe(self, schema: Any) -> None:
        fields = list(schema)
        if not fields:
            raise BatchError(f"{self.path}: no columns")
        self.names_in_file, self._types = list(schema.names), [field.type for field in fields]
        self.columns: list[int] | None = None
        self.marks: dict[str, int] = {}
        self._width: int | None = None
        alone = len(fields) == 1 and is_vector(fields[0].type)
        self.has_names = not alone
        self.feature_names = None if alone else self.names_in_file

    def texts(self, columns: Iterable[int]) -> list[int]:
        """Those of the columns whose cells are texts."""
        return [at for at in columns if is_text(self._types[at])]

    def vectors(self, columns: Iterable[int]) -> list[int]:
        """Those of the columns whose cells are lists or images."""
        return [at for at in columns if is_vector(self._types[at])]

    def select(self, columns: list[int], marks: dict[str, int] | None = None) -> None:
        """Only these columns of the file, in this order; the others may be of any type.

        The columns `marks`, by their names in the output, go with the chunks as they are.
        """
        self.columns, self.marks, self._width, self._dtype = columns, marks or {}, None, None

    def _features(self) -> list[int]:
        return list(range(len(self._types))) if self.columns is None else self.columns

    def _chosen(self) -> list[int] | None:
        """The columns to read where some are left out, in the file's order; None for all."""
        chosen = sorted({*self._features(), *self.marks.values()})
        return None if len(chosen) == len(self._types) else chosen

    @property
    def _vector(self) -> int | None:
        """The column of vectors that the rows are, if they are one."""
        features = self._features()
        return features[0] if len(features) == 1 and is_vector(self._types[features[0]]) else None

    @property
    def width(self) -> int:
        """Values in a row. The first row says how long lists without a fixed size are, and how large images are."""
        if self._width is None:
            self._width = len(self._features()) if self._vector is None else self._width_of(self._vector)
        return self._width

    def _width_of(self, column: int) -> int:
        pa = require_pyarrow()
        width, kind = 1, storage(self._types[column])
        while pa.types.is_fixed_size_list(kind):
            width, kind = width * kind.list_size, storage(kind.value_type)
        if is_vector(kind):
            with self._damage():
                found = self._first_width(column)
            if found is None:
                raise BatchError(f"{self.path}: column {self.names_in_file[column]!r}: no list or image with values")
            return found
        if not width:
            raise BatchError(f"{self.path}: no columns (lists of no values)")
        return width

    def _first_width(self, column: int) -> int | None:
        raise NotImplementedError

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the rows; BatchError if a column is not of numbers."""
        if self._dtype is None:
            features, found = self._features(), set()
            for at in features:
                name, kind = repr(self.names_in_file[at]), self._types[at]
                dtype = number_type(kind)
                if dtype is None:
                    raise BatchError(
                        f"{self.path}: column {name} is {columns.shortened(str(kind))}; expected numbers "
                        f"(--drop leaves it out{self.advice if is_text(kind) else ''})"
                    )
                if is_vector(kind) and len(features) > 1:
                    others = [self.names_in_file[i] for i in features if i != at]
                    raise BatchError(
                        f"{self.path}: column {name} holds whole rows and stands beside {columns.listed(others)}: "
                        "--drop or --id says what those are"
                    )
                found.add(dtype)
            self._dtype = np.result_type(*found) if found else np.dtype(np.float64)
        return self._dtype

    @contextmanager
    def _damage(self) -> Iterator[None]:
        pa = require_pyarrow()
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            detail = " ".join(str(error).split())[:200]
            what = (
                "not enough memory, or damaged" if isinstance(error, MemoryError) else "damaged or not in this format"
            )
            raise BatchError(f"{self.path}: {what} ({detail})") from None

    def _values(self, batch: Any) -> tuple[np.ndarray, Odd]:
        """The rows of a record batch, floats with NaN where values are missing; and those that are no rows."""
        at = self._vector
        try:
            if at is not None:
                return rows_of(self._column(batch, at), self.width)
            parts = [numbers_of(self._column(batch, at)) for at in self._features()]
            dtype = np.result_type(*{part.dtype for part in parts}) if parts else np.dtype(np.float64)
            values = np.empty((len(batch), self.width), dtype)
            for j, part in enumerate(parts):
                if dtype.kind == "f":
                    require_exact(part)
                values[:, j] = part
        except BatchError as error:
            raise BatchError(f"{self.path}: {error}") from None
        return values, []

    def _column(self, batch: Any, at: int) -> Any:
        return batch.column(at if len(batch.columns) == len(self._types) else self.names_in_file[at])

    def _marks(self, batch: Any) -> dict[str, np.ndarray]:
        found = {}
        for name, at in self.marks.items():
            try:
                found[name] = marks_of(self._column(batch, at))
            except BatchError as error:
                raise BatchError(f"{self.path}: column {self.names_in_file[at]!r}: {error}") from None
        return found

    def _fill(self, out: np.ndarray, rows: "BatchRows") -> "Filled":
        """Fill `out` from its start."""
        filled = Filled()
        with self._damage():
            while filled.n < len(out) and rows.any_left():
                batch = rows.take(len(out) - filled.n)
                part, odd = self._values(batch)
                if np.can_cast(part.dtype, out.dtype):
                    out[filled.n : filled.n + len(part)] = part
                else:
                    filled.other.append((filled.n, part))
                filled.odd += [(filled.n + row, reason) for row, reason in odd]
                if self.marks:
                    filled.marks.append(self._marks(batch))
                filled.n += len(part)
        return filled

    def _chunk(self, values: np.ndarray, row: int, filled: "Filled") -> Chunk:
        """The chunk of rows from `row` on, its odd ones set apart."""
        n, numbers, rejects = len(values), np.arange(row, row + len(values)), []
        marks = {name: np.concatenate([part[name] for part in filled.marks]) for name in self.marks}
        if filled.odd:
            good = np.ones(n, bool)
            good[[at for at, _ in filled.odd]] = False
            column = self._features()[0] + 1
            rejects = [Reject(str(self.path), row + at, 0, column, reason, "") for at, reason in filled.odd]
            values, numbers = values[good], numbers[good]
            marks = {name: mark[good] for name, mark in marks.items()}
        places = self.columns if self._vector is None else None  # in a vector the place is that of the value
        return Chunk(-1, values, numbers, n, row + n, rejects, places, marks)


@dataclass
class Filled:
    """Rows that were read: how many, parts that the dtype cannot hold, rows that are none, columns for the output."""

    n: int = 0
    other: list[tuple[int, np.ndarray]] = field(default_factory=list)
    odd: Odd = field(default_factory=list)
    marks: list[dict[str, np.ndarray]] = field(default_factory=list)

    def add(self, more: "Filled", at: int) -> None:
        """Rows that follow, whose first one is row `at`."""
        self.n += more.n
        self.other += [(at + place, part) for place, part in more.other]
        self.odd += [(at + place, reason) for place, reason in more.odd]
        self.marks += more.marks


class BatchRows:
    """The next rows of a stream of record batches, independent of batch boundaries; the first `skip` are skipped."""

    def __init__(self, batches: Iterator[Any], skip: int):
        self._batches, self._skip = batches, skip
        self._rest: Any = None

    def any_left(self) -> bool:
        """Whether there is another row; decodes no more than needed to know."""
        while self._rest is None or not len(self._rest):
            batch = next(self._batches, None)
            if batch is None:
                return False
            skipped = min(self._skip, len(batch))
            self._skip -= skipped
            self._rest = batch.slice(skipped)
        return True

    def take(self, n: int) -> Any:
        """A batch of 1 to n rows; call only after `any_left`."""
        taken, self._rest = self._rest.slice(0, n), self._rest.slice(n)
        return taken


def store(values: np.ndarray, parts: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """`values` with `parts` stored in them; the parts have another dtype because they contain missing values."""
    if parts:
        values = values.astype(np.result_type(values, *(part for _, part in parts)))
    for at, part in parts:
        values[at : at + len(part)] = part
    return values


def require_pyarrow() -> Any:
    """The module pyarrow, or an ImportError that says what to install."""
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError:
        raise BatchError("Parquet and Arrow files need pyarrow: pip install 'somknn[files]'") from None
    return pyarrow
