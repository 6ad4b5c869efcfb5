"""Self-organizing maps.

SOM, SOMClassifier, SOMFeatureSelector     estimators
        |
training                                   epochs: search, sums, smoothing
        |            |              |
search, frames  grouping      neighborhoods, grid, schedules, initialization
        |            |              |
codebook_codes, codebook_units, codebook_search, group_sums, som_update, smoothing    kernels
"""

from somknn.som.classification import SOMClassifier
from somknn.som.estimator import SOM
from somknn.som.feature_selection import SOMFeatureSelector, som_features_knn
from somknn.som.grid import Grid

__all__ = ["SOM", "Grid", "SOMClassifier", "SOMFeatureSelector", "som_features_knn"]
