"""The same work on a Dask cluster: file classification, exact search and training over sharded rows.

    files, or a Dask array                 classify, predict      parts of rows, one task each
    Dask array, blocks of rows = shards    ShardedIndex, ShardedKNeighborsClassifier, fit
              |
        cluster.py                         blocks, values for all tasks, sums in a fixed order, turns on a worker
              |
    somknn.batch, neighbors, som, prototypes       what a worker does is what one machine does

Every task is a function of its arguments. What a worker keeps between tasks (a loaded model, short vectors, the last
assignment) saves time and never affects a result, so a task that runs twice, or again on another worker after a
failure, gives the same answer. The guide is docs/how-to/distributed.md.
"""

try:
    import dask.array  # noqa: F401
    import distributed  # noqa: F401
except ImportError as error:
    raise ImportError(f"somknn.distributed needs {error.name}: pip install 'somknn[dask]'") from None

from somknn.distributed.classification import classify, predict
from somknn.distributed.cluster import ClusterError
from somknn.distributed.files import open_rows
from somknn.distributed.neighbors import ShardedIndex, ShardedKNeighborsClassifier
from somknn.distributed.training import fit

__all__ = [
    "ClusterError",
    "ShardedIndex",
    "ShardedKNeighborsClassifier",
    "classify",
    "fit",
    "open_rows",
    "predict",
]
