"""Parquet pages and Arrow buffers that declare impossible sizes are rejected before decoding; valid ones pass.

The false sizes in the files made here are small, and harmless to pyarrow. Large ones are given to our own check only.
"""

import itertools
import re
import struct
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from somknn.batch import BatchError
from somknn.batch.sources import open_source
from somknn.datasets import table_claims

ROWS = np.random.default_rng(0).integers(0, 256, (5000, 6), dtype=np.uint8)
WIDTH = ROWS.shape[1]


def table_of(rows, lists):
    if lists:
        return pa.table({"x": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])})
    return pa.table({f"c{j}": rows[:, j] for j in range(rows.shape[1])})


def read(path):
    return np.concatenate([chunk.values for chunk in open_source(str(path)).chunks(1700, None)])


CODECS = ["none", "snappy", "gzip", "zstd", "lz4", "brotli"]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_honest_pages_pass(tmp_path, codec, lists, version):
    """Random rows, and constant ones, which reach the best compression; in small pages and in large ones."""
    path = tmp_path / "in.parquet"
    alike = {"compression": codec, "data_page_version": version, "write_page_checksum": True}
    kinds = [
        {},
        {"use_dictionary": False},
        {"use_dictionary": False, "data_page_size": 1 << 30, "write_batch_size": 10**9},
    ]
    for rows, kind in itertools.product((ROWS, np.full((300_000, 6), 7, np.uint8)), kinds):
        pq.write_table(table_of(rows, lists), path, row_group_size=200_000, **alike, **kind)
        np.testing.assert_array_equal(read(path), rows)
    encoding = {"column_encoding": "DELTA_BINARY_PACKED", "use_dictionary": False}
    wide = ROWS.astype(np.int64) << 50
    pq.write_table(table_of(wide, lists), path, data_page_size=1000, **alike, **encoding)
    np.testing.assert_array_equal(read(path), wide)
    missing = pa.array([[1, 2], None, [3, None]] * 300, pa.list_(pa.uint8(), 2))
    pq.write_table(pa.table({"x": missing}), path, data_page_size=100, **alike)
    assert np.isnan(read(path)).sum() == 300 * 3


def varint(value):
    value, out = value << 1 ^ value >> 63, b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def page_header(kind, unpacked, packed, values, more=b""):
    """As Thrift writes it: three numbers, and a struct with the number of values."""
    number = {0: 5, 2: 7, 3: 8}[kind]
    inner = b"\x15" + varint(values) + more + b"\0"
    return (
        b"".join(b"\x15" + varint(n) for n in (kind, unpacked, packed))
        + bytes([(number - 3) << 4 | 12])
        + inner
        + b"\0"
    )


def column(start, end, **other):
    facts = {
        "physical_type": "DOUBLE",
        "num_values": 1000,
        "compression": "SNAPPY",
        "dictionary_page_offset": None,
        "data_page_offset": start,
    }
    return SimpleNamespace(path_in_schema="c3", **facts | {"total_compressed_size": end - start} | other)


def check(tmp_path, pages, most_values=1000, **other):
    """Check a file that contains only these pages, after 4 bytes."""
    content = b"PAR1" + b"".join(pages)
    (tmp_path / "pages").write_bytes(content)
    group = SimpleNamespace(num_columns=1, num_rows=most_values, column=lambda j: column(4, len(content), **other))
    table_claims.check_pages(tmp_path / "pages", group, 1)


@pytest.mark.parametrize("kind", [0, 2, 3])
@pytest.mark.parametrize("codec", ["UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4", "LZ4_RAW", "BROTLI"])
def test_a_page_holds_what_its_codec_and_its_values_allow(tmp_path, monkeypatch, kind, codec):
    monkeypatch.setattr(table_claims, "_SLACK", 50)
    expansion, body = table_claims._EXPANSION[codec.split("_")[0]], bytes(100)
    for n_values in (3, 500, 10**9):
        most = 50 + min(32 * n_values, 100 * expansion)
        options = {"num_values": n_values, "compression": codec, "most_values": n_values}
        last = [page_header(0, 0, 0, n_values)]  # so that the previous page is not the last
        check(tmp_path, [page_header(kind, most, 100, 1) + body, *last], **options)
        for claim in {most + 1, (1 << 31) - 1, -1} - {most}:
            with pytest.raises(
                BatchError, match=r"pages: damaged, column 'c3': a page of 100 bytes claims to hold [-\d]"
            ):
                check(tmp_path, [page_header(kind, claim, 100, 1) + body, *last], **options)


