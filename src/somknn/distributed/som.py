"""Batch SOM training over parts: each part sums its rows by best-matching unit; the client updates the codebook."""

from typing import Any

import dask.array
import numpy as np
from distributed import Client
from sklearn.utils import check_random_state

from somknn.distributed.cluster import combine, given, turn
from somknn.distributed.parts import Part, Parts, forget_rows
from somknn.progress import Task, with_callbacks
from somknn.som import SOM
from somknn.som.initialization import as_codebook, initial_codebook
from somknn.som.training import (
    Assigned,
    Rows,
    Rule,
    rows_without_values,
    train_batch,
    warn_of_rows_without_values,
)


class _AssignedParts:
    """`somknn.som.training.Assigned` over a cluster; the units of the rows stay on the workers."""

    units = None

    def __init__(self, parts: Parts, rule: Rule):
        self.parts, self.rule = parts, rule

    def assign(self, codebook: np.ndarray) -> tuple[float, float]:
        shared = given(self.parts.client, codebook)
        *self._sums, distances, torn, valued = self.parts.sum(_assign, shared, self.rule)
        self.errors = distances / valued, torn / valued
        return self.errors

    def sums(self) -> list[np.ndarray]:
        return self._sums


def _assign(part: Part, codebook: np.ndarray, rule: Rule) -> tuple[np.ndarray, np.ndarray, float, int, int]:
    """Sums and totals by unit, the sum of distances, the number of rows whose two best units are not adjacent, and the
    number of rows that count: those with a value.
    """
    with turn() as n_threads:
        if "map" not in part.kept:
            empty = rows_without_values(part.rows) if rule.missing else np.zeros(len(part), bool)
            weights = (~empty).astype(np.float64) if empty.any() and not empty.all() else None
            valued = len(part) - int(empty.sum())
            part.kept["map"] = valued, Assigned(Rows(part.rows, weights, None), rule._replace(n_threads=n_threads))
        valued, data = part.kept["map"]
        qe, te = data.assign(codebook)
        return *data.sums(), qe * valued, round(te * valued), valued


def _count_valued(part: Part) -> tuple[int]:
    return (len(part) - int(rows_without_values(part.rows).sum()),)


def _extremes(part: Part) -> np.ndarray:
    return np.stack([np.fmin.reduce(part.rows, axis=0), np.fmax.reduce(part.rows, axis=0)])


def _wider(extremes: list[np.ndarray]) -> np.ndarray:
    both = np.concatenate(extremes)
    return np.stack([np.fmin.reduce(both, axis=0), np.fmax.reduce(both, axis=0)])


@with_callbacks
def fit_som(som: SOM, X: dask.array.Array, client: Client) -> SOM:
    """Train `som` on the rows of `X`; see `somknn.distributed.fit`."""
    rule = som._rule()
    if som.training != "batch":
        raise ValueError('online training goes from row to row: use training="batch" on a cluster')
    if rule.metric.unit_rows:
        raise ValueError(f"a map is trained on a cluster by metric='euclidean' only, got {som.metric!r}")
    parts = Parts(client, X, rule.missing)
    if len(parts) < 2:
        raise ValueError("a map needs at least two rows")
    rows: Any = parts
    if isinstance(som.initialization, str) and som.initialization == "random":
        # The only figures that this initialisation needs from the data.
        rows = combine(client, parts.map(_extremes), _wider)
    random = check_random_state(som.random_state)
    codebook = initial_codebook(rows, rule.grid, som.initialization, None, random)
    forget_rows(som, parts.shape[1])
    data = _AssignedParts(parts, rule)
    n_valued = int(parts.sum(_count_valued)[0]) if rule.missing else len(parts)
    if n_valued == 0:
        raise ValueError("X has no row with a value: every value is NaN")
    if n_valued < len(parts):
        warn_of_rows_without_values(len(parts) - n_valued)
    fitting = Task.of_fit(som, som.epochs)
    codebook = train_batch(data, as_codebook(codebook, parts.dtype), rule, som._recorder(rule, None, fitting))
    som._trained(rule, codebook, *data.errors)
    fitting.end()
    return som
