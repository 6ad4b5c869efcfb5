"""The metrics that a caller may name: which index serves each, and how its values become distances.

An index orders rows by squared Euclidean distances: those of the rows as they are, or those of the rows scaled to unit
length. What a user calls the distance is computed from them, at the end, and never changes the order.
"""

import math
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Metric(NamedTuple):
    """A distance, seen from the squared distances that an index returns.

    name : as `effective_metric_` says it
    unit_rows : whether the index compares rows of unit length (`CosineIndex`)
    distances : converts squared distances (int64 or float64) to distances (float64), without changing their order
    near : for a radius, a squared distance close to the largest one within it; infinite if every one is
    """

    name: str
    unit_rows: bool
    distances: Callable[[np.ndarray], np.ndarray]
    near: Callable[[float], float]

    def largest_within(self, radius: float) -> float:
        """The largest squared distance whose distance is at most `radius`: so the boundary agrees with `distances`."""
        squared = self.near(radius)
        if squared == math.inf:
            return squared
        while squared > 0 and self._distance(squared) > radius:
            squared = math.nextafter(squared, 0.0)
        while self._distance(above := math.nextafter(squared, math.inf)) <= radius:
            squared = above
        return squared

    def _distance(self, squared: float) -> float:
        return float(self.distances(np.array(squared)))


def _as_floats(squared: np.ndarray) -> np.ndarray:
    return np.asarray(squared, np.float64)


def _cosine(squared: np.ndarray) -> np.ndarray:
    """½·‖u - v‖² = 1 - cos for unit vectors. Rounding can lead past 2, where arccos(1 - distance) would be NaN."""
    return np.minimum(np.multiply(squared, 0.5), 2.0)


def _square(radius: float) -> float:
    return min(radius * radius, sys.float_info.max) if radius < math.inf else radius


def _same(radius: float) -> float:
    return radius


def _of_unit_rows(radius: float) -> float:
    return 2.0 * radius if radius < 2.0 else math.inf


EUCLIDEAN = Metric("euclidean", False, np.sqrt, _square)
COSINE = Metric("cosine", True, _cosine, _of_unit_rows)

# What may be asked for. "minkowski" is the Euclidean distance at p=2.
METRICS: dict[str, Metric] = {
    "minkowski": EUCLIDEAN,
    "euclidean": EUCLIDEAN,
    "l2": EUCLIDEAN._replace(name="l2"),
    "sqeuclidean": Metric("sqeuclidean", False, _as_floats, _same),
    "cosine": COSINE,
}
EFFECTIVE: dict[str, Metric] = {metric.name: metric for metric in METRICS.values()}


def find_metric(metric: object, p: float | None = 2) -> Metric:
    """The metric of this name. Raises ValueError, with a list of what there is, for another name or power.

    p : the power of "minkowski"; other metrics have none, and ignore it as scikit-learn does
    """
    names = ", ".join(map(repr, sorted(METRICS)))
    if not isinstance(metric, str) or metric not in METRICS:
        raise ValueError(f"metric must be one of {names}; got {metric!r}")
    if metric == "minkowski" and p not in (2, None):
        raise ValueError(f"metric='minkowski' takes the power p=2 only, got p={p!r}; metrics are {names}")
    return METRICS[metric]
