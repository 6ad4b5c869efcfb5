"""Ctrl-C, hang-up and `kill`: a command ends at once, with one line, its own exit code and no partial files.

The handler ends the process itself. An exception would be lost or printed as a traceback if it fell into an import, a
finalizer or a bare `except`, and would not clean up what other threads are writing. This module imports little: until
`answer` has been called, a signal has Python's default effect.
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
    """Make this process, which runs one command, end on a signal; an ignored signal (`nohup`) stays ignored.

    The exit code is 128 plus the signal's number, as in shells: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """
    global _process
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may set handlers
    _process = os.getpid()
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def ignore() -> None:
    """For a command that is done: it exits with 0 even if a signal arrives during Python's shutdown."""
    if os.getpid() == _process:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def advise(advice: Callable[[], str]) -> None:
    """Set the advice printed after "interrupted"; it is called after all unfinished work was undone."""
    global _advice
    _advice = advice


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """A block in which signals wait.

    A process started in it begins with them blocked, so no signal can end it before it is ready.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(number: int, frame: Any) -> None:
    code = 128 + number
    if os.getpid() != _process:  # a forked child that has not set its own signal handling yet
        os._exit(code)
    ignore()  # the next signal must not interrupt the clean-up
    try:
        undo_everything()
        by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        _say(f"somknn: interrupted{by}{_advice()}\n")
    finally:
        os._exit(code)


def _say(line: str) -> None:
    """Write to stderr, bypassing Python's buffer, which may be in use; skip it if the write would block."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = sys.__stderr__.fileno() if sys.__stderr__ is not None else 2
        if os.isatty(descriptor):
            line = f"\r\x1b[K\x1b[?25h{line}"  # overwrite a progress bar, which had hidden the cursor
        if select.select([], [descriptor], [], 0)[1]:
            os.write(descriptor, line.encode())
