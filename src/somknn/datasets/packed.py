"""The bytes of a file as a stream, unpacked where it is a gzip, bzip2, xz or Zstandard archive, or a zip of one table.

Nothing is unpacked ahead: memory does not depend on what an archive expands to.
"""

import bz2
import errno
import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

DEFLATE_RATIO = 1032  # no deflate stream expands further (zlib's technical details)
BLOCK = 1 << 20
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError)
ENDINGS = (".gz", ".bz2", ".xz", ".zst", ".zip")
TEXTS = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data")


class _Zstandard(io.RawIOBase):
    """A Zstandard archive, read by pyarrow; can be told to go forward only."""

    def __init__(self, path: Path):
        try:
            import pyarrow as pa
        except ImportError:
            raise ValueError(f"{path}: Zstandard archives need pyarrow: pip install 'somknn[files]'") from None
        self._stream = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        block = self._stream.read(len(buffer))
        buffer[: len(block)] = block
        self._at += len(block)
        return len(block)

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence != 0 or offset < self._at:
            raise io.UnsupportedOperation("a Zstandard archive is read forward only")
        while self._at < offset:
            block = self._stream.read(min(BLOCK, offset - self._at))
            if not block:
                break
            self._at += len(block)
        return self._at

    def close(self) -> None:
        self._stream.close()
        super().close()


def _zstandard(path: Path, mode: str) -> IO[bytes]:
    return cast("IO[bytes]", io.BufferedReader(_Zstandard(path), BLOCK))


def table_in(path: Path) -> str | None:
    """The name of the only file in a zip archive, if it is a text table; None for anything else.

    What macOS and Windows add (`__MACOSX`, hidden files) does not count.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _only_table(archive)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError):
        return None
    except OSError as error:  # a seek before the start, of a damaged archive
        if error.errno not in (None, errno.EINVAL):
            raise
        return None


def _only_table(archive: zipfile.ZipFile) -> str | None:
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    names = [name for name in names if not os.path.basename(name).startswith(".")]
    return names[0] if len(names) == 1 and os.path.splitext(names[0].lower())[1] in TEXTS else None


class _OfZip(io.RawIOBase):
    """One file of a zip archive; closing it closes the archive."""

    def __init__(self, path: Path):
        self._archive = zipfile.ZipFile(path)
        name = _only_table(self._archive)
        if name is None:
            raise zipfile.BadZipFile("its list of files has changed")
        self._file = self._archive.open(name)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._archive.close()
        super().close()


def _zip(path: Path, mode: str) -> IO[bytes]:
    return cast("IO[bytes]", io.BufferedReader(_OfZip(path), BLOCK))


_OPENERS: dict[bytes, tuple[str, Any]] = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ\0": ("xz", lzma.open),
    b"\x28\xb5\x2f\xfd": ("Zstandard", _zstandard),
    b"PK\3\4": ("zip", _zip),
}


def _opener(path: Path) -> tuple[str, Any]:
    with open(path, "rb") as file:
        start = file.read(6)
    for magic, found in _OPENERS.items():
        if start.startswith(magic) and (found[0] != "zip" or table_in(path) is not None):
            return found
    return "", open


def is_packed(path: Path) -> str:
    """The name of a file's compression, "" for none."""
    return _opener(path)[0]


@contextmanager
def open_stream(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked if it is an archive; damage raises ValueError."""
    name, opener = _opener(path)
    try:
        with opener(path, "rb") as stream:
            yield cast("IO[bytes]", stream)
    except (*DAMAGED, OSError, RuntimeError) as error:
        # An error of the system has a number; Arrow's own have none, and those of zip are RuntimeErrors for a password.
        if not name or (isinstance(error, OSError) and error.errno is not None):
            raise
        if isinstance(error, RuntimeError) and name != "zip":
            raise
        raise ValueError(f"{path}: truncated or damaged {name} archive ({error})") from None


def is_gzip(path: Path) -> bool:
    """Whether the file begins like a gzip archive."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def most_bytes(path: Path) -> int:
    """An upper bound for the unpacked size of a file that may be a gzip archive."""
    size = os.path.getsize(path)
    return size * DEFLATE_RATIO + BLOCK if is_gzip(path) else size
