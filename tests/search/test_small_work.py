"""Small work begins by brute force, and goes on with something better when that has become worth it."""

import copy
import itertools
import math
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from reference import search as reference
from somknn import SOM, KMeans, KNeighborsClassifier, load
from somknn.machine import select
from somknn.neighbors import CodebookSearch, ExactIndex
from somknn.prototypes.seeding import Potential, plus_plus
from somknn.search import allowance
from somknn.search.allowance import Allowance
from somknn.search.best_units import BMUSearch
from somknn.search.few_vectors import FewVectorsSearch

ISA = select()


def rows_of(kind, n=2100, d=600, seed=0):
    """Rows near five directions, some of them equal: pruning pays, for bytes too."""
    rng, basis = np.random.default_rng(seed), np.random.default_rng(1).standard_normal((5, d))
    rows = 128 + 30 * rng.standard_normal((n, 5)) @ basis + rng.standard_normal((n, d))
    rows[n // 2 :: 9] = rows[1]
    return np.clip(rows, 0, 255).astype(kind)


@pytest.fixture(autouse=True)
def no_small_work():
    """Here there is small work, unlike in the other tests of searches."""


@pytest.fixture
def impatient(monkeypatch):
    """Brute force is allowed a few calls only."""
    monkeypatch.setattr(allowance, "_ALL", 1e6)


def test_an_allowance_ends_once_for_all():
    given = Allowance()
    assert given.covers(0.4 * allowance._CALL)
    assert not given.covers(1.1 * allowance._CALL)  # too long for small work
    assert not given.covers(0.0)
    given = Allowance()
    calls = list(itertools.takewhile(bool, (given.covers(allowance._CALL) for _ in range(1000))))
    assert len(calls) == math.ceil(allowance._ALL / allowance._CALL) - 1
    assert not Allowance(False).covers(0.0)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.float32])
def test_auto_changes_its_way_and_no_answer(impatient, kind):
    rows = rows_of(np.uint8).astype(np.int16) - 128 if kind == np.int8 else rows_of(kind)
    rows = rows.astype(kind)
    queries = rows[:40]
    index = ExactIndex().fit(rows)
    expected = reference.nearest(queries, rows, 6)
    ways = []
    for _ in range(300):
        ways.append(index.algorithm_)
        distances, indices = index.search(queries, 6)
        np.testing.assert_array_equal(indices, expected[1])
        np.testing.assert_array_equal(distances, expected[0])
        if ways[-1] == "pruned":
            break
    assert ways[0] == "brute"
    assert ways[-1] == "pruned"


def test_few_columns_change_to_a_tree(impatient):
    rows = np.random.default_rng(0).random((2500, 3)).round(2)
    index = ExactIndex().fit(rows)
    assert index.algorithm_ == "brute"
    expected = reference.nearest(rows[:500], rows, 4)
    for _ in range(20):
        distances, indices = index.search(rows[:500], 4)
        np.testing.assert_array_equal(indices, expected[1])
        np.testing.assert_array_equal(distances, expected[0])
    assert index.algorithm_ == "tree"
    starts, _, found = index.search_within(rows[:5], 0.01)
    assert [len(found[a:b]) for a, b in itertools.pairwise(starts)] == [
        int((((rows - row) ** 2).sum(axis=1) <= 0.01).sum()) for row in rows[:5]
    ]


def test_work_that_is_not_small_is_prepared_at_fit():
    assert ExactIndex().fit(rows_of(np.float32, 9000)).algorithm_ == "pruned"
    index = ExactIndex().fit(rows_of(np.float32))
    index.search(np.tile(rows_of(np.float32), (8, 1)), 3)  # one call of 50 million pairs
    assert index.algorithm_ == "pruned"


def test_rows_are_added_while_the_choice_waits_and_after_it(impatient):
    rows = rows_of(np.float32)
    index = ExactIndex().fit(rows[:2000])
    index.add(rows[2000:2050])
    assert index.algorithm_ == "brute"
    while index.algorithm_ == "brute":
        index.search(rows[:100], 3)
    index.add(rows[2050:])
    expected = reference.nearest(rows[:30], rows, 3)
    np.testing.assert_array_equal(index.search(rows[:30], 3)[1], expected[1])


def test_rows_for_themselves_make_the_choice():
    rows = rows_of(np.uint8)
    index = ExactIndex().fit(rows)
    distances, indices = index.search_rows(2, np.arange(len(rows)))
    assert index.algorithm_ == "pruned"
    squares = ((rows[:20, None].astype(np.int64) - rows[None].astype(np.int64)) ** 2).sum(axis=2)
    squares[np.arange(20), np.arange(20)] = np.iinfo(np.int64).max
    np.testing.assert_array_equal(distances[:20], np.sort(squares, axis=1)[:, :2])
    np.testing.assert_array_equal(indices[:20], np.argsort(squares, axis=1, kind="stable")[:, :2])


