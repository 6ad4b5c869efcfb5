"""Exact nearest neighbours: the search index and the scikit-learn estimators on top of it."""

from somknn.neighbors.classification import KNeighborsClassifier
from somknn.neighbors.codebook import CodebookSearch
from somknn.neighbors.faiss_index import FaissIndex
from somknn.neighbors.graph import KNeighborsTransformer
from somknn.neighbors.index import ExactIndex
from somknn.neighbors.regression import KNeighborsRegressor
from somknn.neighbors.unsupervised import NearestNeighbors

__all__ = [
    "CodebookSearch",
    "ExactIndex",
    "FaissIndex",
    "KNeighborsClassifier",
    "KNeighborsRegressor",
    "KNeighborsTransformer",
    "NearestNeighbors",
]
