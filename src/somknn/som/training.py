"""Batch and streaming training of a SOM on validated rows. The classical rule is in `online`.

Batch training (Kohonen, Self-Organizing Maps, 3rd edition, section 3.6): every epoch assigns all rows to their
best-matching units and sets w_j = Σ_i h(j, i)·S_i / Σ_i h(j, i)·n_i, where S_i is the sum of the rows of unit i and n_i
their number. A neuron that no row reaches (the denominator is 0) keeps its weights.
"""

import time
import warnings
from typing import Any, NamedTuple

import numpy as np

from somknn.grouping import group_sums
from somknn.progress import Passes
from somknn.scaling import check_squares
from somknn.search.allowance import Allowance
from somknn.search.best_units import BMUSearch
from somknn.search.directions import Directions, unit_codebook, unit_length
from somknn.search.metrics import EUCLIDEAN, Metric
from somknn.som.grid import Grid
from somknn.som.neighborhoods import smooth
from somknn.som.quality import quantization_error_of, topographic_error_of

_USUAL = 100  # up to this exponent, sums are smoothed without scaling
_MEXICAN_FLOOR = 1e-3  # share of the largest denominator; below it the quotient of a Mexican hat is meaningless


class Rule(NamedTuple):
    """The training parameters of a SOM."""

    grid: Grid
    neighborhood: str
    compact_support: bool
    radii: np.ndarray
    rates: np.ndarray
    tol: float | None
    patience: int
    missing: bool
    n_threads: int
    metric: Metric = EUCLIDEAN


class Rows(NamedTuple):
    """The training data: rows, weights or None, classes as integers or None.

    zeros : under the cosine distance, where `X` is at unit length, the numbers of the rows of zeros
    """

    X: np.ndarray
    weights: np.ndarray | None
    labels: np.ndarray | None
    zeros: np.ndarray | None = None

    @classmethod
    def taken(
        cls, X: np.ndarray, weights: np.ndarray | None, labels: np.ndarray | None, metric: Metric, n_threads: int
    ) -> "Rows":
        """Rows as the metric compares them."""
        if not metric.unit_rows:
            return cls(X, weights, labels)
        units, zeros = Directions.of(X, n_threads)
        return cls(units, weights, labels, zeros)


