"""Quality measures: how well a SOM represents its data and preserves neighbourhoods.

The topographic error is the share of rows whose best and second-best units are not adjacent on the grid. Adjacent
means: hexagonal, one of the six nearest neurons; rectangular, one of the eight around (`diagonals=False`: of the four).
Edges count as joined on a cylinder (left and right) and a torus (all), and only there.
"""

import functools

import numpy as np
from sklearn.metrics import pairwise_distances

from somknn.search.metrics import EUCLIDEAN, Metric
from somknn.som.grid import Grid
from somknn.som.neighborhoods import evaluate

_TABLE = 2048  # up to this number of neurons, a table of all pairs is used


def quantization_error_of(squared: np.ndarray, weights: np.ndarray | None = None, metric: Metric = EUCLIDEAN) -> float:
    """Mean distance of rows to their best-matching units, from squared distances (n,) as the metric compares rows."""
    return float(np.average(metric.distances(squared), weights=weights))


def topographic_error_of(
    units: np.ndarray, grid: Grid, weights: np.ndarray | None = None, diagonals: bool = True
) -> float:
    """Share of rows whose two units (n, 2) are not adjacent; 0 for a map of one neuron."""
    if grid.size == 1:
        return 0.0
    first, second = units[:, 0], units[:, 1]
    if grid.size <= _TABLE <= len(units):
        torn = _torn_pairs(grid, diagonals).take(first * grid.size + second)
    else:
        torn = ~grid.adjacent(first, second, diagonals)
    return float(np.average(torn, weights=weights)) if weights is not None else np.count_nonzero(torn) / len(torn)


@functools.lru_cache(maxsize=4)
def _torn_pairs(grid: Grid, diagonals: bool) -> np.ndarray:
    """Whether two neurons are not adjacent, indexed by (number of the first)·size + number of the second."""
    everyone = np.arange(grid.size)
    return ~grid.adjacent(everyone[:, None], everyone[None, :], diagonals).ravel()


def distortion_of(
    codebook: np.ndarray,
    sums: np.ndarray,
    totals: np.ndarray,
    squares: np.ndarray,
    rule_arguments: tuple[Grid, str, float, bool],
    weight: float,
) -> float:
    """Mean over rows of Σ_j h(bmu, j)·‖x - w_j‖², from sums per unit: no second pass over the rows.

    Σ_x h·‖x - w_j‖² = Σ_i h(i, j)·(Q_i - 2 w_j·S_i + n_i·‖w_j‖²), where Q_i is the sum of squared norms in unit i.
    """
    grid, neighborhood, radius, compact_support = rule_arguments
    total = 0.0
    norms = np.einsum("ij,ij->i", codebook, codebook)
    for i in range(grid.size):
        if totals[i] == 0:
            continue
        h = evaluate(neighborhood, grid.squared_distances(i, i + 1)[0], radius, compact_support)
        total += float(h @ (squares[i] - 2.0 * (codebook @ sums[i]) + totals[i] * norms))
    return total / weight


def topographic_product(codebook: np.ndarray, grid: Grid) -> float:
    """Topographic product P (Bauer and Pawelzik 1992): below 0 the grid has too few dimensions, above 0 too many.

    Parameters
    ----------
    codebook : (n_rows, n_columns, d) or (size, d)
    grid : Grid

    Ties on the grid are resolved by neuron index. Needs O(size²) memory. Coinciding neurons count with the smallest
    positive distance.
    """
    weights = np.asarray(codebook, dtype=np.float64).reshape(grid.size, -1)
    if grid.size < 3:
        return 0.0
    on_grid = np.sqrt(grid.squared_distances())
    in_space = pairwise_distances(weights)
    tiny = in_space[in_space > 0].min(initial=np.inf)
    if not np.isfinite(tiny):
        return 0.0
    in_space = np.maximum(in_space, tiny)
    np.fill_diagonal(on_grid, -1.0)
    np.fill_diagonal(in_space, -1.0)
    by_grid = np.argsort(on_grid, axis=1, kind="stable")[:, 1:]
    by_space = np.argsort(in_space, axis=1, kind="stable")[:, 1:]
    q1 = np.take_along_axis(in_space, by_grid, 1) / np.take_along_axis(in_space, by_space, 1)
    q2 = np.take_along_axis(on_grid, by_grid, 1) / np.take_along_axis(on_grid, by_space, 1)
    counts = np.arange(1, grid.size)
    return float((np.cumsum(np.log(q1 * q2), axis=1) / (2 * counts)).mean())


def trustworthiness(
    X: np.ndarray, units: np.ndarray, grid: Grid, n_neighbors: int = 5, metric: str = "euclidean"
) -> float:
    """Share of grid neighbours that are neighbours in the data (Venna and Kaski 2001), computed by scikit-learn.

    O(n²): pass a sample of some thousand rows and their best-matching units.
    """
    from sklearn import manifold  # slow to import, and rarely needed

    return float(
        manifold.trustworthiness(
            np.asarray(X, dtype=np.float64), grid.positions()[units], n_neighbors=n_neighbors, metric=metric
        )
    )


def u_matrix(codebook: np.ndarray, grid: Grid, metric: Metric = EUCLIDEAN) -> np.ndarray:
    """Mean distance of each neuron to its adjacent ones, (n_rows, n_columns) float64.

    codebook : (units, d), at unit length under the cosine distance
    """
    codebook = codebook.astype(np.float64)
    values = [
        metric.distances(((codebook[near] - codebook[k]) ** 2).sum(axis=1)).mean() if len(near) else 0.0
        for k, near in enumerate(grid.neighbours())
    ]
    return np.array(values).reshape(grid.n_rows, grid.n_columns)


def label_accuracy(units: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, size: int) -> float:
    """Share of rows that have the majority label of their unit; labels : int (n,), from 0; size : number of units."""
    n_classes = int(labels.max()) + 1
    votes = np.bincount(units * n_classes + labels, weights=weights, minlength=size * n_classes)
    votes = votes.reshape(size, n_classes)
    return float(votes.max(axis=1).sum() / votes.sum())
