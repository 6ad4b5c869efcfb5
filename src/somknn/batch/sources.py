"""Inputs of batch classification. Each reports its schema before any row is read, then streams its rows in chunks.

A source has `path`, `width`, `dtype` (None for text), `feature_names` (or None), `n_rows` (or None) and a method
`chunks(n, start)`. It yields chunks of n rows (the last is shorter) from the position `start`, which is None or the
`cursor` of an earlier chunk. Chunk boundaries depend on n only, so a resumed run makes the same chunks as an
uninterrupted one.

A source of a kind that can name its columns (`has_names`) also has `select(columns, marks)`: rows then consist of
these columns of the file, in this order, and the columns `marks`, by name, go to the output. `width` and `dtype` are
those of the rows.
"""

import glob
import itertools
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from somknn.datasets import columns, kinds, packed, readers
from somknn.datasets.arrow_files import ArrowSource
from somknn.datasets.chunks import BatchError, Chunk, Reject
from somknn.datasets.hdf5 import HDF5Source
from somknn.datasets.image_files import ImageSource
from somknn.datasets.parquet_files import ParquetSource
from somknn.datasets.separators import UNSAID, TextOptions, format_of, plain_lines
from somknn.datasets.text import compact, parse_rows

_LINES_AT_ONCE = (2000, 100, 1)


class ArraySource:
    """An .npy or IDX file: a header, then rows of equal size."""

    has_names = False

    def __init__(self, path: Path):
        self.path, self.feature_names = path, None
        if kinds.kind_of(path) == "npy":
            array = readers.map_npy(path)
            self.n_rows, self.dtype, shape = len(array) if array.ndim else 0, array.dtype, array.shape
            self.columns_first = array.flags.f_contiguous and not array.flags.c_contiguous
            self._offset = int(array.offset) if isinstance(array, np.memmap) else 0
        else:
            with packed.open_stream(path) as file:
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
        with packed.open_stream(self.path) as file:
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
    missing = False  # whether cells may be empty, NA or the like

    def __init__(self, path: Path | None, text: TextOptions = UNSAID):
        self.path = path or Path("<standard input>")
        self._stdin = path is None
        with self._open() as file:
            lines = readers.lines(file, self.path)
            head = list(itertools.islice(lines, 1 if self._says_all(text) else columns.SAMPLE + 1))
            if not head:
                raise BatchError(f"{self.path}: no rows")
            self._format = format_of([line[2] for line in head], self.path, text.separator, text.decimal)
            plain = list(plain_lines(head, self._format, self.path))
            for number, _, line in plain:
                readers.require_closed_quotes(number, line, self.path)
            first, *below = (readers.split_line(line) for _, _, line in plain)
            self._first = [cell.strip() for cell in first]
            header = columns.has_header(self._first, below, self.path) if text.header is None else text.header
        self._header_is_known = text.header is not None
        self.feature_names = self._first if header else None
        self.width = self._cells = len(self._first)
        self.columns: list[int] | None = None
        self.marks: dict[str, int] = {}
        self._dropped: set[int] = set()
        self._from_stdin = itertools.chain(head, lines) if self._stdin else None

    @staticmethod
    def _says_all(text: TextOptions) -> bool:
        """Whether the first line is enough: a pipe that gives a line at a time is then not waited for."""
        return text.header is not None and text.separator is not None

    def expect_names(self, names: list[str]) -> None:
        """Take a first line of numbers for the header if it has all the names that a model knows."""
        if not self._header_is_known and set(names) <= set(self._first):
            self.feature_names = self._first

    def select(self, columns: list[int], marks: dict[str, int] | None = None) -> None:
        """Only these columns of the file, in this order; the others may hold text, and `marks` go to the output."""
        self.columns, self.width, self.marks = columns, len(columns), marks or {}
        self._dropped = set(range(self._cells)) - set(columns)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        if self._stdin:
            yield sys.stdin.buffer
        else:
            with packed.open_stream(self.path) as file:
                yield file

    def chunks(self, n: int, start: Any) -> Iterator[Chunk]:
        offset, line, row = start or (0, 0, 0)
        with self._open() as file:
            if offset:
                file.seek(offset)
            rows = self._from_stdin or readers.lines(file, self.path, line, offset)
            rows = plain_lines(rows, self._format, self.path)
            if self.feature_names is not None and not offset:
                next(rows)
            while True:
                texts: list[str] = []
                lines: list[int] = []
                marks: dict[str, list[str]] = {name: [] for name in self.marks}
                for line, end, text in itertools.islice(rows, n):
                    readers.require_closed_quotes(line, text, self.path)
                    texts.append(self._without_dropped(text, marks) if self._dropped else text)
                    lines.append(line)
                    offset = end
                if not texts:
                    return
                numbers = range(row, row + len(texts))
                row = numbers.stop
                chunk = self._parse(texts, numbers, lines, None if self._stdin else (offset, line, row))
                kept = chunk.numbers - numbers.start
                chunk.marks = {name: np.array(cells, dtype=np.str_)[kept] for name, cells in marks.items()}
                yield chunk

    def _without_dropped(self, text: str, marks: dict[str, list[str]]) -> str:
        """A line with zeros for the columns that are left out; a line of another width as it is.

        The cells that go to the output are added to `marks`.
        """
        cells = readers.split_line(text)
        if len(cells) != self._cells:
            for column in marks.values():
                column.append("")
            return text
        for name, column in marks.items():
            column.append(cells[self.marks[name]])
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
                cells = readers.split_line(texts[i])
                values = readers.parse_cells(cells, self._cells, self.path, lines[i], missing=self.missing)
            except ValueError as error:
                rejects.append(self._reject(texts[i], numbers[i], lines[i], str(error)))
            else:
                blocks.append(compact(np.array([values])))
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


def open_sources(items: list[str], text: TextOptions = UNSAID) -> list[Any]:
    """The sources for all inputs: a folder of parts has one for each, and images that follow each other have one."""
    sources: list[Any] = []
    images: list[Path] = []

    def add_images() -> None:
        if images:
            folder = Path(os.path.commonpath([path.absolute().parent for path in images]))
            names = [path.absolute().relative_to(folder).as_posix() for path in images]
            alone = len(images) == 1
            sources.append(ImageSource(images[0].parent if alone else folder, [images[0].name] if alone else names))
            images.clear()

    for item in items:
        path = Path(item)
        if item == "-" or path.is_dir():
            add_images()
            parts = [] if item == "-" else kinds.parts_of(path)
            sources += [open_source(str(part), text) for part in parts] or [open_source(item, text)]
        elif kinds.kind_of(path) == "image":
            images.append(path)
        else:
            add_images()
            sources.append(open_source(item, text))
    add_images()
    return sources


_SOURCES: dict[str, Callable[[Path], Any]] = {
    "npy": ArraySource,
    "idx": ArraySource,
    "npz": MemorySource,
    "hdf5": HDF5Source,
    "parquet": ParquetSource,
    "arrow": ArrowSource,
    "image": lambda path: ImageSource(path.parent, [path.name]),
}


def open_source(item: str, text: TextOptions = UNSAID) -> Any:
    """The source for one input, by its content; "-" is CSV from standard input, a folder one of images.

    `text` says how a CSV input is written.
    """
    if item == "-":
        return CSVSource(None, text)
    path = Path(item)
    if path.is_dir():
        return ImageSource(path)
    kind = kinds.kind_of(path)
    return CSVSource(path, text) if kind == "csv" else _SOURCES[kind](path)
