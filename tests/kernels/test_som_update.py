"""Blocks of the classical rule against the rule itself, row by row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.som_update import present_online, train_online
from somknn.som.blocks import BLOCK, ByteBlocks, FloatBlocks
from somknn.som.grid import Grid
from somknn.som.neighborhoods import evaluate
from somknn.som.online import _pieces
from somknn_kernels.isa import select, supported
from somknn_kernels.maps import som_blocks
from somknn_kernels.maps.som_block_tiles import LANES
from somknn_kernels.maps.som_blocks import Block, Codebook, Moves, Neighborhood


def _present(kind, X, W, grid, name, radius, rates, n_threads=2, compact=False):
    """The codebook after one pass over `X` in order, and the units and distances found."""
    tables = evaluate(name, grid.offset_squares(), radius, compact)[None]
    blocks = kind(X, W, grid, n_threads)
    edges = np.append(np.arange(0, len(X), BLOCK), len(X))
    found = blocks.present(np.arange(len(X)), edges, tables, np.zeros(len(edges) - 1, np.int64), rates, edges[:0])
    return blocks.codebook(np.float64), *found


def _pushed_within(X):
    """The squared distance up to which a row pushes units away: the rows' mean squared distance from their mean."""
    centred = X - X.mean(axis=0)
    return (centred**2).sum() / len(X)


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
    """Rates up to 1, where a unit is replaced completely."""
    random = np.random.default_rng(seed)
    X, W = random.normal(size=(n, d)), random.normal(size=(12, d))
    rates = np.where(random.random(n) < 0.3, rate, rate * random.random(n))
    grid = Grid(3, 4)
    influence = evaluate(name, grid.squared_distances(), radius)
    codebook, units, distances = _present(FloatBlocks, X, W, grid, name, radius, rates)
    pushed_within = _pushed_within(X)
    expected = train_online(X, np.arange(n), W, influence, rates, pushed_within)
    np.testing.assert_allclose(codebook, expected, rtol=1e-9, atol=1e-9)
    expected_units, expected, margins = present_online(
        X, W, influence, rates, margins=True, pushed_within=pushed_within
    )
    certain = margins > 1e-9  # where all units have moved together, only rounding distinguishes them in the end
    np.testing.assert_array_equal(units[certain, 0], expected_units[certain, 0])
    np.testing.assert_allclose(distances, expected, rtol=1e-6, atol=1e-9)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 230),
    d=st.sampled_from([1, 2, 7, 40, 300]),
    shape=st.sampled_from([(1, 1), (3, 4), (1, 17), (6, 6)]),
    topology=st.sampled_from(["rectangular", "hexagonal"]),
    rate=st.sampled_from([1e-9, 0.02, 0.5, 1.0]),
    name=st.sampled_from(["gaussian", "bubble", "triangle", "epanechnikov"]),
    radius=st.sampled_from([0.0, 0.8, 4.0]),
    density=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_blocks_of_bytes_equal_the_rule_row_by_row(seed, n, d, shape, topology, rate, name, radius, density):
    """All-zero rows and columns, rows of 255 only, weights outside the range of bytes, fewer units than a panel has."""
    random = np.random.default_rng(seed)
    X = np.where(random.random((n, d)) < density, random.integers(1, 256, (n, d)), 0).astype(np.uint8)
    X[random.random(n) < 0.1] = 255
    grid = Grid(*shape, topology)
    W = random.uniform(-300, 300, (grid.size, d)).astype(np.float32)
    rates = rate * random.random(n)
    influence = evaluate(name, grid.squared_distances(), radius)
    codebook, _, distances = _present(ByteBlocks, X, W, grid, name, radius, rates)
    expected = train_online(X, np.arange(n), W, influence, rates)
    if not np.allclose(codebook, expected, atol=1e-4, rtol=0):  # two units at nearly the same distance may be exchanged
        _, _, margins = present_online(X, W, influence, rates, margins=True)
        assert margins.min() < 1e-3
        return
    assert np.abs(codebook - expected).max() < 2e-6
    _, squares = present_online(X, W, influence, rates)
    np.testing.assert_allclose(distances, squares, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("name", supported())
@pytest.mark.parametrize("n_columns", [300, 1300])
def test_blocks_of_bytes_for_every_instruction_set_and_number_of_threads(name, n_columns, monkeypatch):
    """Weights are equal bit for bit, and units are those of the rule; more columns than one sum holds."""
    random = np.random.default_rng(4)
    X = np.where(random.random((250, n_columns)) < 0.5, random.integers(0, 256, (250, n_columns)), 0).astype(np.uint8)
    grid = Grid(5, 7)
    W = X[random.choice(250, 35, replace=False)].astype(np.float32)
    rates, arguments = random.random(250), (grid, "gaussian", 1.5)
    monkeypatch.setattr("somknn.som.blocks.select", lambda: select(supported()[0]))
    reference = _present(ByteBlocks, X, W, *arguments, rates, 1)[0]
    monkeypatch.setattr("somknn.som.blocks.select", lambda: select(name))
    influence = evaluate("gaussian", grid.squared_distances(), 1.5)
    expected_units, expected = present_online(X, W, influence, rates)
    for n_threads in (1, 2, 5):
        codebook, units, distances = _present(ByteBlocks, X, W, *arguments, rates, n_threads)
        np.testing.assert_array_equal(codebook, reference)
        np.testing.assert_array_equal(units, expected_units)
        np.testing.assert_allclose(distances, expected, rtol=1e-7)


@pytest.mark.parametrize("kind", [FloatBlocks, ByteBlocks])
def test_calls_that_begin_where_the_last_one_ended(kind):
    """Rows in several calls, with the next block announced or not, after a search that leaves other weights behind.

    The result is that of one call.
    """
    random = np.random.default_rng(6)
    X, grid = random.integers(0, 256, (400, 30)).astype(np.uint8), Grid(4, 5)
    W, rates = random.uniform(0, 255, (20, 30)).astype(np.float32), random.random(400)
    table, order, edges = (
        evaluate("gaussian", grid.offset_squares(), 1.0)[None],
        random.permutation(400),
        [0, 90, 150, 240, 330, 400],
    )

    def trained(calls, announced):
        blocks = kind(X, W, grid, 2)
        found = []
        for first, last in calls:
            rows = slice(edges[first], edges[last])
            upcoming = order[edges[last] : edges[last + 1]] if announced and last + 1 < len(edges) else order[:0]
            which = np.zeros(last - first, np.int64)
            starts = np.array(edges[first : last + 1]) - edges[first]
            found.append(blocks.present(order[rows], starts, table, which, rates[rows], upcoming))
        return blocks.codebook(np.float64), *(np.concatenate(part) for part in zip(*found, strict=True))

    whole = trained([(0, 5)], False)
    for calls in ([(0, 1), (1, 3), (3, 4), (4, 5)], [(0, 2), (2, 5)]):
        for announced in (False, True):
            for expected, found in zip(whole, trained(calls, announced), strict=True):
                np.testing.assert_array_equal(found, expected)


def test_units_of_a_codebook_that_rests():
    random = np.random.default_rng(7)
    X, W = random.integers(0, 256, (250, 30)).astype(np.uint8), random.uniform(0, 255, (20, 30)).astype(np.float32)
    blocks = ByteBlocks(X, np.zeros_like(W), Grid(4, 5), 2)
    blocks.present(
        np.arange(9), np.array([0, 9]), np.ones((1, 7, 3, 9)), np.zeros(1, np.int64), np.full(9, 0.3), np.arange(9)
    )
    units, distances = blocks.find(W)
    expected_units, expected = present_online(X, W, np.eye(20), np.zeros(250))
    np.testing.assert_array_equal(units, expected_units)
    np.testing.assert_allclose(distances, expected, rtol=1e-9)


@pytest.mark.parametrize("kind", [FloatBlocks, ByteBlocks])
def test_ties_go_to_the_lowest_index(kind):
    """All units are pairs of equal ones, distinguished only by their number."""
    random = np.random.default_rng(1)
    X = random.integers(0, 3, (200, 4)).astype(np.uint8)
    W = np.repeat(X[:8], 2, axis=0).astype(np.float32)
    grid = Grid(4, 4)
    rates = np.zeros(200)
    _, units, distances = _present(kind, X, W, grid, "bubble", 0.0, rates)
    expected_units, expected = present_online(X, W, np.eye(16), rates)
    np.testing.assert_array_equal(units, expected_units)
    np.testing.assert_allclose(distances, expected, atol=1e-9)


@pytest.mark.parametrize("n", [2, 95, 97, 300, 5000, 100_003])
def test_pieces_hold_every_row_once(n):
    pieces = _pieces(n)
    assert [first for _, first, _ in pieces] == [0, *(stop for _, _, stop in pieces[:-1])]
    assert pieces[-1][2] == n
    assert all(0 < stop - first <= BLOCK and segment <= first for segment, first, stop in pieces)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 20])
