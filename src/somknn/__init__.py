"""somknn: exact nearest neighbours, self-organizing maps and prototype classifiers at the speed of the hardware.

Names are imported when they are first used, so `import somknn` is quick and compiles nothing.
"""

from typing import TYPE_CHECKING

from somknn._lazy import lazily

if TYPE_CHECKING:
    from somknn import batch as batch
    from somknn import datasets as datasets
    from somknn import distributed as distributed
    from somknn import evaluation as evaluation
    from somknn import images as images
    from somknn import neighbors as neighbors
    from somknn import persistence as persistence
    from somknn import prototypes as prototypes
    from somknn import som as som
    from somknn.evaluation.tuning import KNeighborsClassifierCV as KNeighborsClassifierCV
    from somknn.images.deformation import DeformationClassifier as DeformationClassifier
    from somknn.neighbors.classification import KNeighborsClassifier as KNeighborsClassifier
    from somknn.neighbors.graph import KNeighborsTransformer as KNeighborsTransformer
    from somknn.neighbors.regression import KNeighborsRegressor as KNeighborsRegressor
    from somknn.neighbors.unsupervised import NearestNeighbors as NearestNeighbors
    from somknn.persistence.estimators import load as load
    from somknn.prototypes.classifier import PrototypeClassifier as PrototypeClassifier
    from somknn.prototypes.kmeans import KMeans as KMeans
    from somknn.prototypes.lvq import LVQ as LVQ
    from somknn.som.classification import SOMClassifier as SOMClassifier
    from somknn.som.estimator import SOM as SOM
    from somknn.som.feature_selection import SOMFeatureSelector as SOMFeatureSelector

_HOMES = {
    "DeformationClassifier": "somknn.images.deformation",
    "KMeans": "somknn.prototypes.kmeans",
    "KNeighborsClassifier": "somknn.neighbors.classification",
    "KNeighborsClassifierCV": "somknn.evaluation.tuning",
    "KNeighborsRegressor": "somknn.neighbors.regression",
    "KNeighborsTransformer": "somknn.neighbors.graph",
    "LVQ": "somknn.prototypes.lvq",
    "NearestNeighbors": "somknn.neighbors.unsupervised",
    "PrototypeClassifier": "somknn.prototypes.classifier",
    "SOM": "somknn.som.estimator",
    "SOMClassifier": "somknn.som.classification",
    "SOMFeatureSelector": "somknn.som.feature_selection",
    "load": "somknn.persistence.estimators",
}
_SUBPACKAGES = {
    "batch",
    "datasets",
    "distributed",
    "evaluation",
    "images",
    "neighbors",
    "persistence",
    "prototypes",
    "som",
}

__version__ = "0.1.0"
__all__ = sorted([*_HOMES, *_SUBPACKAGES, "__version__"])
__getattr__, __dir__ = lazily(__name__, _HOMES | dict.fromkeys(_SUBPACKAGES))
