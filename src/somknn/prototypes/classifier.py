"""`PrototypeClassifier`: k-NN on a few prototypes of each class instead of on all rows."""

from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from somknn.fitted import one_state
from somknn.machine import resolve_n_threads
from somknn.neighbors.backends import BACKENDS, make_index
from somknn.neighbors.weighting import class_shares
from somknn.prototypes.budget import split_budget
from somknn.prototypes.lvq import LVQ, class_centres
from somknn.prototypes.voting import PrototypeVoting
from somknn.search.few_vectors import FewVectorsSearch
from somknn.som import SOM

_PILOT = 10  # the pilot run of budget="difficulty" has one in this many of the prototypes


@one_state
class PrototypeClassifier(PrototypeVoting):
    """k nearest neighbours among a few prototypes of each class: nearly as accurate as all rows, and much faster.

    Parameters
    ----------
    prototypes : {"kmeans", "lvq", "som", "sample"}
        Source of each class's prototypes: K-Means centres of its rows; these centres trained by `LVQ`; the neurons of a
        SOM of its rows; a random sample of its rows.
    n_prototypes : int
        In total; at least one per class, at most as many as there are rows. A SOM uses the largest grid within its
        class's number.
    budget : {"even", "difficulty"}
        "even": the same number for each class. "difficulty": proportional to the square root of the number of errors
        that a tenth of the prototypes make on the training rows.
    n_neighbors : int
        Prototypes that vote.
    weights : {"uniform", "distance"}
        Weighting of the votes, as in `KNeighborsClassifier`.
    max_iter : int or None
        Iterations of K-Means (None: 20), epochs of a SOM (None: 20) or steps of LVQ (None: its own default).
    backend : {"numba", "faiss"}
        Search engine for the nearest prototypes; training is always exact. "faiss" is for very many prototypes.
    backend_params : dict or None
        Parameters of `somknn.neighbors.FaissIndex` for `backend="faiss"`, which is tuned on training rows: for example
        `{"index": "hnsw", "target_recall": 0.99}`.
    random_state : int, RandomState or None
    n_jobs : int or None
        Threads; never changes the result.

    Attributes
    ----------
    prototypes_ : ndarray (n_prototypes, n_features), of the dtype of the training rows
        Sorted by class. Rounded for uint8 rows. For "lvq" with a metric: (n_prototypes, rank), mapped by the metric.
    prototype_rows_ : ndarray (n_prototypes, n_features)
        The prototypes as rows, also with a metric.
    metric_, metric_center_, metric_shift_
        The metric that "lvq" trains for wide rows, as in `LVQ`; without one: None, None and 0.
    prototype_labels_ : ndarray (n_prototypes,)
    prototype_codes_ : ndarray (n_prototypes,), int32
        Positions of the labels in `classes_`.
    classes_ : ndarray (n_classes,)
    n_iter_ : int
        Epochs of a SOM or steps of LVQ; otherwise 1.
    model_bytes_ : int
    recall_ : float or None
        Share of the nearest prototypes that the backend finds: 1.0 for an exact one, otherwise measured by `fit` on
        training rows.
    n_features_in_ : int

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from somknn import PrototypeClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> model = PrototypeClassifier(n_prototypes=100, random_state=0).fit(X[:1000], y[:1000])
    >>> model.prototypes_.shape, model.score(X[1000:], y[1000:]) > 0.9
    ((100, 64), True)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "prototypes": [StrOptions({"kmeans", "lvq", "som", "sample"})],
        "n_prototypes": [Interval(Integral, 1, None, closed="left")],
        "budget": [StrOptions({"even", "difficulty"})],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "weights": [StrOptions({"uniform", "distance"})],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "backend": [StrOptions(set(BACKENDS))],
        "backend_params": [dict, None],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        prototypes: str = "kmeans",
        n_prototypes: int = 1000,
        *,
        budget: str = "even",
        n_neighbors: int = 1,
        weights: str = "uniform",
        max_iter: int | None = None,
        backend: str = "numba",
        backend_params: dict[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.prototypes = prototypes
        self.n_prototypes = n_prototypes
        self.budget = budget
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.max_iter = max_iter
        self.backend = backend
        self.backend_params = backend_params
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Choose prototypes for each class of `y` (n,) from the rows `X` (n, n_features).

        sample_weight : (n,), not negative, optional.
        """
        self._validate_params()
        make_index(self.backend, "auto", None, self.backend_params)  # check the names before the training
        rows, codes, weights = self._start_fit(X, y, sample_weight)
        random = check_random_state(self.random_state)
        counts = np.bincount(codes)
        budget = split_budget(counts, self.n_prototypes)
        self.n_iter_ = 0
        if self.budget == "difficulty":
            pilot = split_budget(counts, self.n_prototypes // _PILOT)
            found, labels = self._by_class("kmeans", rows, codes, weights, pilot, random)
            pilots = FewVectorsSearch(found.astype(np.float64))
            nearest = pilots.search(rows, 1, n_threads=resolve_n_threads(self.n_jobs))[1][:, 0]
            mistakes = np.bincount(codes, weights=weights * (labels[nearest] != codes))
            budget = split_budget(counts, self.n_prototypes, np.sqrt(mistakes + 1))
        source, metric = "kmeans" if self.prototypes == "lvq" else self.prototypes, None
        found, labels = self._by_class(source, rows, codes, weights, budget, random)
        if self.prototypes == "lvq" and len(self.classes_) > 1:
            options: dict[str, Any] = {} if self.max_iter is None else {"max_iter": self.max_iter}
            trained = LVQ(n_jobs=self.n_jobs, **options)
            found, metric = trained.refine(found, labels, rows, codes, weights)
            self.n_iter_ = trained.n_iter_
        self._set_prototypes(found, labels, rows, metric)
        return self

    def _by_class(
        self,
        source: str,
        rows: np.ndarray,
        codes: np.ndarray,
        weights: np.ndarray,
        budget: np.ndarray,
        random: np.random.RandomState,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Prototypes and their class codes, sorted."""
        edges = np.searchsorted(codes, np.arange(len(budget) + 1))
        parts = []
        for c, size in enumerate(budget):
            at = slice(edges[c], edges[c + 1])
            parts.append(self._of_class(source, rows[at], weights[at], int(size), random))
        labels = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        return np.concatenate(parts), labels

    def _of_class(
        self, source: str, rows: np.ndarray, weights: np.ndarray, size: int, random: np.random.RandomState
    ) -> np.ndarray:
        self.n_iter_ = max(self.n_iter_, 1)
        if source == "sample":
            return rows[np.sort(random.choice(len(rows), size, replace=False, p=weights / weights.sum()))]
        seed = random.randint(2**31 - 1)
        if source == "som" and 1 < size < len(rows):
            self.n_iter_ = self.max_iter or 20
            height = max(h for h in range(1, int(np.sqrt(size)) + 1) if (size // h) * h >= 0.9 * size)
            epochs = self.max_iter or 20
            neurons = SOM(
                height, size // height, epochs=epochs, final_radius=0.3, random_state=seed, n_jobs=self.n_jobs
            )
            return neurons.fit(rows, sample_weight=weights).codebook_.reshape(-1, rows.shape[1])
        return class_centres(
            rows, weights, size, seed, self.max_iter if self.prototypes == "kmeans" else None, self.n_jobs
        )

    def predict_proba(self, X: Any) -> np.ndarray:
        """Each class's share of the votes, (m, n_classes), in the order of `classes_`."""
        neighbours, weights = self._votes(X)
        return class_shares(self.prototype_codes_, len(self.classes_), neighbours[1], weights, self.n_jobs)
