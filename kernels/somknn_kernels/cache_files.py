"""Files of compiled kernels: where they lie, and which of them may be trusted.

A kernel is pickled. So whoever can write its file can run code as the user who loads it: this is a security boundary.
A file is used only if

- its folder, the folder of all kernels above that one, and the file itself belong to this user or to root, and nobody
  else can write to them. This is checked on what was opened, not on a name, and each is opened from the descriptor of
  the one before. So the folders further up do not matter: who may rename what lies in them can put another folder
  there, but not one that belongs to this user;
- it begins with a digest of its contents and of the name of what it should hold. A file that is cut off, has a flipped
  bit or belongs to another kernel is not unpickled. It counts as absent.

Nothing here raises an error: without a file, a kernel is compiled. If something prevents kernels from being kept, one
line on stderr says so, once.
"""

import contextlib
import errno
import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

_MAGIC = b"somknn kernel 1\n"  # the digit is the version of the file's layout
_DIGEST = hashlib.sha256().digest_size
_TRIAL = bytes(2**18)  # about the size of a kernel: even a full disk has room for an empty file
IN_MEMORY = "kernels are compiled in memory, anew by every process"
_OTHER_FOLDER = "set SOMKNN_CACHE_DIR to a folder of your own"


class Unusable(Exception):
    """Why a folder or file cannot be used, and what to do about it: one line."""


def cache_folder() -> Path | None:
    """Folder of the compiled kernels: $SOMKNN_CACHE_DIR, else $NUMBA_CACHE_DIR, else the user's cache folder.

    None if there is no home folder.
    """
    asked, home = _asked_folder(), _home()
    if asked is not None or home is None:
        return asked
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "somknn" / "kernels"


def _asked_folder() -> Path | None:
    """The folder that the environment asks for. The XDG specification says to ignore a relative $XDG_CACHE_HOME."""
    chosen = os.environ.get("SOMKNN_CACHE_DIR") or os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        return Path(chosen) / "somknn-kernels"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base) / "somknn" / "kernels" if os.path.isabs(base) and sys.platform != "darwin" else None


def _home() -> Path | None:
    """$HOME if it is absolute, else what the system knows. `Path.home` would take an empty one for the root folder."""
    home = os.environ.get("HOME", "")
    if not os.path.isabs(home):
        import pwd

        try:
            home = pwd.getpwuid(os.geteuid()).pw_dir
        except KeyError:
            return None
    return Path(home) if os.path.isabs(home) else None


def read(folder: str, name: str, holds: bytes) -> bytes | None:
    """Contents of the file `name` in a folder of the cache. None if there is no file that may be used.

    holds : the name of what the file should hold, as it was given to `write`.
    """
    try:
        with opened(folder) as at:
            contents = _contents(at, name, _path(folder) / name)
    except FileNotFoundError:
        return None
    except (OSError, Unusable) as problem:
        _tell(problem, _path(folder))
        return None
    return payload(contents, holds)


def payload(contents: bytes, holds: bytes) -> bytes | None:
    """What was given to `write`, from the contents of its file; None if they are damaged or hold something else."""
    start = len(_MAGIC) + _DIGEST
    digest, payload = contents[len(_MAGIC) : start], contents[start:]
    return payload if contents.startswith(_MAGIC) and digest == _digest(holds, payload) else None


def _contents(at: int, name: str, path: Path) -> bytes:
    try:
        with open(name, "rb", opener=_beside(at)) as file:
            _check(file.fileno(), path, stat.S_ISREG)
            return file.read()
    except FileNotFoundError:
        return b""
    except (OSError, Unusable) as problem:
        _tell(problem, path, "a kernel is compiled anew, its file is not loaded")
        return b""


def write(folder: str, name: str, holds: bytes, payload: bytes) -> None:
    """Keep `payload` for `read`, in place of what was there.

    The file is replaced as a whole: processes that share the cache never see a part of a file.
    """
    _write(folder, name, _MAGIC + _digest(holds, payload) + payload)


