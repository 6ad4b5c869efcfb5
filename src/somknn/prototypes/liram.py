"""GLVQ with a low-rank metric that is trained along with the prototypes: limited rank matrix LVQ (LiRAM LVQ).

Bunte, Schneider, Hammer, Schleif, Villmann and Biehl (2012), "Limited rank matrix learning, discriminative dimension
reduction and visualization", Neural Networks 26. The cost is that of `glvq`, with d = ‖A(x - c) - p‖²: A maps a row to
`rank` coordinates, where the prototypes p live. A step maps all rows, finds their winners exactly (by brute force:
bounds do not pay for such narrow rows), and moves p and A by Adam; A has one scale for all its entries, and starts as
the leading principal axes.
"""

from collections.abc import Callable

import numpy as np

from somknn.axes import axes_of_rows, evenly_spaced, sample_size
from somknn.machine import check_stopped, resolve_n_threads, run_tasks
from somknn.progress import Passes
from somknn.prototypes import glvq
from somknn.prototypes.metric import Metric, centre_rows, round_prototypes, rounded
from somknn.scaling import BEYOND, exponent_of
from somknn.threads import single_threaded_blas

_BLOCK = 1024  # rows converted to floats at a time
_PARTS = 8  # partial sums of the gradient of the axes, added in order: the result does not depend on the threads
_AXES_RATE = 0.2  # learning rate of the axes as a share of the prototypes', relative to the entries of the initial axes


class RowMap:
    """Products of the rows with changing axes.

    BLAS gets the same blocks, each on one thread, for any number of threads.
    """

    def __init__(self, rows: np.ndarray, weights: np.ndarray, n_threads: int):
        self.rows, self.n_threads = rows, n_threads
        self.dtype = np.dtype(np.float64 if rows.dtype == np.float64 else np.float32)
        sample = evenly_spaced(len(rows), sample_size(rows.shape[1]))
        some, shares = rows[sample].astype(np.float64), weights[sample] / weights[sample].sum()
        self.center = shares @ some
        if rows.dtype == np.uint8:
            self.center = np.rint(self.center)
        exponent = exponent_of(rows)
        some = (some - self.center) / 2.0**exponent
        spread = float(np.sqrt((shares @ some**2).mean()))
        # Bytes stay whole numbers; other rows are scaled to values near 1.
        nearer = 1.0 if rows.dtype == np.uint8 or not spread > 0 else float(2.0 ** -np.rint(np.log2(spread)))
        self.scale = nearer / 2.0**exponent
        self.spread = spread * nearer or 1.0
        self._sample = some * (np.sqrt(shares)[:, None] * nearer)

    def first_axes(self, rank: int) -> np.ndarray:
        """The leading principal axes (d, rank)."""
        with single_threaded_blas():
            return np.ascontiguousarray(axes_of_rows(self._sample, rank, turns=4))

    def _blocks(self, work: Callable[[int, slice, np.ndarray], None]) -> None:
        """Call work(part, rows, rows as floats) for all blocks; blocks of one part run in order."""
        edges = np.linspace(0, len(self.rows), _PARTS + 1).astype(np.int64)

        def run(part: int) -> None:
            squares = np.empty(len(self.rows[: edges[part + 1]]))
            room = min(_BLOCK, int(edges[part + 1] - edges[part]))
            centred = np.empty((room, self.rows.shape[1]), self.dtype)
            for first in range(int(edges[part]), int(edges[part + 1]), _BLOCK):
                check_stopped()
                at = slice(first, min(first + _BLOCK, int(edges[part + 1])))
                centre_rows(self.rows, at.start, at.stop, self.center, self.scale, centred, squares)
                work(part, at, centred[: at.stop - at.start])

        with single_threaded_blas():
            run_tasks(run, _PARTS, self.n_threads)

    def apply(self, axes: np.ndarray, out: np.ndarray) -> None:
        """out = rows @ axes."""
        axes = axes.astype(self.dtype)

        def work(part: int, at: slice, centred: np.ndarray) -> None:
            np.matmul(centred, axes, out=out[at])

        self._blocks(work)

    def pulled(self, pull: Callable[[slice], np.ndarray], rank: int) -> np.ndarray:
        """rowsᵀ @ pull(all rows), (d, rank) in float64."""
        sums = np.zeros((_PARTS, self.rows.shape[1], rank), self.dtype)

        def work(part: int, at: slice, centred: np.ndarray) -> None:
            sums[part] += centred.T @ pull(at)

        self._blocks(work)
        return sums.sum(axis=0, dtype=np.float64)


