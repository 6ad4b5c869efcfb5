"""Check the sizes that Parquet and Arrow files declare before a decoder allocates memory for them.

Decoders allocate as many bytes as the header of a page or buffer declares. A header is accepted here only if its bytes
lie in the file, if the codec could expand them to the declared size, and if the number of values could need that much.
A damaged file still fails in the decoder; a file with false sizes costs no more memory than a valid file of the same
size could.
"""

import os
import struct
from pathlib import Path
from typing import Any

from somknn.datasets.chunks import BatchError

# Largest expansion of each codec: a run of one byte in the format's shortest form. Brotli and Zstandard have blocks
# that repeat one value.
_EXPANSION = {"UNCOMPRESSED": 1, "SNAPPY": 22, "LZ4": 255, "GZIP": 1032, "ZSTD": 1 << 15, "BROTLI": 1 << 21}
_IPC_CODECS = {0: "LZ4", 1: "ZSTD"}
_BYTES_PER_VALUE = 32  # in any encoding, with levels or a dictionary: the widest take 8, 5 and 4
_SLACK = 1 << 16  # headers, padding, nearly empty blocks

_UNCOUNTED = 100  # bytes of a header that some old writers did not count in a column's size
_FIRST_READ, _LONGEST_HEADER = 1 << 9, 1 << 20
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3  # kinds of pages
_CODECS = 8  # that Parquet has: 0 to 7
_STRUCT = 12  # Thrift's number for it
_FIELDS = {_DATA: 5, _DICTIONARY: 7, _DATA_2: 8}  # number of the field that holds each page type's own header


def check_codecs(path: Path) -> None:
    """Raise BatchError if a column of a Parquet file names a codec that the format does not have.

    pyarrow 26.0 ends the process when it is asked for the name of such a codec, so the footer is read here.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, size - 8 - length))
        raw = file.read(min(length, size))
    try:
        groups = _thrift(raw, 0, _STRUCT, 16)[0].get(4, [])
        codecs = {chunk[3][4] for group in groups for chunk in group[1]}
        if not all(type(codec) is int and 0 <= codec < _CODECS for codec in codecs):
            raise ValueError(f"codecs {sorted(map(str, codecs))}")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise BatchError(f"{path}: damaged, its columns are compressed in no way that Parquet knows") from None


def check_pages(path: Path, row_group: Any, values_per_row: int, names: list[str] | None = None) -> None:
    """Raise BatchError if a page of a Parquet row group declares an impossible size.

    `names` are the columns that will be read; None for all.
    `row_group` is pyarrow's metadata; `values_per_row` is the length of the lists in a column of lists, otherwise 1.
    Reads the header of each page, which takes about 40 µs per page.
    """
    size = os.path.getsize(path)
    with open(path, "rb", buffering=0) as file:
        for j in range(row_group.num_columns):
            column = row_group.column(j)
            if names is not None and column.path_in_schema not in names:
                continue
            try:
                _check_column(file.fileno(), column, row_group.num_rows * values_per_row, size)
            except ValueError as error:
                raise BatchError(f"{path}: damaged, column {column.path_in_schema!r}: {error}") from None


def _check_column(descriptor: int, column: Any, most_values: int, size: int) -> None:
    n_values = column.num_values
    if not 0 <= n_values <= most_values:
        raise ValueError(f"{n_values:,} values where its rows have {most_values:,}")
    at, first = column.data_page_offset, column.dictionary_page_offset
    if first is not None and 0 < first < at:
        at = first
    end = at + column.total_compressed_size
    if not 0 <= at <= end <= size:
        raise ValueError(f"bytes {at:,} to {end:,} of a file of {size:,}")
    end = min(size, end + _UNCOUNTED)
    expansion = _EXPANSION.get(column.compression.split("_")[0])
    if expansion is None:
        return  # pyarrow does not have this codec either
    seen = 0
    while seen < n_values and at < end:
        length, header = _page_header(descriptor, at, end)
        at += length
        packed, unpacked = _number(header, 3), _number(header, 2)
        most = _SLACK + min(_BYTES_PER_VALUE * n_values, expansion * packed)
        if not 0 <= packed <= end - at:
            raise ValueError(f"a page claims {packed:,} bytes where {end - at:,} are left")
        if not 0 <= unpacked <= most:
            raise ValueError(f"a page of {packed:,} bytes claims to hold {unpacked:,}")
        kind = _number(header, 1)
        inner = header.get(_FIELDS.get(kind, 0), {})
        values = _number(inner, 1, 0) if isinstance(inner, dict) else -1
        if not 0 <= values <= (unpacked if kind == _DICTIONARY else n_values):
            raise ValueError(f"a page of {unpacked:,} bytes claims to hold {values:,} values")
        seen += 0 if kind == _DICTIONARY else values
        at += packed


def _number(fields: dict[int, Any], field: int, otherwise: int = -1) -> int:
    """The integer in a field of a header, `otherwise` if it is absent. Raises ValueError for anything else there."""
    value = fields.get(field, otherwise)
    if type(value) is not int:
        raise ValueError(f"a page header whose field {field} is no number")
    return value


def _page_header(descriptor: int, at: int, end: int) -> tuple[int, dict[int, Any]]:
    """Length and fields of the page header at byte `at`."""
    size = _FIRST_READ
    while True:
        raw = os.pread(descriptor, min(size, end - at), at)
        try:
            header, length = _thrift(raw, 0, _STRUCT, 5, lists=False)
        except IndexError:
            if size >= min(_LONGEST_HEADER, end - at):
                raise ValueError("a page header that does not end") from None
            size *= 8
        else:
            return length, header


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number that does not end in a page header")


def _thrift(raw: bytes, at: int, kind: int, depth: int, lists: bool = True) -> tuple[Any, int]:
    """A value in Thrift's compact protocol, and where it ends: structs as dicts by field, lists, integers, flags.

    Other types are passed over, as None. Raises IndexError if `raw` ends before the value does, ValueError for types
    that neither headers nor footers have (headers of pages have no `lists`), and beyond `depth` levels.
    """
    if kind in (4, 5, 6):
        value, at = _varint(raw, at)
        return value >> 1 ^ -(value & 1), at
    if kind in (1, 2, 3, 7):
        return None, at + (8 if kind == 7 else 1)
    if kind == 8:
        length, at = _varint(raw, at)
        return None, at + length
    if kind in (9, 10) and lists and depth:
        head, at = raw[at], at + 1
        count, of = head >> 4, head & 0x0F
        if count == 15:
            count, at = _varint(raw, at)
        values = []
        for _ in range(min(count, len(raw))):
            value, at = _thrift(raw, at, of, depth - 1, lists)
            values.append(value)
        return values, at
    if kind != _STRUCT or not depth:
        raise ValueError("a page header or footer of a kind that is not known")
    fields: dict[int, Any] = {}
    number = 0
    while raw[at]:
        head, at = raw[at], at + 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _varint(raw, at)
            number = number >> 1 ^ -(number & 1)
        kind = head & 0x0F
        if kind in (1, 2):  # a flag lies in the type of its field
            fields[number] = kind == 1
        else:
            fields[number], at = _thrift(raw, at, kind, depth - 1, lists)
    return fields, at + 1


def buffers_of(types: list[Any], columns: list[int]) -> set[int] | None:
    """Positions of these columns' buffers in a record batch of columns of such types; None if they are not known."""
    import pyarrow as pa

    some, at = set(), 0
    for column, kind in enumerate(types):
        if pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType) or "view" in str(kind):
            return None
        end = at + (0 if pa.types.is_null(kind) else kind.num_buffers)
        some |= set(range(at, end)) if column in columns else set()
        at = end
    return some


