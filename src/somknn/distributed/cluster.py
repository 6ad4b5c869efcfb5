"""Building blocks for all computation on a cluster: the client, row blocks, shared values, sums, turns."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import dask
import dask.array
import distributed
import numpy as np
from distributed import CancelledError, Client, Future
from distributed.scheduler import KilledWorker

from somknn.search.finite import check_finite
from somknn.search.index import DTYPES

_FAN = 8  # results added by one task: the sums of a thousand blocks take four levels


class ClusterError(OSError):
    """The cluster cannot continue: no workers, or a task that killed several; the one-line message says which."""


def find_client(client: Any) -> Client:
    """`client`, or the current one for None.

    Raises ValueError if there is no client, ClusterError if it has no workers.
    """
    if client is None:
        try:
            client = distributed.get_client()
        except ValueError:
            raise ValueError("no Dask client: make one with distributed.Client(address) and pass it") from None
    if not isinstance(client, Client):
        raise TypeError(f"client must be a distributed.Client, got {type(client).__name__}")
    if client.asynchronous:
        raise ValueError("an asynchronous client cannot be used here: make one with asynchronous=False")
    if client.scheduler is None or client.status == "closed":
        raise ClusterError("the client is closed: make a new one")
    if not client.nthreads():
        raise ClusterError(f"the cluster at {client.scheduler.address} has no workers")
    return client


@contextlib.contextmanager
def one_line_failures() -> Iterator[None]:
    """Raise ClusterError for a task that killed several workers; a task's own errors pass unchanged."""
    try:
        yield
    except KilledWorker as error:
        raise ClusterError(
            f"a task was given up after {error.allowed_failures + 1} workers died running it; most often they ran "
            "out of memory: use smaller blocks or more memory per worker"
        ) from None
    except CancelledError as error:
        raise ClusterError(f"the cluster gave a task up: {' '.join(str(error).split())}") from None


def result_of(future: Future) -> Any:
    """The result of one task, or its error."""
    with one_line_failures():
        return future.result()


class Block(NamedTuple):
    """Rows [first, first + n) of a Dask array, not yet computed."""

    first: int
    n: int
    rows: Any


def check_shape(X: Any, name: str = "X") -> dask.array.Array:
    """`X` as a two-dimensional Dask array of whole rows.

    Raises TypeError for anything but a Dask array, ValueError for another shape.
    """
    if not isinstance(X, dask.array.Array):
        raise TypeError(
            f"{name} must be a Dask array, got {type(X).__name__}: make one with somknn.distributed.open_rows(path) or "
            "dask.array.from_array(rows, chunks=(100_000, -1))"
        )
    if X.ndim != 2:
        raise ValueError(f"{name} must have the shape (rows, features), got {X.ndim} dimensions")
    if any(np.isnan(size) for sizes in X.chunks for size in sizes):
        raise ValueError(f"the blocks of {name} have unknown sizes: call {name}.compute_chunk_sizes() first")
    if 0 in X.shape:
        raise ValueError(f"{name} must have rows and features, got the shape {X.shape}")
    return X if len(X.chunks[1]) == 1 else X.rechunk({1: -1})


def check_rows(X: Any, name: str = "X", dtypes: tuple[np.dtype, ...] = DTYPES) -> dask.array.Array:
    """As `check_shape`, and require a dtype that the kernels accept; TypeError for others."""
    X = check_shape(X, name)
    if X.dtype not in dtypes:
        names = ", ".join(map(str, dtypes[:-1]))
        raise TypeError(
            f"{name} must be {names} or {dtypes[-1]}, got {X.dtype}: convert it with {name}.astype(...), uint8 where "
            "all values are whole numbers from 0 to 255"
        )
    return X


def blocks_of(X: dask.array.Array) -> list[Block]:
    """The row blocks of `check_rows(X)` in order, without empty ones."""
    firsts = np.concatenate([[0], np.cumsum(X.chunks[0])])
    return [
        Block(int(first), int(n), rows)
        for first, n, rows in zip(firsts, X.chunks[0], X.to_delayed()[:, 0], strict=False)
        if n
    ]


def prepared(rows: Any, first: int, missing: bool = False) -> np.ndarray:
    """Rows of a block as kernels take them: C-contiguous, native byte order, finite (NaN allowed if `missing`)."""
    rows = np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("=")).view(np.ndarray)
    if rows.dtype.kind == "f":
        try:
            check_finite(np.where(np.isnan(rows), 0, rows) if missing else rows)
        except ValueError as error:
            raise ValueError(f"in the block that begins at row {first} (rows counted from there): {error}") from None
    return rows


def start_blocks(
    client: Client, function: Callable[..., Any], blocks: Sequence[Block], arguments: Sequence[tuple]
) -> list[Future]:
    """One future of `function(rows, first, *arguments[i])` per block; the rows themselves are not kept."""
    work = dask.delayed(function, pure=False)
    tasks = [work(block.rows, block.first, *own) for block, own in zip(blocks, arguments, strict=True)]
    with large_graphs():
        return client.compute(tasks)


def large_graphs() -> Any:
    """A context that silences Dask's warning about large task graphs: here tasks hold many rows on purpose."""
    return dask.config.set({"distributed.admin.large-graph-warning-threshold": "10GB"})


def _given(value: Any) -> Any:
    return value


def given(client: Client, value: Any) -> Future:
    """`value` as a future that many tasks can share: it is sent to a worker once and copied between workers.

    The scheduler keeps a copy with the task, so the value survives the loss of the workers that hold it (scattered data
    would not).
    """
    with large_graphs():
        return client.submit(_given, value, pure=False)


def _sum(parts: list[tuple]) -> tuple:
    return tuple(functools.reduce(lambda a, b: a + b, column) for column in zip(*parts, strict=True))


def combine(client: Client, parts: Sequence[Future], function: Callable[[list[Any]], Any]) -> Any:
    """Reduce all parts with `function`, a few at a time, in order.

    The tree depends on the number of parts only, so rounded sums do not depend on which worker did what.
    """
    level = list(parts)
    while len(level) > 1:
        level = [client.submit(function, level[at : at + _FAN], pure=False) for at in range(0, len(level), _FAN)]
    return result_of(level[0])


def total(client: Client, parts: Sequence[Future]) -> tuple:
    """Sums of the parts' tuples of numbers and arrays, entry by entry, in the order of the parts."""
    return combine(client, parts, _sum)


_turns: dict[str, threading.Lock] = {}
_turns_lock = threading.Lock()


@contextlib.contextmanager
def turn() -> Iterator[int]:
    """Within this context only one task computes on its worker, with all of the worker's threads; yields their number.

    A worker with t threads runs t tasks at a time; if each used t threads in its kernels, there would be t². So tasks
    read their rows in parallel and compute one after the other.
    """
    try:
        worker = distributed.get_worker()
        name, n_threads = worker.id, int(worker.state.nthreads)
    except ValueError:  # not on a worker: the task runs in the client's process, to try it out
        name, n_threads = "", 1
    with _turns_lock:
        lock = _turns.setdefault(str(name), threading.Lock())
    with lock:
        yield n_threads
