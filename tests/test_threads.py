"""Concurrent fits, predictions, saves and searches: no crash, and every answer belongs to one fit."""

import copy
import pickle
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from reference import search as reference
from somknn import SOM, KMeans, KNeighborsClassifier, NearestNeighbors
from somknn.neighbors import ExactIndex, FaissIndex
from somknn.search import few_vectors
from somknn.search.allowance import withheld
from somknn.search.few_vectors import FewVectorsSearch
from two_fits import CASES, DIGITS, FEW, MANY, QUERIES, Case, outcome, same

THREADS = 8


class Shared:
    """An estimator shared by threads, and its answers after each of its fits alone."""

    def __init__(self, case: Case, folder):
        self.case, self.folder, self.model = case, folder, case.make()
        self.expected = [{} for _ in case.fits]
        for given, expected in zip(case.fits, self.expected, strict=True):
            alone = case.make().fit(*given)
            for name, ask in case.answers.items():
                expected[name] = outcome(ask, alone, folder / "alone")
            if case.made_by_fit:
                expected[""] = getattr(case.make(), case.made_by_fit)(*given)
        self.model.fit(*case.fits[0])

    def act(self, thread: int, random: np.random.Generator) -> None:
        turn = int(random.integers(len(self.case.fits)))
        choice = random.random()
        if choice < 0.3:
            assert self.model.fit(*self.case.fits[turn]) is self.model
        elif choice < 0.4 and self.case.made_by_fit:
            made = getattr(self.model, self.case.made_by_fit)(*self.case.fits[turn])
            assert same(made, self.expected[turn][""])
        else:
            name = str(random.choice(list(self.case.answers)))
            answer = outcome(self.case.answers[name], self.model, self.folder / str(thread))
            assert any(same(answer, expected[name]) for expected in self.expected), (name, answer)


def hammer(work: Callable[[int, np.random.Generator], None], seconds: float) -> None:
    """Call work(thread, random) repeatedly from all threads; the first error in any of them is raised."""
    errors: list[BaseException] = []
    end = time.monotonic() + seconds

    def run(thread: int) -> None:
        random = np.random.default_rng(thread)
        try:
            while not errors and time.monotonic() < end:
                work(thread, random)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(THREADS)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that threads switch between any two steps
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + 120)
            assert not thread.is_alive(), "a thread waits for ever"
    finally:
        sys.setswitchinterval(before)
    if errors:
        raise errors[0]


@pytest.mark.parametrize("name", CASES)
def test_every_answer_is_that_of_one_fit(name, tmp_path):
    hammer(Shared(CASES[name], tmp_path).act, 0.2)


@pytest.mark.slow
def test_every_answer_is_that_of_one_fit_for_a_minute(tmp_path):
    shared = [Shared(case, tmp_path) for case in CASES.values()]
    hammer(lambda thread, random: shared[random.integers(len(shared))].act(thread, random), 60)


# The indexes


def index_of(kind):
    if kind == "faiss":
        pytest.importorskip("faiss")
        return FaissIndex("ivf", nlist=4, nprobe=4, n_jobs=1)
    return ExactIndex(kind)


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        *((kind, 0.2) for kind in ("brute", "pruned", "faiss")),
        *(pytest.param(kind, 20, marks=pytest.mark.slow) for kind in ("brute", "pruned", "faiss")),
    ],
)
def test_a_search_is_over_the_rows_that_the_index_had_when_it_began(kind, seconds):
    """One thread fits, adds and restores, the others search."""
    shared = index_of(kind)
    more = DIGITS[1000:1100]
    states = [MANY[0], FEW[0]]
    if kind != "faiss":
        states += [np.concatenate([rows, more]) for rows in states]
    expected = [reference.nearest(QUERIES, rows, 4) for rows in states]
    screens = [index_of(kind).fit(rows).screen_to_save() for rows in states[:2]]
    shared.fit(MANY[0])

    def work(thread, random):
        if thread == 0:
            turn = int(random.integers(2))
            shared.fit(states[turn]) if random.random() < 0.5 else shared.restore(states[turn], screens[turn])
            if kind != "faiss":
                shared.add(more)
            return
        if thread == 1:
            taken = copy.copy(shared)
            taken.restore(taken.rows_, taken.screen_to_save())
        found = shared.search(QUERIES, 4, n_threads=1 + thread % 2)
        assert any(same(found, answer) for answer in expected)
        if kind == "pruned":
            stats = shared.search_stats_
            assert not stats or (stats["queries"] == 40 and stats["rows_compared_exactly"] <= stats["rows_after_scan"])
        starts, _, rows = shared.search_within(QUERIES, 400.0)
        assert len(rows) == starts[-1]

    hammer(work, seconds)


