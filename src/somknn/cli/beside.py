"""A second process for what a command can do beside its own work: drawing, and compiling what will be needed later.

Both hold Python's interpreter lock, so threads would not do them at the same time.
"""

import concurrent.futures
import contextlib
import importlib
import multiprocessing
import os
import signal
from collections.abc import Iterator

Executor = concurrent.futures.Executor


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command itself answers Ctrl-C, and ends this process


def _import(modules: tuple[str, ...]) -> None:
    for module in modules:
        with contextlib.suppress(ImportError):  # said where the module is used
            importlib.import_module(module)


@contextlib.contextmanager
def second_process(*modules: str) -> Iterator[Executor | None]:
    """An executor with one process of its own, which imports `modules` while the command imports its own.

    None where there is only one processor, or where the system gives no process or semaphore. The process ends with
    the block, whatever it is doing.
    """
    if _processors() < 2:
        yield None
        return
    others = multiprocessing.active_children()
    try:
        executor = concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin)
        executor.submit(_import, modules)
    except (OSError, ImportError, NotImplementedError):
        yield None
        return
    started = [child for child in multiprocessing.active_children() if child not in others]
    try:
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in started:
            child.terminate()
