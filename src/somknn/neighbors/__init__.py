"""Exact nearest neighbours: the search index and the scikit-learn estimators on top of it."""

from somknn.neighbors.codebook import CodebookSearch
from somknn.neighbors.index import ExactIndex

__all__ = ["CodebookSearch", "ExactIndex"]
