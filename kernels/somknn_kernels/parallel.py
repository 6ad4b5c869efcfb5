"""Threads for kernels that release the GIL.

`run_tasks(work, n_tasks, n_threads)` calls `work(0) … work(n_tasks - 1)`, each once, from up to `n_threads` threads
(the caller's is one of them). A thread takes the next task when it is free, so a slow core does not hold up the others.
Tasks write to disjoint places, so results never depend on the number of threads.

Any number of Python threads may call at once: every call brings its own work, and they share only the pool. After a
fork the child makes a new pool on first use.

Interrupts. Python raises what a signal's handler raises in the main thread, between two of its instructions: never
within a kernel, and otherwise anywhere. So a kernel that is called from here should take a tenth of a second at most
(`per_task`, `Steps`). And what threads share here are locks and queues written in C, which an interrupt cannot leave
half-way. It can leave those of `concurrent.futures`, written in Python, half-way, and then all threads wait for ever.
"""

import _thread
import itertools
import os
import queue
import sys
import threading
import time
from collections.abc import Callable

_pool: "_Pool | None" = None
_pool_lock = threading.Lock()


class _Current(threading.local):
    run: "_Run | None" = None  # the run that the thread is working for


_current = _Current()


def _forget_pool_after_fork() -> None:
    global _pool, _pool_lock
    _pool = None
    _pool_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool_after_fork)


def available_threads() -> int:
    """Number of threads that may be used: $NUMBA_NUM_THREADS, by default the processors of this process."""
    if os.path.isfile(".numba_config.yaml"):  # which only Numba reads
        import numba  # noqa: F401
    known = getattr(sys.modules.get("numba.core.config"), "NUMBA_NUM_THREADS", None)
    if known is None:  # as Numba says once it is imported, which takes longer than all that `somknn info` does
        asked = os.environ.get("NUMBA_NUM_THREADS", "")
        known = asked if asked.isdecimal() else max(1, processors())
    return int(known)


def processors() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_n_threads(n_jobs: int | None) -> int:
    """Number of threads for scikit-learn's `n_jobs`: None and -1 mean all, -2 all but one; at most `available_threads`.

    Raises ValueError for 0 and TypeError for anything that is not an integer or None.
    """
    available = available_threads()
    if n_jobs is None:
        return available
    if isinstance(n_jobs, bool) or not hasattr(n_jobs, "__index__"):
        raise TypeError(f"n_jobs must be an integer or None, got {n_jobs!r}")
    n = n_jobs.__index__()
    if n == 0:
        raise ValueError("n_jobs must not be 0; use None or -1 for all threads")
    if n < 0:
        return max(1, available + 1 + n)
    return min(n, available)


class _Stopped(BaseException):
    """Ends a task if its run has ended early."""


class _Run:
    """One call of `run_tasks`."""

    def __init__(self, work: Callable[[int], object], n_tasks: int):
        self.work, self.n_tasks, self.counter = work, n_tasks, itertools.count()
        self.stopped = False  # True if the run ended before all tasks were done
        self.error: BaseException | None = None  # of a thread other than the caller's
        self.outer = _current.run  # the run that the caller is working for

    def is_stopped(self) -> bool:
        return self.stopped or (self.outer is not None and self.outer.is_stopped())

    def drain(self) -> None:
        before = _current.run
        _current.run = self
        try:
            while not self.is_stopped():
                task = next(self.counter)
                if task >= self.n_tasks:
                    return
                self.work(task)
        finally:
            _current.run = before

    def help(self) -> None:
        """`drain`, in a thread other than the caller's."""
        try:
            self.drain()
        except _Stopped:
            pass
        except BaseException as error:
            self.error = self.error or error
            self.stopped = True


class _Seat:
    """A place for one more thread in a run.

    Whoever holds the lock has the seat: a thread while it works; in the end the caller, for good.
    """

    def __init__(self, run: _Run):
        self.run: _Run | None = run
        self.lock = threading.RLock()  # reentrant: after an interrupt the caller may not know that it has it already

    def take(self) -> None:
        if self.lock.acquire(blocking=False):
            try:
                if self.run is not None:
                    self.run.help()
            finally:
                self.lock.release()


