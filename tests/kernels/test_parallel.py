"""Tasks on threads: each runs once, errors come out, nesting and forking work."""

import multiprocessing
import os
import signal
import sys
import threading
import time

import pytest

from processes import python
from somknn_kernels import parallel
from somknn_kernels.parallel import Steps, check_stopped, per_task, resolve_n_threads, run_tasks


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
    run_tasks(lambda task: barrier.wait(timeout=60), 3, 3)  # would hang with fewer threads


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
    run_tasks(done.append, 3, n_threads)  # and the pool still works


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


class Interrupted(BaseException):
    pass


@pytest.fixture
def interrupt():
    """A function, for any thread that receives a signal, that raises Interrupted in the main thread."""

    def handler(*_):
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, handler)
    yield lambda: os.kill(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def wait_until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_an_interrupt_between_tasks_stops_all_threads(interrupt, n_threads):
    main, begun, done = threading.get_ident(), [], []

    def work(task):
        begun.append(task)
        if len(begun) == 50:
            interrupt()
        time.sleep(0.001)
        done.append(task)

    with pytest.raises(Interrupted):
        run_tasks(work, 100_000, n_threads)
    assert threading.get_ident() == main
    at_once = len(begun)
    assert at_once < 1000
    assert len(done) >= at_once - 1  # only the interrupted task is unfinished
    time.sleep(0.05)
    assert len(begun) == at_once
    run_tasks(done.append, 3, n_threads)  # and the pool still works


def test_an_interrupt_while_the_caller_waits_for_the_others_stops_them(interrupt):
    main, begun, done = threading.get_ident(), [], []
    release = threading.Event()

    def work(task):
        begun.append(task)
        if threading.get_ident() == main:
            wait_until(lambda: len(begun) == 4)  # all tasks are taken, so the caller will wait
            return
        release.wait(60)
        check_stopped()
        done.append(task)

    def signal_twice():
        wait_until(lambda: len(begun) == 4)
        for _ in range(2):  # the second comes while the caller waits for the tasks interrupted by the first
            time.sleep(0.1)
            interrupt()
        time.sleep(0.1)
        release.set()

    threading.Thread(target=signal_twice).start()
    with pytest.raises(Interrupted):
        run_tasks(work, 4, 4)
    assert release.is_set()  # not before
    assert done == []  # a task of many steps ends at the next step
    run_tasks(done.append, 3, 4)
    assert sorted(done) == [0, 1, 2]


def test_tasks_that_others_are_in_when_all_are_taken_are_done(interrupt):
    """The last tasks are not cut short because the caller has no task left."""
    done = []

    def work(task):
        time.sleep(0.02 * task)
        check_stopped()
        done.append(task)

    run_tasks(work, 4, 4)
    assert sorted(done) == [0, 1, 2, 3]


def test_tasks_within_tasks_stop_too():
    begun = []

    def inner(task):
        begun.append(task)
        time.sleep(0.001)

    def outer(task):
        if task == 3:
            wait_until(lambda: len(begun) > 10)
            raise RuntimeError("outer")
        run_tasks(inner, 100_000, 1 + task % 2)

    with pytest.raises(RuntimeError, match="outer"):
        run_tasks(outer, 4, 4)
    at_once = len(begun)
    assert at_once < 10_000
    time.sleep(0.05)
    assert len(begun) == at_once


def test_where_no_thread_can_be_started_the_caller_does_all(monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(parallel._thread, "start_new_thread", refuse)
    done = []
    run_tasks(done.append, 20, 4)
    assert sorted(done) == list(range(20))


STORM = """
import faulthandler, os, random, signal, threading, time
from somknn_kernels import parallel

parallel.available_threads = lambda: 4
faulthandler.dump_traceback_later(100, exit=True)

class Hit(BaseException):
    pass

hits, armed = 0, False

def handler(*_):
    global hits
    if armed:
        hits += 1
        raise Hit

signal.signal(signal.SIGUSR1, handler)

def send():
    while True:
        time.sleep(random.random() * 0.002)
        os.kill(os.getpid(), signal.SIGUSR1)

threading.Thread(target=send, daemon=True).start()
late, caught = [], 0
while hits < 300:
    over, done = [], []

    def work(task):
        if over:
            late.append(task)
        done.append(task)

    before = hits
    try:
        armed = True
        parallel.run_tasks(work, 40, 4)
        armed = False
        assert sorted(done) == list(range(40))
    except Hit:
        armed = False
        caught += 1
    over.append(None)
print(caught == hits, late)
"""


def test_hundreds_of_interrupts_at_any_moment_neither_hang_nor_leave_anybody_at_work():
    """With the pool and futures of `concurrent.futures`, all threads hang after some hundred interrupts.

    Their locks are written in Python.
    """
    done = python(STORM)
    assert done.stdout == "True []\n", done.stderr


def test_steps_cover_the_range_in_multiples(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(parallel.time, "perf_counter", lambda: clock[0])
    calls = []
    steps = Steps(100, 32)

    def call(first, last):
        calls.append((first, last))
        clock[0] += (last - first) * (1e-5 if first < 20_000 else 1e-3)

    steps.run(call, 7, 22_007)
    assert [first for first, _ in calls] == [7, *(last for _, last in calls[:-1])]
    assert calls[-1][1] == 22_007
    sizes = [last - first for first, last in calls]
    assert all(size % 32 == 0 for size in sizes[:-1])
    assert sizes[0] == 96
    assert 1000 < max(sizes) <= 0.025 / 1e-5 + 32  # a fortieth of a second
    dear = [size for (first, _), size in zip(calls, sizes, strict=True) if first >= 20_000]
    assert all(size == 32 for size in dear[1:-1])  # 0.025 s would be 25 rows


def test_steps_end_where_a_call_ends():
    calls = []

    def call(first, last):
        calls.append((first, last))
        return 7 if last > 7 else last

    assert Steps(5).run(call, 0, 10**9) == 7
    assert calls[0] == (0, 5)
    assert len(calls) == 2


def test_steps_end_when_their_run_does():
    begun = []

    def step(first, last):
        begun.append(first)
        time.sleep(0.02)

    def work(task):
        if task:
            wait_until(lambda: len(begun) > 5)
            raise RuntimeError("one of two")
        Steps(1).run(step, 0, 10**9)

    with pytest.raises(RuntimeError, match="one of two"):
        run_tasks(work, 2, 2)
    assert len(begun) < 10_000


def test_tasks_take_fewer_rows_where_each_takes_long():
    assert per_task(512, 100) == 512
    assert per_task(512, 1e6) == 300
    assert per_task(512, 1e6, 64) == 256
    assert per_task(512, 1e12, 6) == 6
