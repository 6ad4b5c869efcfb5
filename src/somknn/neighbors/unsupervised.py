"""`NearestNeighbors`: exact k-nearest-neighbour and radius queries."""

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from somknn.fitted import one_state
from somknn.machine import resolve_n_threads
from somknn.neighbors.base import NeighborsBase, as_csr, rows_and_index
from somknn.neighbors.validation import validate_rows


@one_state
class NearestNeighbors(NeighborsBase):
    """Exact nearest neighbours under the Euclidean or the cosine distance.

    Parameters
    ----------
    n_neighbors : int, default=5
        Neighbours per query.
    radius : float, default=1.0
        Default radius of `radius_neighbors`.
    algorithm : {"auto", "brute", "pruned", "tree"}, default="auto"
        Search method of the index; never changes the answer. See `somknn.neighbors.ExactIndex`.
    backend : {"numba", "faiss"}, default="numba"
        Search engine. "numba" is exact. "faiss" is as exact as `backend_params` make it.
    backend_params : dict, default=None
        Parameters of `somknn.neighbors.FaissIndex` for `backend="faiss"`: for example
        `{"index": "ivf", "target_recall": 0.99}`. None: its `index="flat"`, which is exact as well.
    metric : {"minkowski", "euclidean", "l2", "sqeuclidean", "cosine"}, default="minkowski"
        The first three are the Euclidean distance; "sqeuclidean" is its square; "cosine" is one minus the cosine of the
        angle between two rows (see the notes).
    p : 2 or None
        The power of "minkowski": no other than 2 is supported. Other metrics ignore it, as in scikit-learn.
    n_jobs : int, default=None
        Threads; None and -1 mean all that `NUMBA_NUM_THREADS` allows.

    Attributes
    ----------
    n_features_in_, n_samples_fit_ : int
        Width and number of the fitted rows.
    effective_metric_ : str
        The metric in use: "euclidean" for "minkowski", otherwise `metric`.
    recall_ : float or None
        Share of the true neighbours that the backend finds: 1.0 for an exact one, otherwise measured by `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if `X` had them.

    Notes
    -----
    uint8, int8, int16, float16, float32 and float64 rows are used as they are, without a wider copy. C-contiguous rows
    must not be changed afterwards: they are not copied, except int8, once and as bytes. Other number types are
    converted exactly: see `somknn.neighbors.validation`. Equal distances are ordered by row number.

    Under "cosine" rows and queries are scaled to unit length in float64, u = x / ‖x‖, and the distance is ½·‖u - v‖²,
    which is 1 - cos. It is exactly 0 for equal rows, never negative and never above 2, and keeps its digits where rows
    are nearly parallel, which 1 - cos does not. Sums are in the order of `somknn_kernels.exact.distances`. A row of
    zeros is at distance 1 from every row, another row of zeros included, as in scikit-learn. The index holds the unit
    rows besides the rows: 8 bytes for each value.

    Examples
    --------
    >>> import numpy as np
    >>> from somknn import NearestNeighbors
    >>> rows = np.array([[0, 0], [3, 4], [6, 8]], dtype=np.uint8)
    >>> index = NearestNeighbors(n_neighbors=2).fit(rows)
    >>> index.kneighbors([[0, 1]])
    (array([[1.        , 4.24264069]]), array([[0, 1]]))
    >>> index.kneighbors([[0, 1]], squared=True)
    (array([[ 1, 18]]), array([[0, 1]]))
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NeighborsBase._parameter_constraints,
        "radius": [Interval(Real, 0, None, closed="both")],
    }

    def __init__(
        self,
        *,
        n_neighbors: int = 5,
        radius: float = 1.0,
        algorithm: str = "auto",
        backend: str = "numba",
        backend_params: dict[str, Any] | None = None,
        metric: str = "minkowski",
        p: float | None = 2,
        n_jobs: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.radius = radius
        self.algorithm = algorithm
        self.backend = backend
        self.backend_params = backend_params
        self.metric = metric
        self.p = p
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> "NearestNeighbors":
        """Fit to the rows to search among.

        Parameters
        ----------
        X : array-like of shape (n, n_features), ExactIndex or CosineIndex
            Rows, or a fitted index of them, which is then used directly.
        y : ignored

        Returns
        -------
        self
        """
        self._validate_params()
        rows, index = rows_and_index(X)
        self._fit_rows(validate_rows(self, rows, reset=True, compact=self._is_compact), index)
        return self

    def _within(self, X: Any, radius: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Starts, squared distances and rows of all neighbours within `radius`, in ascending row order."""
        check_is_fitted(self)
        radius = self.radius if radius is None else radius
        if not radius >= 0:
            raise ValueError(f"radius must be 0 or greater, got {radius}")
        queries = self._queries(X)
        n_threads = resolve_n_threads(self.n_jobs)
        limit = self._metric.largest_within(float(radius))
        starts, squared_distances, indices = self._index.search_within(queries, limit, n_threads=n_threads)
        if X is not None:
            return starts, squared_distances, indices
        query_of = np.repeat(np.arange(len(queries)), np.diff(starts))
        keep = indices != query_of
        # A row is within any radius of itself, except a row of zeros under the cosine distance.
        own = np.bincount(query_of[~keep], minlength=len(queries))
        return starts - np.concatenate([[0], np.cumsum(own)]), squared_distances[keep], indices[keep]

    def radius_neighbors(
        self,
        X: Any = None,
        radius: float | None = None,
        return_distance: bool = True,
        sort_results: bool = False,
        *,
        squared: bool = False,
    ) -> Any:
        """Find all fitted rows within a distance, the boundary included.

        Parameters
        ----------
        X : array-like of shape (m, n_features), default=None
            Queries. None: the fitted rows themselves, where no row counts as its own neighbour.
        radius : float, default=None
            Largest distance under `metric`; by default the constructor's `radius`.
        return_distance : bool, default=True
            Whether to return distances as well.
        sort_results : bool, default=False
            Order each query's neighbours by distance, then row number; otherwise by row number.
        squared : bool, default=False
            Return squared Euclidean distances, as in `kneighbors`. The radius is still a plain distance.

        Returns
        -------
        distances : ndarray of shape (m,) of float64 or int64 arrays
            Only with `return_distance=True`.
        indices : ndarray of shape (m,) of int64 arrays
            Row numbers.
        """
        if sort_results and not return_distance:
            raise ValueError("return_distance must be True if sort_results is True")
        starts, squared_distances, indices = self._within(X, radius)
        if sort_results:
            order = _order_in_segments(starts, squared_distances)
            squared_distances, indices = squared_distances[order], indices[order]
        neighbours = _split(indices, starts)
        if not return_distance:
            return neighbours
        return _split(self._distances(squared_distances, squared), starts), neighbours

    def radius_neighbors_graph(
        self,
        X: Any = None,
        radius: float | None = None,
        mode: str = "connectivity",
        sort_results: bool = False,
    ) -> sparse.csr_matrix | sparse.csr_array:
        """The graph of neighbours within a distance as a sparse matrix.

        Parameters
        ----------
        X, radius, sort_results
            As in `radius_neighbors`.
        mode : {"connectivity", "distance"}, default="connectivity"
            Entries of the matrix: ones, or distances.

        Returns
        -------
        CSR matrix of shape (m, n_samples_fit), float64
        """
        if mode not in ("connectivity", "distance"):
            raise ValueError(f"mode must be 'connectivity' or 'distance', got {mode!r}")
        starts, squared_distances, indices = self._within(X, radius)
        if sort_results:
            order = _order_in_segments(starts, squared_distances)
            squared_distances, indices = squared_distances[order], indices[order]
        values = self._distances(squared_distances) if mode == "distance" else np.ones(len(indices))
        return as_csr(values, indices, starts, self.n_samples_fit_)


def _order_in_segments(starts: np.ndarray, squared_distances: np.ndarray) -> np.ndarray:
    segment = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    return np.lexsort((squared_distances, segment))  # stable: equal distances stay in order of row number


def _split(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    parts = np.empty(len(starts) - 1, dtype=object)
    for i in range(len(parts)):
        # Copied, so that a part does not keep the whole array alive.
        parts[i] = values[starts[i] : starts[i + 1]].copy()
    return parts
