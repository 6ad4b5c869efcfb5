"""Zstandard archives, zips of one table, and HDF5 files."""

import sys
import zipfile

import numpy as np
import pyarrow as pa
import pytest

from somknn import datasets
from somknn.batch import BatchError, classify
from somknn.batch.sources import open_source
from somknn.datasets import packed

ROWS = np.arange(240.0).reshape(60, 4) + 0.5
LABELS = np.arange(60) % 3


def text():
    lines = [",".join(map(repr, row)) + f",{label}" for row, label in zip(ROWS.tolist(), LABELS, strict=True)]
    return ("a,b,c,d,target\n" + "\n".join(lines) + "\n").encode()


def zstandard(path, *contents):
    with open(path, "wb") as file:
        for content in contents:
            sink = pa.BufferOutputStream()
            with pa.CompressedOutputStream(sink, "zstd") as stream:
                stream.write(content)
            file.write(sink.getvalue())
    return path


def zipped(path, **contents):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return path


def check(found):
    X, y = np.vstack([found.X_train, found.X_test]), np.concatenate([found.y_train, found.y_test])
    order = np.argsort(X[:, 0])
    np.testing.assert_array_equal(X[order], ROWS)
    np.testing.assert_array_equal(y[order], LABELS)


def test_a_table_in_an_archive(tmp_path):
    check(datasets.load(zstandard(tmp_path / "t.csv.zst", text())))
    check(datasets.load(zstandard(tmp_path / "two.csv.zst", text()[:99], text()[99:])))
    check(datasets.load(zipped(tmp_path / "t.zip", data__t_csv=text())))
    check(datasets.load(zipped(tmp_path / "t.csv.zip", t_tsv=text().replace(b",", b"\t"), _DS_Store=b"\0")))


def test_zips_that_are_not_one_table(tmp_path):
    for path in (
        zipped(tmp_path / "two.zip", a_csv=text(), b_csv=text()),
        zipped(tmp_path / "other.zip", a_parquet=b"PAR1"),
        zipped(tmp_path / "empty.zip"),
    ):
        with pytest.raises(BatchError, match=r"a zip archive of \d files; one CSV file in it is read: unpack it"):
            datasets.load(path)


