"""Generalized learning vector quantization: every step uses the whole training set and exact winners.

Sato and Yamada (1996), "Generalized learning vector quantization". With d⁺ the squared distance of a row to the nearest
prototype of its own class and d⁻ to the nearest of any other class, the cost is the mean over the rows of

    f(μ),   μ = (d⁺ - d⁻) / (d⁺ + d⁻),   f(μ) = 1 / (1 + exp(-slope·μ)).

A step costs as much as an iteration of K-Means: the search engine finds the winners, with the last winners as bounds,
and the gradient is two weighted sums of rows by winner. So there is no mini-batch noise. The optimiser is Adam (Kingma
and Ba 2015) with one scale per prototype instead of one per coordinate: pixels at the border keep their small steps.
"""

import itertools
import time
from collections.abc import Callable

import numpy as np

from somknn.grouping import group_sums
from somknn.machine import per_task, resolve_n_threads, run_tasks
from somknn.progress import Passes
from somknn.scaling import BEYOND, squares_scale
from somknn.search.allowance import Allowance
from somknn.search.codebook import CodebookSearch, worth_encoding
from somknn_kernels.learn import lvq as kernels
from somknn_kernels.learn.lvq import Winners as Winners

_ROWS = 64  # rows of a task that compares with all prototypes
_FEW = 128  # rows of a class, fewer of which are compared with all prototypes one by one
_MOMENTUM, _MEMORY = 0.9, 0.99


