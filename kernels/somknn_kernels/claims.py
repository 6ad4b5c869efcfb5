"""Two processes that need the same kernel at the same time: one compiles it, the other waits and loads it.

The one that compiles holds a lock on an empty file beside the kernel's. The lock ends with its process, whatever
happens to that. Waiting is never longer than compiling by oneself would be by much: after a minute, or where files
cannot be locked, both compile.
"""

import contextlib
import os
import time

from somknn_kernels import cache_files

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]

_PATIENCE = 60.0  # seconds: no kernel takes that long
_PAUSE = 0.02


class _Claim:
    """A locked file `name` in the folder with the descriptor `at`, which this owns."""

    def __init__(self, at: int, descriptor: int, name: str):
        self._at, self._descriptor, self._name = at, descriptor, name

    def end(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._name, dir_fd=self._at)
        os.close(self._descriptor)
        os.close(self._at)


_held: _Claim | None = None  # Numba compiles one kernel at a time


def take(folder: str, name: str) -> bool:
    """Make other processes wait for the kernel's file `name` until `release`.

    Returns whether another process had it meanwhile, so that the file may be there now.
    """
    global _held
    release()
    if fcntl is None:
        return False
    waited, lock, deadline = False, f".{name}.lock", time.monotonic() + _PATIENCE
    with contextlib.suppress(OSError, cache_files.Unusable), cache_files.opened(folder, make=True) as at:
        while time.monotonic() < deadline:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600, dir_fd=at)
            if _locked(descriptor, at, lock):
                _held = _Claim(os.dup(at), descriptor, lock)
                break
            os.close(descriptor)
            waited = True
            time.sleep(_PAUSE)
    return waited


def _locked(descriptor: int, at: int, name: str) -> bool:
    """Lock the file, unless another process has it, or has unlocked and removed it since it was opened."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), os.stat(name, dir_fd=at, follow_symlinks=False))
    except (BlockingIOError, FileNotFoundError):
        return False
    except BaseException:
        os.close(descriptor)
        raise


def release() -> None:
    """Let the others go on: the kernel has been kept, or cannot be."""
    global _held
    claim, _held = _held, None
    if claim is not None:
        claim.end()
