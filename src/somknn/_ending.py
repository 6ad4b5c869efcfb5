"""What has to be undone where work ends in its middle: by an exception, or with the process.

An exception unwinds its own thread, and third-party code may swallow it (imports that fall back on something else, callbacks
of weak references). A command that is told to end does not rely on that: it calls `undo_everything` and exits.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

_pending: list[Callable[[], object]] = []
_lock = threading.RLock()  # a signal's handler may interrupt the thread that holds it


def _renew_lock_after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # a thread that the child has not may have held it


os.register_at_fork(after_in_child=_renew_lock_after_fork)


@contextlib.contextmanager
def undone_unless_finished(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` when the block raises, or when the process ends while it lasts.

    `undo` may be called at any moment of the block, and more than once; its OSErrors are passed over.
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
    """A block that other threads' `undo_everything` waits for, and that begins no more after it."""
    with _lock:
        yield


def undo_everything() -> None:
    """Undo all that is unfinished, the last first. The process must exit next: threads wait in `not_while_undoing` from now on."""
    _lock.acquire()
    for undo in reversed(list(_pending)):
        with contextlib.suppress(Exception):
            undo()