@pytest.mark.parametrize(
    ("pages", "text"),
    [
        ([page_header(0, 90, 200, 1000)], "a page claims 200 bytes where 0 are left"),
        ([page_header(0, 90, (1 << 31) - 1, 1000), bytes(300)], "a page claims 2,147,483,647 bytes where 300 are left"),
        ([page_header(0, 90, -5, 1000)], "a page claims -5 bytes"),
        ([page_header(2, 90, 90, 91), bytes(90)], "a page of 90 bytes claims to hold 91 values"),
        ([page_header(0, 90, 90, 1001), bytes(90)], "claims to hold 1,001 values"),
        ([page_header(3, 90, 90, -1), bytes(90)], "claims to hold -1 values"),
        (
            [page_header(0, 90, 90, 10), bytes(90), page_header(0, 1 << 30, 90, 990), bytes(90)],
            "claims to hold 1,073,741,824",
        ),
        ([b"\x15" * 50], "a page header"),
        ([b"\x15" + b"\xff" * 3000], "a number that does not end"),
        ([page_header(0, 9, 9, 9, b"\x18" + varint(1 << 25)), bytes(2 << 20)], "a page header that does not end"),
        ([b"\x1c\0" + b"\x15\x02" * 2 + b"\0" * 9], "a page header whose field 1 is no number"),
        ([b"\x15\0" + b"\x1c\0" + b"\x15\x02" + b"\0" * 9], "a page header whose field 2 is no number"),
        ([b"\x15\0" + b"\x15\x02" + b"\x11" + b"\0" * 9], "a page header whose field 3 is no number"),
        ([b"\x15\0" + b"\x15\0" * 2 + b"\x2c" + b"\x1c\0" + b"\0" * 9], "a page header whose field 1 is no number"),
        ([b"\x1c" * 50], "of a kind that is not known"),
        ([b"\x19" * 50], "of a kind that is not known"),
    ],
)
def test_pages_that_lie(tmp_path, pages, text):
    with pytest.raises(BatchError, match=f"pages: damaged, column 'c3': .*{text}"):
        check(tmp_path, pages)


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"num_values": 1001}, "1,001 values where its rows have 1,000"),
        ({"num_values": -1}, "-1 values"),
        ({"data_page_offset": 10**12}, "of a file of"),
        ({"data_page_offset": -4}, "of a file of"),
        ({"total_compressed_size": 1 << 40}, "of a file of"),
        ({"total_compressed_size": -1}, "of a file of"),
    ],
)
def test_footers_that_lie(tmp_path, facts, text):
    pages = [page_header(2, 50, 50, 50), bytes(50), page_header(0, 90, 90, 1000), bytes(90)]
    check(tmp_path, pages, dictionary_page_offset=4, data_page_offset=4 + len(pages[0]) + 50)
    with pytest.raises(BatchError, match=text):
        check(tmp_path, pages, **facts)


@pytest.mark.parametrize(
    ("codec", "known"),
    [(b"\x45\x00", True), (b"\x45\x0e", True), (b"\x45\x10", False), (b"\x45\x01", False), (b"", False)],
)
def test_codecs_that_parquet_does_not_have(tmp_path, codec, known):
    """Our own check of a footer that holds one column's codec alone: no decoder would take it for a file."""
    footer = b"\x49\x1c" + b"\x19\x1c" + b"\x3c" + codec + b"\0" * 4
    (tmp_path / "footer").write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    if known:
        table_claims.check_codecs(tmp_path / "footer")
        return
    with pytest.raises(BatchError, match="footer: damaged, its footer describes columns"):
        table_claims.check_codecs(tmp_path / "footer")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\xff" * 30, b"\x1d" * 60])
