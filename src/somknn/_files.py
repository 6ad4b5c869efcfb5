"""Files that are either complete or absent: written beside their place, flushed to the disk, then renamed."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path


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


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what was written there replaces `path` when the block ends well.

    When the block raises, the temporary file goes and `path` is as it was. The result has the permissions that writing
    `path` in place would have given it: those of the file replaced, or for a new one what the umask allows.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the path of a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"folder {path.parent} does not exist; create it first")
    temporary = path.parent / f".{path.name}.{secrets.token_hex(6)}.part"
    try:
        # Made here, so that the system applies the umask (which cannot be read without setting it, for all threads).
        # Some writers replace this file by one of their own with mode 0600; its mode is kept aside.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(path.stat().st_mode)
        yield temporary
        publish(temporary, path, mode)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
