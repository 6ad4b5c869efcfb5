"""A Dask array for training: blocks kept by workers, rows by number, sums over all blocks."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import dask.array
import numpy as np
from distributed import Client, Future

from somknn.distributed.cluster import blocks_of, check_rows, one_line_failures, prepared, start_blocks, total


class Part:
    """One block of rows with a cache that its worker keeps between tasks; the cache never changes a result."""

    def __init__(self, rows: Any, first: int, missing: bool = False):
        self.rows, self.first = prepared(rows, first, missing), first
        self.kept: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __sizeof__(self) -> int:
        # Dask reads this size before it moves a part to another worker: the rows, and about as much for searching them.
        return 2 * self.rows.nbytes

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "kept": {}}


def key_of(array: np.ndarray) -> bytes:
    """A key that identifies an array: a kept result is reused only for the arguments that produced it."""
    return hashlib.sha256(array.tobytes()).digest()


class Parts:
    """The blocks of a Dask array (n, d), each a `Part` on some worker.

    missing : NaN counts as a missing value; infinity is always an error.
    """

    def __init__(self, client: Client, X: dask.array.Array, missing: bool = False):
        X = check_rows(X)
        self.client, self.shape, self.dtype = client, X.shape, X.dtype
        blocks = blocks_of(X)
        self.firsts = np.array([block.first for block in blocks])
        self.sizes = [block.n for block in blocks]
        self._parts = start_blocks(client, Part, blocks, [(missing,)] * len(blocks))

    def __len__(self) -> int:
        return int(self.shape[0])

    def map(self, function: Callable[..., Any], *arguments: Any) -> list[Future]:
        """`function(part, *arguments)` for every part, in order."""
        return [self.client.submit(function, part, *arguments, pure=False) for part in self._parts]

    def sum(self, function: Callable[..., tuple], *arguments: Any) -> tuple:
        """Sums over all parts of the entries of `function(part, *arguments)`, added in a fixed order."""
        return total(self.client, self.map(function, *arguments))

    def gather(
        self, function: Callable[..., Any], own: Sequence[tuple], at: Sequence[int] | np.ndarray | None = None
    ) -> list[Any]:
        """`function(part, *own[i])` for every part, or only for the parts `at`."""
        parts = self._parts if at is None else [self._parts[i] for i in at]
        futures = [self.client.submit(function, part, *mine, pure=False) for part, mine in zip(parts, own, strict=True)]
        with one_line_failures():
            return self.client.gather(futures)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """The number of the part that holds each row."""
        return np.searchsorted(self.firsts, rows, side="right") - 1

    def __getitem__(self, key: Any) -> np.ndarray:
        """Rows selected by a slice or by row numbers (m,), fetched to this process: (m, d)."""
        rows = np.arange(*key.indices(len(self))) if isinstance(key, slice) else np.asarray(key)
        places = self.places(rows)
        at = np.unique(places)
        taken = self.gather(_take, [(rows[places == i] - self.firsts[i],) for i in at], at)
        out = np.empty((len(rows), self.shape[1]), self.dtype)
        for i, some in zip(at, taken, strict=True):
            out[places == i] = some
        return out


def _take(part: Part, rows: np.ndarray) -> np.ndarray:
    return part.rows[rows]


def forget_rows(estimator: Any, n_features: int) -> None:
    """Remove what an earlier fit stored about its rows from an estimator, and set the number of features."""
    for name in ("labels_", "feature_names_in_"):
        vars(estimator).pop(name, None)
    estimator.n_features_in_ = n_features
