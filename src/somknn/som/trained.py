"""Queries on a trained SOM: its errors on rows, and the arrangement of its neurons."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from somknn.search.directions import unit_codebook
from somknn.search.metrics import METRICS
from somknn.som import quality
from somknn.som.grid import Grid
from somknn.som.training import Rows, sums_by_unit

_BLOCK = 8192


class TrainedMap:
    """The part of `SOM` that reads `codebook_`. `_search`, `_targets` and `_rule` belong to the estimator."""

    codebook_: np.ndarray
    topology: str
    boundary: str
    neighborhood: str
    compact_support: bool
    missing_values: str
    metric: str
    _search: Any
    _targets: Any
    _rule: Any
    predict: Any

    def _nearest_unit(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Distances to the nearest neurons, and these, of the rows, for batch prediction."""
        found = self._search(X)
        return METRICS[self.metric].distances(found.distances), found.units[:, 0]

    def quantization_error(self, X: Any, sample_weight: Any = None) -> float:
        """Mean distance of the rows to their best-matching units."""
        search = self._search(X)
        weights = self._targets(search.X, None, sample_weight)[0]
        return quality.quantization_error_of(search.distances, weights, METRICS[self.metric])

    def topographic_error(self, X: Any, sample_weight: Any = None, *, diagonals: bool = True) -> float:
        """Share of rows whose best and second-best units are not adjacent; see `somknn.som.quality`."""
        search = self._search(X)
        weights = self._targets(search.X, None, sample_weight)[0]
        return quality.topographic_error_of(search.units, self.grid_, weights, diagonals)

    def topographic_product(self) -> float:
        """Topographic product of the map (Bauer and Pawelzik 1992); 0 is best."""
        check_is_fitted(self)
        return quality.topographic_product(self.codebook_, self.grid_)

    def trustworthiness(self, X: Any, n_neighbors: int = 5) -> float:
        """Trustworthiness of the grid positions of rows; O(n²), so pass a sample."""
        return quality.trustworthiness(X, self.predict(X), self.grid_, n_neighbors, self.metric)

    def distortion(self, X: Any, radius: float | None = None) -> float:
        """Mean over rows of Σ_j h(bmu, j)·‖x - w_j‖² at `radius` (default: the final one)."""
        search = self._search(X)
        if self.missing_values == "ignore":
            raise ValueError("distortion is not defined here for missing values")
        if self.metric != "euclidean":
            raise ValueError(f"distortion is not defined here for metric={self.metric!r}; see quantization_error")
        rule, grid = self._rule(), self.grid_  # the fitted grid, even if the parameters have changed
        rows = Rows(search.X, None, None)
        sums, totals = sums_by_unit(rows, search.units[:, 0], grid.size, False, rule.n_threads)
        centre = self._flat().astype(np.float64).mean(axis=0)
        norms = np.empty(len(search.X))
        for first in range(0, len(norms), _BLOCK):
            centred = search.X[first : first + _BLOCK] - centre
            norms[first : first + _BLOCK] = np.einsum("ij,ij->i", centred, centred)
        squares = np.bincount(search.units[:, 0], weights=norms, minlength=grid.size)
        arguments = (grid, self.neighborhood, rule.radii[-1] if radius is None else radius, self.compact_support)
        centred_sums = sums - totals[:, None] * centre
        return quality.distortion_of(self._flat() - centre, centred_sums, totals, squares, arguments, len(norms))

    def u_matrix(self) -> np.ndarray:
        """Mean distance of each neuron to its adjacent ones, (n_rows, n_columns)."""
        check_is_fitted(self)
        flat, metric = self._flat(), METRICS[self.metric]
        return quality.u_matrix(unit_codebook(flat, 1) if metric.unit_rows else flat, self.grid_, metric)

    def hit_map(self, X: Any) -> np.ndarray:
        """The number of rows won by each neuron, (n_rows, n_columns) int64."""
        return np.bincount(self.predict(X), minlength=self.grid_.size).reshape(self.codebook_.shape[:2])

    def component_planes(self) -> np.ndarray:
        """The weight of every feature across the map, (n_features, n_rows, n_columns): a view of the codebook."""
        check_is_fitted(self)
        return np.moveaxis(self.codebook_, 2, 0)

    def cluster_map(self, n_clusters: int, linkage: str = "ward") -> np.ndarray:
        """Clusters of the neurons by agglomerative clustering of their weights, (n_rows, n_columns) int64."""
        check_is_fitted(self)
        from sklearn.cluster import AgglomerativeClustering  # slow to import, and few maps are clustered

        labels = AgglomerativeClustering(n_clusters, linkage=linkage).fit_predict(self._flat())
        return labels.reshape(self.codebook_.shape[:2]).astype(np.int64)

    @property
    def grid_(self) -> Grid:
        """The grid of the trained map."""
        check_is_fitted(self, "codebook_")
        return Grid.checked(self.codebook_.shape[0], self.codebook_.shape[1], self.topology, self.boundary)

    def _flat(self) -> np.ndarray:
        return self.codebook_.reshape(-1, self.codebook_.shape[2])
