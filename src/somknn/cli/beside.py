"""What a command does beside its own work, in a second process.

Drawing, imports and compiling hold Python's interpreter lock, so they take a process of their own to happen at the same
time. Kernels release it: a thread (`somknn.threads.in_thread`) will do for them beside an import.
"""

import concurrent.futures
import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator

Executor = concurrent.futures.Executor


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command itself answers Ctrl-C, and ends this process
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # others would wait for work on a processor that the command needs


def _import(modules: tuple[str, ...]) -> None:
    for module in modules:
        with contextlib.suppress(ImportError):  # said where the module is used
            importlib.import_module(module)


def _start_method() -> str:
    """A fork takes 0.2 s less than a new Python, and is safe where nothing else runs here yet: no thread, no BLAS."""
    young = threading.active_count() == 1 and "numpy" not in sys.modules
    return "fork" if young and sys.platform == "linux" else "spawn"


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
        executor = concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context(_start_method()), _begin)
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
