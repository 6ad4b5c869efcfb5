"""Prototypes: a few rows that represent many. K-Means centres, LVQ, and classifiers based on them."""

from somknn.prototypes.classifier import PrototypeClassifier
from somknn.prototypes.kmeans import KMeans
from somknn.prototypes.lvq import LVQ

__all__ = ["LVQ", "KMeans", "PrototypeClassifier"]