def weights_of_valued(X: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
    """`weights` (n,), or ones, with 0 for rows that are NaN throughout: such rows count in no error. None if all count.

    Raises ValueError if no weight is left.
    """
    empty = rows_without_values(X)
    if empty.any():
        weights = np.where(empty, 0.0, 1.0 if weights is None else weights)
        if not weights.any():
            raise ValueError("X has no row with a value and a weight: every value is NaN")
    return weights


def rows_without_values(X: np.ndarray) -> np.ndarray:
    """Which rows are NaN throughout, bool (n,)."""
    empty = np.isnan(X[:, 0])
    empty[empty] = np.isnan(X[empty]).all(axis=1)
    return empty


def warn_of_rows_without_values(count: int, first: int | None = None) -> None:
    """One warning that says what becomes of `count` rows that are NaN throughout."""
    where = "" if first is None else f" (the first is row {first})"
    warnings.warn(
        f"X has {count} rows without any value{where}: they are as near to every unit, so they get unit 0; they move "
        "no unit and count in no error",
        stacklevel=5,
    )


def sums_by_unit(
    rows: Rows, units: np.ndarray, size: int, missing: bool, n_threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """(sums (size, d), totals (size,), or (size, d) with missing values), exact integers or float64."""
    units = np.ascontiguousarray(units)
    if not missing:
        return group_sums(rows.X, units, size, rows.weights, n_threads)
    absent = np.isnan(rows.X)
    sums, _ = group_sums(np.where(absent, 0, rows.X), units, size, rows.weights, n_threads)
    totals, _ = group_sums((~absent).astype(np.uint8), units, size, rows.weights, n_threads)
    return sums, totals


def _column_units(sums: np.ndarray, least: float) -> np.ndarray | None:
    """Powers of two (d,) near the columns' largest sums, or None if no scaling is needed.

    None means that the products with influences down to `least` fit into float64.
    """
    if sums.dtype == np.int64:
        return None
    exponents = np.frexp(np.maximum(sums.max(axis=0, initial=0.0), -sums.min(axis=0, initial=0.0)))[1]
    usual = np.abs(exponents).max() <= _USUAL and least >= 2.0**-700
    return None if usual else 2.0 ** np.clip(exponents, -1000, 1000)


def batch_update(codebook: np.ndarray, sums: np.ndarray, totals: np.ndarray, rule: Rule, radius: float) -> np.ndarray:
    """The codebook after one update of batch training, in the dtype of `codebook`."""
    arguments = (rule.grid, rule.neighborhood, radius, rule.compact_support, rule.n_threads)
    # In the type of the sums, so that one compiled form smooths both. Numbers of rows are exact in float64.
    denominator = smooth(totals.reshape(len(totals), -1).astype(sums.dtype, copy=False), *arguments)
    floor = _MEXICAN_FLOOR * denominator.max(initial=0.0) if rule.neighborhood == "mexican_hat" else 0.0
    reached = denominator > floor
    divisors = np.where(reached, denominator, 1.0)
    least = float(np.min(denominator, where=reached, initial=1.0))
    unit = _column_units(sums, least)
    if unit is not None:
        sums = sums / unit
    if divisors.shape[1] == 1:
        updated = smooth(sums, *arguments, divisors[:, 0], codebook.dtype)
    else:
        updated = (smooth(sums, *arguments) / divisors).astype(codebook.dtype)
    if unit is not None:
        updated = (updated * unit).astype(codebook.dtype)
    updated = updated if reached.all() else np.where(reached, updated, codebook)
    return unit_length(updated, codebook, rule.n_threads) if rule.metric.unit_rows else updated


def find_units(search: BMUSearch, rows: Rows, codebook: np.ndarray, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """The two nearest units (n, 2) of every row, and the squared distances (n,) to the nearest.

    Both belong to `search`. Under the cosine distance they are between unit rows.
    """
    if rows.zeros is None:
        units, distances = search.search(codebook)
    else:
        units, distances = search.search(unit_codebook(codebook, rule.n_threads))
        Directions(rows.X, rows.zeros).settle(units, distances, len(codebook))
    check_squares(distances, rows.X, codebook)
    return units, distances


class Assigned:
    """Rows in this process, assigned to a changing codebook: the data interface of `train_batch`.

    `somknn.distributed` implements the same interface over the workers of a cluster, with one `Assigned` per block of
    rows.
    """

    def __init__(self, rows: Rows, rule: Rule):
        self.rows, self.rule = rows, rule
        self.search = BMUSearch(rows.X, missing=rule.missing, n_threads=rule.n_threads, allowance=Allowance())
        self.units, self.distances = np.empty((len(rows.X), 0)), np.empty(0)

    def assign(self, codebook: np.ndarray) -> tuple[float, float]:
        """Find the two nearest units of every row; return the quantization and topographic error."""
        self.units, self.distances = find_units(self.search, self.rows, codebook, self.rule)
        qe = quantization_error_of(self.distances, self.rows.weights, self.rule.metric)
        return qe, topographic_error_of(self.units, self.rule.grid, self.rows.weights)

    def sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums and totals of the rows by their nearest unit."""
        return sums_by_unit(self.rows, self.units[:, 0], self.rule.grid.size, self.rule.missing, self.rule.n_threads)


def train_batch(data: Any, codebook: np.ndarray, rule: Rule, report: Passes) -> np.ndarray:
    """Return the trained codebook; `data` (an `Assigned`) ends up assigned to it."""
    data.assign(codebook)
    errors: list[float] = []
    for radius in rule.radii:
        report.begin()
        began = time.perf_counter()
        sums, totals = data.sums()
        codebook = batch_update(codebook, sums, totals, rule, radius)
        qe, te = data.assign(codebook)
        errors.append(qe)
        seconds = time.perf_counter() - began
        if report(lambda codebook=codebook: codebook, data.units, qe, te, radius, seconds) or settled(errors, rule):
            break
    return codebook


def settled(errors: list[float], rule: Rule) -> bool:
    """Whether the quantization error improved by less than `tol` of itself in each of the last `patience` epochs."""
    if rule.tol is None or len(errors) <= rule.patience:
        return False
    recent = np.array(errors[-rule.patience - 1 :])
    return bool((recent[:-1] - recent[1:] < rule.tol * recent[:-1]).all())
