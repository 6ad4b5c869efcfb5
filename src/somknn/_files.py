"""Write files completely or not at all; never overwrite an input.

A file is written next to its destination, flushed to disk, then renamed.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from somknn._ending import not_while_undoing, undone_unless_finished


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(temporary: Path, path: Path, mode: int | None = None) -> None:
    """Flush the finished file `temporary` to the disk and give it its final name (and `mode`) in the same folder."""
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        if mode is not None and stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            os.chmod(temporary, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    sync_folder(path.parent)


def behind_link(path: str | os.PathLike) -> Path:
    """The path itself, or its target if it is a symbolic link."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)


def work_folder(output: str | os.PathLike) -> Path:
    """The folder for finished parts of `output`.

    It is the same through any symbolic link, because two runs must not write one output at once.
    """
    path = behind_link(output)
    return path.with_name(path.name + ".parts")


def any_parts(output: str | os.PathLike) -> bool:
    """Whether the work folder holds finished parts of `output`."""
    return any(work_folder(output).glob("part-*.json"))


def refuse_to_overwrite(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raise ValueError if one of `outputs` is one of `inputs`.

    Other spellings of a path, symbolic links and hard links are recognised.
    """
    there = [(status, path) for path in inputs if (status := _status(path)) is not None]
    for output in outputs:
        found = _status(output)
        for status, path in there:
            if found is not None and os.path.samestat(found, status):
                which = "which is an input" if path == output else f"which is the same file as the input {path}"
                raise ValueError(f"the output would overwrite {output}, {which}; choose another place for the output")


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):  # not there: the reader reports it, or the writer creates it
        return None


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path next to `path`; the file written there replaces `path` when the block succeeds.

    When the block raises, the temporary file is deleted and `path` is unchanged. The result has the permissions that
    writing `path` in place would have given it: those of the replaced file, or for a new file those that the umask
    allows. If `path` is a symbolic link, the link stays and its target is replaced.

    Raises IsADirectoryError for a folder, FileNotFoundError if the parent folder does not exist, and FileExistsError
    for anything else that is not a regular file, such as a device or a pipe.
    """
    path = behind_link(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the path of a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"folder {path.parent} does not exist; create it first")
    if path.is_symlink():
        raise FileExistsError(f"{path} is a symbolic link that leads back to itself")
    if path.exists() and not path.is_file():
        raise FileExistsError(
            f"{path} is no regular file (a device, a pipe or a socket), which a new file would replace"
        )
    temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}.part"
    with undone_unless_finished(lambda: temporary.unlink(missing_ok=True)):
        # The file is created here so that the system applies the umask (a process cannot read its umask without setting
        # it for all threads). Some writers replace this file by one of their own with mode 0600, so its mode is
        # remembered.
        with not_while_undoing():
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(path.stat().st_mode)
        yield temporary
        publish(temporary, path, mode)
