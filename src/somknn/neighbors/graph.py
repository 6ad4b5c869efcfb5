"""`KNeighborsTransformer`: the graph of nearest neighbours as a step of a pipeline."""

from typing import Any, ClassVar

from scipy import sparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from somknn.fitted import one_state
from somknn.neighbors.base import NeighborsBase, rows_and_index
from somknn.neighbors.validation import validate_rows


@one_state
class KNeighborsTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, NeighborsBase):
    """Transform rows to the sparse graph of their exact nearest neighbours, for estimators with `metric="precomputed"`.

    Parameters
    ----------
    mode : {"distance", "connectivity"}, default="distance"
        Entries of the graph: distances, or ones.
    n_neighbors : int, default=5
        Neighbours of each row. With `mode="distance"` one more is stored: each fitted row counts as its own neighbour,
        as estimators that use such graphs expect (scikit-learn's convention).
    algorithm : {"auto", "brute", "pruned", "tree"}, default="auto"
        Search method of the index; never changes the answer. See `somknn.neighbors.ExactIndex`.
    backend : {"numba", "faiss"}, default="numba"
        Search engine. "numba" is exact. "faiss" is as exact as `backend_params` make it.
    backend_params : dict, default=None
        Parameters of `somknn.neighbors.FaissIndex` for `backend="faiss"`: for example
        `{"index": "ivf", "target_recall": 0.99}`. None: its `index="flat"`, which is exact as well.
    metric : {"minkowski", "euclidean", "l2", "sqeuclidean", "cosine"}, default="minkowski"
        The first three are the Euclidean distance. See `NearestNeighbors`.
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

    Examples
    --------
    >>> from somknn import KNeighborsTransformer
    >>> KNeighborsTransformer(n_neighbors=1).fit_transform([[0.0], [1.0], [3.0]]).toarray()
    array([[0., 1., 0.],
           [1., 0., 0.],
           [0., 2., 0.]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NeighborsBase._parameter_constraints,
        "mode": [StrOptions({"distance", "connectivity"})],
    }

    def __init__(
        self,
        *,
        mode: str = "distance",
        n_neighbors: int = 5,
        algorithm: str = "auto",
        backend: str = "numba",
        backend_params: dict[str, Any] | None = None,
        metric: str = "minkowski",
        p: float | None = 2,
        n_jobs: int | None = None,
    ) -> None:
        self.mode = mode
        self.n_neighbors = n_neighbors
        self.algorithm = algorithm
        self.backend = backend
        self.backend_params = backend_params
        self.metric = metric
        self.p = p
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> "KNeighborsTransformer":
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

    @property
    def _n_features_out(self) -> int:
        return self.n_samples_fit_

    def transform(self, X: Any) -> sparse.csr_matrix | sparse.csr_array:
        """The graph from queries to fitted rows.

        Parameters
        ----------
        X : array-like of shape (m, n_features)
            Queries.

        Returns
        -------
        CSR matrix of shape (m, n_samples_fit), float64
        """
        check_is_fitted(self)
        return self.kneighbors_graph(X, self.n_neighbors + (self.mode == "distance"), mode=self.mode)

    def fit_transform(self, X: Any, y: Any = None) -> sparse.csr_matrix | sparse.csr_array:
        """`fit(X)`, then `transform(X)`.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.
        y : ignored

        Returns
        -------
        CSR matrix of shape (n, n), float64
        """
        return self.fit(X).transform(X)