def test_a_search_goes_on_by_codes_that_another_gives_up_meanwhile(monkeypatch):
    """Noise, for which codes rule out too little.

    Another thread discovers that after this one has checked for codes and before it uses them.
    """
    random = np.random.default_rng(0)
    rows, prototypes = (random.integers(0, 256, (n, 100)).astype(np.uint8) for n in (7000, 70))
    expected = reference.nearest(rows[:50], prototypes, 1)
    shared = FewVectorsSearch(prototypes)
    with withheld():  # codes at once, without brute force before them
        shared.prepare(2)
    between = []

    def empty(*arguments):
        if not between:
            between.append(threading.Thread(target=shared.search, args=(rows, 1), kwargs={"n_threads": 1}))
            between[0].start()
            between[0].join(60)
        return np.empty(*arguments)

    monkeypatch.setattr(few_vectors, "np", SimpleNamespace(**{**vars(np), "empty": empty}))
    squares, nearest = shared.search(rows, 1, n_threads=1)
    assert between
    assert not shared._by_codes
    assert same((squares[:50], nearest[:50]), expected)


def test_no_row_is_lost_that_several_threads_add():
    index = ExactIndex("pruned").fit(MANY[0])

    def work(first):
        for i in range(first, first + 10):
            index.add(DIGITS[i : i + 1])

    threads = [threading.Thread(target=work, args=(1000 + 10 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = index.rows_
    assert len(rows) == 640
    assert {row.tobytes() for row in rows[600:]} == {row.tobytes() for row in DIGITS[1000:1040]}
    assert same(index.search(QUERIES, 5), reference.nearest(QUERIES, rows, 5))


def test_two_estimators_of_one_index_have_threads_and_statistics_of_their_own():
    index = ExactIndex("pruned", n_jobs=2).fit(MANY[0])
    one, other = (NearestNeighbors(n_neighbors=2, n_jobs=n).fit(index) for n in (1, 2))
    one.kneighbors(QUERIES[:7])
    other.kneighbors(QUERIES[:9])
    index.search(QUERIES[:3], 2)
    assert [each.search_stats_["queries"] for each in (one.index_, other.index_, index)] == [7, 9, 3]
    assert [each.n_jobs for each in (one.index_, other.index_, index)] == [1, 2, 2]
    index.add(FEW[0])
    assert len(index.rows_) == 660
    assert len(one.index_.rows_) == one.n_samples_fit_ == 600
    assert same(one.kneighbors(QUERIES), NearestNeighbors(n_neighbors=2).fit(MANY[0]).kneighbors(QUERIES))


@pytest.mark.parametrize("backend", ["numba", "faiss"])
def test_the_rows_of_an_estimator_are_changed_by_its_fit_alone(backend):
    """Its labels belong to its rows: votes of added rows would be read outside the labels."""
    if backend == "faiss":
        pytest.importorskip("faiss")
    model = KNeighborsClassifier(1, backend=backend).fit(*FEW)
    changes = [lambda: model.index_.fit(MANY[0]), lambda: model.index_.restore(MANY[0], {})]
    if backend == "numba":
        changes.append(lambda: model.index_.add(MANY[0]))
    else:
        changes.pop()
    for change in changes:
        with pytest.raises(ValueError, match="belongs to an estimator"):
            change()
    assert model.predict(MANY[0]).shape == (600,)


# Streams


@pytest.mark.parametrize("make", [lambda: SOM(3, 3, random_state=0), lambda: KMeans(4, random_state=0)])
def test_no_chunk_of_a_stream_is_lost_and_none_is_half_seen(make):
    model = make().partial_fit(MANY[0][:50])
    chunks = [MANY[0][i : i + 50] for i in range(50, 450, 50)]

    def read(taken):
        (length,) = {len(values) for values in taken.history_.values()}
        assert length == taken.n_iter_
        if isinstance(taken, KMeans):
            assert taken.counts_.sum() == 50 * taken.n_iter_

    def work(thread):
        for _ in range(3):
            model.partial_fit(chunks[thread])
            read(pickle.loads(pickle.dumps(model)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert model.n_iter_ == 1 + 3 * THREADS
    read(model)