def test_copies_share_the_choice_and_threads_agree(impatient):
    rows = rows_of(np.float32)
    index = ExactIndex().fit(rows)
    other, pickled = copy.copy(index), pickle.loads(pickle.dumps(index))
    expected = reference.nearest(rows[:60], rows, 5)[1]
    wrong = []

    def ask(asked):
        for _ in range(60):
            if not np.array_equal(asked.search(rows[:60], 5)[1], expected):
                wrong.append(asked)

    threads = [threading.Thread(target=ask, args=(each,)) for each in (index, index, other, pickled)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert {each.algorithm_ for each in (index, other, pickled)} == {"pruned"}
    assert index._fitted.pruned is other._fitted.pruned or index._fitted.later is None


def test_a_saved_classifier_of_few_rows_waits_again(tmp_path):
    rows, labels = rows_of(np.uint8), np.arange(2100) % 3
    model = KNeighborsClassifier().fit(rows, labels)
    model.save(tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.predict(rows[:50]), model.predict(rows[:50]))


def test_a_moving_codebook_is_searched_the_same_way_before_and_after(impatient):
    rows, rng = rows_of(np.float32), np.random.default_rng(5)
    search = CodebookSearch(rows)
    codebook, previous = rows[:80].copy(), None
    for _ in range(12):
        distances, previous = search.nearest(codebook, 1, previous)
        expected = reference.nearest(rows, codebook, 1)
        np.testing.assert_array_equal(previous, expected[1])
        np.testing.assert_array_equal(distances, expected[0])
        codebook = codebook + rng.standard_normal(codebook.shape).astype(np.float32)
    assert search.survivors_.any()  # the scan has run


def test_few_vectors_are_searched_the_same_way_before_and_after(impatient):
    vectors, rows = rows_of(np.float64, 210), rows_of(np.float64, 500)
    search = FewVectorsSearch(vectors)
    search.prepare(1)
    assert search._index is None
    expected = reference.nearest(rows, vectors, 3)
    for _ in range(8):
        distances, indices = search.search(rows, 3, n_threads=2)
        np.testing.assert_array_equal(indices, expected[1])
        np.testing.assert_array_equal(distances, expected[0])
    assert search._index is not None


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_best_units_do_not_depend_on_the_way(impatient, kind):
    rows, rng = rows_of(kind), np.random.default_rng(2)
    one, other = BMUSearch(rows, allowance=Allowance()), BMUSearch(rows)
    codebook = rows[:60].astype(np.float32 if kind == np.float32 else np.float64)
    ways = []
    for _ in range(12):
        np.testing.assert_array_equal(one.search(codebook)[0], other.search(codebook)[0])
        np.testing.assert_allclose(one.distances, other.distances, rtol=1e-7)
        ways.append(one.way)
        codebook = codebook + rng.standard_normal(codebook.shape).astype(codebook.dtype)
    assert ways[0] == "brute"
    assert ways[-1] != "brute"


@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_seeds_do_not_depend_on_when_the_sieve_is_built(monkeypatch, kind):
    rows, chosen = rows_of(kind, 3000, 60), []
    for nanoseconds in (0.0, 4e6, 1e12):
        monkeypatch.setattr(allowance, "_ALL", nanoseconds)
        potential = Potential(CodebookSearch(rows), np.ones(len(rows)))
        chosen.append(plus_plus(potential, 40, np.random.RandomState(0)).tolist())
        assert (potential._sieve is None) == (nanoseconds > 1e9)
    assert chosen[0] == chosen[1] == chosen[2]


def test_partial_fit_keeps_its_axes_once_they_are_made(monkeypatch):
    rows = rows_of(np.float64)
    maps = []
    for nanoseconds in (0.0, 1e5, 1e12):
        monkeypatch.setattr(allowance, "_ALL", nanoseconds)
        som = SOM(5, 5, epochs=6, random_state=0)
        for first in range(0, 2100, 350):
            som.partial_fit(rows[first : first + 350])
        maps.append(som.codebook_)
        assert (som._stream[0] is None) == (nanoseconds > 1e9)
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])


_SMALL_JOBS = """
import numpy as np, somknn
X = np.random.default_rng(0).random((5000, 64)).astype(np.{dtype})
y = np.arange(5000) % 10
somknn.KNeighborsClassifier().fit(X, y).predict(X[:1000])
somknn.KMeans(8, random_state=0).fit(X)
somknn.SOM(8, 8, random_state=0).fit(X)
somknn.LVQ(n_prototypes=50, max_iter=3, random_state=0).fit(X, y)
"""


@pytest.mark.parametrize("dtype", ["float64"])
def test_small_jobs_compile_few_kernels(tmp_path, dtype):
    """All four together; before there was an allowance they compiled 30 kernels and more."""
    environment = os.environ | {"SOMKNN_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", _SMALL_JOBS.format(dtype=dtype)], env=environment, check=True)
    kernels = sorted(file.name.split("-")[0] for file in tmp_path.rglob("*.nbc"))
    assert len(kernels) <= 12, kernels
    assert "brute_floats" in kernels


def test_estimators_give_the_same_whatever_the_allowance(monkeypatch):
    rows = rows_of(np.float32)
    results = []
    for nanoseconds in (0.0, 1e12):
        monkeypatch.setattr(allowance, "_ALL", nanoseconds)
        results.append(
            (KMeans(70, random_state=0).fit(rows).labels_, SOM(6, 6, epochs=4, random_state=0).fit(rows).codebook_)
        )
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
