"""Inputs of batch classification. Each reports its schema before any row is read, then streams its rows in chunks.

A source has `path`, `width`, `dtype` (None for text), `feature_names` (or None), `n_rows` (or None) and a method
`chunks(n, start)`. It yields chunks of n rows (the last is shorter) from the position `start`, which is None or the
`cursor` of an earlier chunk. Chunk boundaries depend on n only, so a resumed run makes the same chunks as an
uninterrupted one.

A source of a kind that can name its columns (`has_names`) also has `select(columns)`: rows then consist of these
columns of the file, in this order. `width` and `dtype` are those of the rows.
"""

import glob
import itertools
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from somknn.datasets import columns, readers
from somknn.datasets.chunks import BatchError, Chunk, Reject
from somknn.datasets.image_files import ImageSource
from somknn.datasets.tables import ArrowSource, ParquetSource
from somknn.datasets.text import compact, parse_rows

_LINES_AT_ONCE = (2000, 100, 1)


class ArraySource:
    """An .npy or IDX file: a header, then rows of equal size."""

    has_names = False

    def __init__(self, path: Path):
        self.path, self.feature_names = path, None
        if path.suffix == ".npy":
            array = readers.map_npy(path)
            self.n_rows, self.dtype, shape = len(array) if array.ndim else 0, array.dtype, array.shape
            self.columns_first = array.flags.f_contiguous and not array.flags.c_contiguous
            self._offset = int(array.offset) if isinstance(array, np.memmap) else 0
        else:
            with readers.open_stream(path) as file:
                self.dtype, shape = readers.read_idx_header(file, path)
                self._offset = file.tell()
            self.n_rows, self.columns_first = shape[0], False
        self.width = math.prod(shape[1:])
        if len(shape) < 2 or not self.width or self.dtype.kind not in "biuf":
            raise BatchError(f"{path}: shape {shape}, dtype {self.dtype}; expected rows of numbers")

    def chunks(self, n: int, start: Any) -> Iterator[Chunk]:
        first = int(start or 0)
        if self.columns_first:
            array = readers.map_npy(self.path)
            for row in range(first, self.n_rows, n):
                yield self._chunk(np.ascontiguousarray(array[row : row + n]).reshape(-1, self.width), row)
            return
        # Read into fresh memory rather than mapped: resident memory stays bounded by the chunks, and a file that is
        # truncated meanwhile raises an error instead of a signal.
        row_bytes = self.width * self.dtype.itemsize
        with readers.open_stream(self.path) as file:
            file.seek(self._offset + first * row_bytes)
            for row in range(first, self.n_rows, n):
                values = np.empty((min(n, self.n_rows - row), self.width), self.dtype)
                view, done = memoryview(values.data).cast("B"), 0
                while done < len(view):
                    got = file.readinto(view[done : done + (1 << 24)])  # type: ignore[attr-defined]
                    if not got:
                        raise BatchError(f"{self.path}: truncated at row {row + done // row_bytes}")
                    done += got
                yield self._chunk(values.astype(self.dtype.newbyteorder("="), copy=False), row)

    def _chunk(self, values: np.ndarray, row: int) -> Chunk:
        return Chunk(-1, values, np.arange(row, row + len(values)), len(values), row + len(values))


class MemorySource:
    """The rows of an .npz archive, which must be unpacked as a whole."""

    has_names = False

    def __init__(self, path: Path):
        self.path, self.feature_names = path, None
        arrays = readers.read_npz(path)
        names = [name for name in arrays if arrays[name].ndim >= 2]
        chosen: str | None = next((name for name in ("X", "x", "data", "arr_0", "X_test") if name in names), None)
        if chosen is None and len(names) == 1:
            chosen = names[0]
        if chosen is None:
            raise BatchError(f"{path}: holds {sorted(arrays)}; expected one array of rows, or one named X")
        self._values, _ = readers.to_rows(arrays[chosen], path)
        self.n_rows, self.width = self._values.shape
        self.dtype = self._values.dtype

    def chunks(self, n: int, start: Any) -> Iterator[Chunk]:
        for row in range(int(start or 0), self.n_rows, n):
            values = np.ascontiguousarray(self._values[row : row + n])
            yield Chunk(-1, values, np.arange(row, row + len(values)), len(values), row + len(values))