_announced = False


def announce(folder: str) -> None:
    """Say once that kernels are about to be compiled, and where they are kept, or why they are not kept."""
    global _announced
    if _announced:
        return
    _announced = True
    if _write(folder, "trial", _TRIAL, keep=False) and not _told:
        _say(f"compiling kernels for this machine (once; kept in {cache_folder()})")


def _write(folder: str, name: str, contents: bytes, keep: bool = True) -> bool:
    temporary = f".{name}.{os.getpid()}.{os.urandom(8).hex()}"
    try:
        with opened(folder, make=True) as at:
            try:
                with open(temporary, "xb", opener=_beside(at)) as file:
                    file.write(contents)
                if keep:
                    os.replace(temporary, name, src_dir_fd=at, dst_dir_fd=at)
            finally:  # an interrupt leaves nothing behind either
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=at)
    except (OSError, Unusable) as problem:
        _tell(problem, _path(folder))
        return False
    return True


def _digest(holds: bytes, payload: bytes) -> bytes:
    digest = hashlib.sha256(len(holds).to_bytes(8, "little") + holds)
    digest.update(payload)
    return digest.digest()


def _path(folder: str) -> Path:
    return (cache_folder() or Path()) / folder


@contextlib.contextmanager
def opened(folder: str, make: bool = False) -> Iterator[int]:
    """Descriptor of a folder of the cache that is safe to use. `make` creates it. Raises OSError and Unusable."""
    if cache_folder() is None:
        raise Unusable(f"user {os.geteuid()} has no home folder; {_OTHER_FOLDER}")
    path = _path(folder)
    if make:
        _make_top(path.parent)
    top = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _check(top, path.parent, stat.S_ISDIR)
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700, dir_fd=top)
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY, dir_fd=top)
        try:
            _check(at, path, stat.S_ISDIR)
            yield at
        finally:
            os.close(at)
    finally:
        os.close(top)


def _make_top(top: Path) -> None:
    """Make the folder of all kernels, and missing folders above it, for their owner alone."""
    missing = [folder for folder in (top, *top.parents) if not folder.exists()]
    home = _home()
    if missing and home is not None and _asked_folder() is None:
        # Nobody asked for this folder: the home folder must be this user's own, and not one like /tmp.
        status = os.stat(home)
        if status.st_uid != os.geteuid() or status.st_mode & stat.S_IWOTH:
            raise Unusable(f"the home folder {home} is not this user's own; {_OTHER_FOLDER}")
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700)


def _beside(at: int):
    """For `open`: names are relative to the folder `at`, files are made for their owner alone, pipes do not block."""
    return lambda name, flags: os.open(name, flags | os.O_NONBLOCK, 0o600, dir_fd=at)


def _check(descriptor: int, path: Path, right_kind) -> None:
    """Raise Unusable unless only this user and root can have written to what was opened."""
    status = os.fstat(descriptor)
    if not right_kind(status.st_mode):
        raise Unusable(f"{path} is of another kind than it should be; delete it or {_OTHER_FOLDER}")
    if status.st_uid not in (0, os.geteuid()):
        raise Unusable(f"{path} belongs to another user ({status.st_uid}); {_OTHER_FOLDER}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Unusable(f"others can write to {path}; delete it or {_OTHER_FOLDER}")


_told = False


def _tell(problem: Exception, path: Path | None, so: str = IN_MEMORY) -> None:
    """Say once what follows from an Unusable, or from an OSError that happened at `path`."""
    why = str(problem)
    if isinstance(problem, OSError):
        room = "make room or " if problem.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        why = f"{path}: {problem.strerror or problem}; {room}{_OTHER_FOLDER}"
    say_once(f"{so}: {why}")


def say_once(line: str) -> None:
    """Print a line, once in the life of a process: only the first one is printed."""
    global _told
    if not _told:
        _told = True
        _say(line)


def _say(line: str) -> None:
    print(f"somknn: {line}", file=sys.stderr, flush=True)
