"""Lists read page by page by a kernel: the rows that Arrow reads, from whatever writer, and from any row on."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from somknn.datasets import parquet_pages
from somknn.datasets.chunks import BatchError
from somknn.datasets.parquet_files import ParquetSource

DTYPES = ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
WRITERS = {
    "default": {},
    "zstd": {"compression": "zstd"},
    "plain": {"compression": "none", "use_dictionary": False},
    "second pages": {"data_page_version": "2.0", "compression": "gzip"},
    "second plain pages": {"data_page_version": "2.0", "compression": "none", "use_dictionary": False},
    "brotli": {"compression": "brotli"},
    "small pages": {"data_page_size": 900, "write_batch_size": 60},
    "a dictionary that is given up": {"dictionary_pagesize_limit": 300, "data_page_size": 900, "write_batch_size": 60},
    "checksums": {"write_page_checksum": True},
}
OTHERS = {  # read by Arrow
    "lz4": {"compression": "lz4"},
    "split bytes": {"use_dictionary": False, "column_encoding": {"x.list.element": "BYTE_STREAM_SPLIT"}},
    "delta": {"use_dictionary": False, "column_encoding": {"x.list.element": "DELTA_BINARY_PACKED"}},
}


@pytest.fixture
def read(monkeypatch):
    """How many rows the kernel read, and how many Arrow."""
    counts = {"kernel": 0, "arrow": 0}
    fill = parquet_pages.PageRows.fill

    def counted(self, out, executor):
        n, others = fill(self, out, executor)
        counts["kernel"] += n
        counts["arrow"] += len(out) - n
        return n, others

    monkeypatch.setattr(parquet_pages.PageRows, "fill", counted)
    return counts


def values_of(dtype, n=700, width=7):
    rng = np.random.default_rng(0)
    if dtype.startswith("float"):
        return rng.normal(size=(n, width)).round(2).astype(dtype)
    ends = np.iinfo(dtype)
    few = rng.integers(ends.min, ends.max, 250, dtype=dtype, endpoint=True)
    return few[rng.integers(0, 250, (n, width))]


def lists(rows, kind="fixed"):
    flat, n, width = pa.array(rows.ravel()), *rows.shape
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(flat, width)
    if kind == "large":
        return pa.LargeListArray.from_arrays(pa.array(np.arange(n + 1) * width), flat)
    return pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32) * width), flat)


def write(path, array, **options):
    pq.write_table(pa.table({"x": array}), path, **{"row_group_size": 400, **options})
    return path


def rows_of(path, n, start=None):
    source = ParquetSource(path)
    return [chunk for chunk in source.chunks(n, start) if source.width]


def check(path, rows, sizes=((100, 0), (5000, 0), (33, 77), (50, 650))):
    for n, start in sizes:
        found = rows_of(path, n, start)
        values = np.concatenate([chunk.values for chunk in found])
        assert values.dtype == rows.dtype
        np.testing.assert_array_equal(values, rows[start:])
        numbers = np.concatenate([chunk.numbers for chunk in found])
        np.testing.assert_array_equal(numbers, np.arange(start, len(rows)))


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_and_writer(tmp_path, read, dtype, writer):
    rows = values_of(dtype)
    for kind in ("fixed", "list", "large"):
        check(write(tmp_path / "t.parquet", lists(rows, kind), **WRITERS[writer]), rows)
    assert read["arrow"] == 0
    assert read["kernel"] > 0


@pytest.mark.parametrize("writer", OTHERS)
def test_what_arrow_reads(tmp_path, read, writer):
    rows = values_of("int64" if writer == "delta" else "float64")
    check(write(tmp_path / "t.parquet", lists(rows, "list"), **OTHERS[writer]), rows)
    assert read["kernel"] == 0


@pytest.mark.parametrize("width", [1, 2, 784])
def test_widths(tmp_path, read, width):
    rows = values_of("uint8", 700, width)
    check(write(tmp_path / "t.parquet", lists(rows), data_page_size=3000, write_batch_size=100), rows)
    assert read["arrow"] == 0


def test_fields_that_cannot_be_missing(tmp_path, read):
    """Fewer definition levels: lists or their values are required."""
    rows = values_of("float32")
    for nullable in ((False, False), (False, True), (True, False)):
        kind = pa.list_(pa.field("element", pa.float32(), nullable[1]))
        table = pa.table([lists(rows, "list").cast(kind)], pa.schema([pa.field("x", kind, nullable[0])]))
        pq.write_table(table, tmp_path / "t.parquet", row_group_size=300)
        check(tmp_path / "t.parquet", rows)
    assert read["arrow"] == 0


ODD = {
    "a missing value": (lambda row: [*row[:3], None, *row[4:]], None),
    "a missing list": (lambda row: None, None),
    "a short list": (lambda row: row[:5], "a list of 5 values where 7 are expected"),
    "a long list": (lambda row: [*row, 1], "a list of 8 values where 7 are expected"),
    "no values": (lambda row: [], "a list of 0 values where 7 are expected"),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("at", [0, 5, 399, 400, 699])
def test_rows_that_are_none(tmp_path, read, odd, at):
    """The same chunks as by Arrow alone, from whatever row on."""
    change, reason = ODD[odd]
    rows = values_of("float64").tolist()
    if at == 0 and reason is not None:
        at = 1  # the first row says how long lists are
    rows[at] = change(rows[at])
    path = write(tmp_path / "t.parquet", pa.array(rows), data_page_size=900, write_batch_size=60)
    for n, start in ((100, 0), (1000, 0), (90, 30), (90, 410), (1000, 690)):
        found = rows_of(path, n, start)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("somknn.datasets.parquet_files.leaf_of", lambda *_: None)
            expected = rows_of(path, n, start)
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.values, two.values)
            np.testing.assert_array_equal(one.numbers, two.numbers)
            assert one.rejects == two.rejects
            assert reason is None or all(reject.reason == reason for reject in one.rejects)
    assert read["arrow"] > 0
    assert read["kernel"] > 0


def test_lists_whose_lengths_compensate_each_other(tmp_path):
    """As many values as regular lists would have; rows after them are where they are for a run from the start."""
    rows = values_of("float64").tolist()
    rows[10], rows[11] = [*rows[10], 0.5], rows[11][:-1]
    rows[20], rows[21] = [0.25] * 13, [0.25]
    path = write(tmp_path / "t.parquet", pa.array(rows), row_group_size=700, data_page_size=900, write_batch_size=60)
    whole = {
        number: row.tolist()
        for chunk in rows_of(path, 40)
        for number, row in zip(chunk.numbers.tolist(), chunk.values, strict=True)
    }
    assert set(range(700)) - set(whole) == {10, 11, 20, 21}
    for start in (12, 15, 21, 22, 300):
        for chunk in rows_of(path, 40, start):
            for number, row in zip(chunk.numbers.tolist(), chunk.values, strict=True):
                assert row.tolist() == whole[number] == rows[number]


def test_pages_too_large_to_keep(tmp_path, read, monkeypatch):
    """Memory stays bounded by the chunks whatever the size of a page."""
    monkeypatch.setattr(parquet_pages, "_MOST_BYTES", 1000)
    rows = values_of("float64")
    check(write(tmp_path / "t.parquet", lists(rows)), rows)
    assert read["arrow"] > 0


def test_columns_with_like_names(tmp_path):
    rows = values_of("uint8")
    table = pa.table({"x": lists(rows), "x.y": np.arange(700), "x.list": np.arange(700)})
    pq.write_table(table, tmp_path / "t.parquet")
    source = ParquetSource(tmp_path / "t.parquet")
    source.select([0])
    np.testing.assert_array_equal(np.concatenate([chunk.values for chunk in source.chunks(99, None)]), rows)


@pytest.mark.parametrize("odd", [None, 5, 399, 500])
def test_columns_beside(tmp_path, read, odd):
    """Marks go with the rows, read by the kernel or, after a row that is none, by Arrow."""
    rows = values_of("float64").tolist()
    if odd is not None:
        rows[odd] = rows[odd][:3]
    marks = np.array([f"a{i}" for i in range(700)])
    table = pa.table({"key": marks, "x": pa.array(rows), "more": np.arange(700), "no": marks})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=400, data_page_size=900, write_batch_size=60)
    for n, start in ((100, 0), (1000, 0), (33, 390)):
        source = ParquetSource(tmp_path / "t.parquet")
        source.select([1], {"key": 0, "number": 2})
        for chunk in source.chunks(n, start):
            assert chunk.marks["key"].tolist() == [f"a{i}" for i in chunk.numbers]
            assert chunk.marks["number"].tolist() == chunk.numbers.tolist()
            assert [row.tolist() for row in chunk.values] == [rows[i] for i in chunk.numbers]
    assert read["kernel"] > 0
    assert (read["arrow"] > 0) == (odd is not None)


def test_damaged_pages_are_told_by_arrow(tmp_path):
    path = write(tmp_path / "t.parquet", lists(values_of("float64")), compression="zstd", use_dictionary=False)
    raw = bytearray(path.read_bytes())
    raw[2000:2040] = bytes(40)
    path.write_bytes(raw)
    with pytest.raises(BatchError, match=r"t.parquet: damaged"):
        rows_of(path, 100)


def test_a_failing_disk_is_no_damage(tmp_path, monkeypatch):
    import os

    path = write(tmp_path / "t.parquet", lists(values_of("float64")), data_page_size=900, write_batch_size=60)
    source = ParquetSource(path)
    chunks = source.chunks(100, None)
    next(chunks)
    real = os.pread

    def failing(descriptor, size, offset):
        if offset > 9000:
            raise OSError(5, "Input/output error")
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", failing)
    with pytest.raises(OSError, match="Input/output error"):
        list(chunks)
