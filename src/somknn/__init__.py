"""somknn: exact nearest neighbours, self-organizing maps and prototype classifiers at the speed of the hardware.

Names are imported when they are first used, so `import somknn` is quick and compiles nothing.
"""

from somknn._lazy import lazily

__version__ = "0.1.0"

_HOMES = {
    "DeformationClassifier": "images",
    "NearestNeighbors": "neighbors",
    "KNeighborsClassifier": "neighbors",
    "KNeighborsClassifierCV": "evaluation",
    "KNeighborsRegressor": "neighbors",
    "KNeighborsTransformer": "neighbors",
    "KMeans": "prototypes",
    "LVQ": "prototypes",
    "PrototypeClassifier": "prototypes",
    "SOM": "som",
    "SOMClassifier": "som",
    "SOMFeatureSelector": "som",
    "load": "persistence",
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


__all__ = sorted([*_HOMES, *_SUBPACKAGES, "__version__"])
__getattr__, __dir__ = lazily(__name__, _HOMES | dict.fromkeys(_SUBPACKAGES))
