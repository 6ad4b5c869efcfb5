"""Files that are either complete or absent: written beside their place, flushed to the disk, then renamed. No input is written over."""

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
    """The path itself, or where it leads if it is a symbolic link."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)


def work_folder(output: str | os.PathLike) -> Path:
    """Where a run keeps finished parts of `output`: the same place by whatever link, for two runs must not write it at once."""
    path = behind_link(output)
    return path.with_name(path.name + ".parts")


def any_parts(output: str | os.PathLike) -> bool:
    """Whether there are finished parts of `output` in its work folder."""
    return any(work_folder(output).glob("part-*.json"))


def refuse_to_overwrite(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raise ValueError where one of `outputs` is one of `inputs`, by whatever name: another spelling, a symbolic or a hard link."""
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
    except (OSError, ValueError):  # not there: said where it is read, or made where it is written
        return None


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what was written there replaces `path` when the block ends well.

    When the block raises, the temporary file goes and `path` is as it was. The result has the permissions that writing
    `path` in place would have given it: those of the file replaced, or for a new one what the umask allows. Where `path` is a
    symbolic link, the link stays and the file that it leads to is replaced.

    Raises IsADirectoryError or FileNotFoundError for a folder, or a place in a folder that does not exist, and
    FileExistsError for what is no file: a device, a pipe.
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
        # Made here, so that the system applies the umask (which cannot be read without setting it, for all threads).
        # Some writers replace this file by one of their own with mode 0600; its mode is kept aside.
        with not_while_undoing():
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(path.stat().st_mode)
        yield temporary
        publish(temporary, path, mode)
