"""Rows, queries and vectors that do not fill a register, tile or panel: from one row, one column, one neighbour on.

Other files test these kernels only at chosen shapes; with `--guard-pages` an access outside an array ends the run.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import byte_screen, lvq, search, seeding
from somknn.neighbors import CodebookSearch, ExactIndex
from somknn.prototypes.seeding import Potential
from somknn.search.byte_screen import ByteScreen
from somknn_kernels import isa
from somknn_kernels.learn import lvq as lvq_kernels
from somknn_kernels.search import cell_order
from somknn_kernels.search.byte_screen import LEAD

PATHS = [*isa.supported(), "vnni-emulated"]
SEEDS, ROWS, COLUMNS, QUERIES = st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 70), st.integers(1, 20)
KINDS = ("noise", "low", "black and white", "equal")


def _rows(random, n, d, dtype, kind):
    if kind == "low":
        rows = 128 + 30 * random.normal(size=(n, 3)) @ random.normal(size=(3, d))
    elif kind == "black and white":
        rows = 255 * (random.random((n, d)) < 0.3)
    elif kind == "equal":
        rows = np.full((n, d), 7)
    else:
        rows = random.integers(0, 256, (n, d))
    rows = np.clip(rows, 0, 255)
    return rows.astype(dtype) if dtype == np.uint8 else (rows / 3 + 0.1).astype(dtype)


def _types(path, algorithm):
    """The types that other tests compile for this path in each run."""
    rare = algorithm == "pruned" and path in ("portable", "vnni-emulated")
    return (np.uint8,) if rare else (np.uint8, np.float32, np.float64)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("algorithm", ["brute", "pruned"])
@given(seed=SEEDS, n=ROWS, m=QUERIES, d=COLUMNS, kind=st.sampled_from(KINDS), which=st.integers(0, 2))
@settings(max_examples=80, deadline=None)
def test_nearest_rows(path, algorithm, seed, n, m, d, kind, which):
    """Up to eight times as many neighbours as pruning allows: beyond that, every index compares all rows."""
    random, types = np.random.default_rng(seed), _types(path, algorithm)
    dtype = types[which % len(types)]
    n = n if algorithm == "brute" else 8 * n
    rows, queries = _rows(random, n, d, dtype, kind), _rows(random, m, d, dtype, kind)
    index = ExactIndex(algorithm, isa=path, n_jobs=1 + seed % 2).fit(rows)
    for k in {1, max(1, n // 8), n}:
        expected = search.nearest(queries, rows, k)
        for found, wanted in zip(index.search(queries, k), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("algorithm", ["brute", "pruned"])
@given(seed=SEEDS, n=ROWS, m=QUERIES, d=COLUMNS, kind=st.sampled_from(KINDS), dtype=st.sampled_from(["u1", "f8"]))
@settings(max_examples=40, deadline=None)
def test_rows_within_a_radius(algorithm, seed, n, m, d, kind, dtype):
    random = np.random.default_rng(seed)
    rows, queries = (_rows(random, size, d, np.dtype(dtype), kind) for size in (n, m))
    index = ExactIndex(algorithm, n_jobs=1 + seed % 2).fit(rows)
    for share in (0.0, 0.3, 1.0):
        radius = float(np.quantile(search.squared_distances(queries, rows), share))
        for found, wanted in zip(
            index.search_within(queries, radius), search.within(queries, rows, radius), strict=True
        ):
            np.testing.assert_array_equal(found, wanted)


@given(
    seed=SEEDS,
    n=ROWS,
    d=COLUMNS,
    K=st.integers(1, 40),
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from(["u1", "f4"]),
)
@settings(max_examples=60, deadline=None)
def test_nearest_codebook_vectors(seed, n, d, K, kind, dtype):
    random = np.random.default_rng(seed)
    rows, codebook = _rows(random, n, d, np.dtype(dtype), kind), _rows(random, K, d, np.float64, kind)
    finder = CodebookSearch(rows, algorithm="pruned", n_jobs=1 + seed % 2)
    for k in {1, min(2, K), K}:
        wanted = search.nearest(rows, codebook, k)
        for previous in (None, wanted[1]):
            for found, expected in zip(finder.nearest(codebook, k, previous), wanted, strict=True):
                np.testing.assert_array_equal(found, expected)


@given(
    seed=SEEDS,
    n=ROWS,
    d=st.integers(LEAD, 70),
    k=st.integers(1, 40),
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from(["u1", "f8"]),
)
@settings(max_examples=60, deadline=None)
def test_few_vectors_for_rows_of_bytes(seed, n, d, k, kind, dtype):
    random = np.random.default_rng(seed)
    rows, vectors = _rows(random, n, d, np.uint8, kind), _rows(random, k, d, np.dtype(dtype), kind)
    screen, wanted = ByteScreen(rows, isa.select()), byte_screen.nearest_few(rows, vectors)
    for guided in (False, True):
        indices = random.integers(0, k, n)
        found = screen.nearest(rows, vectors, indices, guided, 1 + seed % 2)
        np.testing.assert_array_equal(indices, wanted[1])
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-12)


@given(
    seed=SEEDS, n=ROWS, d=COLUMNS, m=st.integers(1, 9), kind=st.sampled_from(KINDS), dtype=st.sampled_from(["u1", "f4"])
)
@settings(max_examples=60, deadline=None)
def test_starting_centres(seed, n, d, m, kind, dtype):
    random = np.random.default_rng(seed)
    rows, weights = _rows(random, n, d, np.dtype(dtype), kind), random.integers(0, 3, n).astype(float)
    potential = Potential(CodebookSearch(rows, algorithm="pruned", n_jobs=1 + seed % 2), weights)
    chosen = []
    for _ in range(3):
        candidates = random.integers(0, n, m)
        totals = potential.try_rows(candidates)
        best = int(np.argmin(totals))
        potential.choose(best)
        chosen.append(candidates[best])
        squares = seeding.squared_distances(rows, rows[chosen])
        np.testing.assert_array_equal(potential.nearest, squares.argmin(axis=1))
        np.testing.assert_allclose(totals[best], weights @ squares.min(axis=1), rtol=1e-9, atol=1e-6)


@given(seed=SEEDS, n=ROWS, d=COLUMNS, p=st.integers(1, 9), dtype=st.sampled_from(["u1", "f4", "f8"]))
@settings(max_examples=60, deadline=None)
def test_winners_of_each_class(seed, n, d, p, dtype):
    random = np.random.default_rng(seed)
    rows, prototypes = (random.integers(0, 9, (size, d)).astype(dtype) for size in (n, p))  # ties
    codes, classes = random.integers(0, 3, n), random.integers(0, 3, p)
    found = lvq_kernels.Winners(np.empty(n, np.int64), np.empty(n), np.empty(n, np.int64), np.empty(n))
    lvq_kernels.winners(rows, codes, 0, n, prototypes, classes, found)
    own, own_squares, other, other_squares = lvq.winners(rows, codes, prototypes, classes)
    own[np.isinf(own_squares)] = other[np.isinf(other_squares)] = -1  # no prototype at all
    for ours, theirs in zip(found, (own, own_squares, other, other_squares), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@given(
    seed=SEEDS, n=st.integers(0, 90), d=st.integers(1, 9), cells=st.integers(1, 5), panel=st.sampled_from([1, 8, 32])
)
@settings(max_examples=60, deadline=None)
def test_orders_of_cells(seed, n, d, cells, panel):
    random = np.random.default_rng(seed)
    edges = np.sort(np.concatenate([[0, n], random.integers(0, n + 1, cells - 1)]))
    order = random.permutation(n)
    given_rows = [set(order[a:b].tolist()) for a, b in itertools.pairwise(edges)]
    cell_order.order_cells(random.normal(size=(n, d)).astype(np.float32), edges, 0, cells, panel, order)
    assert [set(order[a:b].tolist()) for a, b in itertools.pairwise(edges)] == given_rows