class ClassSearch:
    """Finds winners repeatedly.

    rows, codes : the training rows sorted by class, and their classes 0 … n_classes-1. algorithm : "pruned", or "brute"
    for rows that change between the calls.
    """

    def __init__(
        self, rows: np.ndarray, codes: np.ndarray, n_classes: int, n_jobs: int | None, algorithm: str = "pruned"
    ):
        self.rows, self.codes, self.n_threads = rows, codes, resolve_n_threads(n_jobs)
        self.edges = np.searchsorted(codes, np.arange(n_classes + 1))
        allowance = Allowance() if algorithm == "pruned" else None  # together, the classes are small work or not
        parts = [rows[start:stop] for start, stop in itertools.pairwise(self.edges)]
        # Brute force is faster for few rows, and for narrow rows if bounds would have to be prepared at every step.
        self._searches = [
            CodebookSearch(
                part, n_jobs=n_jobs, algorithm=algorithm if worth_encoding(part) else "brute", allowance=allowance
            )
            if len(part) >= _FEW
            else None
            for part in parts
        ]
        n = len(rows)
        self._found = Winners(np.empty(n, np.int64), np.empty(n), np.empty(n, np.int64), np.empty(n))
        self._asked = False

    def find(self, prototypes: np.ndarray, classes: np.ndarray) -> Winners:
        """Winners among `prototypes`; `classes` must be the same in all calls, sorted, each class at least once.

        Ties go to the lowest prototype number. The result arrays of the last call are overwritten.
        """
        for c, search in enumerate(self._searches):
            first, last = np.searchsorted(classes, [c, c + 1])
            at = slice(self.edges[c], self.edges[c + 1])
            if search is None:
                self._compare_all(at, prototypes, classes)
                continue
            found = Winners(*(array[at] for array in self._found))
            others = np.concatenate([prototypes[:first], prototypes[last:]])
            shift = last - first  # offset for prototype numbers after the class that `others` lacks
            before = (None, None)
            if self._asked:
                before = found.own[:, None] - first, (found.other - shift * (found.other >= last))[:, None]
            squares, nearest = search.nearest(prototypes[first:last], 1, before[0])
            found.own_squares[:], found.own[:] = squares[:, 0], nearest[:, 0] + first
            squares, nearest = search.nearest(others, 1, before[1])
            found.other_squares[:], found.other[:] = squares[:, 0], nearest[:, 0]
            found.other[found.other >= first] += shift
        self._asked = True
        return self._found

    def _compare_all(self, at: slice, prototypes: np.ndarray, classes: np.ndarray) -> None:
        at_once = per_task(_ROWS, prototypes.size)

        def work(task: int) -> None:
            start = at.start + task * at_once
            span = start, min(at.stop, start + at_once)
            kernels.winners(self.rows, self.codes, *span, prototypes, classes, self._found)

        run_tasks(work, -(-(at.stop - at.start) // at_once), self.n_threads)


def pulls(
    weights: np.ndarray, winners: Winners, slope: float, exponent: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """f(μ), and the strengths with which each row attracts its own winner and repels the other, (n,) each.

    exponent : distances are in units of 2^exponent; the strengths are in squares of these units.
    """
    own, other = (squares * squares_scale(exponent) for squares in (winners.own_squares, winners.other_squares))
    total = own + other
    if not np.isfinite(total).all():
        row = int(np.flatnonzero(~np.isfinite(total))[0])
        raise ValueError(f"row {row} of those sorted by class is too far from prototypes: {BEYOND}")
    safe = np.where(total > 0, total, 1.0)  # a row that coincides with prototypes of two classes moves neither
    relative = (own - other) / safe
    value = 1.0 / (1.0 + np.exp(-slope * relative))
    pull = weights * slope * value * (1.0 - value) * 4.0 / weights.sum()
    return value, pull * (other / safe) / safe, pull * (own / safe) / safe


def cost_and_gradient(
    rows: np.ndarray,
    weights: np.ndarray,
    prototypes: np.ndarray,
    winners: Winners,
    slope: float,
    n_threads: int,
    exponent: int = 0,
) -> tuple[float, np.ndarray]:
    """The weighted mean of f(μ), and its gradient (n_prototypes, d) in float64; coordinates in units of 2^exponent."""
    value, towards, away = pulls(weights, winners, slope, exponent)
    k = len(prototypes)
    own_sums, own_weights = group_sums(rows, winners.own, k, towards, n_threads)
    other_sums, other_weights = group_sums(rows, winners.other, k, away, n_threads)
    gradient = other_sums - own_sums + (own_weights - other_weights)[:, None] * prototypes
    return float((weights * value).sum() / weights.sum()), gradient / 2.0**exponent


class Adam:
    """Step directions from gradients: their running mean divided by the root of their running mean square.

    per_row : one scale per row of the parameters, otherwise one for all.
    """

    def __init__(self, shape: tuple[int, int], *, per_row: bool):
        self._mean, self._square, self._steps = np.zeros(shape), np.zeros((shape[0] if per_row else 1, 1)), 0

    def direction(self, gradient: np.ndarray) -> np.ndarray:
        """The direction of the next step; entries are about 1 in size where gradients keep their sign."""
        self._steps += 1
        self._mean += (1 - _MOMENTUM) * (gradient - self._mean)
        squares = (gradient**2).mean(axis=1, keepdims=True)
        self._square += (1 - _MEMORY) * ((squares if len(self._square) > 1 else squares.mean()) - self._square)
        scale = np.sqrt(self._square / (1 - _MEMORY**self._steps))
        mean = self._mean / (1 - _MOMENTUM**self._steps)
        return np.divide(mean, scale, out=np.zeros_like(mean), where=scale > 0)


def descend(
    step: Callable[[float], tuple[float, Winners, np.ndarray]],
    epochs: int,
    weights: np.ndarray,
    report: Passes,
) -> dict[str, list[float]]:
    """Take `epochs` steps; return their history: "cost" and "error_rate" before each step, and "seconds".

    step(left) takes a step with `left` times the initial learning rate, which falls to zero along half a cosine. It
    returns the cost and the winners before the step, and the prototypes after it. `report(entry)` is called after every
    step; training ends when it returns True.
    """
    history: dict[str, list[float]] = {"cost": [], "error_rate": [], "seconds": []}
    for epoch in range(1, epochs + 1):
        report.begin()
        start = time.perf_counter()
        cost, winners, prototypes = step(0.5 * (1 + np.cos(np.pi * (epoch - 1) / epochs)))
        wrong = winners.other_squares <= winners.own_squares
        entry = {
            "cost": cost,
            "error_rate": float((weights * wrong).sum() / weights.sum()),
            "seconds": time.perf_counter() - start,
        }
        for name, value in entry.items():
            history[name].append(value)
        if report({"epoch": epoch, "prototypes": prototypes, **entry}):
            break
    return history


def train(
    search: ClassSearch,
    weights: np.ndarray,
    prototypes: np.ndarray,
    classes: np.ndarray,
    epochs: int,
    learning_rate: float,
    slope: float,
    report: Passes,
    exponent: int = 0,
) -> tuple[np.ndarray, dict[str, list[float]]]:
    """Prototypes after `epochs` steps, and the history of the steps.

    The prototypes are float32 for float32 and uint8 rows, otherwise float64.

    learning_rate : length of the first steps of a coordinate, in the rows' units; falls to zero along half a cosine.
    exponent : the unit of the rows, see `somknn.scaling`.
    """
    dtype = np.float64 if search.rows.dtype == np.float64 else np.float32
    prototypes = prototypes.astype(np.float64)
    steps = Adam(prototypes.shape, per_row=True)

    def step(left: float) -> tuple[float, Winners, np.ndarray]:
        nonlocal prototypes
        winners = search.find(prototypes.astype(dtype), classes)
        cost, gradient = cost_and_gradient(search.rows, weights, prototypes, winners, slope, search.n_threads, exponent)
        prototypes = prototypes - learning_rate * left * steps.direction(gradient)
        return cost, winners, prototypes

    history = descend(step, epochs, weights, report)
    return prototypes.astype(dtype), history
