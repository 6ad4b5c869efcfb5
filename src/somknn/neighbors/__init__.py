"""Exact nearest neighbours: the search index and the scikit-learn estimators on top of it."""

from typing import TYPE_CHECKING

from somknn._lazy import lazily

if TYPE_CHECKING:
    from somknn.neighbors.classification import KNeighborsClassifier as KNeighborsClassifier
    from somknn.neighbors.faiss_index import FaissIndex as FaissIndex
    from somknn.neighbors.graph import KNeighborsTransformer as KNeighborsTransformer
    from somknn.neighbors.regression import KNeighborsRegressor as KNeighborsRegressor
    from somknn.neighbors.unsupervised import NearestNeighbors as NearestNeighbors
    from somknn.search.codebook import CodebookSearch as CodebookSearch
    from somknn.search.cosine import CosineIndex as CosineIndex
    from somknn.search.index import ExactIndex as ExactIndex

# An index of bytes does without scikit-learn, whose import takes a second.
_HOMES = {
    "CodebookSearch": "somknn.search.codebook",
    "CosineIndex": "somknn.search.cosine",
    "ExactIndex": "somknn.search.index",
    "FaissIndex": "somknn.neighbors.faiss_index",
    "KNeighborsClassifier": "somknn.neighbors.classification",
    "KNeighborsRegressor": "somknn.neighbors.regression",
    "KNeighborsTransformer": "somknn.neighbors.graph",
    "NearestNeighbors": "somknn.neighbors.unsupervised",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazily(__name__, _HOMES)
