"""Exact search over training rows spread over workers: the k best of each shard, merged by (distance, row)."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from distributed import Client

from somknn.distributed.cluster import (
    blocks_of,
    check_rows,
    combine,
    find_client,
    given,
    one_line_failures,
    prepared,
    start_blocks,
    turn,
)
from somknn.fitted import one_state
from somknn.neighbors.backends import make_index
from somknn.neighbors.weighting import class_shares, neighbour_weights, winning_codes
from somknn.search.index import ALGORITHMS, ROW_DTYPES, as_rows
from somknn.search.metrics import find_metric

_QUERY_BYTES = 8_000_000  # bytes of queries sent at a time
_QUERIES = 16_384
_AHEAD = 3  # blocks of queries in progress


class Shard:
    """The index of one block of rows, kept by a worker."""

    def __init__(
        self, rows: Any, first: int, algorithm: str, labels: np.ndarray | None = None, metric: str = "euclidean"
    ):
        rows = prepared(rows, first)
        if labels is not None and len(labels) != len(rows):
            raise ValueError(f"{len(labels)} labels for the {len(rows)} rows that begin at row {first}")
        with turn() as n_threads:
            self.index = make_index("numba", algorithm, n_threads, metric=find_metric(metric)).fit(rows)
        self.first, self.labels = first, labels

    def __sizeof__(self) -> int:
        # Dask reads this size before it moves a shard to another worker.
        return self.index.rows_.nbytes + self.index.nbytes

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, ...]:
        """Squared distances and global rows of the min(k, rows) nearest, and their labels if there are any."""
        with turn() as n_threads:
            distances, indices = self.index.search(queries, min(k, len(self.index.rows_)), n_threads=n_threads)
        found = (distances, indices + self.first)
        return found if self.labels is None else (*found, self.labels[indices])


def _search_shard(shard: Shard, queries: np.ndarray, k: int) -> tuple[int, tuple[np.ndarray, ...]]:
    return k, shard.search(queries, k)


def merge_nearest(parts: list[tuple[int, tuple[np.ndarray, ...]]]) -> tuple[int, tuple[np.ndarray, ...]]:
    """The k nearest among the nearest of several shards, ordered by (distance, row).

    parts : (k, (distances (m, k_i), rows (m, k_i), ...)) of shards in ascending row order, each list ascending.
    """
    k = parts[0][0]
    columns = [np.concatenate(column, axis=1) for column in zip(*(found for _, found in parts), strict=True)]
    # Shards come in row order, and every list is sorted by (distance, row): a stable sort by distance keeps equal
    # distances in row order.
    order = np.argsort(columns[0], axis=1, kind="stable")[:, :k]
    return k, tuple(np.take_along_axis(column, order, axis=1) for column in columns)


@one_state
class ShardedIndex:
    """Exact k-nearest-neighbour search over rows that need not fit on one machine.

    Every block of the Dask array becomes an `ExactIndex` on some worker, or a `CosineIndex`. Answers equal those of one
    such index over all rows, bit for bit, ties included, for any block boundaries. If a worker is lost, its shards are
    read and prepared again.

    Parameters
    ----------
    algorithm : {"auto", "brute", "pruned", "tree"}
        As for `ExactIndex`; "auto" decides for each shard.
    client : distributed.Client, default=None
        None means the current client.
    metric : {"minkowski", "euclidean", "l2", "sqeuclidean", "cosine"}, default="euclidean"
        Under "cosine", `search` returns squared distances between rows scaled to unit length: twice the cosine
        distances.

    Attributes
    ----------
    n_rows_, n_features_ : int
    dtype_ : dtype of the rows
    n_shards_ : int

    Examples
    --------
    >>> import dask.array, distributed, numpy as np
    >>> from somknn.distributed import ShardedIndex
    >>> rows = dask.array.from_array(np.array([[0, 0], [3, 4], [3, 4], [10, 0]], np.uint8), chunks=(2, -1))
    >>> with distributed.Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:
    ...     index = ShardedIndex(client=client).fit(rows)
    ...     index.search(np.array([[3, 3]], np.uint8), k=3)
    (array([[ 1,  1, 18]]), array([[1, 2, 0]]))
    """

    def __init__(self, algorithm: str = "auto", *, client: Client | None = None, metric: str = "euclidean"):
        self.algorithm = algorithm
        self.client = client
        self.metric = metric

    def fit(self, X: Any) -> "ShardedIndex":
        """Prepare the shards of `X`, a Dask array (n, d) of a type that `ExactIndex` takes; return when all are ready.

        Raises
        ------
        TypeError, ValueError
            For another kind of array (TypeError), NaN or infinity (ValueError).
        ClusterError
            If there are no workers, or a task kills them.
        """
        return self._fit(X, None)

    def _fit(self, X: Any, labels: np.ndarray | None) -> "ShardedIndex":
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}; got {self.algorithm!r}")
        find_metric(self.metric)
        client = find_client(self.client)
        X = check_rows(X, dtypes=ROW_DTYPES)
        blocks = blocks_of(X)
        own = [
            (self.algorithm, None if labels is None else labels[b.first : b.first + b.n], self.metric) for b in blocks
        ]
        self._shards = start_blocks(client, Shard, blocks, own)
        with one_line_failures():
            client.gather(client.map(_ready, self._shards, pure=False))
        (self.n_rows_, self.n_features_), self.dtype_ = X.shape, X.dtype
        self.n_shards_ = len(blocks)
        return self

    def search(self, Q: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows of every query.

        Parameters
        ----------
        Q : array (m, d), in the client's memory
        k : int, 1 to n

        Returns
        -------
        squared_distances : ndarray (m, k), int64 or float64 as from `ExactIndex`, ascending
        indices : ndarray (m, k), int64
            Rows of the Dask array; equal distances in row order.
        """
        distances, indices, *_ = (np.concatenate(column) for column in zip(*self._found(Q, k), strict=True))
        return distances, indices

    def _found(self, Q: Any, k: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Squared distances, rows and, if there are any, labels, one block of queries at a time."""
        if not hasattr(self, "_shards"):
            raise ValueError("this index has no rows yet; call fit first")
        client = find_client(self.client)
        queries = as_rows(Q, "Q", self.n_features_, ROW_DTYPES)
        if not 1 <= k <= self.n_rows_:
            raise ValueError(f"k must be between 1 and the number of rows, {self.n_rows_}; got {k}")
        step = max(1, min(_QUERIES, _QUERY_BYTES // (queries.shape[1] * queries.itemsize)))
        under_way: deque = deque()
        for at in range(0, len(queries), step):
            block = given(client, queries[at : at + step])
            under_way.append(client.map(_search_shard, self._shards, queries=block, k=int(k), pure=False))
            if len(under_way) >= _AHEAD:
                yield combine(client, under_way.popleft(), merge_nearest)[1]
        while under_way:
            yield combine(client, under_way.popleft(), merge_nearest)[1]


def _ready(shard: Shard) -> int:
    return len(shard.index.rows_)


@one_state
class ShardedKNeighborsClassifier:
    """`KNeighborsClassifier` over training rows spread over the workers of a cluster.

    Parameters
    ----------
    n_neighbors : int, default=5
    weights : {"uniform", "distance"}, callable or None, default="uniform"
    tie_break : {"nearest", "first"}, default="nearest"
        As for `somknn.KNeighborsClassifier`; the answers are the same.
    algorithm : {"auto", "brute", "pruned", "tree"}, default="auto"
    client : distributed.Client, default=None
        None means the current client.
    metric : {"minkowski", "euclidean", "l2", "sqeuclidean", "cosine"}, default="minkowski"
        As for `somknn.KNeighborsClassifier`.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    index_ : ShardedIndex
    """

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        weights: Any = "uniform",
        tie_break: str = "nearest",
        algorithm: str = "auto",
        client: Client | None = None,
        metric: str = "minkowski",
    ):
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.tie_break = tie_break
        self.algorithm = algorithm
        self.client = client
        self.metric = metric

    def fit(self, X: Any, y: Any) -> "ShardedKNeighborsClassifier":
        """Prepare the shards of `X`, a Dask array (n, d), with labels `y` (n,), an array or Dask array.

        The labels pass through the client's memory; each shard keeps its own.
        """
        if self.tie_break not in ("nearest", "first"):
            raise ValueError(f"tie_break must be 'nearest' or 'first', got {self.tie_break!r}")
        if not (callable(self.weights) or self.weights in ("uniform", "distance", None)):
            raise ValueError(f"weights must be 'uniform', 'distance' or a function, got {self.weights!r}")
        metric = find_metric(self.metric)
        X = check_rows(X, dtypes=ROW_DTYPES)
        y = np.asarray(y)
        if y.shape != (len(X),):
            raise ValueError(f"y must have one label for each of the {len(X)} rows, got the shape {y.shape}")
        if not 1 <= self.n_neighbors <= len(X):
            raise ValueError(f"n_neighbors must be between 1 and the number of rows, {len(X)}; got {self.n_neighbors}")
        self.classes_, codes = np.unique(y, return_inverse=True)
        index = ShardedIndex(self.algorithm, client=self.client, metric=self.metric)
        self.index_, self._metric = index._fit(X, codes.astype(np.int32)), metric
        return self

    def kneighbors(self, Q: Any, n_neighbors: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Distances and rows of the nearest neighbours, both (m, n_neighbors)."""
        distances, indices = self.index_.search(Q, self.n_neighbors if n_neighbors is None else n_neighbors)
        return self._metric.distances(distances), indices

    def predict(self, Q: Any) -> np.ndarray:
        """The class of every query, (m,)."""
        answers = []
        for distances, codes, places, weights in self._votes(Q):
            first = self.tie_break == "nearest"
            neighbours = distances, places
            answers.append(
                winning_codes(codes, len(self.classes_), neighbours, weights, nearest_first=first, n_jobs=None)
            )
        return self.classes_[np.concatenate(answers)]

    def predict_proba(self, Q: Any) -> np.ndarray:
        """Each class's share of the votes, (m, n_classes), columns in the order of `classes_`."""
        return np.concatenate(
            [
                class_shares(codes, len(self.classes_), places, weights, None)
                for _, codes, places, weights in self._votes(Q)
            ]
        )

    def _votes(self, Q: Any) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]]:
        for distances, _, codes in self.index_._found(Q, self.n_neighbors):
            # The voting kernels look labels up by row: here every neighbour counts as its own row.
            places = np.arange(codes.size).reshape(codes.shape)
            yield distances, codes.ravel(), places, neighbour_weights(self.weights, distances, None, self._metric)
