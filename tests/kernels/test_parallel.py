"""Tasks on threads: each runs once, errors come out, nesting and forking work."""

import multiprocessing
import sys
import threading

import pytest

from somknn_kernels import parallel
from somknn_kernels.parallel import resolve_n_threads, run_tasks


@pytest.fixture(autouse=True)
def four_threads(monkeypatch):
    """As if there were four processors, with a pool of that size."""
    monkeypatch.setattr(parallel, "available_threads", lambda: 4)
    monkeypatch.setattr(parallel, "_pool", None)


@pytest.mark.parametrize("n_threads", [1, 2, 4, 9])
@pytest.mark.parametrize("n_tasks", [0, 1, 3, 100])
def test_every_task_runs_once(n_threads, n_tasks):
    done = []
    run_tasks(done.append, n_tasks, n_threads)
    assert sorted(done) == list(range(n_tasks))


def test_several_threads_take_part():
    barrier = threading.Barrier(3)
    run_tasks(lambda task: barrier.wait(timeout=60), 3, 3)  # would hang with fewer


@pytest.mark.parametrize("n_threads", [1, 4])
def test_an_error_comes_out_and_stops_the_rest(n_threads):
    done = []

    def work(task):
        if task == 5:
            raise RuntimeError("task 5")
        done.append(task)

    with pytest.raises(RuntimeError, match="task 5"):
        run_tasks(work, 100_000, n_threads)
    assert len(done) < 99_999
    run_tasks(done.append, 3, n_threads)  # and the pool is still good


def test_tasks_may_run_tasks():
    done = []
    run_tasks(lambda outer: run_tasks(lambda inner: done.append((outer, inner)), 5, 4), 20, 4)
    assert sorted(done) == [(outer, inner) for outer in range(20) for inner in range(5)]


def test_callers_from_several_threads_share_the_pool():
    done = []
    callers = [threading.Thread(target=run_tasks, args=(done.append, 500, 4)) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert sorted(done) == sorted(6 * list(range(500)))


def _in_child(queue):
    done = []
    run_tasks(done.append, 50, 4)
    queue.put(sorted(done))


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork here")
@pytest.mark.skipif(sys.platform == "darwin", reason="fork beside threads is not safe on macOS")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_threads_of_its_own():
    run_tasks(lambda task: None, 8, 4)  # the parent's pool is running
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == list(range(50))
    child.join(60)
    assert child.exitcode == 0


@pytest.mark.parametrize(("n_jobs", "expected"), [(None, 4), (-1, 4), (-2, 3), (-9, 1), (1, 1), (3, 3), (64, 4)])
def test_n_jobs_is_read_as_in_scikit_learn(n_jobs, expected):
    assert resolve_n_threads(n_jobs) == expected


@pytest.mark.parametrize(("n_jobs", "error"), [(0, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)])
def test_other_n_jobs_are_errors(n_jobs, error):
    with pytest.raises(error, match="n_jobs"):
        resolve_n_threads(n_jobs)
