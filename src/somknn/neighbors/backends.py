"""The search index of an estimator, chosen by backend name. Optional backends are imported on demand."""

import importlib
import inspect
from typing import Any

import numpy as np

from somknn.search.cosine import CosineIndex
from somknn.search.index import ExactIndex
from somknn.search.metrics import EUCLIDEAN, Metric

EXACT_INDEXES = (ExactIndex, CosineIndex)  # that an estimator takes in place of rows
_TUNING_ROWS = 1000

# name: (module, class, the extra that installs the package it needs)
BACKENDS: dict[str, tuple[str, str, str | None]] = {
    "numba": ("somknn.search.index", "ExactIndex", None),
    "faiss": ("somknn.neighbors.faiss_index", "FaissIndex", "faiss"),
}


def make_index(
    backend: str,
    algorithm: str,
    n_jobs: int | None,
    params: dict[str, Any] | None = None,
    n_neighbors: int | None = None,
    metric: Metric = EUCLIDEAN,
) -> Any:
    """Return an unfitted index for an estimator. This is the one place where a metric chooses an index.

    An index has `fit(X)`, `search(Q, k)`, `search_within(Q, squared_radius)`, `rows_`, and for model files
    `screen_to_save()` and `restore(X, screen)`.

    params : an estimator's `backend_params`, passed to the index's class
    n_neighbors : the k that an approximate backend tunes itself for
    metric : under cosine, the backend's index searches rows of unit length inside a `CosineIndex`

    Raises ImportError, in one line, if the backend's package is not installed, and ValueError for an unknown backend or
    parameters that the backend does not have.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(map(repr, BACKENDS))}; got {backend!r}")
    module, name, extra = BACKENDS[backend]
    try:
        index_class = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name == module:
            raise ImportError(
                f"backend={backend!r} is not part of this version of somknn; use backend='numba'"
            ) from None
        raise ImportError(
            f"backend={backend!r} needs {error.name}: pip install 'somknn[{extra}]', or use backend='numba'"
        ) from None
    params = dict(params or {})
    accepted = inspect.signature(index_class).parameters
    unknown = [key for key in params if key not in accepted or key in ("algorithm", "n_jobs")]
    if unknown:
        names = ", ".join(key for key in accepted if key not in ("algorithm", "n_jobs")) or "none"
        raise ValueError(f"backend_params has no {unknown[0]!r} for backend={backend!r}; it takes: {names}")
    if n_neighbors is not None and "n_neighbors" in accepted:
        params.setdefault("n_neighbors", n_neighbors)
    index = index_class(algorithm=algorithm, n_jobs=n_jobs, **params)
    return CosineIndex.over(index) if metric.unit_rows else index


def check_serves(index: Any, metric: Metric) -> None:
    """Raise ValueError if a fitted index does not order rows by this metric."""
    if isinstance(index, CosineIndex) != metric.unit_rows:
        right = "CosineIndex" if metric.unit_rows else "ExactIndex"
        raise ValueError(f"metric={metric.name!r} needs a {right} in place of rows, got a {type(index).__name__}")


def fit_codebook_index(
    codebook: np.ndarray,
    rows: np.ndarray,
    backend: str,
    params: dict[str, Any] | None,
    n_jobs: int | None,
    n_neighbors: int = 1,
) -> Any:
    """A fitted index of the codebook (n_units, d), for classifiers that search the nearest units of rows like `rows`.

    An approximate backend tunes itself on a sample of `rows`.
    """
    index = make_index(backend, "auto", n_jobs, params, n_neighbors)
    if backend == "numba":
        return index.fit(codebook)
    sample = np.random.RandomState(1).choice(len(rows), min(_TUNING_ROWS, len(rows)), replace=False)
    return index.fit(codebook, rows[np.sort(sample)])