def check_record_batch(path: Path, message: Any, buffers: set[int] | None = None) -> None:
    """Raise BatchError if a compressed buffer of an Arrow record batch (a pyarrow message) declares an impossible size.

    `buffers` are the positions of those that will be read, None for all.
    Uncompressed buffers are slices of the file and allocate nothing.
    """
    try:
        _check_buffers(memoryview(message.metadata), memoryview(message.body), buffers)
    except (ValueError, struct.error, IndexError) as error:
        raise BatchError(f"{path}: damaged record batch ({error})") from None


def _check_buffers(metadata: memoryview, body: memoryview, some: set[int] | None) -> None:
    def number(form: str, at: int) -> int:
        return struct.unpack_from(f"<{form}", metadata, at)[0]

    def field(table: int, i: int) -> int:
        """Offset of field `i` of the flatbuffer table at `table`; 0 if it is absent."""
        fields = table - number("i", table)
        offset = number("H", fields + 4 + 2 * i) if 4 + 2 * i < number("H", fields) else 0
        return table + offset if offset else 0

    def follow(at: int) -> int:
        return at + number("I", at)

    batch = follow(field(follow(0), 2))
    compression = field(batch, 3)
    if not compression:
        return
    codec = field(follow(compression), 0)
    expansion = _EXPANSION[_IPC_CODECS.get(number("b", codec) if codec else 0, "UNCOMPRESSED")]
    nodes, buffers = (follow(field(batch, i)) for i in (1, 2))
    most_values = max([0, *(number("q", nodes + 4 + 16 * i) for i in range(number("I", nodes)))])
    for i in range(number("I", buffers)):
        offset, length = struct.unpack_from("<qq", metadata, buffers + 4 + 16 * i)
        if length == 0 or (some is not None and i not in some):
            continue
        if not 0 <= offset <= offset + length <= len(body):
            raise ValueError(f"buffer {i} claims bytes {offset:,} to {offset + length:,} of {len(body):,}")
        unpacked = struct.unpack_from("<q", body, offset)[0]
        most = _SLACK + min(_BYTES_PER_VALUE * most_values, expansion * (length - 8))
        if not -1 <= unpacked <= most:
            raise ValueError(f"buffer {i} of {length:,} bytes claims to hold {unpacked:,}")