def test_damaged_and_locked_archives(tmp_path):
    whole = zstandard(tmp_path / "t.csv.zst", text() * 50).read_bytes()
    (tmp_path / "cut.csv.zst").write_bytes(whole[:-9])
    with pytest.raises(ValueError, match=r"cut.csv.zst: truncated or damaged Zstandard archive"):
        datasets.load(tmp_path / "cut.csv.zst")
    (tmp_path / "x.csv.zst").write_bytes(whole[:30] + b"x" * 20 + whole[50:])
    with pytest.raises(ValueError, match=r"x.csv.zst: truncated or damaged Zstandard archive"):
        datasets.load(tmp_path / "x.csv.zst")
    raw = bytearray(zipped(tmp_path / "t.zip", t_csv=text()).read_bytes())
    raw[6] |= 1  # the flag of encryption, in both places
    raw[raw.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(raw)
    with pytest.raises(ValueError, match=r"locked.zip: truncated or damaged zip archive \(.*encrypted"):
        datasets.load(tmp_path / "locked.zip")


def test_memory_does_not_follow_what_an_archive_expands_to(tmp_path):
    import resource

    bomb = zstandard(tmp_path / "bomb.csv.zst", b"5,2\n" * 20_000_000)
    assert bomb.stat().st_size < 100_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with packed.open_stream(bomb) as stream:
        stream.seek(70_000_000)
        assert stream.read(8) == b"5,2\n5,2\n"
    source = open_source(str(bomb))
    assert next(source.chunks(1000, None)).values.shape == (1000, 2)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000


def test_only_text_and_idx_are_unpacked(tmp_path):
    np.save(tmp_path / "r.npy", ROWS)
    path = zstandard(tmp_path / "r.npy.zst", (tmp_path / "r.npy").read_bytes())
    with pytest.raises(BatchError, match=r"compressed as a whole \(Zstandard\), which is read for CSV and IDX"):
        open_source(str(path))
    path = zstandard(tmp_path / "images-idx3-ubyte.zst", bytes([0, 0, 8, 3]) + bytes(20))
    with pytest.raises(BatchError, match=r"compressed as a whole \(Zstandard\), which is read for CSV files only"):
        open_source(str(path))


h5py = pytest.importorskip("h5py")


@pytest.mark.parametrize(
    "names",
    [
        {"X": ROWS, "y": LABELS},
        {"data": ROWS.reshape(60, 2, 2), "target": LABELS.astype(float)},
        {"images": ROWS, "labels": np.array([b"0", b"1", b"2"])[LABELS]},
        {"train/data": ROWS[:40], "train/target": LABELS[:40], "test/data": ROWS[40:], "test/target": LABELS[40:]},
        {"X_train": ROWS[:40], "y_train": LABELS[:40], "X_test": ROWS[40:], "y_test": LABELS[40:], "note": b"some"},
    ],
    ids=lambda names: " ".join(names),
)
def test_hdf5(tmp_path, names):
    with h5py.File(tmp_path / "d.h5", "w") as file:
        for name, values in names.items():
            file[name] = values
    found = datasets.load(tmp_path / "d.h5")
    if found.y_train.dtype.kind == "U":
        found = datasets.Dataset(
            *(found.X_train, found.y_train.astype(int), found.X_test, found.y_test.astype(int), None, [], [], "")
        )
    check(found)
    if "train/data" in names or "X_train" in names:
        assert len(found.X_test) == 20


def test_hdf5_texts_of_any_length_and_regression(tmp_path):
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["X"], file["y"] = ROWS, ["ä", "bb", "c" * 90] * 20
        file["more"] = 3
    assert datasets.load(tmp_path / "d.h5").target_names == ["bb", "c" * 90, "ä"]
    with h5py.File(tmp_path / "r.h5", "w") as file:
        file["X"], file["y"] = ROWS, ROWS[:, 0] / 3
    assert datasets.load(tmp_path / "r.h5", task="regression").y_train.dtype == np.float64


def test_hdf5_that_is_not_a_data_set(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["a"], file["b"] = ROWS, ROWS
    with pytest.raises(BatchError, match=r"holds a \(60, 4\), b \(60, 4\); expected X and y"):
        datasets.load(tmp_path / "d.h5")
    with pytest.raises(BatchError, match="expected one array of rows, or one named X"):
        open_source(str(tmp_path / "d.h5"))
    with h5py.File(tmp_path / "away.h5", "w") as file:
        file.create_dataset("X", (60, 4), "f8", external=[(str(tmp_path / "rows.bin"), 0, 1920)])
    (tmp_path / "rows.bin").write_bytes(ROWS.tobytes())
    with pytest.raises(BatchError, match=r"away.h5\[X\]: stored in other files, which are not followed"):
        open_source(str(tmp_path / "away.h5"))
    (tmp_path / "text.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(BatchError, match=r"text.h5: damaged, or no HDF5 file"):
        open_source(str(tmp_path / "text.h5"))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(BatchError, match="an HDF5 file, which needs h5py: pip install 'somknn"):
        open_source(str(tmp_path / "d.h5"))


def test_hdf5_is_classified_chunk_by_chunk(tmp_path):
    from somknn import KNeighborsClassifier

    KNeighborsClassifier(1).fit(ROWS, LABELS).save(tmp_path / "m")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file.create_dataset("rows", data=ROWS.astype(">f8"), chunks=(7, 2), compression="gzip")
    classify(tmp_path / "m", tmp_path / "d.h5", tmp_path / "o.npy", chunk_bytes=8 * 4 * 11)
    np.testing.assert_array_equal(np.load(tmp_path / "o.npy")["label"], LABELS)
