"""The same rows and labels as other people's tools write them: one function for each habit.

Each takes a `Rows` and an empty folder, and returns what a user would give to a command. Files of tools that are no
test dependency (polars, DuckDB, Spark, R, Excel, Hugging Face datasets) are written by pyarrow or by hand, with the
types and habits of those tools.
"""

import bz2
import gzip
import io
import json
import lzma
import struct
import zipfile
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from PIL import Image


class Rows(NamedTuple):
    """Rows of 8 × 8 grey levels (n, 64) uint8, their names, labels and ids."""

    values: np.ndarray
    names: list[str]
    labels: np.ndarray
    ids: list[str]

    def frame(self, dtype="int64"):
        return pd.DataFrame(self.values.astype(dtype), columns=self.names)

    def text(self, separator=",", decimal=".", quote="", end="\n", more=0.0):
        """Lines of cells, with a line of names; `more` is added to each value."""

        def cell(value):
            return repr(float(value) + more).replace(".", decimal) if more or decimal != "." else str(value)

        lines = [separator.join(f"{quote}{name}{quote}" for name in self.names)]
        lines += [separator.join(map(cell, row)) for row in self.values.tolist()]
        return end.join(lines) + end


def lists(rows, dtype="uint8", kind=None):
    values = pa.array(rows.values.astype(dtype).ravel())
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(values, 64)
    offsets = np.arange(0, len(values) + 1, 64)
    if kind == "large":
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def png(row):
    file = io.BytesIO()
    Image.fromarray(row.reshape(8, 8)).save(file, "PNG")
    return file.getvalue()


def images(rows):
    """A column as Hugging Face datasets store images."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": png(row), "path": f"{i}.png"} for i, row in enumerate(rows.values)], kind)


def into(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def parquet(folder, table, **options):
    pq.write_table(table, folder / "rows.parquet", row_group_size=70, **options)
    return folder / "rows.parquet"


def table(rows, dtype="int64"):
    return pa.Table.from_pandas(rows.frame(dtype), preserve_index=False)


# CSV


def csv_pandas(rows, folder):
    rows.frame().to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


def csv_pandas_index(rows, folder):
    rows.frame().to_csv(folder / "rows.csv")
    return folder / "rows.csv"


def csv_pandas_shuffled_floats(rows, folder):
    rows.frame("float64")[rows.names[::-1]].to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


def csv_r(rows, folder):
    """write.csv: names and row names in quotes."""
    lines = rows.text(quote='"').splitlines()
    text = "".join(f'"{i or ""}",{line}\n' for i, line in enumerate(lines))
    return into(folder / "rows.csv", text)


def csv_excel_germany(rows, folder):
    """Semicolons, decimal commas, a byte order mark, Windows's ends of lines."""
    return into(folder / "rows.csv", b"\xef\xbb\xbf" + rows.text(";", ",", end="\r\n").encode())


def csv_excel_hint(rows, folder):
    return into(folder / "rows.csv", "sep=;\r\n" + rows.text(";", end="\r\n"))


def csv_semicolons(rows, folder):
    return into(folder / "rows.csv", rows.text(";"))


def csv_bars(rows, folder):
    return into(folder / "rows.txt", rows.text("|", quote='"'))


def csv_spaces(rows, folder):
    return into(folder / "rows.dat", rows.text(" "))


def csv_capitals(rows, folder):
    return into(folder / "ROWS.CSV", rows.text(end="\r\n"))


def tsv(rows, folder):
    return into(folder / "rows.tsv", rows.text("\t"))


def tsv_gz(rows, folder):
    return into(folder / "rows.tsv.gz", gzip.compress(rows.text("\t").encode()))


def csv_bz2(rows, folder):
    return into(folder / "rows.csv.bz2", bz2.compress(rows.text().encode()))


def csv_xz(rows, folder):
    return into(folder / "rows.csv.xz", lzma.compress(rows.text().encode()))


def csv_zst(rows, folder):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(rows.text().encode())
    return into(folder / "rows.csv.zst", sink.getvalue().to_pybytes())