class _Pool:
    """Threads that take seats. They are started when they are needed."""

    def __init__(self, most: int):
        self._most, self._n_threads = most, 0
        self._offered: queue.SimpleQueue[_Seat] = queue.SimpleQueue()
        self._taken: list[None] = []  # one entry for each seat taken
        self._lock = threading.Lock()

    def offer(self, seat: _Seat) -> None:
        self._offered.put(seat)
        with self._lock:
            if self._n_threads < min(self._most, self._offered.qsize() + len(self._taken)):
                try:
                    # `threading.Thread` waits for the thread to begin, with a lock written in Python.
                    _thread.start_new_thread(self._take_seats, ())
                    self._n_threads += 1
                except RuntimeError:  # no more threads, or Python is about to end: the caller does the work
                    pass

    def _take_seats(self) -> None:
        while True:
            seat = self._offered.get()
            self._taken.append(None)
            seat.take()
            self._taken.pop()
            del seat  # and with it the arrays that its run holds


def _get_pool() -> _Pool:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = _Pool(max(1, available_threads()))
        return _pool


def check_stopped() -> None:
    """For tasks that call one kernel after another: ends the task if its run has ended early."""
    run = _current.run
    if run is not None and run.is_stopped():
        raise _Stopped


def run_tasks(work: Callable[[int], object], n_tasks: int, n_threads: int) -> None:
    """Call `work(i)` for every i below `n_tasks` from up to `n_threads` threads; the first error is raised.

    An error in any task ends the run, and so does whatever a signal raises in the caller's thread, at any moment: no
    thread begins another task. The error is raised as soon as the tasks in other threads have ended too, or have come
    to a `check_stopped`. From then on nobody writes to the caller's arrays. So a task should not call kernels for
    longer than a tenth of a second without a `check_stopped`.
    """
    n_threads = min(n_threads, n_tasks)
    if n_threads <= 1:
        outer = _current.run
        for task in range(n_tasks):
            if outer is not None:
                check_stopped()
            work(task)
        return
    run = _Run(work, n_tasks)
    seats = [_Seat(run) for _ in range(n_threads - 1)]
    drained = False
    interrupt: BaseException | None = None
    try:
        pool = _get_pool()
        for seat in seats:
            pool.offer(seat)
        run.drain()
        drained = True
    except _Stopped:
        pass
    finally:
        # Nothing is called between the end of the work and this line: an interrupt comes between calls.
        if not drained:
            run.stopped = True
        while True:
            try:
                for seat in seats:
                    seat.lock.acquire()
                    seat.run = None
                break
            except BaseException as error:
                run.stopped = True
                interrupt = error
    if interrupt is not None:
        raise interrupt
    if run.error is not None:
        try:
            raise run.error
        finally:
            del run  # the error's traceback leads to it
    check_stopped()


_TASK_SECONDS = 0.025
_TASK_OPERATIONS = 3e8  # multiply-adds that the slowest kernels do in a tenth of a second


def per_task(most: int, operations: float, multiple: int = 1) -> int:
    """How many rows a task should take: `most`, or as many as are done in a tenth of a second.

    operations : multiply-adds that each row takes
    multiple : the result is a multiple of this, and at least this
    """
    if most * operations <= _TASK_OPERATIONS and most % multiple == 0:
        return most
    return max(multiple, min(most, int(_TASK_OPERATIONS / max(1.0, operations))) // multiple * multiple)


class Steps:
    """Splits a range of rows into calls of a kernel: short enough for interrupts, and long enough to cost nothing.

    How many rows that is shows only at work: some rows take a hundred times as long as others. The caller makes sure
    that no result depends on where the range is split.

    Parameters
    ----------
    first : int
        Rows of the first call.
    multiple : int
        Every call but the last takes a multiple of this.
    most : int or None
        Largest number of rows of a call.

    Threads may share an object: what one of them learns, the others use.
    """

    def __init__(self, first: int, multiple: int = 1, most: int | None = None):
        self._multiple, self._most = multiple, most
        self._rows = max(multiple, first)

    def run(self, call: Callable[[int, int], int | None], start: int, stop: int) -> int:
        """Call call(first, last) for consecutive ranges of [start, stop), up to the end.

        A call may return a row before `last`. Then nothing more is called, and that row is returned; else `stop`.
        """
        while start < stop:
            check_stopped()
            last = min(stop, start + self._rows // self._multiple * self._multiple)
            before = time.perf_counter()
            reached = call(start, last)
            self._learn(last - start, time.perf_counter() - before)
            if reached is not None and reached < last:
                return reached
            start = last
        return stop

    def _learn(self, rows: int, seconds: float) -> None:
        if 4 * rows < self._rows and seconds < _TASK_SECONDS:
            return  # what was left of a range tells little
        # Get smaller at once, larger step by step.
        wanted = min(int(rows * _TASK_SECONDS / max(seconds, 1e-9)), 4 * self._rows, self._most or 2**62)
        self._rows = max(self._multiple, wanted)
