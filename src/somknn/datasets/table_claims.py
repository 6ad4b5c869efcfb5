"""Check the sizes that Parquet and Arrow files declare before a decoder allocates memory for them.

Decoders allocate as many bytes as the header of a page or buffer declares. A header is accepted here only if its bytes
lie in the file, if the codec could expand them to the declared size, and if the number of values could need that much.
A damaged file still fails in the decoder; a file with false sizes costs no more memory than a valid file of the same
size could.
"""

import os
import struct
from pathlib import Path
from typing import Any, NamedTuple

from somknn.datasets.chunks import BatchError

# Largest expansion of each codec: a run of one byte in the format's shortest form. Brotli and Zstandard have blocks
# that repeat one value.
_EXPANSION = {"UNCOMPRESSED": 1, "SNAPPY": 22, "LZ4": 255, "GZIP": 1032, "ZSTD": 1 << 15, "BROTLI": 1 << 21}
_IPC_CODECS = {0: "LZ4", 1: "ZSTD"}
_BYTES_PER_VALUE = 32  # of numbers in any encoding, with levels or a dictionary: the widest take 8, 5 and 4
_SIZED = dict.fromkeys(("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE"), _BYTES_PER_VALUE)
_SLACK = 1 << 16  # headers, padding, nearly empty blocks

_UNCOUNTED = 100  # bytes of a header that some old writers did not count in a column's size
_FIRST_READ, _LONGEST_HEADER = 1 << 9, 1 << 20
DATA, DICTIONARY, DATA_2 = 0, 2, 3  # kinds of pages
_CODECS = 8  # that Parquet has: 0 to 7
_OPTIONAL, _REPEATED = 1, 2  # kinds of schema elements
_SIZE_STATISTICS = 16  # the field of a column's metadata that counts values by level
_INT32 = 5  # Thrift's number for it
_STRUCT = 12  # Thrift's number for it
_FIELDS = {DATA: 5, DICTIONARY: 7, DATA_2: 8}  # number of the field that holds each page type's own header


