"""Table inputs: Parquet and Arrow files, streamed. See `somknn.batch.sources` for the interface of a source."""

import bisect
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from somknn.datasets.chunks import BatchError, Chunk
from somknn.datasets.table_claims import buffers_of, check_codecs, check_pages, check_record_batch

# Rows decoded at a time: 1,000 of a list column (its values and levels stay in the cache, which saves 20% of the time
# compared with 5,000), 4 MB of separate columns (each batch costs some microseconds per column).
_LIST_ROWS = 1000
_COLUMN_BYTES = 4 << 20
_ARROW_MAGIC = b"ARROW1"
_BUFFER_BYTES = 16 << 20  # compressed bytes read ahead, over all columns


class _TableSource:
    """One column per feature, or one column of fixed-size lists."""

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
        pa = require_pyarrow()
        fields = list(schema)
        self._list = len(fields) == 1 and pa.types.is_fixed_size_list(fields[0].type)
        self._names = list(schema.names)
        self._types = [fields[0].type.value_type] if self._list else [field.type for field in fields]
        self.width = fields[0].type.list_size if self._list else len(fields)
        self.has_names = not self._list
        self.feature_names = None if self._list else self._names
        self.columns: list[int] | None = None
        if not fields or not self.width:
            raise BatchError(f"{self.path}: no columns")

    def select(self, columns: list[int]) -> None:
        """Only these columns of the file, in this order; the others may be of any type."""
        self.columns, self.width, self._dtype = columns, len(columns), None

    def _chosen(self) -> list[int] | None:
        """The columns to read where some are left out, in the file's order; None for all."""
        return None if self.columns is None or len(self.columns) == len(self._names) else sorted(self.columns)

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the rows; BatchError if a column is not of numbers."""
        if self._dtype is None:
            pa = require_pyarrow()
            places = range(len(self._types)) if self.columns is None else self.columns
            for at in places:
                kind = self._types[at]
                if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
                    raise BatchError(f"{self.path}: column {self._names[at]!r} is {kind}; expected numbers")
            self._dtype = np.result_type(*{np.dtype(self._types[at].to_pandas_dtype()) for at in places})
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

    def _values(self, batch: Any) -> np.ndarray:
        """The rows of a record batch; floats with NaN where values are missing."""
        if self._list:
            column = batch.column(0)
            flat = column.values.slice(column.offset * self.width, len(column) * self.width)
            values = flat.to_numpy(zero_copy_only=False).reshape(len(column), self.width)
            if values.dtype == object:
                values = values.astype(np.float64)
            if column.null_count:
                values = np.where(column.is_null().to_numpy(zero_copy_only=False)[:, None], np.nan, values)
            return values
        chosen = batch.columns if self.columns is None else [batch.column(self._names[at]) for at in self.columns]
        columns = [column.to_numpy(zero_copy_only=False) for column in chosen]
        dtype = np.result_type(*{column.dtype for column in columns})
        values = np.empty((len(batch), self.width), np.float64 if dtype == np.dtype(object) else dtype)
        for j, column in enumerate(columns):
            values[:, j] = column
        return values

    def _fill(self, out: np.ndarray, rows: "_Rows") -> tuple[int, list[tuple[int, np.ndarray]]]:
        """Fill `out` from its start; return the number of rows, and the parts that its dtype cannot hold."""
        other, at = [], 0
        with self._damage():
            while at < len(out) and rows.any_left():
                part = self._values(rows.take(len(out) - at))
                if np.can_cast(part.dtype, out.dtype):
                    out[at : at + len(part)] = part
                else:
                    other.append((at, part))
                at += len(part)
        return at, other


class _Rows:
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


def _store(values: np.ndarray, parts: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """`values` with `parts` stored in them; the parts have another dtype because they contain missing values."""
    if parts:
        values = values.astype(np.result_type(values, *(part for _, part in parts)))
    for at, part in parts:
        values[at : at + len(part)] = part
    return values


class ParquetSource(_TableSource):
    """A Parquet file. Row groups that fall into the same chunk are decoded in parallel."""

    n_rows: int

    def _open(self) -> Any:
        file = self._file()
        self._metadata = file.metadata
        check_codecs(Path(self.path))
        sizes = [self._metadata.row_group(group).num_rows for group in range(self._metadata.num_row_groups)]
        self._starts = [0, *itertools.accumulate(sizes)]
        self.n_rows = self._starts[-1]
        return file.schema_arrow

    def _file(self, metadata: Any = None) -> Any:
        require_pyarrow()
        import pyarrow.parquet as pq

        # A small read buffer instead of whole column chunks: memory stays bounded.
        size = 1 << 20 if metadata is None else min(1 << 20, max(1 << 14, _BUFFER_BYTES // metadata.num_columns))
        return pq.ParquetFile(self.path, metadata=metadata, buffer_size=size, pre_buffer=False)

    def _group(self, group: int, first: int, n: int) -> _Rows:
        """The rows of a row group from row `first` of the file."""
        # Columns that are left out are neither read nor checked.
        chosen = self._chosen()
        names = None if chosen is None else [self._names[at] for at in chosen]
        check_pages(self.path, self._metadata.row_group(group), self.width if self._list else 1, names)
        step = _LIST_ROWS if self._list else max(1, _COLUMN_BYTES // (self.width * self.dtype.itemsize))
        with self._damage():
            # Arrow decodes separate columns in threads, but a single column (of lists) in one thread only.
            batches = self._file(self._metadata).iter_batches(
                batch_size=min(n, step), row_groups=[group], columns=names, use_threads=not self._list
            )
        return _Rows(batches, max(0, first - self._starts[group]))

    def chunks(self, n: int, start: Any) -> Iterator[Chunk]:
        row = int(start or 0)
        opened: dict[int, _Rows] = {}
        with ThreadPoolExecutor(require_pyarrow().cpu_count() if self._list else 1, "somknn-parquet") as pool:
            while row < self.n_rows:
                stop = min(row + n, self.n_rows)
                values = self._read(row, stop, opened, pool)
                yield Chunk(-1, values, np.arange(row, stop), stop - row, stop, columns=self.columns)
                row = stop

    def _read(self, row: int, stop: int, opened: dict[int, _Rows], pool: ThreadPoolExecutor) -> np.ndarray:
        """The rows from `row` to `stop`; `opened` holds the partly read row group after the last row read."""
        starts = self._starts
        groups = range(bisect.bisect_right(starts, row) - 1, bisect.bisect_left(starts, stop))
        rows = {g: opened.pop(g) if g in opened else self._group(g, row, stop - row) for g in groups}
        with self._damage():
            if not rows[groups[0]].any_left():  # before memory is allocated
                raise BatchError(f"{self.path}: damaged (no rows in row group {groups[0]})")
        values = np.empty((stop - row, self.width), self.dtype)
        places = {group: (max(row, starts[group]) - row, min(stop, starts[group + 1]) - row) for group in groups}
        jobs = {group: pool.submit(self._fill, values[slice(*places[group])], rows[group]) for group in groups}
        parts = []
        for group, (begin, end) in places.items():
            filled, other = jobs[group].result()
            if filled < end - begin:
                raise BatchError(f"{self.path}: damaged (row group {group} is shorter than the file says)")
            parts += [(begin + at, part) for at, part in other]
        if starts[groups[-1] + 1] > stop:
            opened[groups[-1]] = rows[groups[-1]]
        require_pyarrow().default_memory_pool().release_unused()
        return _store(values, parts)


class ArrowSource(_TableSource):
    """An Arrow file or stream.

    Its arrays are views of the mapped file, and are used only after a check that they lie inside it.
    """

    def _open(self) -> Any:
        with self._mapped() as (mapped, _):
            return require_pyarrow().ipc.open_stream(mapped).schema

    @contextmanager
    def _mapped(self) -> Iterator[tuple[Any, int | None]]:
        """The mapped file at the start of its message stream, and the number of batches if the file states it.

        A file is a stream with a magic number before it and an index after it; the index must not be missing.
        """
        pa = require_pyarrow()
        with pa.memory_map(str(self.path)) as mapped:
            n_batches = pa.ipc.open_file(mapped).num_record_batches if mapped.read(6) == _ARROW_MAGIC else None
            mapped.seek(0 if n_batches is None else 8)
            yield mapped, n_batches

    def _batches(self) -> Iterator[Any]:
        pa = require_pyarrow()
        chosen = self._chosen()  # columns that are left out are neither read nor checked
        options = pa.ipc.IpcReadOptions(included_fields=chosen or [])
        buffers = None if chosen is None else buffers_of(self._types, chosen)
        with self._mapped() as (mapped, n_batches), self._mapped() as (again, _):
            messages, reader, n = (
                pa.ipc.MessageReader.open_stream(again),
                pa.ipc.open_stream(mapped, options=options),
                0,
            )
            while n != n_batches:
                message = next(messages, None)
                if message is None:
                    break
                if message.type != "record batch":
                    continue
                check_record_batch(self.path, message, buffers)
                batch = next(reader, None)  # the same message
                if batch is None:
                    break
                batch.validate(full=True)
                n += 1
                yield batch
        if n_batches is not None and n < n_batches:
            raise BatchError(f"{self.path}: damaged ({n} record batches where its index has {n_batches})")

    def chunks(self, n: int, start: Any) -> Iterator[Chunk]:
        row = int(start or 0)
        rows = _Rows(self._batches(), row)
        while True:
            with self._damage():
                if not rows.any_left():  # before memory is allocated
                    return
            values = np.empty((n, self.width), self.dtype)
            filled, other = self._fill(values, rows)
            values = _store(values, other)[:filled]
            yield Chunk(-1, values, np.arange(row, row + filled), filled, row + filled, columns=self.columns)
            row += filled


def require_pyarrow() -> Any:
    """The module pyarrow, or an ImportError that says what to install."""
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError:
        raise BatchError("Parquet and Arrow files need pyarrow: pip install 'somknn[files]'") from None
    return pyarrow
