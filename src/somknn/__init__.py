"""somknn: exact nearest neighbours, self-organizing maps and prototype classifiers at the speed of the hardware.

Names are imported when they are first used, so `import somknn` is quick and compiles nothing.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "DeformationClassifier": "somknn.images",
    "NearestNeighbors": "somknn.neighbors",
    "KNeighborsClassifier": "somknn.neighbors",
    "KNeighborsClassifierCV": "somknn.evaluation",
    "KNeighborsRegressor": "somknn.neighbors",
    "KNeighborsTransformer": "somknn.neighbors",
    "KMeans": "somknn.prototypes",
    "LVQ": "somknn.prototypes",
    "PrototypeClassifier": "somknn.prototypes",
    "SOM": "somknn.som",
    "SOMClassifier": "somknn.som",
    "SOMFeatureSelector": "somknn.som",
    "load": "somknn.persistence",
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


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in _SUBPACKAGES:
        value = importlib.import_module(f"somknn.{name}")
    else:
        raise AttributeError(f"module 'somknn' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
