"""Clean up unfinished work when it is interrupted: by an exception, or by the end of the process.

An exception unwinds only its own thread, and third-party code may swallow it (imports with a fallback, callbacks of
weak references). A command that is told to end does not rely on exceptions: it calls `undo_everything` and exits.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

_pending: list[Callable[[], object]] = []
_lock = threading.RLock()  # a signal handler may interrupt the thread that holds it


def _renew_lock_after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # a thread that does not exist in the child may have held the old lock


os.register_at_fork(after_in_child=_renew_lock_after_fork)


@contextlib.contextmanager
def undone_unless_finished(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` when the block raises, or when the process ends while it lasts.

    `undo` may be called at any moment of the block, and more than once; its OSErrors are ignored.
    """
    _pending.append(undo)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            undo()
        raise
    finally:
        _pending.remove(undo)


@contextlib.contextmanager
def not_while_undoing() -> Iterator[None]:
    """A block that `undo_everything` in another thread waits for; no such block starts after it."""
    with _lock:
        yield


def undo_everything() -> None:
    """Undo all unfinished work, the most recent first.

    The process must exit next: from now on, threads stop in `not_while_undoing`.
    """
    _lock.acquire()
    for undo in reversed(list(_pending)):
        with contextlib.suppress(Exception):
            undo()