def cost_and_gradients(
    row_map: RowMap,
    mapped: np.ndarray,
    weights: np.ndarray,
    prototypes: np.ndarray,
    winners: glvq.Winners,
    slope: float,
) -> tuple[float, np.ndarray, np.ndarray]:
    """The weighted mean of f(μ), and its gradients by the prototypes (p, rank) and by the axes (d, rank)."""
    cost, gradient = glvq.cost_and_gradient(mapped, weights, prototypes, winners, slope, row_map.n_threads)
    _, towards, away = glvq.pulls(weights, winners, slope)
    own, other = winners.own, winners.other
    places = prototypes.astype(row_map.dtype)

    def pull(at: slice) -> np.ndarray:
        from_own = (mapped[at] - places[own[at]]) * towards[at, None].astype(row_map.dtype)
        return from_own - (mapped[at] - places[other[at]]) * away[at, None].astype(row_map.dtype)

    return cost, gradient, row_map.pulled(pull, mapped.shape[1])


def train(
    rows: np.ndarray,
    codes: np.ndarray,
    weights: np.ndarray,
    prototypes: np.ndarray,
    classes: np.ndarray,
    rank: int,
    settings: tuple[int, float, float],
    n_jobs: int | None,
    report: Passes,
) -> tuple[np.ndarray, Metric, dict[str, list[float]]]:
    """Prototypes in the metric's coordinates, the metric, and the history of the steps.

    rows, codes, weights : sorted by class; prototypes, classes : initial prototypes in the space of the rows, sorted by
    class.
    settings : epochs, learning_rate (of the prototypes, in standard deviations of a feature), slope.
    """
    epochs, learning_rate, slope = settings
    row_map = RowMap(rows, weights, resolve_n_threads(n_jobs))
    axes = row_map.first_axes(rank).astype(np.float64)
    places = ((prototypes.astype(np.float64) - row_map.center) * row_map.scale) @ axes
    mapped = np.zeros((len(rows), rank), row_map.dtype)
    search = glvq.ClassSearch(mapped, codes, int(codes[-1]) + 1, n_jobs, "brute")
    # The spread of a coordinate is that of a feature times the root of the number of features per coordinate.
    rate = learning_rate * row_map.spread * np.sqrt(rows.shape[1] / rank)
    axes_rate = learning_rate * _AXES_RATE / np.sqrt(rows.shape[1])
    place_steps, axes_steps = glvq.Adam(places.shape, per_row=True), glvq.Adam(axes.shape, per_row=False)

    def step(left: float) -> tuple[float, glvq.Winners, np.ndarray]:
        nonlocal places, axes
        row_map.apply(axes, mapped)
        winners = search.find(places.astype(row_map.dtype), classes)
        cost, by_places, by_axes = cost_and_gradients(row_map, mapped, weights, places, winners, slope)
        places = places - rate * left * place_steps.direction(by_places)
        axes = axes - axes_rate * left * axes_steps.direction(by_axes)
        return cost, winners, places

    history = glvq.descend(step, epochs, weights, report)
    row_map.apply(axes, mapped)
    reach = np.abs(mapped).max(axis=1).astype(np.float64)
    with np.errstate(over="ignore"):
        # Squared distance of rows as mapped by the final model.
        farthest = 4.0 * rank * (reach.max() / row_map.scale) ** 2
    if not np.isfinite(farthest):
        raise ValueError(BEYOND)
    metric, units = rounded(axes.T, row_map.center, reach, rows.dtype)
    return round_prototypes(metric, places * (units / row_map.scale)), metric, history
