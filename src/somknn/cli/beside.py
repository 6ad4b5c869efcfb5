"""Processes for work that runs next to a command's own.

Drawing, imports and compiling hold Python's interpreter lock, so they need their own process to run at the same time.
Kernels release the lock: a thread (`somknn.threads.in_thread`) is enough to run them during an import.
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

from somknn._ending import undone_unless_finished
from somknn.cli import signals

Executor = concurrent.futures.Executor
_PATIENCE = 2.0  # seconds for a thread to end whose process is gone


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin() -> None:
    """In the second process: leave the terminal's signals to the command, and end when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.SIGNALS)
    threading.Thread(target=_end_with_the_command, daemon=True).start()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # more threads would compete for processors that the command needs


def _end_with_the_command() -> None:
    """End this process when the command was killed: otherwise a forked worker would wait for work forever."""
    command = multiprocessing.parent_process()
    if command is not None:
        command.join()
        os._exit(1)


def _import(modules: tuple[str, ...]) -> None:
    for module in modules:
        with contextlib.suppress(ImportError):  # the error is reported where the module is used
            importlib.import_module(module)


def _start_method() -> str:
    """A fork takes 0.2 s less than a new Python, and is safe while nothing else runs here: no thread, no BLAS."""
    young = threading.active_count() == 1 and "numpy" not in sys.modules
    return "fork" if young and sys.platform == "linux" else "spawn"


@contextlib.contextmanager
def _tracked_quietly() -> Iterator[None]:
    """Silence the warnings of Python's resource tracker if it is started in this block.

    The tracker removes the semaphores that a command leaves behind; an interrupted command does leave them.
    """
    sys.warnoptions.append("ignore::UserWarning:multiprocessing.resource_tracker")
    try:
        yield
    finally:
        sys.warnoptions.pop()


@contextlib.contextmanager
def second_process(*modules: str) -> Iterator[Executor | None]:
    """An executor with one process, which imports `modules` while the command does its own imports.

    None if there is only one processor, or if the system provides no process or semaphore. The process ends with the
    block, whatever it is doing.
    """
    if processors() < 2:
        yield None
        return
    with processes(1, *modules) as executor:
        yield executor


@contextlib.contextmanager
def processes(n: int, *modules: str) -> Iterator[Executor | None]:
    """An executor with `n` processes, each of which imports `modules` first; as `second_process` otherwise."""
    others, threads = multiprocessing.active_children(), threading.enumerate()
    started: list = []

    def end() -> None:
        for child in started:
            child.kill()  # a process that has just started may ignore a gentler signal

    with contextlib.ExitStack() as stack:
        try:
            with _tracked_quietly():
                context = multiprocessing.get_context(_start_method())
                executor = concurrent.futures.ProcessPoolExecutor(n, context, _begin)
            with signals.blocked():
                for _ in range(n):
                    executor.submit(_import, modules)
                started += [child for child in multiprocessing.active_children() if child not in others]
                its_threads = [thread for thread in threading.enumerate() if thread not in threads]
                stack.enter_context(undone_unless_finished(end))
        except (OSError, ImportError, NotImplementedError):
            yield None
            return
        try:
            yield executor
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            end()
            # Python's end writes to a pipe that the executor's thread closes. So that thread ends first.
            for thread in its_threads:
                thread.join(_PATIENCE)
