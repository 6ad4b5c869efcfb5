"""Model files and row files that workers open themselves: a task carries the path and a digest."""

import collections
import os
import threading
from pathlib import Path
from typing import Any, NamedTuple

import dask
import dask.array
import numpy as np

from somknn import persistence
from somknn.batch.manifest import file_digest, fingerprint
from somknn.batch.prediction import forget_names
from somknn.batch.sources import ArraySource, open_source
from somknn.datasets import packed
from somknn.datasets.chunks import BatchError, Chunk
from somknn.datasets.image_files import ImageSource
from somknn.datasets.parquet_files import ParquetSource

_MODELS = 4  # most models that a process keeps loaded; the least recently used is dropped
_BLOCK_BYTES = 64_000_000


class ModelFile(NamedTuple):
    """A model file and the SHA-256 of its bytes."""

    path: str
    digest: str

    @classmethod
    def of(cls, path: str | os.PathLike) -> "ModelFile":
        path = Path(path).resolve()
        return cls(str(path), file_digest(path))


class RowFile(NamedTuple):
    """A file or image folder with rows, and the marks that identify its contents."""

    path: str
    marks: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, path: str | os.PathLike) -> "RowFile":
        return cls(str(Path(path).resolve()), _marks(Path(path)))


def _marks(path: Path) -> tuple[tuple[str, Any], ...]:
    # Without path and times, which differ between mounts of one file system.
    return tuple(item for item in fingerprint(path).items() if item[0] not in ("path", "changed_ns"))


_models: collections.OrderedDict[str, Any] = collections.OrderedDict()
_models_lock = threading.Lock()


def load_model(file: ModelFile) -> Any:
    """The model, mapped into memory; loaded once per process, whatever its path.

    Raises BatchError if the file is missing here or differs from the client's.
    """
    with _models_lock:
        if file.digest in _models:
            _models.move_to_end(file.digest)
            return _models[file.digest]
        before = _status(file.path)
        if file_digest(Path(file.path)) != file.digest:
            raise BatchError(f"{file.path} on {_here()} is another file than the client's: its SHA-256 differs")
        model = persistence.load(file.path)
        if _status(file.path) != before:
            raise BatchError(f"{file.path} on {_here()} was replaced while it was loaded")
        forget_names(model)
        _models[file.digest] = model
        while len(_models) > _MODELS:
            _models.popitem(last=False)
        return model


def _status(path: str) -> tuple[int, int, int]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise BatchError(f"{path} does not exist on {_here()}: workers need it on a file system they share") from None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _here() -> str:
    import distributed

    try:
        return f"worker {distributed.get_worker().address}"
    except ValueError:
        return "this machine"


_seen: set[RowFile] = set()


def open_here(file: RowFile) -> Any:
    """The source of a row file, opened on this worker; its first use in a process compares it with the client's."""
    _status(file.path)
    if file not in _seen:
        if _marks(Path(file.path)) != file.marks:
            raise BatchError(f"{file.path} on {_here()} is another file than the client's, or has changed")
        _seen.add(file)
    return open_source(file.path)


def starts_anywhere(source: Any) -> bool:
    """Whether a worker can read rows from the middle of this source without reading the rows before them."""
    if isinstance(source, ArraySource):
        return not packed.is_gzip(source.path)
    return isinstance(source, ParquetSource) or (isinstance(source, ImageSource) and not source.some)


def read_chunk(
    file: RowFile, n: int, start: int, columns: list[int] | None = None, marks: dict[str, int] | None = None
) -> Chunk:
    """The rows [start, start + n) of a file, as `somknn.batch` reads them.

    `columns` and `marks` are as in the source's `select`.
    """
    source = open_here(file)
    if columns is not None:
        source.select(columns, marks)
    return next(source.chunks(n, start))


def _read_rows(file: RowFile, n: int, start: int, dtype: np.dtype) -> np.ndarray:
    chunk = read_chunk(file, n, start)
    if chunk.rejects or chunk.values.dtype.newbyteorder("=") != dtype:
        what = chunk.rejects[0] if chunk.rejects else f"{file.path}, rows {start} to {start + n - 1}: missing values"
        raise BatchError(f"{what}")
    return chunk.values


def open_rows(path: str | os.PathLike, block_rows: int | None = None) -> dask.array.Array:
    """The rows of a file as a Dask array whose blocks the workers read themselves.

    Parameters
    ----------
    path : path-like
        .npy, IDX, .parquet, or a folder of images, at the same path on every worker. Not compressed by gzip.
    block_rows : int, default=None
        Rows per block; by default as many as fit into 64 MB.

    Returns
    -------
    dask.array.Array, shape (n, d), of the file's dtype
        Its name depends on the file's contents and `block_rows` only.

    Raises
    ------
    BatchError
        For a file that cannot be read from the middle (CSV, .npz, gzip).

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from somknn.distributed import open_rows
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/rows.npy", np.arange(12, dtype=np.float32).reshape(6, 2))
    ...     rows = open_rows(f"{folder}/rows.npy", block_rows=4)
    ...     rows.chunks, float(rows.sum().compute(scheduler="synchronous"))
    (((4, 2), (2,)), 66.0)
    """
    source = open_source(str(path))
    if not starts_anywhere(source):
        raise BatchError(f"{path}: rows in the middle of this kind of file cannot be read alone; save them as .npy")
    dtype, n = np.dtype(source.dtype).newbyteorder("="), int(source.n_rows)
    if block_rows is None:
        block_rows = max(1, _BLOCK_BYTES // (source.width * dtype.itemsize))
    if block_rows < 1:
        raise ValueError(f"block_rows must be at least 1, got {block_rows}")
    file = RowFile.of(path)
    read = dask.delayed(_read_rows, pure=True)
    blocks = [
        dask.array.from_delayed(
            read(file, block_rows, start, dtype), (min(block_rows, n - start), source.width), dtype=dtype
        )
        for start in range(0, n, block_rows)
    ]
    return dask.array.concatenate(blocks)