class CSVSource:
    """Text rows, features only, with an optional header line; a file, a gzip archive or standard input."""

    dtype = None
    n_rows = None
    has_names = True

    def __init__(self, path: Path | None, header: bool | None = None):
        self.path = path or Path("<standard input>")
        self._stdin = path is None
        looked_at: list[tuple[int, int, str]] = []

        def below() -> Iterator[list[str]]:
            for line in itertools.islice(lines, columns.SAMPLE):
                looked_at.append(line)
                yield readers.split_line(line[2])

        with self._open() as file:
            lines = readers.lines(file, self.path)
            first = next(lines, None)
            if first is None:
                raise BatchError(f"{self.path}: no rows")
            self._first = [cell.strip() for cell in readers.split_line(first[2])]
            self._header_is_known = header is not None
            if header is None:
                header = columns.has_header(self._first, below(), self.path)
        self.feature_names = self._first if header else None
        self.width = self._cells = len(self._first)
        self.columns: list[int] | None = None
        self._dropped: set[int] = set()
        self._from_stdin = itertools.chain([first, *looked_at], lines) if self._stdin else None

    def expect_names(self, names: list[str]) -> None:
        """Take a first line of numbers for the header if it has all the names that a model knows."""
        if not self._header_is_known and set(names) <= set(self._first):
            self.feature_names = self._first

    def select(self, columns: list[int]) -> None:
        """Only these columns of the file, in this order; the others may hold text."""
        self.columns, self.width = columns, len(columns)
        self._dropped = set(range(self._cells)) - set(columns)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        if self._stdin:
            yield sys.stdin.buffer
        else:
            with readers.open_stream(self.path) as file:
                yield file

    def chunks(self, n: int, start: Any) -> Iterator[Chunk]:
        offset, line, row = start or (0, 0, 0)
        with self._open() as file:
            if offset:
                file.seek(offset)
            rows = self._from_stdin or readers.lines(file, self.path, line, offset)
            if self.feature_names is not None and not offset:
                next(rows)
            while True:
                texts: list[str] = []
                lines: list[int] = []
                for line, end, text in itertools.islice(rows, n):
                    texts.append(self._without_dropped(text) if self._dropped else text)
                    lines.append(line)
                    offset = end
                if not texts:
                    return
                numbers = range(row, row + len(texts))
                row = numbers.stop
                yield self._parse(texts, numbers, lines, None if self._stdin else (offset, line, row))

    def _without_dropped(self, text: str) -> str:
        """A line with zeros for the columns that are left out; a line of another width as it is."""
        cells = readers.split_line(text)
        if len(cells) != self._cells:
            return text
        kept = ("0" if i in self._dropped else cell for i, cell in enumerate(cells))
        return ",".join(f'"{cell}"' if "," in cell else cell for cell in kept)

    def _parse(self, texts: list[str], numbers: range, lines: list[int], cursor: Any) -> Chunk:
        blocks: list[np.ndarray] = []
        kept: list[int] = []
        rejects: list[Reject] = []

        def parse(rows: range, sizes: tuple[int, ...]) -> None:
            """Parse several lines at once; if one is bad, split them into smaller groups, down to single lines."""
            for first in range(rows.start, rows.stop, sizes[0]):
                some = range(first, min(first + sizes[0], rows.stop))
                block = parse_rows([texts[i] for i in some], self._cells) if len(sizes) > 1 else None
                if block is not None:
                    blocks.append(block)
                    kept.extend(numbers[some.start : some.stop])
                elif len(sizes) > 1:
                    parse(some, sizes[1:])
                else:
                    one(first)

        def one(i: int) -> None:
            try:
                cells = readers.parse_cells(readers.split_line(texts[i]), self._cells, self.path, lines[i])
            except ValueError as error:
                rejects.append(self._reject(texts[i], numbers[i], lines[i], str(error)))
            else:
                blocks.append(compact(np.array([cells])))
                kept.append(numbers[i])

        parse(range(len(texts)), _LINES_AT_ONCE)
        values = np.concatenate(blocks) if blocks else np.empty((0, self._cells), np.uint8)
        if self.columns is not None:
            values = values[:, self.columns]
        return Chunk(-1, values, np.array(kept, dtype=np.int64), len(texts), cursor, rejects, self.columns)

    def _reject(self, text: str, number: int, line: int, message: str) -> Reject:
        cells = readers.split_line(text)
        reason = message.removeprefix(f"{self.path}, line {line}").lstrip(", ")
        if len(cells) != self._cells:
            return Reject(str(self.path), number, line, 0, reason.lstrip(": "), text[:60])
        column = int(reason.split(":", 1)[0].removeprefix("column "))
        return Reject(str(self.path), number, line, column, "not a finite number", cells[column - 1][:60])


def find_inputs(inputs: list[str]) -> list[str]:
    """The paths of all inputs; a name that is not a file is treated as a glob pattern."""
    found = []
    for item in inputs:
        if item == "-" or os.path.exists(item):
            found.append(item)
            continue
        matches = sorted(glob.glob(item))
        if not matches:
            raise FileNotFoundError(f"{item}: no such file or folder")
        found += matches
    return found


def open_source(item: str, header: bool | None = None) -> Any:
    """The source for one input, chosen by file name extension; "-" is CSV from standard input.

    `header` says whether the first line of a CSV input names its columns.
    """
    if item == "-":
        return CSVSource(None, header)
    path = Path(item)
    if path.is_dir():
        return ImageSource(path)
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv"):
        return CSVSource(path, header)
    if name.endswith(".npy") and name == path.name:
        return ArraySource(path)
    if name.endswith(".npz"):
        return MemorySource(path)
    if path.suffix == ".parquet":
        return ParquetSource(path)
    if path.suffix in (".arrow", ".feather"):
        return ArrowSource(path)
    if name.endswith((".idx", "-ubyte")) or "idx" in name:
        return ArraySource(path)
    raise BatchError(
        f"{path}: unknown kind of file; known are .npy, .npz, IDX, .csv, .parquet, .arrow (IDX and CSV also .gz), "
        "folders of images, and - for CSV on standard input"
    )
