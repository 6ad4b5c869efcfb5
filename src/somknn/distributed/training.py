"""Training as map and reduce: `fit` for the estimators that can be trained on rows spread over workers."""

from typing import Any, TypeVar

import dask.array
from distributed import Client

from somknn.distributed.cluster import find_client
from somknn.distributed.kmeans import fit_kmeans
from somknn.distributed.som import fit_som
from somknn.fitted import change
from somknn.prototypes import KMeans
from somknn.som import SOM

Estimator = TypeVar("Estimator")


def fit(estimator: Estimator, X: dask.array.Array, client: Client | None = None) -> Estimator:
    """Train a SOM (batch training) or K-Means on the rows of a Dask array, spread over the workers.

    Every pass sends the codebook to the workers. Each finds the nearest units of the rows in its blocks and sums the
    rows by unit; the sums of the blocks are added in a tree that depends on the number of blocks only. So the result
    depends on the data, the parameters and the block boundaries, but not on the number of workers, their threads, or
    lost workers.

    The result equals that of `estimator.fit` on one machine up to the order of summation. Sums of uint8 rows are
    integers, where the order does not matter: codebooks, centres and numbers of iterations are equal bit for bit; the
    inertia agrees to a relative error of about 1e-15, the quantization error to 1e-7. Sums of floating-point rows may
    differ in the last digits; docs/how-to/distributed.md states the bound.

    Parameters
    ----------
    estimator : SOM with training="batch", or KMeans with init other than a function
        Fitted in place.
    X : dask.array.Array (n, d), uint8, float32 or float64
        Each block must fit a worker's memory about twice, and all blocks together the total memory of the workers.
    client : distributed.Client, default=None
        None means the current client.

    Returns
    -------
    estimator
        With the attributes that its `fit` sets, except `labels_`, which would have to pass through this process. Save
        it and use `somknn.distributed.predict` for labels as a Dask array.

    Raises
    ------
    ClusterError
        No workers, or a block that killed several of them.
    TypeError, ValueError
        Another estimator, wrong parameters, NaN or infinity (except a SOM's missing values).

    Examples
    --------
    >>> import dask.array, distributed, numpy as np
    >>> from somknn import KMeans
    >>> from somknn.distributed import fit
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]], np.uint8)
    >>> rows = dask.array.from_array(X, chunks=(3, -1))
    >>> with distributed.Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:
    ...     kmeans = fit(KMeans(n_clusters=2, random_state=0), rows, client)
    >>> sorted(kmeans.cluster_centers_.tolist())
    [[1.0, 2.0], [10.0, 2.0]]
    """
    kind = type(estimator)
    trainers: dict[type, Any] = {SOM: fit_som, KMeans: fit_kmeans}
    if kind not in trainers:
        raise TypeError(
            f"only somknn's SOM and KMeans can be trained on a cluster, got {kind.__module__}.{kind.__name__}"
        )

    def train(draft: Any) -> Any:
        return trainers[kind](draft, X, find_client(client))

    return change(estimator, train)
