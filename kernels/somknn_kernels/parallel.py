"""Threads for kernels that release the GIL.

`run_tasks(work, n_tasks, n_threads)` calls `work(0) … work(n_tasks - 1)`, each once, from up to `n_threads` threads (the
caller's is one of them). A thread takes the next task when it is free, so a slow core does not hold up the rest.
Tasks write to disjoint places, which is why results never depend on the number of threads.

Any number of Python threads may call at once: every call brings its own work and shares only the pool. After
a fork the child makes a new pool on first use.
"""

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba

_pool: ThreadPoolExecutor | None = None
_pool_lock = threading.Lock()


def _forget_pool_after_fork() -> None:
    global _pool, _pool_lock
    _pool = None
    _pool_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool_after_fork)


def available_threads() -> int:
    """Threads that may be used: $NUMBA_NUM_THREADS, by default the processors of this process."""
    return int(numba.config.NUMBA_NUM_THREADS)


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


def _get_pool() -> ThreadPoolExecutor:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max_workers=max(1, available_threads()), thread_name_prefix="somknn")
        return _pool


def run_tasks(work: Callable[[int], object], n_tasks: int, n_threads: int) -> None:
    """Call `work(i)` for every i below `n_tasks` from up to `n_threads` threads; the first error is raised."""
    n_threads = min(n_threads, n_tasks)
    if n_threads <= 1:
        for task in range(n_tasks):
            work(task)
        return
    counter = itertools.count()
    failed = threading.Event()

    def drain() -> None:
        while not failed.is_set():
            task = next(counter)
            if task >= n_tasks:
                return
            try:
                work(task)
            except BaseException:
                failed.set()
                raise

    pool = _get_pool()
    futures = [pool.submit(drain) for _ in range(n_threads - 1)]
    try:
        drain()
    finally:
        # A worker that the pool never got round to starting is not needed any more.
        errors = [f.exception() for f in futures if not f.cancel()]
    for error in errors:
        if error is not None:
            raise error