def test_a_block_in_arrays_of_its_size(n):
    """The last step of a block may have fewer rows: memory after them is neither read nor written."""
    random = np.random.default_rng(n)
    grid, d = Grid(3, 7), 5
    X, W, rates = random.normal(size=(n, d)), random.normal(size=(grid.size, d)), random.random(n)
    padded = -(-grid.size // LANES) * LANES
    dots, halves = np.zeros((n, padded)), np.zeros(padded)
    dots[:, : grid.size], halves[: grid.size] = X @ W.T, (W**2).sum(axis=1) / 2
    table = evaluate("gaussian", grid.offset_squares(), 1.0)
    block, codebook = Block(X, dots, X @ X.T, 0.0), Codebook(W[:, :, None].copy(), grid.size, halves)
    moves = Moves(np.empty((n, padded)), np.empty((n, padded)), np.empty(padded))
    units, distances = np.empty((n, 2), np.int64), np.empty(n)
    neighborhood = Neighborhood(table, False, grid.n_columns, np.inf)
    som_blocks.train_block(block, codebook, neighborhood, rates, moves, units, distances)
    influence = evaluate("gaussian", grid.squared_distances(), 1.0)
    moved = moves.factors[: grid.size, None] * W + moves.shares[:, : grid.size].T @ X
    np.testing.assert_allclose(moved, train_online(X, np.arange(n), W, influence, rates), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(units, present_online(X, W, influence, rates)[0])