def check_codecs(path: Path) -> None:
    """Raise BatchError if a column of a Parquet file names a codec that the format does not have, or counts levels
    that its schema does not have.

    pyarrow 26.0 ends the process when it is asked about such a column, so the footer is read here.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, size - 8 - length))
        raw = file.read(min(length, size))
    try:
        footer = _thrift(raw, 0, _STRUCT, 16)[0]
        groups = footer.get(4, [])
        codecs = {chunk[3][4] for group in groups for chunk in group[1]}
        if not all(type(codec) is int and 0 <= codec < _CODECS for codec in codecs):
            raise ValueError(f"codecs {sorted(map(str, codecs))}")
        counting = [group for group in groups if any(_SIZE_STATISTICS in chunk[3] for chunk in group[1])]
        levels = _most_levels(footer[2]) if counting else []
        for group in counting:
            for chunk, most in zip(group[1], levels, strict=True):
                counted = chunk[3].get(_SIZE_STATISTICS, {})
                for field, level in zip((2, 3), most, strict=True):
                    if len(counted.get(field, ())) not in (0, level + 1):
                        raise ValueError("counts of other levels than those of the schema")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise BatchError(f"{path}: damaged, its footer describes columns that Parquet does not have") from None


def _most_levels(schema: list[dict[int, Any]]) -> list[tuple[int, int]]:
    """The highest repetition and definition level of each leaf of a Parquet schema, which lists a tree depth first."""
    leaves, above = [], [[len(schema), 0, 0]]  # children still to come, levels
    for element in schema[1:]:
        while not above[-1][0]:
            above.pop()
        above[-1][0] -= 1
        kind, children = (element[i] if element.get(-i) == _INT32 else 0 for i in (3, 5))
        repetition, definition = above[-1][1] + (kind == _REPEATED), above[-1][2] + (kind in (_OPTIONAL, _REPEATED))
        if children:
            above.append([children, repetition, definition])
        else:
            leaves.append((repetition, definition))
    return leaves


class Page(NamedTuple):
    """A page of a Parquet column: where its bytes begin, how many there are, packed and unpacked, and its header."""

    at: int
    packed: int
    unpacked: int
    kind: int
    header: dict[int, Any]

    @property
    def inner(self) -> dict[int, Any]:
        """The header of its own kind: number of values, encodings."""
        return self.header.get(_FIELDS.get(self.kind, 0), {})


def check_pages(
    path: Path, row_group: Any, values_per_row: int, names: list[str] | None = None
) -> dict[int, list[Page]]:
    """Raise BatchError if a page of a Parquet row group declares an impossible size.

    `names` are the columns that will be read; None for all.
    `row_group` is pyarrow's metadata; `values_per_row` is the length of the lists in a column of lists, otherwise 1.
    Reads the header of each page, which takes about 40 µs per page, and returns the pages by the number of the column.
    """
    found = {}
    size = os.path.getsize(path)
    with open(path, "rb", buffering=0) as file:
        for j in range(row_group.num_columns):
            column = row_group.column(j)
            path_in_schema = column.path_in_schema
            if names is not None and not any(
                path_in_schema == name or path_in_schema.startswith(f"{name}.") for name in names
            ):
                continue
            try:
                found[j] = _check_column(file.fileno(), column, row_group.num_rows * values_per_row, size)
            except ValueError as error:
                raise BatchError(f"{path}: damaged, column {column.path_in_schema!r}: {error}") from None
    return found


def _check_column(descriptor: int, column: Any, most_values: int, size: int) -> list[Page]:
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
        return []  # pyarrow does not have this codec either
    sized = _SIZED.get(column.physical_type, 1 << 62)  # text and bytes may be of any length
    seen, pages = 0, []
    while seen < n_values and at < end:
        length, header = _page_header(descriptor, at, end)
        at += length
        packed, unpacked = _number(header, 3), _number(header, 2)
        most = _SLACK + min(sized * n_values, expansion * packed)
        if not 0 <= packed <= end - at:
            raise ValueError(f"a page claims {packed:,} bytes where {end - at:,} are left")
        if not 0 <= unpacked <= most:
            raise ValueError(f"a page of {packed:,} bytes claims to hold {unpacked:,}")
        kind = _number(header, 1)
        inner = header.get(_FIELDS.get(kind, 0), {})
        values = _number(inner, 1, 0) if isinstance(inner, dict) else -1
        if not 0 <= values <= (unpacked if kind == DICTIONARY else n_values):
            raise ValueError(f"a page of {unpacked:,} bytes claims to hold {values:,} values")
        seen += 0 if kind == DICTIONARY else values
        pages.append(Page(at, packed, unpacked, kind, header))
        at += packed
    return pages


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
        fields[-number] = kind  # readers pass over a field of another type than the format's
    return fields, at + 1


def buffers_of(types: list[Any], columns: list[int]) -> dict[int, bool] | None:
    """Positions of these columns' buffers in a record batch, and whether each holds values of one size (no text).

    None if the layout of a type is not known here.
    """
    some: dict[int, bool] = {}
    at = 0
    for column, kind in enumerate(types):
        buffers = _buffers(kind)
        if buffers is None:
            return None
        if column in columns:
            some |= {at + i: sized for i, sized in enumerate(buffers)}
        at += len(buffers)
    return some


def _buffers(kind: Any) -> list[bool] | None:
    """For each buffer of a type, in the order of a record batch, whether it holds values of one size."""
    import pyarrow as pa

    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    if pa.types.is_null(kind):
        return []
    if pa.types.is_union(kind) or "view" in str(kind) or "run_end" in str(kind) or pa.types.is_map(kind):
        return None
    if pa.types.is_nested(kind):
        own = 1 if pa.types.is_struct(kind) or pa.types.is_fixed_size_list(kind) else 2
        inner = [_buffers(kind.field(i).type) for i in range(kind.num_fields)]
        return None if None in inner else [True] * own + [each for part in inner for each in part or ()]
    if pa.types.is_dictionary(kind):
        return [True, True]
    return [True] * (kind.num_buffers - 1) + [pa.types.is_primitive(kind)]


def check_record_batch(path: Path, message: Any, buffers: dict[int, bool] | None = None) -> None:
    """Raise BatchError if a compressed buffer of an Arrow record batch (a pyarrow message) declares an impossible size.

    `buffers` are the positions of those that will be read, None for all, and whether each holds values of one size.
    Uncompressed buffers are slices of the file and allocate nothing.
    """
    try:
        _check_buffers(memoryview(message.metadata), memoryview(message.body), buffers)
    except (ValueError, struct.error, IndexError) as error:
        raise BatchError(f"{path}: damaged record batch ({error})") from None


class _Flatbuffer(NamedTuple):
    """A flatbuffer, read by offsets; raises struct.error beyond its end."""

    raw: memoryview

    def number(self, form: str, at: int) -> int:
        return struct.unpack_from(f"<{form}", self.raw, at)[0]

    def field(self, table: int, i: int) -> int:
        """Offset of field `i` of the table at `table`; 0 if it is absent."""
        fields = table - self.number("i", table)
        offset = self.number("H", fields + 4 + 2 * i) if 4 + 2 * i < self.number("H", fields) else 0
        return table + offset if offset else 0

    def follow(self, at: int) -> int:
        return at + self.number("I", at)


def batch_offsets(path: Path) -> list[int]:
    """Where the record batches of an Arrow file begin, by the index at its end; BatchError if it is damaged."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 10))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, size - 10 - length))
        footer = _Flatbuffer(memoryview(file.read(min(length, size))))
    try:
        blocks = footer.field(footer.follow(0), 3)
        if not blocks:
            return []
        blocks = footer.follow(blocks)
        count = footer.number("I", blocks)
        if count > len(footer.raw) // 24:
            raise ValueError(f"{count:,} batches")
        offsets = [footer.number("q", blocks + 4 + 24 * i) for i in range(count)]
        if not all(0 < offset < size for offset in offsets):
            raise ValueError("batches outside the file")
    except (struct.error, ValueError, IndexError) as error:
        raise BatchError(f"{path}: damaged index ({error})") from None
    return offsets


def _check_buffers(metadata: memoryview, body: memoryview, some: dict[int, bool] | None) -> None:
    message = _Flatbuffer(metadata)
    number, field, follow = message.number, message.field, message.follow
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
        sized = _BYTES_PER_VALUE if some is None or some[i] else 1 << 62
        most = _SLACK + min(sized * most_values, expansion * (length - 8))
        if not -1 <= unpacked <= most:
            raise ValueError(f"buffer {i} of {length:,} bytes claims to hold {unpacked:,}")
