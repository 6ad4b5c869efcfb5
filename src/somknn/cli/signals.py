"""Ctrl-C, the end of the terminal, and `kill`: a command ends at once, with one line, its own exit code and nothing half-written.

The handler ends the process itself. An exception instead would be lost or printed as a traceback wherever it fell into an
import, a finalizer or somebody's bare `except`, and would leave what other threads are writing.
This module imports little: until `answer` has been called, a signal ends Python in Python's own ways.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from somknn._ending import undo_everything

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_advice: Callable[[], str] = str
_process = 0


def answer() -> None:
    """Have this process, which runs one command, end on a signal; one that is ignored (`nohup`) stays ignored.

    The exit code is 128 and the signal's number, as shells have it: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """
    global _process
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may
    _process = os.getpid()
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def ignore() -> None:
    """For a command that is done: it exits with 0, and not by what arrives while Python takes itself down."""
    if os.getpid() == _process:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def advise(advice: Callable[[], str]) -> None:
    """What an interrupted command says behind "interrupted"; called after everything unfinished was undone."""
    global _advice
    _advice = advice


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """A block in which signals wait. A process started in it begins with them blocked, and so ends by none before it is ready."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(number: int, frame: Any) -> None:
    code = 128 + number
    if os.getpid() != _process:  # a fork that has not said yet what it does about signals
        os._exit(code)
    ignore()  # the next one must not interrupt the undoing
    try:
        undo_everything()
        by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        _say(f"somknn: interrupted{by}{_advice()}\n")
    finally:
        os._exit(code)


def _say(line: str) -> None:
    """To stderr, past Python's buffer, which may be in use; not at all where that would wait."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = sys.__stderr__.fileno() if sys.__stderr__ is not None else 2
        if os.isatty(descriptor):
            line = f"\r\x1b[K\x1b[?25h{line}"  # in the place of a progress bar, which had hidden the cursor
        if select.select([], [descriptor], [], 0)[1]:
            os.write(descriptor, line.encode())
