"""Arrays from IDX, .npy, .npz and CSV files.

Sizes that a file declares are checked against its actual size before they are used. Every error is a one-line
ValueError that names the file.
"""

import csv
import errno
import io
import math
import os
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from somknn.datasets import columns
from somknn.datasets.packed import BLOCK, DAMAGED, DEFLATE_RATIO, most_bytes, open_stream

_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MISSING = ("", "na", "n/a", "nan", "null", "none")
_MOST_WHOLE = 1 << 53  # float64 holds all whole numbers up to here
_LONGEST_LINE = 64 << 20
_SOME = 1 << 16  # bytes of lines that are split at once
_NOT_BLANK = re.compile(rb"\S")


def read_idx_header(file: IO[bytes], path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    """Dtype and shape that an IDX file declares; ValueError if the file cannot hold that much."""
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _IDX_TYPES or not 1 <= start[3] <= 8:
        raise ValueError(f"{path}: not an IDX file")
    lengths = file.read(4 * start[3])
    if len(lengths) < 4 * start[3]:
        raise ValueError(f"{path}: truncated IDX header")
    shape = tuple(int(n) for n in np.frombuffer(lengths, ">u4"))
    dtype = np.dtype(_IDX_TYPES[start[2]])
    promised = math.prod(shape) * dtype.itemsize
    if promised > most_bytes(path):
        raise ValueError(f"{path}: the IDX header promises {promised:,} bytes of values, more than the file holds")
    return dtype, shape


def read_exactly(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...], path: Path) -> np.ndarray:
    """Read an array from a stream; ValueError if the stream is too short or too long."""
    count = math.prod(shape)
    array = np.empty(count, dtype=dtype)
    view = memoryview(array.data).cast("B") if count else memoryview(bytearray())
    position = 0
    while position < len(view):
        n = file.readinto(view[position : position + BLOCK])  # type: ignore[attr-defined]
        if not n:
            raise ValueError(f"{path}: truncated, {position:,} bytes of values where {len(view):,} are promised")
        position += n
    if file.read(1):
        raise ValueError(f"{path}: more bytes than the header promises ({len(view):,})")
    return array.astype(dtype.newbyteorder("="), copy=False).reshape(shape)


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array of an IDX file (the format of MNIST), gzip-compressed or not, in native byte order."""
    path = Path(path)
    with open_stream(path) as file:
        dtype, shape = read_idx_header(file, path)
        return read_exactly(file, dtype, shape, path)


def _npy_header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            header = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"version {version} of the format is not supported")
    except Exception as error:  # a damaged header makes NumPy's parser fail in many ways (SyntaxError, TokenError, ...)
        raise ValueError(f"{where}: not a readable .npy file ({' '.join(str(error).split())[:200]})") from None
    shape, _, dtype = header
    if dtype.kind not in "biufSU":
        raise ValueError(f"{where}: dtype {dtype} is not supported (numbers, or text for labels; never objects)")
    if any(n < 0 for n in shape) or len(shape) > 8 or dtype.itemsize == 0:
        raise ValueError(f"{where}: impossible shape {shape} or dtype {dtype} in its header")
    return header


def map_npy(path: str | os.PathLike) -> np.ndarray:
    """A read-only memory map of the array of an .npy file; its header is checked against the size of the file."""
    path = Path(path)
    with open(path, "rb") as file:
        shape, fortran, dtype = _npy_header(file, str(path))
        offset = file.tell()
        available = os.fstat(file.fileno()).st_size - offset
    promised = math.prod(shape) * dtype.itemsize
    if promised != available:
        raise ValueError(f"{path}: the header promises {promised:,} bytes of values, the file holds {available:,}")
    if promised == 0:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C")


def read_npz(path: str | os.PathLike, content: bytes | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name, each checked before memory is allocated.

    `content` is the file's bytes if they were read already.
    """
    path = Path(path)
    arrays = {}
    try:
        with zipfile.ZipFile(path if content is None else io.BytesIO(content)) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                with archive.open(info) as file:
                    shape, fortran, dtype = _npy_header(file, f"{path}[{name}]")
                    promised = math.prod(shape) * dtype.itemsize
                    if promised > min(info.file_size, info.compress_size * DEFLATE_RATIO + BLOCK):
                        raise ValueError(f"{path}[{name}]: the header promises more than the archive holds")
                    array = read_exactly(file, dtype, shape[::-1] if fortran else shape, path)
                arrays[name] = array.T if fortran else array
    except (*DAMAGED, RuntimeError, OSError, OverflowError, struct.error, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: a seek before the start
            raise
        raise ValueError(f"{path}: not a readable .npz archive ({' '.join(str(error).split())})") from None
    return arrays


def split_line(text: str) -> list[str]:
    """The cells of one CSV line, quoted or not."""
    return next(csv.reader([text])) if '"' in text else text.split(",")


def require_closed_quotes(number: int, text: str, path: Path) -> None:
    """Raise ValueError for a line in which a quoted cell begins and does not end."""
    if '"' in text and text.count('"') % 2:
        raise ValueError(f"{path}, line {number}: a quotation mark is not closed; cells of several lines are not read")


def is_missing(cell: str) -> bool:
    """Whether a cell stands for a missing value: empty, NA, N/A, NaN, NULL or None, in capitals or not."""
    return cell.strip().lower() in _MISSING


def finite_number(cell: str) -> float | None:
    """The number in a cell, or None for anything else: text, `1_0` (which Python would read as 10), NaN, infinity.

    Whole numbers beyond 2^53 must be among those that float64 holds.
    """
    if not columns.is_plain_number(cell):
        return None
    value = float(cell)
    if not math.isfinite(value):
        return None
    if abs(value) > _MOST_WHOLE and cell.strip().lstrip("+-").isdecimal() and int(cell) != int(value):
        return None
    return value


def _other_text(raw: bytes) -> str:
    """What a line that is not UTF-8 may be, and what helps."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it looks like UTF-16: save it as UTF-8 (Excel: CSV UTF-8; iconv -f utf-16 -t utf-8)"
    if set(raw) & {0}:
        return "is this a CSV file?"
    return "if it is text in another encoding, save it as UTF-8 (Excel: CSV UTF-8; iconv -f latin1 -t utf-8)"


def lines(file: IO[bytes], path: Path, number: int = 0, end: int = 0) -> Iterator[tuple[int, int, str]]:
    """Number (from 1), end (in bytes from the start of the stream) and text of each line that is not blank.

    `file` is positioned after line `number`, which ends at `end`. It is read in blocks: blank lines, of which a small
    archive can hold millions, are skipped many at a time. Raises ValueError with file and line for bytes that are not
    UTF-8 or a line longer than 64 MB.
    """
    block, at, last = b"", 0, False  # data read so far, start of the next line in it, end of stream reached
    while True:
        found = _NOT_BLANK.search(block, at)
        first = len(block) if found is None else found.start()
        if first > at and (blank := block.count(b"\n", at, first)):
            begin = block.rindex(b"\n", at, first) + 1
            number, end, at = number + blank, end + begin - at, begin
        stop = 0
        if found is not None:
            stop = block.rfind(b"\n", first, first + _SOME) + 1 or block.find(b"\n", first) + 1 or last * len(block)
        for raw in block[at:stop].removesuffix(b"\n").split(b"\n") if stop else ():
            number, end = number + 1, end + len(raw) + 1
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r")
            except UnicodeDecodeError:
                raise ValueError(f"{path}, line {number}: not UTF-8 text; {_other_text(raw)}") from None
            if text.strip():
                yield number, end, text
        at = max(at, stop)
        if stop:
            continue
        if last:
            return
        pieces, size = [block[at:]], len(block) - at
        while b"\n" not in pieces[-1] and not last:
            if size > _LONGEST_LINE:
                raise ValueError(f"{path}, line {number + 1}: longer than {_LONGEST_LINE:,} bytes; is this a CSV file?")
            pieces.append(file.read1(BLOCK))  # type: ignore[attr-defined]
            size, last = size + len(pieces[-1]), not pieces[-1]
        block, at = b"".join(pieces), 0


def parse_cells(cells: list[str], width: int, path: Path, line: int, *, missing: bool = False) -> list[float]:
    """The numbers of one row; ValueError with file, line and column of the first bad cell.

    With `missing`, a cell that is empty, NA, N/A, NaN, NULL or None is NaN.
    """
    if len(cells) != width:
        raise ValueError(f"{path}, line {line}: {len(cells)} values where {width} are expected")
    values = []
    for column, cell in enumerate(cells, 1):
        value = finite_number(cell)
        if value is None and missing and is_missing(cell):
            value = math.nan
        if value is None:
            shown = columns.shortened(cell)
            raise ValueError(f"{path}, line {line}, column {column}: {shown!r} is not a finite number")
        values.append(value)
    return values


def to_rows(array: np.ndarray, path: Any) -> tuple[np.ndarray, tuple[int, ...] | None]:
    """Flattened rows and, for arrays of more than two dimensions, the shape of one of them."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{path}: values of dtype {array.dtype}; expected numbers")
    if array.ndim < 2 or array.shape[0] == 0 or math.prod(array.shape[1:]) == 0:
        raise ValueError(f"{path}: shape {array.shape}; expected at least one row of at least one value")
    shape = tuple(array.shape[1:]) if array.ndim > 2 else None
    return array.reshape(len(array), -1), shape
