"""Classification on a cluster: the run of `somknn.batch` with its parts computed by workers, and lazy predictions."""

import dataclasses
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import dask.array
import numpy as np
from distributed import Client, Future

from somknn.batch.checks import set_apart
from somknn.batch.coding import Coding, coded
from somknn.batch.engine import Progress, Run, whole_part
from somknn.batch.options import Options, Summary
from somknn.batch.places import check_places, find_sources
from somknn.batch.prediction import Wanted, predict_columns, set_threads
from somknn.datasets.chunks import BatchError, Chunk
from somknn.distributed.cluster import (
    blocks_of,
    check_shape,
    find_client,
    large_graphs,
    prepared,
    result_of,
    start_blocks,
    turn,
)
from somknn.distributed.files import ModelFile, RowFile, load_model, read_chunk, starts_anywhere

METHODS = ("predict", "predict_proba", "transform")


def classify(
    model_path: Any,
    input: Any,
    output: Any,
    client: Client | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Summary:
    """Classify the rows of files, or of a Dask array, with a saved model on the workers of a cluster.

    The output has the same bytes as that of `somknn.batch.classify`. A run survives the loss of workers, and can be
    interrupted and resumed like one on a single machine.

    Parameters
    ----------
    model_path : path-like
        A file that `save` wrote, at the same path on every worker. The path and its SHA-256 are sent; each worker
        process maps the file into memory once.
    input : path-like, a list of them, or a Dask array (rows, features)
        As for `somknn.batch.classify`, at the same paths on every worker. Workers read .npy, IDX, Parquet and images;
        the client reads and sends CSV, Arrow, .npz and gzip-compressed files. Each block of a Dask array is one part.
    output : path-like
        .parquet, .csv or .npy, written by this process; "-" for CSV on standard output.
    client : distributed.Client, default=None
        None means the current client.
    resume : bool, default=False
        Continue an interrupted run of the same command, also one of `somknn.batch.classify`. A run over files can
        always be resumed, one over a Dask array only if the array has the same name.
    progress : callable, default=None
        Called with the number of rows done and the total number of rows (None if unknown).
    **options
        proba, top, neighbors, chunk_bytes, on_bad_row, max_rejects, cast, header, separator, decimal, columns, drop
        and id, as for `somknn.batch.classify`.
        chunk_bytes bounds the rows of one task over files; a worker runs as many tasks at a time as it has threads.

    Returns
    -------
    Summary
        With `rows`, `rejects` and `resumed_rows`.

    Raises
    ------
    BatchError
        A ValueError: input that does not fit the model, a bad row, or a file that is missing or different on a worker.
    ClusterError
        An OSError: no workers, or a task that killed several of them. Finished parts are kept.

    Examples
    --------
    >>> import tempfile, distributed, numpy as np
    >>> import somknn
    >>> from somknn.distributed import classify
    >>> model = somknn.KNeighborsClassifier(1).fit(np.array([[0.0, 0.0], [9.0, 9.0]]), ["low", "high"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.safetensors")
    ...     np.save(f"{folder}/rows.npy", np.array([[1.0, 2.0], [8.0, 7.0], [9.0, 9.0]]))
    ...     with distributed.Client(processes=False, n_workers=1, dashboard_address=":0") as client:
    ...         classify(f"{folder}/model.safetensors", f"{folder}/rows.npy", f"{folder}/labels.npy", client)
    ...     np.load(f"{folder}/labels.npy")["label"].tolist()
    Summary(rows=3, rejects=0, resumed_rows=0)
    ['low', 'high', 'high']
    """
    client, checked = find_client(client), Options(**options)
    if isinstance(input, dask.array.Array):
        check_places(output, [model_path], checked)
        sources = [_DaskSource(input)]
    else:
        sources = find_sources(input, model_path, output, checked)
    return _ClusterRun(client, model_path, sources, output, checked, progress).run(resume)


class _DaskSource:
    """A Dask array as an input source of the engine."""

    path, feature_names, has_names = "Dask array", None, False

    def __init__(self, X: dask.array.Array):
        if X.dtype.kind not in "biuf":
            raise BatchError(f"Dask array: {X.dtype} values; expected numbers")
        self.rows = check_shape(X, "input")
        self.n_rows, self.width, self.dtype = len(X), X.shape[1], X.dtype
        self.blocks = blocks_of(self.rows)


class _FilePart(NamedTuple):
    """Rows [start, start + n) of a file, read by a worker; `shown` is the file name as the user gave it.

    `columns` and `marks` are those that the source selected, None for all.
    """

    file: RowFile
    n: int
    start: int
    shown: str
    columns: list[int] | None = None
    marks: dict[str, int] | None = None

    def read(self) -> Chunk:
        chunk = read_chunk(self.file, self.n, self.start, self.columns, self.marks)
        for i, reject in enumerate(chunk.rejects):
            name = self.shown + reject.file.removeprefix(self.file.path)
            chunk.rejects[i] = dataclasses.replace(reject, file=name)
        return chunk


class _Task(NamedTuple):
    """Settings shared by all parts of a run."""

    model: ModelFile
    wanted: Wanted
    target: np.dtype | None
    missing: bool
    coding: Coding | None
    ignore_unknown: bool


def _classified(chunk: Chunk, shown: str, task: _Task) -> tuple[Chunk, dict[str, np.ndarray]]:
    """The chunk without its rows, and its predictions."""
    chunk = set_apart(chunk, task.target, shown, task.missing)
    if task.coding is not None:
        chunk = coded(chunk, task.coding, shown, ignore_unknown=task.ignore_unknown)
    model = load_model(task.model)
    with turn() as n_threads:
        set_threads(model, n_threads)
        columns = predict_columns(model, chunk.values, task.wanted)
    return dataclasses.replace(chunk, values=np.empty((0, 0))), columns


def _classify_part(part: _FilePart | Chunk, shown: str, task: _Task) -> tuple[Chunk, dict[str, np.ndarray]]:
    return _classified(part.read() if isinstance(part, _FilePart) else part, shown, task)


def _classify_block(rows: np.ndarray, first: int, cursor: int, task: _Task) -> tuple[Chunk, dict[str, np.ndarray]]:
    rows = np.asarray(rows)
    chunk = Chunk(0, rows, np.arange(first, first + len(rows)), len(rows), cursor)
    return _classified(chunk, str(_DaskSource.path), task)


class _ClusterRun(Run):
    """The run of `somknn.batch` with parts computed on a cluster, several at a time, and delivered in order."""

    def __init__(
        self,
        client: Client,
        model_path: Any,
        sources: list[Any],
        output: Any,
        options: Options,
        progress: Progress | None,
    ) -> None:
        super().__init__(model_path, sources, output, options, progress)
        self.client = client
        ignore = options.unknown_categories == "ignore"
        self.task = _Task(ModelFile.of(model_path), self.wanted, self.target, self.missing, self.coding, ignore)

    def _input_identity(self) -> Any:
        if isinstance(self.sources[0], _DaskSource):
            rows = self.sources[0].rows
            return {"Dask array": rows.name, "blocks": list(rows.chunks[0])}
        return super()._input_identity()

    def _results(self, records: list[dict[str, Any]]) -> Iterator[tuple[int, Chunk, dict[str, np.ndarray]]]:
        under_way: deque[tuple[int, Future]] = deque()
        parts, number, more = self._parts(records), len(records), True
        try:
            while more or under_way:
                while more and len(under_way) < self._ahead(under_way[-1][0] if under_way else 0):
                    started = next(parts, None)
                    more = started is not None
                    under_way += [started] if started else []
                if under_way:
                    file, future = under_way.popleft()
                    chunk, columns = result_of(future)
                    del future
                    chunk.file = file
                    self._count_rejects(chunk.rejects)
                    yield number, chunk, whole_part(chunk, columns)
                    number += 1
        finally:
            for _, future in under_way:
                future.cancel()

    def _ahead(self, file: int) -> int:
        """How many parts are in progress at a time: enough for every thread; fewer if this process holds the rows."""
        threads = self.client.nthreads().values()
        source = self.sources[file]
        sent = not isinstance(source, _DaskSource) and not starts_anywhere(source)
        return len(threads) + 1 if sent else 2 * sum(threads) + 1

    def _parts(self, records: list[dict[str, Any]]) -> Iterator[tuple[int, Future]]:
        first, cursor = (records[-1]["file"], records[-1]["cursor"]) if records else (0, None)
        for number in range(first, len(self.sources)):
            for future in self._parts_of(self.sources[number], cursor):
                yield number, future
            cursor = None

    def _parts_of(self, source: Any, cursor: Any) -> Iterator[Future]:
        if isinstance(source, _DaskSource):
            # Submit all blocks at once: each call would send the whole graph again. Only small results wait for their
            # turn.
            left = range(cursor or 0, len(source.blocks))
            own = [(i + 1, self.task) for i in left]
            futures = deque(start_blocks(self.client, _classify_block, source.blocks[left.start :], own))
            while futures:
                yield futures.popleft()
            return
        n, shown = self._rows_per_chunk(source), str(source.path)
        if starts_anywhere(source):
            file = RowFile.of(source.path)
            columns, marks = getattr(source, "columns", None), getattr(source, "marks", None)
            starts = range(cursor or 0, source.n_rows, n)
            parts: Iterator[Any] = (_FilePart(file, n, start, shown, columns, marks) for start in starts)
        else:
            parts = source.chunks(n, cursor)
        for part in parts:
            with large_graphs():
                future = self.client.submit(_classify_part, part, shown, self.task, pure=False)
            yield future


def predict(model_path: Any, X: dask.array.Array, method: str = "predict") -> dask.array.Array:
    """Lazy predictions of a saved model for a Dask array.

    Parameters
    ----------
    model_path : path-like
        A file that `save` wrote, at the same path on every worker.
    X : dask.array.Array (rows, features), uint8, float32 or float64
    method : {"predict", "predict_proba", "transform"}, default="predict"
        The model's method; each row of its result must depend on that row only.

    Returns
    -------
    dask.array.Array
        Shape (rows,) for "predict", two-dimensional otherwise; the same row chunks as `X`. Nothing is computed yet.

    Examples
    --------
    >>> import tempfile, dask.array, numpy as np
    >>> import somknn
    >>> from somknn.distributed import predict
    >>> model = somknn.KNeighborsClassifier(1).fit(np.array([[0.0, 0.0], [9.0, 9.0]]), [0, 1])
    >>> rows = dask.array.from_array(np.array([[1.0, 2.0], [8.0, 7.0], [9.0, 9.0]]), chunks=(2, -1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.safetensors")
    ...     predict(f"{folder}/model.safetensors", rows).compute(scheduler="synchronous")
    array([0, 1, 1])
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    X = check_shape(X)
    file = ModelFile.of(model_path)
    model = load_model(file)
    if not hasattr(model, method):
        raise ValueError(f"{model_path}: a {type(model).__name__} has no method {method}")
    # One row gives the dtype and width of the result, and shows whether the model accepts such rows at all.
    sample = getattr(model, method)(np.zeros((1, X.shape[1]), X.dtype))
    shape: dict[str, Any] = {"drop_axis": 1} if sample.ndim == 1 else {"chunks": (X.chunks[0], sample.shape[1:])}
    return dask.array.map_blocks(_apply, X, file, method, dtype=sample.dtype, meta=sample[:0], **shape)


def _apply(rows: np.ndarray, file: ModelFile, method: str, block_info: Any = None) -> np.ndarray:
    rows = prepared(rows, block_info[0]["array-location"][0][0] if block_info else 0)
    model = load_model(file)
    with turn() as n_threads:
        set_threads(model, n_threads)
        return getattr(model, method)(rows)
