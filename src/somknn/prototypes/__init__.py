"""Prototypes: a few rows that stand for many. K-Means centres, LVQ, and classifiers that answer from them."""

from somknn.prototypes.kmeans import KMeans

__all__ = ["KMeans"]