def test_footers_that_are_none(tmp_path, content):
    (tmp_path / "none").write_bytes(content)
    with pytest.raises(BatchError, match="none: damaged"):
        table_claims.check_codecs(tmp_path / "none")


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("codec", CODECS)
def test_a_file_that_lies_is_not_decoded(tmp_path, monkeypatch, codec, lists):
    path = tmp_path / "in.parquet"
    pq.write_table(table_of(ROWS, lists), path, compression=codec, use_dictionary=False, data_page_size=1 << 20)
    content = bytearray(path.read_bytes())
    facts = pq.ParquetFile(path).metadata.row_group(0).column(0)
    honest = facts.num_values * 4  # bytes, in pages of 32-bit integers, plus some levels
    at = facts.data_page_offset
    assert content[at : at + 3] == b"\x15\0\x15"  # a data page; then its size
    size = next(n for n in range(honest, honest + honest // 2) if content[at + 3 :].startswith(varint(n) + b"\x15"))
    claim = table_claims._SLACK + 32 * facts.num_values + 1
    assert len(varint(claim)) == len(varint(size))
    content[at + 3 : at + 3 + len(varint(size))] = varint(claim)
    path.write_bytes(content)

    def decode(*arguments, **options):
        raise AssertionError("asked to decode")

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", decode)
    with pytest.raises(BatchError, match=rf"in.parquet: damaged, column '.*': a page of .* claims to hold {claim:,}"):
        read(path)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("ending", ["arrow", "stream.arrow", "feather"])
def test_compressed_batches(tmp_path, codec, lists, ending):
    path, options = tmp_path / f"in.{ending}", pa.ipc.IpcWriteOptions(compression=codec)
    rows = np.where(np.arange(5000)[:, None] < 2000, ROWS, 7).astype(np.uint8)
    table = table_of(rows, lists)
    write = pa.ipc.new_stream if ending == "stream.arrow" else pa.ipc.new_file
    with write(path, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=1999)
    np.testing.assert_array_equal(read(path), rows)

    content = path.read_bytes()
    frame = {"lz4": b"\x04\x22\x4d\x18", "zstd": b"\x28\xb5\x2f\xfd"}[codec]
    places = [match.start() - 8 for match in re.finditer(re.escape(frame), content)]
    assert len(places) == 3 * (1 if lists else WIDTH)
    for place in (places[0], places[-1]):
        path.write_bytes(content[:place] + struct.pack("<q", 1 << 20) + content[place + 8 :])
        with pytest.raises(BatchError, match=rf"in.{ending}: damaged record batch .* claims to hold 1,048,576"):
            read(path)


@pytest.mark.parametrize("unpacked", [-2, 1 << 40, (1 << 63) - 1])
def test_buffers_that_lie(unpacked):
    """Our own check only: a message with one compressed buffer, as Arrow writes it, but with another size."""
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"a": np.zeros(100_000, np.uint8)})
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(batch)
    messages = list(pa.ipc.MessageReader.open_stream(sink.getvalue()))
    (message,) = [each for each in messages if each.type == "record batch"]
    table_claims.check_record_batch("name", message)
    body = bytearray(message.body)
    assert struct.unpack_from("<q", body) == (100_000,)
    body[:8] = struct.pack("<q", unpacked)
    lying = SimpleNamespace(metadata=message.metadata, body=body)
    with pytest.raises(BatchError, match=r"name: damaged record batch \(buffer \d of .* bytes claims to hold"):
        table_claims.check_record_batch("name", lying)
    body[:8] = struct.pack("<q", -1)  # marked as not compressed
    table_claims.check_record_batch("name", lying)
    for cut in (0, 4, 8):
        with pytest.raises(BatchError, match="name: damaged record batch"):
            table_claims.check_record_batch("name", SimpleNamespace(metadata=message.metadata, body=body[:cut]))


@pytest.mark.parametrize("ending", ["arrow", "stream.arrow"])
@pytest.mark.parametrize(
    ("lists", "rows", "values"),
    [
        (True, 5000, 5000 * WIDTH - 1),  # the last list is too short
        (True, 5000, 0),
        (True, 5001, 5000 * WIDTH),  # one list more than there are values
        (True, 5000, 5000 * WIDTH + 9),  # values that are not there
        (False, 5000, 4999),
        (False, 5009, 5009),
    ],
)
def test_batches_that_lie_about_their_length(tmp_path, ending, lists, rows, values):
    """Off by a few values; pyarrow itself does not detect it for lists."""
    path, table = tmp_path / f"in.{ending}", table_of(ROWS, lists)
    with (pa.ipc.new_file if ending == "arrow" else pa.ipc.new_stream)(path, table.schema) as writer:
        writer.write_table(table)
    content = path.read_bytes()
    nodes = struct.pack("<4q", 5000, 0, 5000 * WIDTH, 0) if lists else struct.pack("<qq", 5000, 0) * WIDTH
    lying = (
        struct.pack("<4q", rows, 0, values, 0)
        if lists
        else struct.pack("<qq", rows, 0) * (WIDTH - 1) + struct.pack("<qq", values, 0)
    )
    assert content.count(nodes) == 1
    path.write_bytes(content.replace(nodes, lying).replace(struct.pack("<q", 5000), struct.pack("<q", rows)))
    with pytest.raises(BatchError, match=rf"in.{ending}: damaged"):
        read(path)


def test_a_batch_that_its_stream_does_not_reach(tmp_path):
    """An end in the middle of a file is not mistaken for the end of its stream."""
    path, table = tmp_path / "in.arrow", table_of(ROWS, False)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=1000)
    content = path.read_bytes()
    begins = [
        at
        for at in range(0, len(content) - 8, 8)
        if content[at : at + 4] == b"\xff" * 4 and content[at + 4 : at + 8] != bytes(4)
    ]
    assert len(begins) == 6  # those of the schema and of five batches
    path.write_bytes(content[: begins[3]] + b"\xff" * 4 + bytes(4) + content[begins[3] + 8 :])
    with pytest.raises(BatchError, match=r"in.arrow: damaged \(record batch 2: End of Arrow stream\)"):
        read(path)


def test_levels_that_the_schema_does_not_have(tmp_path):
    """pyarrow ends the process when it is asked about a column whose counts by level do not fit its schema."""
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"x": pa.array([[[1], [2]], [[3], [4]]])}), path)
    content = path.read_bytes()
    read(path)
    at = content.rindex(b"\x35\x02\x18\x07element")  # an optional element becomes a required one
    path.write_bytes(content[: at + 1] + b"\0" + content[at + 2 :])
    with pytest.raises(BatchError, match="its footer describes columns that Parquet does not have"):
        read(path)
