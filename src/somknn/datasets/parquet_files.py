"""Parquet files: row groups, and what of them a kernel reads."""

import bisect
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from somknn.datasets.arrow_cells import first_width, is_list, is_vector, storage
from somknn.datasets.chunks import BatchError, Chunk
from somknn.datasets.parquet_pages import Leaf, PageRows, leaf_of
from somknn.datasets.table_claims import check_codecs, check_pages
from somknn.datasets.tables import BatchRows, Filled, TableSource, require_pyarrow, store

# Rows decoded at a time: 1,000 of a list column (its values and levels stay in the cache, which saves 20% of the time
# compared with 5,000), 4 MB of separate columns (each batch costs some microseconds per column).
_LIST_ROWS = 1000
_COLUMN_BYTES = 4 << 20
_UNEVEN = 4  # lists longer than the first one, by so much, are read and told one by one; beyond that it is damage
_MOST_VALUES = 1 << 20  # in a list
_BUFFER_BYTES = 16 << 20  # compressed bytes read ahead, over all columns


class ParquetSource(TableSource):
    """A Parquet file. Row groups that fall into the same chunk, and pages of lists, are decoded in parallel."""

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

    def _group(self, group: int, first: int, n: int) -> Any:
        """The rows of a row group from row `first` of the file."""
        # Columns that are left out are neither read nor checked.
        chosen, vector = self._chosen(), self._vector
        names = None if chosen is None else [self.names_in_file[at] for at in chosen]
        values_per_row = 1 if vector is None else self.width * (1 if self._is_fixed(vector) else _UNEVEN)
        pages = check_pages(self.path, self._metadata.row_group(group), values_per_row, names)
        leaf = None if vector is None else self._leaf(vector, group)
        if leaf is None:
            return self._by_arrow(group, first, n, names)
        start = self._starts[group]
        beside = sorted(set(self.marks.values()))
        marks = self._by_arrow(group, first, n, [self.names_in_file[at] for at in beside]) if beside else None
        return PageRows(
            self.path,
            pages[leaf.number],
            leaf,
            (self._starts[group + 1] - start, self.width),
            self.dtype,
            max(0, first - start),
            lambda row: self._by_arrow(group, start + row, n, names),
            marks,
        )

    def _leaf(self, vector: int, group: int) -> Leaf | None:
        """The values of a column of lists of plain numbers, which a kernel reads; None for others."""
        types = require_pyarrow().types
        kind = storage(self._types[vector])
        inner = storage(kind.value_type) if is_list(kind) else kind
        if not is_list(kind) or not (types.is_integer(inner) or types.is_float32(inner) or types.is_float64(inner)):
            return None
        leaf = leaf_of(self._metadata, self.names_in_file[vector], group)
        same = leaf is not None and (self.dtype.kind == "f") == (leaf.stored.kind == "f")
        return leaf if same and self.dtype.itemsize <= leaf.stored.itemsize else None  # type: ignore[union-attr]

    def _by_arrow(self, group: int, first: int, n: int, names: list[str] | None) -> BatchRows:
        vector = self._vector
        step = max(1, _COLUMN_BYTES // max(1, self.width * self.dtype.itemsize)) if vector is None else _LIST_ROWS
        with self._damage():
            # Arrow decodes separate columns in threads, but a single column (of lists) in one thread only.
            batches = self._file(self._metadata).iter_batches(
                batch_size=min(n, step), row_groups=[group], columns=names, use_threads=vector is None
            )
        return BatchRows(batches, max(0, first - self._starts[group]))

    def _is_fixed(self, column: int) -> bool:
        kind = storage(self._types[column])
        while require_pyarrow().types.is_fixed_size_list(kind):
            kind = storage(kind.value_type)
        return not is_vector(kind)

    def _first_width(self, column: int) -> int | None:
        name = self.names_in_file[column]
        for group in range(self._metadata.num_row_groups):
            if self._starts[group + 1] == self._starts[group]:
                continue
            check_pages(self.path, self._metadata.row_group(group), _MOST_VALUES, [name])
            for batch in self._file(self._metadata).iter_batches(
                batch_size=1, row_groups=[group], columns=[name], use_threads=False
            ):
                width = first_width(batch.column(name))
                if width is not None:
                    return width
        return None

    def chunks(self, n: int, start: Any) -> Iterator[Chunk]:
        row = int(start or 0)
        opened: dict[int, Any] = {}
        # Two pools: the pages of a row group are jobs as well, and a job that waits for others must not hold them up.
        threads = 1 if self._vector is None else require_pyarrow().cpu_count()
        with (
            ThreadPoolExecutor(threads, "somknn-parquet") as pool,
            ThreadPoolExecutor(threads, "somknn-pages") as pages,
        ):
            self._pages = pages
            while row < self.n_rows:
                stop = min(row + n, self.n_rows)
                yield self._chunk(*self._read(row, stop, opened, pool))
                row = stop

    def _filled(self, out: np.ndarray, rows: Any) -> Filled:
        """Fill `out` from its start; pages by a kernel, whatever it does not read by Arrow."""
        if isinstance(rows, BatchRows):
            return self._fill(out, rows)
        n, others = rows.fill(out, self._pages)
        filled = Filled(n)
        missing = n if rows.marks is not None else 0
        with self._damage():
            while missing:
                if not rows.marks.any_left():
                    raise BatchError(f"{self.path}: damaged (columns of several lengths)")
                batch = rows.marks.take(missing)
                filled.marks.append(self._marks(batch))
                missing -= len(batch)
        if others is not None:
            filled.add(self._fill(out[n:], others), n)
        return filled

    def _read(
        self, row: int, stop: int, opened: dict[int, Any], pool: ThreadPoolExecutor
    ) -> tuple[np.ndarray, int, Filled]:
        """The rows from `row` to `stop`; `opened` holds the partly read row group after the last row read."""
        starts = self._starts
        groups = range(bisect.bisect_right(starts, row) - 1, bisect.bisect_left(starts, stop))
        rows = {g: opened.pop(g) if g in opened else self._group(g, row, stop - row) for g in groups}
        with self._damage():
            if not rows[groups[0]].any_left():  # before memory is allocated
                raise BatchError(f"{self.path}: damaged (no rows in row group {groups[0]})")
        values = np.empty((stop - row, self.width), self.dtype)
        places = {group: (max(row, starts[group]) - row, min(stop, starts[group + 1]) - row) for group in groups}
        jobs = {group: pool.submit(self._filled, values[slice(*places[group])], rows[group]) for group in groups}
        filled = Filled()
        for group, (begin, end) in places.items():
            part = jobs[group].result()
            if part.n < end - begin:
                raise BatchError(f"{self.path}: damaged (row group {group} is shorter than the file says)")
            filled.add(part, begin)
        if starts[groups[-1] + 1] > stop:
            opened[groups[-1]] = rows[groups[-1]]
        require_pyarrow().default_memory_pool().release_unused()
        return store(values, filled.other), row, filled
