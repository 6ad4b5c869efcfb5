"""Blocks of the classical rule against the rule itself, row by row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.som_update import train_online
from somknn.som.grid import Grid
from somknn.som.neighborhoods import evaluate
from somknn.som.online import _BLOCK, _Blocks, _cut_blocks


def _trained(X, W, grid, name, radius, rates):
    """The codebook after one pass over `X` in its order, and the winners."""
    r, c = np.divmod(np.arange(grid.size), grid.n_columns)
    offsets = np.column_stack([r, 0 * r, c]).astype(np.int64)
    table = evaluate(name, grid.offset_squares(), radius)
    blocks = _Blocks(X, W, 2)
    units, distances = np.empty((len(X), 2), np.int64), np.empty(len(X))
    for first, last in _cut_blocks(rates, 0):
        which = np.arange(first, last)
        blocks.present(which, offsets, table, rates[first:last], units[first:last], distances[first:last])
    return blocks.codebook(np.float64), units


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 230),
    d=st.integers(1, 40),
    rate=st.sampled_from([1e-9, 0.02, 0.5, 0.999, 1.0]),
    name=st.sampled_from(["gaussian", "mexican_hat", "bubble"]),
    radius=st.sampled_from([0.0, 0.8, 4.0]),
)
@settings(max_examples=60, deadline=None)
def test_blocks_equal_the_rule_row_by_row(seed, n, d, rate, name, radius):
    """Rates up to 1, where nothing is left of a unit and no later row of the block could be told from it."""
    random = np.random.default_rng(seed)
    X, W = random.normal(size=(n, d)), random.normal(size=(12, d))
    rates = np.where(random.random(n) < 0.3, rate, rate * random.random(n))
    grid = Grid(3, 4)
    found, _ = _trained(X, W, grid, name, radius, rates)
    influence = evaluate(name, grid.squared_distances(), radius)
    np.testing.assert_allclose(found, train_online(X, np.arange(n), W, influence, rates), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rates", [np.full(500, 1.0), np.full(500, 0.9), np.full(300, 0.0), np.linspace(1, 0, 777)])
def test_blocks_hold_every_row_once_and_never_divide_by_nothing(rates):
    blocks = _cut_blocks(rates, 1000)
    assert [first for first, _ in blocks] == [1000, *(last for _, last in blocks[:-1])]
    assert blocks[-1][1] == 1000 + len(rates)
    for first, last in blocks:
        assert 0 < last - first <= _BLOCK
        assert np.prod(1.0 - rates[first - 1000 : last - 1001]) > 1e-45
