"""Prototypes: a few rows that stand for many. K-Means centres, LVQ, and classifiers that answer from them."""

from somknn.prototypes.classifier import PrototypeClassifier
from somknn.prototypes.kmeans import KMeans
from somknn.prototypes.lvq import LVQ

__all__ = ["LVQ", "KMeans", "PrototypeClassifier"]
