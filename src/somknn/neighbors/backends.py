"""The search index behind an estimator, by the name of its backend. Optional ones are imported on demand."""

import importlib
from typing import Any

# name: (module, class, the extra that installs what it needs)
BACKENDS: dict[str, tuple[str, str, str | None]] = {
    "numba": ("somknn.neighbors.index", "ExactIndex", None),
    "faiss": ("somknn.neighbors.faiss_index", "FaissIndex", "faiss"),
}


def make_index(backend: str, algorithm: str, n_jobs: int | None) -> Any:
    """An unfitted index: `fit(X)`, `search(Q, k)`, `search_within(Q, squared_radius)`, `rows_`.

    Raises ImportError, in one line, for a backend whose package is not installed.
    """
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
    return index_class(algorithm=algorithm, n_jobs=n_jobs)
