"""Parquet and Arrow inputs: for any row groups, batches and missing values, the rows are those of the table."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from somknn.batch import BatchError
from somknn.batch.sources import open_source
from somknn.datasets import parquet_files

ROWS = np.random.default_rng(0).integers(0, 256, (331, 6), dtype=np.uint8)


def table_of(rows, lists, missing):
    """A table of the rows; with `missing`, a few values (and, for lists, a whole row) are null."""
    expected = rows.astype(np.float64) if missing else rows
    mask = np.zeros(rows.shape, bool)
    if missing:
        mask[5, 1] = mask[200, 0] = True
        if lists:
            mask[100] = True
        expected[mask] = np.nan
    if not lists:
        return pa.table({f"c{j}": pa.array(rows[:, j], mask=mask[:, j]) for j in range(rows.shape[1])}), expected
    flat = pa.array(rows.ravel(), mask=mask.ravel())
    column = pa.FixedSizeListArray.from_arrays(flat, rows.shape[1], mask=pa.array(mask.all(axis=1)))
    return pa.table({"x": column}), expected


def write(table, path, size):
    if path.suffix == ".parquet":
        with pq.ParquetWriter(path, table.schema) as writer:
            for at in range(0, len(table), size):
                writer.write_table(table.slice(at, size))
                if at == size:
                    writer.write_table(table.slice(0, 0))  # an empty row group
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=size)


def read(path, n, start=None):
    chunks = list(open_source(str(path)).chunks(n, start))
    assert [len(chunk.values) for chunk in chunks[:-1]] == [n] * (len(chunks) - 1)
    np.testing.assert_array_equal(np.concatenate([chunk.numbers for chunk in chunks]), np.arange(start or 0, 331))
    return np.concatenate([chunk.values for chunk in chunks])


@pytest.mark.parametrize("size", [1, 40, 1000])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_rows_are_the_tables(tmp_path, monkeypatch, ending, lists, missing, size):
    monkeypatch.setattr(parquet_files, "_LIST_ROWS", 17)
    monkeypatch.setattr(parquet_files, "_COLUMN_BYTES", 17 * 6)
    table, expected = table_of(ROWS, lists, missing)
    write(table, tmp_path / f"in.{ending}", size)
    for n in (7, 90, 331, 5000):
        values = read(tmp_path / f"in.{ending}", n)
        assert values.dtype == expected.dtype
        np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(read(tmp_path / f"in.{ending}", 50, start=123), expected[123:])


@pytest.mark.parametrize("dtype", ["bool", "int16", "uint64", "float32"])
@pytest.mark.parametrize("lists", [False, True])
def test_other_dtypes(tmp_path, dtype, lists):
    rows = (ROWS > 99).astype(dtype)
    table, _ = table_of(rows, lists, False)
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=100)
    values = read(tmp_path / "in.parquet", 64)
    assert values.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(values, rows)
    table, expected = table_of(rows, lists, True)
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=100)
    values = read(tmp_path / "in.parquet", 1000)
    assert values.dtype.kind == "f"
    np.testing.assert_array_equal(values, expected)


def test_a_file_that_became_shorter(tmp_path):
    path = tmp_path / "in.parquet"
    write(table_of(ROWS, True, False)[0], path, 100)
    source = open_source(str(path))
    write(table_of(ROWS[:150], True, False)[0], path, 100)
    with pytest.raises((BatchError, OSError)):
        list(source.chunks(60, None))