def csv_zip(rows, folder):
    with zipfile.ZipFile(folder / "rows.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("export/rows.csv", rows.text())
        archive.writestr("__MACOSX/export/._rows.csv", b"\0")
    return folder / "rows.zip"


def csv_without_ending(rows, folder):
    return into(folder / "rows", rows.text())


def csv_label_and_id(rows, folder):
    """scikit-learn's frame with a target, and an id with commas."""
    frame = rows.frame().assign(target=rows.labels)
    frame.insert(3, "name", rows.ids)
    frame.to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


def csv_numbered(rows, folder):
    """pandas' default names 0 … 63."""
    pd.DataFrame(rows.values).to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


def csv_without_names(rows, folder):
    np.savetxt(folder / "rows.csv", rows.values, "%d", ",")
    return folder / "rows.csv"


def csv_spark(rows, folder):
    """A folder of parts, each with its names, beside marks and checksums."""
    place = folder / "rows.csv"
    place.mkdir()
    (place / "_SUCCESS").touch()
    for i in range(4):
        part = Rows(rows.values[i * 80 : (i + 1) * 80], rows.names, rows.labels, rows.ids)
        into(place / f"part-0000{i}-abc-c000.csv", part.text())
        into(place / f".part-0000{i}-abc-c000.csv.crc", b"crc\0")
    (place / "part-00009-abc-c000.csv").touch()
    return place


# Parquet and Arrow


def parquet_pandas(rows, folder):
    rows.frame().to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def parquet_pandas_named_index(rows, folder):
    rows.frame().assign(name=rows.ids).set_index("name").to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def parquet_polars_list(rows, folder):
    """polars writes large lists."""
    return parquet(folder, pa.table({"x": lists(rows, "float64", "large")}), compression="zstd")


def parquet_polars_array(rows, folder):
    return parquet(folder, pa.table({"id": rows.ids, "x": lists(rows, "uint8", "fixed")}), compression="zstd")


def parquet_pandas_lists(rows, folder):
    """A column of NumPy arrays."""
    frame = pd.DataFrame({"x": list(rows.values)})
    frame.to_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def parquet_duckdb_list(rows, folder):
    """DOUBLE[64] beside an id: a list of optional doubles."""
    ids = pa.array(range(len(rows.ids)), pa.int64())
    return parquet(folder, pa.table({"id": ids, "embedding": lists(rows, "float64")}), compression="snappy")


def parquet_duckdb_decimals(rows, folder):
    """Literals with a point are decimals."""
    columns = {name: rows.frame()[name] for name in rows.names}
    return parquet(folder, pa.table({n: pa.array(c).cast(pa.decimal128(22, 1)) for n, c in columns.items()}))


def parquet_nested_lists(rows, folder):
    return parquet(folder, pa.table({"x": pa.array(rows.values.reshape(-1, 8, 8).tolist())}))


def parquet_tensors(rows, folder):
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(rows.values.reshape(-1, 8, 8))
    return parquet(folder, pa.table({"x": column}))


def parquet_hugging_face(rows, folder):
    """An image and a ClassLabel, with their features in the schema's metadata."""
    label = {"_type": "ClassLabel", "names": [str(i) for i in range(10)]}
    features = {"info": {"features": {"image": {"_type": "Image"}, "label": label}}}
    found = pa.table({"image": images(rows), "label": pa.array(rows.labels, pa.int64())})
    return parquet(folder, found.replace_schema_metadata({"huggingface": json.dumps(features)}))


def parquet_text_beside(rows, folder):
    """Long texts, times and categories that are no features."""
    more = table(rows).append_column("notes", pa.array(["word " * (i % 900) for i in range(len(rows.ids))]))
    more = more.append_column("kind", pa.array(rows.ids).dictionary_encode())
    return parquet(folder, more.append_column("time", pa.array(range(len(rows.ids)), pa.timestamp("us"))))


def parquet_spark(rows, folder):
    place = folder / "rows.parquet"
    place.mkdir()
    (place / "_SUCCESS").touch()
    for i in range(3):
        part = table(rows).slice(i * 100, 100)
        pq.write_table(part, place / f"part-0000{i}-abc.c000.snappy.parquet", flavor="spark")
    return place


def feather(rows, folder):
    pa.feather.write_feather(table(rows), folder / "rows.feather", compression="lz4")
    return folder / "rows.feather"


def arrow_stream(rows, folder):
    """The cache files of Hugging Face datasets."""
    found = pa.table({"pixels": lists(rows), "label": rows.labels})
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", found.schema) as writer:
        writer.write_table(found, 90)
    return folder / "data-00000-of-00001.arrow"


# arrays


def npy(rows, folder):
    np.save(folder / "rows.npy", rows.values.reshape(-1, 8, 8))
    return folder / "rows.npy"


def npz(rows, folder):
    np.savez_compressed(folder / "rows.npz", X=rows.values, ids=rows.ids)
    return folder / "rows.npz"


def hdf5(rows, folder):
    with pytest.importorskip("h5py").File(folder / "rows.h5", "w") as file:
        file.create_dataset("images", data=rows.values.reshape(-1, 8, 8), compression="gzip")
        file["ids"] = rows.ids
    return folder / "rows.h5"


def npz_kmnist(rows, folder):
    np.savez_compressed(folder / "kmnist-test-imgs.npz", rows.values.reshape(-1, 8, 8))
    return folder / "kmnist-test-imgs.npz"


def idx(rows, folder):
    head = struct.pack(">HBBIII", 0, 8, 3, len(rows.values), 8, 8)
    return into(folder / "t10k-images-idx3-ubyte", head + rows.values.tobytes())


def idx_gz_renamed(rows, folder):
    return into(folder / "pixels.bin.gz", gzip.compress(idx(rows, folder).read_bytes()))


# images


def image_folder(rows, folder):
    place = folder / "pictures"
    place.mkdir()
    for i, row in enumerate(rows.values):
        into(place / f"{i:04}.png", png(row))
    into(place / "Thumbs.db", b"\0")
    return place


def image_folders_of_classes(rows, folder):
    place = folder / "pictures"
    for i, (row, label) in enumerate(zip(rows.values, np.arange(300) // 30, strict=True)):
        (place / str(label)).mkdir(parents=True, exist_ok=True)
        into(place / str(label) / f"{i:04}.png", png(row))
    return place


def image_glob(rows, folder):
    image_folder(rows, folder)
    return folder / "pictures" / "*.png"


def images_of_several_kinds(rows, folder):
    place = folder / "pictures"
    place.mkdir()
    for i, row in enumerate(rows.values):
        ending = ("png", "bmp", "tif", "pgm", "webp", "gif")[i % 6]
        options = {"lossless": True} if ending == "webp" else {}
        Image.fromarray(row.reshape(8, 8)).save(place / f"{i:04}.{ending}", **options)
    return place
