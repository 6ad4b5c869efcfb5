"""Exact nearest neighbours: the search index and the scikit-learn estimators on top of it."""

from somknn._lazy import lazily

_HOMES = {  # an index of bytes does without scikit-learn, whose import takes a second
    "CodebookSearch": "codebook",
    "ExactIndex": "index",
    "FaissIndex": "faiss_index",
    "KNeighborsClassifier": "classification",
    "KNeighborsRegressor": "regression",
    "KNeighborsTransformer": "graph",
    "NearestNeighbors": "unsupervised",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazily(__name__, _HOMES)
