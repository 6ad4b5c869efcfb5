"""Self-organizing maps.

SOM, SOMClassifier, SOMFeatureSelector     estimators
        |
training, online, blocks                   epochs: search, sums, smoothing
        |            |              |
somknn.search    grouping      neighborhoods, grid, schedules, initialization
(best_units)         |              |
        |            |              |
search, bounds    learn            maps       layers of `somknn_kernels`
"""

from somknn.som.classification import SOMClassifier
from somknn.som.estimator import SOM
from somknn.som.feature_selection import SOMFeatureSelector, som_features_knn
from somknn.som.grid import Grid

__all__ = ["SOM", "Grid", "SOMClassifier", "SOMFeatureSelector", "som_features_knn"]
