"""Rows of a Parquet column of lists that all have one length, read page by page by a kernel.

Arrow makes two levels for each value of a list and puts every small integer through 32 bits. Here levels are only
compared with what they must be. Pages of a kind that is not read here (missing values, lists of several lengths, other
encodings), and damaged ones, are left to Arrow, from the first such row on: it reads them, or says what is wrong.
"""

import os
from collections.abc import Callable
from concurrent.futures import Executor, wait
from typing import Any, NamedTuple

import numpy as np

from somknn.datasets.table_claims import DATA, DATA_2, DICTIONARY, Page

_PLAIN, _RLE, _DICTIONARY_CODES = 0, 3, (2, 8)  # encodings
_STORED = {"INT32": "<i4", "INT64": "<i8", "FLOAT": "<f4", "DOUBLE": "<f8"}
_CODECS = ("UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "BROTLI")  # LZ4 has two framings
_ALL_BYTES = 256
_MOST_BYTES = (
    64_000_000  # of a page whose rows go to several chunks, and that is kept between them; Arrow reads larger ones
)


class Irregular(ValueError):
    """A page that is not of the kind that is read here."""


class Leaf(NamedTuple):
    """The values of a list column as a Parquet file stores them: number of the leaf, its type, levels and codec."""

    number: int
    stored: np.dtype
    highest_definition: int
    codec: str


def leaf_of(metadata: Any, name: str, group: int) -> Leaf | None:
    """The leaf of a column of lists in a row group; None if it is none, or stored in a way that is not read here."""
    paths = [metadata.schema.column(j).path for j in range(len(metadata.schema))]
    found = [j for j, path in enumerate(paths) if path.startswith(f"{name}.")]
    if len(found) != 1:
        return None
    column, codec = metadata.schema.column(found[0]), metadata.row_group(group).column(found[0]).compression
    stored = _STORED.get(column.physical_type)
    if stored is None or codec not in _CODECS or column.max_repetition_level != 1:
        return None
    return Leaf(found[0], np.dtype(stored), column.max_definition_level, codec)


class PageRows:
    """The rows of a row group, from row `first` of it on; `otherwise(row)` gives those that Arrow has to read.

    `marks` reads the columns beside, as far as rows are read here.
    """

    def __init__(
        self,
        path: Any,
        pages: list[Page],
        leaf: Leaf,
        shape: tuple[int, int],
        dtype: np.dtype,
        first: int,
        otherwise: Callable[[int], Any],
        marks: Any = None,
    ):
        self.marks = marks
        self._path, self._leaf, self._dtype, self._otherwise = path, leaf, dtype, otherwise
        self._n_rows, self._width = shape
        self._row, self._other, self._seen = first, None, False
        self._table, self._n_entries = np.zeros(_ALL_BYTES, dtype), 0
        self._pages = pages
        counts = [0 if page.kind == DICTIONARY else page.inner.get(1, 0) for page in pages]
        self._starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._spanned: dict[int, np.ndarray] = {}  # values of pages that hold rows of two calls

    def any_left(self) -> bool:
        """Whether there is another row."""
        return self._row < self._n_rows

    def fill(self, out: np.ndarray, executor: Executor) -> tuple[int, Any]:
        """Fill `out` (n, width) with the next n rows; returns how many were read here, and the reader of the others."""
        if self._other is not None:
            return 0, self._other
        n = min(len(out), self._n_rows - self._row)
        flat, begin = out[:n].reshape(-1), self._row * self._width
        end = begin + len(flat)
        # The first time from the first page on: whether lists before the first row are regular decides where it is.
        low = int(np.searchsorted(self._starts, begin, "right")) - 1 if self._seen else 0
        some = range(low, int(np.searchsorted(self._starts, end)))
        self._seen = True
        with open(self._path, "rb", buffering=0) as file:
            try:
                if self._starts[-1] != self._n_rows * self._width:
                    raise Irregular("another number of values")
                self._read_dictionary(file.fileno())
            except Irregular:
                some = range(0)
            jobs = [executor.submit(self._page_into, file.fileno(), number, flat, begin) for number in some]
            wait(jobs)  # also where one of them fails: the file stays open as long as they read it
            good = [self._succeeded(job) for job in jobs]
        self._spanned = {number: values for number, values in self._spanned.items() if self._starts[number + 1] > end}
        done = n
        if not all(good) or not good:
            last = some[good.index(False)] if good else 0
            reached = max(begin, int(self._starts[last])) if good else begin
            done = (reached - begin) // self._width
            self._other = self._otherwise(self._row + done)
        self._row += done
        return done, self._other

    @staticmethod
    def _succeeded(job: Any) -> bool:
        try:
            job.result()
        except Irregular:
            return False
        return True

    def _page_into(self, descriptor: int, number: int, flat: np.ndarray, begin: int) -> None:
        """Put the values of a page where they belong in `flat`, whose first is value `begin` of the row group."""
        first, last = int(self._starts[number]) - begin, int(self._starts[number + 1]) - begin
        if first == last:
            return
        if last <= 0:
            self._decode(descriptor, number, np.empty(last - first, self._dtype))
            return
        if first >= 0 and last <= len(flat):
            self._decode(descriptor, number, flat[first:last])
            return
        values = self._spanned.get(number)
        if values is None:
            if (last - first) * self._dtype.itemsize > _MOST_BYTES:
                raise Irregular("a page too large to keep")
            values = np.empty(last - first, self._dtype)
            self._decode(descriptor, number, values)
            self._spanned[number] = values
        flat[max(0, first) : min(len(flat), last)] = values[max(0, -first) : len(flat) - first]

    def _unpacked(self, descriptor: int, page: Page, begin: int = 0) -> np.ndarray:
        """The bytes of a page from `begin` on, unpacked."""
        import pyarrow as pa

        raw = os.pread(descriptor, page.packed - begin, page.at + begin)
        if len(raw) < page.packed - begin:
            raise Irregular("a truncated file")
        if self._leaf.codec == "UNCOMPRESSED" or (page.kind == DATA_2 and page.inner.get(7) is False):
            return np.frombuffer(raw, np.uint8)
        if page.unpacked == begin:
            return np.empty(0, np.uint8)
        try:
            return np.frombuffer(pa.Codec(self._leaf.codec.lower()).decompress(raw, page.unpacked - begin), np.uint8)
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise Irregular("a damaged page") from None

    def _read_dictionary(self, descriptor: int) -> None:
        if self._n_entries or not self._pages or self._pages[0].kind != DICTIONARY:
            return
        page = self._pages[0]
        if any(other.kind == DICTIONARY for other in self._pages[1:]) or page.inner.get(2) not in (_PLAIN, 2):
            raise Irregular("several dictionaries")
        entries = self._plain(self._unpacked(descriptor, page), _whole(page.inner, 1))
        self._n_entries = len(entries)
        self._table = np.concatenate([entries, np.zeros(_ALL_BYTES, self._dtype)])

    def _decode(self, descriptor: int, number: int, out: np.ndarray) -> None:
        """The values of a data page; Irregular if they are not all there, or not in lists of one length."""
        from somknn_kernels.files.parquet_pages import look_up

        page, n = self._pages[number], len(out)
        if page.kind not in (DATA, DATA_2):
            raise Irregular("a page of another kind")
        inner, first = page.inner, int(self._starts[number])
        if page.kind == DATA:
            encoding = _whole(inner, 2)
            if inner.get(3) != _RLE or inner.get(4) != _RLE:
                raise Irregular("levels in another encoding")
            body = self._unpacked(descriptor, page)
            repetition, at = _levels(body, 0)
            definition, at = _levels(body, at)
            body = body[at:]
        else:
            encoding, n_repetition, n_definition = (_whole(inner, field) for field in (4, 6, 5))
            if min(n_repetition, n_definition) < 0 or n_repetition + n_definition > min(page.packed, page.unpacked):
                raise Irregular("levels longer than their page")
            raw = np.frombuffer(os.pread(descriptor, n_repetition + n_definition, page.at), np.uint8)
            repetition, definition = raw[:n_repetition], raw[n_repetition:]
            body = self._unpacked(descriptor, page, n_repetition + n_definition)
        self._check_levels(repetition, definition, n, first)
        if encoding == _PLAIN:
            out[:] = self._plain(body, n)
        elif encoding in _DICTIONARY_CODES and self._n_entries and len(body) and body[0] <= 32:
            kind = np.dtype(f"u{self._dtype.itemsize}")  # entries are moved as bits: few kinds of kernels
            if not look_up(body[1:], int(body[0]), self._table.view(kind), self._n_entries, out.view(kind)):
                raise Irregular("numbers beyond the dictionary")
        else:
            raise Irregular("values in another encoding")

    def _check_levels(self, repetition: np.ndarray, definition: np.ndarray, n: int, first: int) -> None:
        from somknn_kernels.files.parquet_pages import are_regular_levels

        highest = self._leaf.highest_definition
        if not are_regular_levels(repetition, 1, n, 1, self._width, first) or not are_regular_levels(
            definition, highest.bit_length(), n, highest, 0, 0
        ):
            raise Irregular("lists of other lengths, or missing values")

    def _plain(self, body: np.ndarray, n: int) -> np.ndarray:
        """`n` values as they lie in a file, in the dtype of the rows."""
        if n * self._leaf.stored.itemsize > len(body):
            raise Irregular("too few values")
        stored = body[: n * self._leaf.stored.itemsize].view(self._leaf.stored)
        if self._dtype.itemsize == self._leaf.stored.itemsize:
            return stored.view(self._dtype)
        values = stored.astype(self._dtype)
        if (values != stored).any():
            raise Irregular("values beyond the type of their column")
        return values


def _whole(header: dict[int, Any], field: int) -> int:
    """The integer in a field of a header."""
    value = header.get(field)
    if type(value) is not int:
        raise Irregular(f"a header without field {field}")
    return value


def _levels(body: np.ndarray, at: int) -> tuple[np.ndarray, int]:
    """The runs of levels at byte `at` of a page, and where they end."""
    length = int.from_bytes(body[at : at + 4].tobytes(), "little")
    if at + 4 + length > len(body):
        raise Irregular("levels longer than their page")
    return body[at + 4 : at + 4 + length], at + 4 + length
