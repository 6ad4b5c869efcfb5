"""The order of a cell's rows: always a permutation, with panels about as narrow as the reference's."""

import itertools

import numpy as np
import pytest

from reference.cell_order import order_cell
from somknn_kernels.search.cell_order import order_cells


def widths(vectors: np.ndarray, order: np.ndarray, panel_rows: int) -> float:
    """Sum of the squared distances of rows from the centres of their panels."""
    panels = [vectors[order[i : i + panel_rows]] for i in range(0, len(order), panel_rows)]
    return float(sum(((panel - panel.mean(axis=0)) ** 2).sum() for panel in panels))


@pytest.mark.parametrize("panel_rows", [8, 32])
def test_panels_become_narrow(panel_rows):
    rng = np.random.default_rng(panel_rows)
    vectors = (rng.standard_normal((700, 6)) * [9, 5, 3, 1, 1, 1]).astype(np.float32)
    edges = np.array([0, 211, 211, 213, 700])
    given = rng.permutation(700)
    order = given.copy()
    order_cells(vectors, edges, 0, 4, panel_rows, order)
    expected = given.copy()
    for first, stop in itertools.pairwise(edges):
        assert sorted(order[first:stop]) == sorted(given[first:stop])
        expected[first:stop] = order_cell(vectors, given[first:stop].tolist(), first, panel_rows)
    narrow = widths(vectors, expected, panel_rows)
    assert widths(vectors, order, panel_rows) < narrow + 0.1 * (widths(vectors, given, panel_rows) - narrow)


@pytest.mark.parametrize("value", [0.0, 1e30, np.inf, np.nan])
def test_any_values_give_an_order(value):
    vectors = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    vectors[::3] = value
    order = np.arange(300)
    order_cells(vectors, np.array([0, 300]), 0, 1, 16, order)
    assert sorted(order) == list(range(300))
