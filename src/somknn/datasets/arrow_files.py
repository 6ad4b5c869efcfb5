"""Arrow files and streams, mapped into memory."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from somknn.datasets.arrow_cells import first_width
from somknn.datasets.chunks import BatchError, Chunk
from somknn.datasets.table_claims import batch_offsets, buffers_of, check_record_batch
from somknn.datasets.tables import BatchRows, TableSource, require_pyarrow, store

_MAGIC = b"ARROW1"


class ArrowSource(TableSource):
    """An Arrow file or stream.

    Its arrays are views of the mapped file, and are used only after a check that they lie inside it.
    """

    def _open(self) -> Any:
        ipc = require_pyarrow().ipc
        with require_pyarrow().memory_map(str(self.path)) as mapped:
            self._is_file = mapped.read(6) == _MAGIC
            mapped.seek(0)
            return (ipc.open_file if self._is_file else ipc.open_stream)(mapped).schema

    def _batches(self) -> Iterator[Any]:
        """The record batches, each checked before it is decompressed.

        A file is a stream with a magic number before it and an index after it. Its batches are found by the index: the
        stream of some writers (polars) begins with a message that has no length.
        """
        pa = require_pyarrow()
        chosen = self._chosen()  # columns that are left out are neither read nor checked
        options = pa.ipc.IpcReadOptions(included_fields=chosen or [])
        buffers = buffers_of(self._types, list(range(len(self._types))) if chosen is None else chosen)
        with pa.memory_map(str(self.path)) as mapped, pa.memory_map(str(self.path)) as again:
            for message, batch in (self._indexed if self._is_file else self._streamed)(mapped, again, options):
                check_record_batch(self.path, message, buffers)
                found = batch()
                if found is None:
                    return
                found.validate(full=True)
                yield found

    def _indexed(self, mapped: Any, again: Any, options: Any) -> Iterator[tuple[Any, Callable[[], Any]]]:
        pa = require_pyarrow()
        reader, offsets = pa.ipc.open_file(mapped, options=options), batch_offsets(self.path)
        if len(offsets) != reader.num_record_batches:
            raise BatchError(f"{self.path}: damaged index")
        for i, offset in enumerate(offsets):
            again.seek(offset)
            try:
                message = pa.ipc.read_message(again)
            except EOFError as error:
                raise BatchError(f"{self.path}: damaged (record batch {i}: {error})") from None
            if message.type != "record batch":
                raise BatchError(f"{self.path}: damaged (record batch {i} is a {message.type})")
            yield message, functools.partial(reader.get_batch, i)

    def _streamed(self, mapped: Any, again: Any, options: Any) -> Iterator[tuple[Any, Callable[[], Any]]]:
        pa = require_pyarrow()
        reader = pa.ipc.open_stream(mapped, options=options)
        for message in pa.ipc.MessageReader.open_stream(again):
            if message.type == "record batch":
                yield message, lambda: next(reader, None)  # the same message

    def _first_width(self, column: int) -> int | None:
        widths = (first_width(self._column(batch, column)) for batch in self._batches())
        return next((width for width in widths if width is not None), None)

    def chunks(self, n: int, start: Any) -> Iterator[Chunk]:
        row = int(start or 0)
        rows = BatchRows(self._batches(), row)
        while True:
            with self._damage():
                if not rows.any_left():  # before memory is allocated
                    return
            values = np.empty((n, self.width), self.dtype)
            filled = self._fill(values, rows)
            yield self._chunk(store(values, filled.other)[: filled.n], row, filled)
            row += filled.n
