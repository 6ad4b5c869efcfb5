"""Batch classification: every input and output, schema, bad rows, resuming."""

import bz2
import gzip
import io
import itertools
import lzma
import struct
import sys
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from somknn import KNeighborsClassifier, _files
from somknn.batch import BatchError, ResumeError, classify
from somknn.batch import engine as engine_module
from somknn.batch.sources import open_source
from somknn.cli import main

SMALL = {"chunk_bytes": 12 * 70}  # 70 rows of the uint8 fixture


def png(row):
    file = io.BytesIO()
    Image.fromarray(row.reshape(3, 4)).save(file, "PNG")
    return file.getvalue()


def zipped(text):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", text)
        archive.writestr("__MACOSX/._rows.csv", b"\0")
    return file.getvalue()


def zstandard(text):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(text)
    return sink.getvalue().to_pybytes()


PACKERS = {
    "tsv": bytes,
    "csv.xz": lzma.compress,
    "csv.bz2": bz2.compress,
    "csv.zst": zstandard,
    "csv.zip": zipped,
}


def write_input(folder, kind, rows):
    path = folder / f"in.{kind}"
    if kind == "npy":
        np.save(path, rows)
    elif kind == "fortran.npy":
        np.save(path, np.asfortranarray(rows))
    elif kind == "f4.npy":
        np.save(path, rows.astype(np.float32))
    elif kind == "npz":
        np.savez_compressed(path, X=rows)
    elif kind in ("idx", "idx.gz"):
        raw = bytes([0, 0, 8, 3]) + struct.pack(">3I", len(rows), 3, 4) + rows.tobytes()
        path.write_bytes(gzip.compress(raw) if kind == "idx.gz" else raw)
    elif kind in PACKERS:
        text = "\n".join(("\t" if kind == "tsv" else ";").join(map(str, row)) for row in rows.tolist()).encode()
        path.write_bytes(PACKERS[kind](text))
    elif kind == "h5":
        with pytest.importorskip("h5py").File(path, "w") as file:
            file.create_dataset("images", data=rows.reshape(-1, 3, 4), chunks=(50, 3, 4), compression="gzip")
    elif kind == "folder":  # images by class, in the order of the rows
        for i, row in enumerate(rows):
            place = path / f"class {i // 100}" / f"{i:05}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(png(row))
    elif kind == "spark":
        path.mkdir()
        (path / "_SUCCESS").touch()
        for i in range(3):
            part = write_input(path, "uneven.parquet", rows[len(rows) * i // 3 : len(rows) * (i + 1) // 3])
            part.rename(path / f"part-{i:05}.parquet")
    elif kind in ("csv", "csv.gz", "names.csv", "key.csv"):
        text = "\n".join(",".join(map(str, row)) for row in rows.tolist()) + "\n"
        if kind == "key.csv":
            text = "\n".join(f'"a, {i}",{line}' for i, line in enumerate(text.split("\n")[:-1])) + "\n"
            text = ",".join(["key", *(f"c{i}" for i in range(rows.shape[1]))]) + "\n" + text
        if kind == "names.csv":
            text = ",".join(f"c{i}" for i in range(rows.shape[1])) + "\n\n" + text
        path.write_bytes(gzip.compress(text.encode()) if kind == "csv.gz" else text.encode())
    else:
        if kind.startswith("uneven"):  # lists without a fixed length
            table = pa.table({"x": pa.array(rows.astype(float).tolist(), pa.large_list(pa.float64()))})
        elif kind.startswith("nested"):
            table = pa.table({"x": pa.array(rows.reshape(-1, 3, 4).tolist(), pa.list_(pa.list_(pa.uint8(), 4), 3))})
        elif kind.startswith("image"):
            pictures = [{"bytes": png(row), "path": f"{i}.png"} for i, row in enumerate(rows)]
            table = pa.table({"x": pa.array(pictures, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))})
        elif kind.startswith("list"):
            flat = pa.array(rows.ravel())
            table = pa.table({"x": pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])})
        else:
            table = pa.table({f"c{i}": rows[:, i] for i in range(rows.shape[1])})
        if kind.startswith("key"):
            table = table.add_column(3, "key", pa.array([f"a, {i}" for i in range(len(rows))]).dictionary_encode())
        if kind.endswith("parquet"):
            pq.write_table(table, path, row_group_size=130)
        elif kind.endswith("stream.arrow"):
            with pa.ipc.new_stream(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=90)
        else:
            packed = pa.ipc.IpcWriteOptions(compression="zstd" if kind.startswith("uneven") else None)
            with pa.ipc.new_file(path, table.schema, options=packed) as writer:
                writer.write_table(table, max_chunksize=90)
    return path


KINDS = ["npy", "fortran.npy", "f4.npy", "npz", "idx", "idx.gz", "csv", "csv.gz", "names.csv"]
KINDS += ["parquet", "list.parquet", "arrow", "stream.arrow", "list.arrow"]
NEW_KINDS = [*PACKERS]
NEW_KINDS += [f"{kind}.{ending}" for kind in ("uneven", "nested", "image") for ending in ("parquet", "arrow")]
NEW_KINDS += ["key.parquet", "key.arrow", "key.csv"]  # beside a column that goes to the output
KINDS += NEW_KINDS
FOLDERS = ["folder", "spark"]


def with_key(path):
    """Options for a file whose column `key` goes to the output."""
    return {"id": ["key"], "columns": "given"} if path.name.startswith("in.key") else {}


@pytest.mark.parametrize("kind", [*KINDS, *FOLDERS, "h5"])
def test_every_input(tmp_path, rows, model, model_file, kind):
    path = write_input(tmp_path, kind, rows)
    summary = classify(model_file, path, tmp_path / "out.parquet", **with_key(path), **SMALL)
    assert summary.rows == 500
    out = pq.read_table(tmp_path / "out.parquet")
    number = [range(500)] if kind != "spark" else [range(166), range(167), range(167)]
    assert out["row"].to_pylist() == [*itertools.chain(*number)]
    if kind.startswith("key"):
        assert out["key"].to_pylist() == [f"a, {i}" for i in range(500)]
    assert out["label"].to_pylist() == list(model.predict(rows))
    proba = model.predict_proba(rows)
    np.testing.assert_array_equal(out["confidence"], proba.max(axis=1))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, "out.parquet"])


@pytest.mark.parametrize("ending", ["csv", "npy", "parquet"])
def test_every_output(tmp_path, rows, model, model_file, ending):
    np.save(tmp_path / "in.npy", rows)
    out = tmp_path / f"out.{ending}"
    classify(model_file, tmp_path / "in.npy", out, proba=True, top=3, neighbors=True, **SMALL)
    if ending == "npy":
        table = np.load(out)
    elif ending == "csv":
        table = np.genfromtxt(out, delimiter=";", dtype=str)
        import csv

        with open(out, newline="") as file:
            records = list(csv.DictReader(file))
        table = {name: np.array([record[name] for record in records]) for name in records[0]}
    else:
        table = {name: c.to_numpy() for name, c in zip(*_columns(out), strict=True)}
    distances, indices = model.kneighbors(rows)
    np.testing.assert_array_equal(np.asarray(table["label"], str), model.predict(rows))
    np.testing.assert_array_equal(np.asarray(table["proba_bee"], float), model.predict_proba(rows)[:, 1])
    np.testing.assert_array_equal(np.asarray(table["neighbor_2"], int), indices[:, 1])
    np.testing.assert_array_equal(np.asarray(table["distance_3"], float), distances[:, 2])
    first, second, third = (np.asarray(table[f"confidence{s}"], float) for s in ("", "_2", "_3"))
    np.testing.assert_allclose(first + second + third, 1)
    assert (second >= third).all()
    assert (np.asarray(table["label"], str) != np.asarray(table["label_2"], str)).all()


def _columns(path):
    table = pq.read_table(path)
    return table.column_names, table.columns


def test_several_inputs_and_glob(tmp_path, rows, model, model_file):
    np.save(tmp_path / "a1.npy", rows[:100])
    np.save(tmp_path / "a2.npy", rows[100:])
    classify(model_file, str(tmp_path / "a*.npy"), tmp_path / "out.npy", **SMALL)
    out = np.load(tmp_path / "out.npy")
    assert list(out["label"]) == list(model.predict(rows))
    assert list(out["row"]) == [*range(100), *range(400)]
    assert list(np.unique(out["file"])) == [str(tmp_path / "a1.npy"), str(tmp_path / "a2.npy")]


def test_folder_of_images(tmp_path, rows, model, model_file):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(20):
        Image.fromarray(rows[i].reshape(3, 4)).save(folder / f"{i:03d}.png")
    (folder / "notes.txt").write_text("no image")
    (folder / "010.png").write_bytes(b"\x89PNG damaged")
    Image.new("L", (9, 9)).save(folder / "011.png")
    with pytest.raises(BatchError, match=r"010\.png"):
        classify(model_file, folder, tmp_path / "out.npy")
    classify(model_file, folder, tmp_path / "other.npy", on_bad_row="quarantine", chunk_bytes=50)
    out = np.load(tmp_path / "other.npy")
    kept = [i for i in range(20) if i not in (10, 11)]
    assert list(out["file"]) == [f"{i:03d}.png" for i in kept]
    assert list(out["label"]) == list(model.predict(rows[kept]))
    assert "image of (9, 9) pixels" in (tmp_path / "other.npy.rejects.csv").read_text()


@pytest.mark.parametrize("name", ["in.npy", "fortran.npy", "in.npz", "in.idx", "in.idx.gz"])
def test_rows_without_values_are_refused(tmp_path, name):
    path, rows = tmp_path / name, np.empty((20, 0), np.uint8)
    if path.suffix == ".npy":
        np.save(path, np.asfortranarray(rows) if name == "fortran.npy" else rows)
    elif path.suffix == ".npz":
        np.savez(path, X=rows)
    else:
        raw = bytes([0, 0, 8, 3]) + struct.pack(">3I", 20, 0, 4)
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    with pytest.raises(ValueError, match=rf"{name}: .*(expected (rows of numbers|at least one row))"):
        open_source(str(path))


def test_schema_is_checked_before_any_work(tmp_path, rows, model_file):
    np.save(tmp_path / "w.npy", rows[:, :5])
    np.save(tmp_path / "o.npy", np.array([["a", "b"]]))
    for name, message in (("w.npy", "rows of 5 values, the model expects 12"), ("o.npy", "expected rows of numbers")):
        with pytest.raises(BatchError, match=message):
            classify(model_file, tmp_path / name, tmp_path / "out.csv")
    floating = KNeighborsClassifier(1).fit(rows / 255.0, rows[:, 0])
    floating.save(tmp_path / "f")
    np.save(tmp_path / "i.npy", rows)
    with pytest.raises(BatchError, match=r"fitted on float64.*--cast"):
        classify(tmp_path / "f", tmp_path / "i.npy", tmp_path / "out.csv")
    assert classify(tmp_path / "f", tmp_path / "i.npy", tmp_path / "out.csv", cast=True).rows == 500
    named = KNeighborsClassifier(1).fit(rows, rows[:, 0])
    named.feature_names_in_ = np.array([f"c{i}" for i in range(11)] + ["z"], dtype=object)
    named.save(tmp_path / "n")
    path = write_input(tmp_path, "names.csv", rows)
    with pytest.raises(BatchError, match=r"no column 'z', .*it has 'c11', which the model does not know"):
        classify(tmp_path / "n", path, tmp_path / "out.csv")
    for bad in ("out.txt", "nowhere/out.csv"):
        with pytest.raises((BatchError, FileNotFoundError)):
            classify(model_file, tmp_path / "i.npy", tmp_path / bad)
    with pytest.raises(BatchError, match="--top 4: the model has 3 classes"):
        classify(model_file, tmp_path / "i.npy", tmp_path / "out.csv", top=4)


def test_a_header_of_numbers_is_no_row(tmp_path, model_file, rows):
    """pandas writes 0,1,…,11 above the rows of an array."""
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    assert classify(model_file, path, out).rows == 500
    said = out.read_text()
    for header, text in ((True, path.read_text()), (False, path.read_text().partition("\n")[2])):
        path.write_text(text)
        assert classify(model_file, path, out, header=header).rows == 500
        assert out.read_text() == said
    path.write_text("a,b,c,d,e,f,g,h,i,j,k,l\n" + text)
    with pytest.raises(ValueError, match="line 1, column 1: not a finite number"):
        classify(model_file, path, out, header=False)


def test_a_first_line_that_may_be_either_is_asked(tmp_path, model_file, rows):
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    first = ",".join(str(i) for i in range(12)) + "\n"
    path.write_text(first + "".join(",".join(map(str, row)) + "\n" for row in rows[:30]))
    assert run_cli(model_file, path, "-o", out).exit_code == 0
    assert len(out.read_text().splitlines()) == 31
    path.write_text(first + path.read_text())
    for arguments, stdin in ((path, b""), ("-", path.read_bytes())):
        result = run_cli(model_file, arguments, "-o", out, stdin=stdin)
        assert result.exit_code == 3
        assert "line 1: column names or a row? " in result.stderr
        assert "--header yes or --header no" in result.stderr
        for header, n in (("yes", 31), ("no", 32)):
            assert run_cli(model_file, arguments, "-o", out, "--header", header, stdin=stdin).exit_code == 0
            assert len(out.read_text().splitlines()) == n + 1
    text = ",".join(["7", "oops", *("7" for _ in range(10))]) + "\n"
    path.write_text(text + "".join(",".join(map(str, row)) + "\n" for row in rows[:30]))
    result = run_cli(model_file, path, "-o", out)
    assert (result.exit_code, "text and numbers above numbers" in result.stderr) == (3, True)


def test_a_number_with_an_underscore_is_a_bad_row(tmp_path, model_file, rows):
    path = tmp_path / "in.csv"
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows[:3]) + "1_0" + ",7" * 11 + "\n")
    with pytest.raises(ValueError, match="line 4, column 1: not a finite number"):
        classify(model_file, path, tmp_path / "out.csv")


@pytest.mark.parametrize("kind", ["csv", "npy", "parquet"])
def test_bad_rows(tmp_path, rows, model, model_file, kind):
    values = rows.astype(float)
    values[7, 3], values[100, 0], values[499, 11] = np.nan, 256, 0.5
    path = write_input(tmp_path, kind, values)
    if kind == "csv":
        lines = path.read_text().splitlines()
        lines[200] = "1,2,3"
        lines[201] = lines[201].replace(lines[201].split(",")[1], "x", 1)
        path.write_text("\n".join(lines))
    place = {"csv": "line 8, column 4", "npy": "row 7, column 4", "parquet": "row 7, column 4"}[kind]
    with pytest.raises(BatchError, match=f"in.{kind}, {place}"):
        classify(model_file, path, tmp_path / "fail.csv", chunk_bytes=5000)
    assert not (tmp_path / "fail.csv").exists()
    bad = [7, 100, 499] + ([200, 201] if kind == "csv" else [])
    kept = np.setdiff1d(np.arange(500), bad)
    for mode in ("skip", "quarantine"):
        out = tmp_path / f"{mode}.npy"
        summary = classify(model_file, path, out, on_bad_row=mode, chunk_bytes=5000)
        assert (summary.rows, summary.rejects) == (500 - len(bad), len(bad))
        table = np.load(out)
        np.testing.assert_array_equal(table["row"], kept)
        assert list(table["label"]) == list(model.predict(rows[kept]))
    rejects = (tmp_path / "quarantine.npy.rejects.csv").read_text().splitlines()
    assert rejects[0] == "file,row,line,column,reason,value"
    assert [int(line.split(",")[1]) for line in rejects[1:]] == sorted(bad)
    assert "whole numbers from 0 to 255,256.0" in "\n".join(rejects)
    with pytest.raises(BatchError, match="more than 1 bad rows"):
        classify(model_file, path, tmp_path / "limit.npy", on_bad_row="skip", max_rejects=1)


def interrupt_after(monkeypatch, n, error=KeyboardInterrupt):
    """Make the computation of the n-th chunk raise."""
    real, calls = engine_module.predict_columns, []

    def failing(*args):
        calls.append(1)
        if len(calls) > n:
            raise error
        return real(*args)

    monkeypatch.setattr(engine_module, "predict_columns", failing)
    return lambda: monkeypatch.setattr(engine_module, "predict_columns", real)


@pytest.mark.parametrize("kind", KINDS)
def test_resume_gives_the_same_bytes(tmp_path, rows, model_file, kind, monkeypatch):
    path = write_input(tmp_path, kind, rows)
    out = tmp_path / "out.npy"
    # Chunks that end inside row groups and record batches of every input, not at their ends.
    options = {"chunk_bytes": 12 * 55 * (8 if "csv" in kind else 1), **with_key(path)}
    classify(model_file, path, tmp_path / "whole.npy", **options)
    restore = interrupt_after(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        classify(model_file, path, out, **options)
    restore()
    assert not out.exists()
    with pytest.raises(ResumeError, match="--resume"):
        classify(model_file, path, out, **options)
    with pytest.raises(ResumeError, match="option proba differs"):
        classify(model_file, path, out, resume=True, proba=True, **options)
    summary = classify(model_file, path, out, resume=True, **options)
    assert 0 < summary.resumed_rows < summary.rows == 500
    assert out.read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert not (tmp_path / "out.npy.parts").exists()


@pytest.mark.parametrize(("nth", "finished"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)])
def test_an_interrupt_after_a_rename(tmp_path, rows, model_file, monkeypatch, nth, finished):
    """A part counts once its JSON file is renamed into place, even if the run is interrupted before it continues."""
    np.save(tmp_path / "in.npy", rows)
    out, calls = tmp_path / "out.npy", itertools.count(1)

    def interrupted(folder):
        if next(calls) == nth:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_files, "sync_folder", interrupted)
        with pytest.raises(KeyboardInterrupt):
            classify(model_file, tmp_path / "in.npy", out, **SMALL)
    parts = tmp_path / "out.npy.parts"
    assert len(list(parts.glob("part-*.json"))) == finished
    assert parts.exists() == (finished > 0)
    summary = classify(model_file, tmp_path / "in.npy", out, resume=True, **SMALL)
    assert (summary.rows, summary.resumed_rows) == (500, 70 * finished)


def test_resume_refuses_what_differs(tmp_path, rows, model, model_file, monkeypatch):
    np.save(tmp_path / "in.npy", rows)
    out = tmp_path / "out.csv"
    restore = interrupt_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        classify(model_file, tmp_path / "in.npy", out, **SMALL)
    restore()
    other = KNeighborsClassifier(1).fit(rows, rows[:, 0])
    other.save(tmp_path / "other")
    with pytest.raises(ResumeError, match="model differs"):
        classify(tmp_path / "other", tmp_path / "in.npy", out, resume=True, **SMALL)
    part = out.with_name("out.csv.parts") / "part-0000001.npz"
    whole = part.read_bytes()
    part.write_bytes(whole[:-5] + b"\0" + whole[-4:])
    with pytest.raises(BatchError, match="damaged"):
        classify(model_file, tmp_path / "in.npy", out, resume=True, **SMALL)
    assert not out.exists()
    part.write_bytes(whole)
    np.save(tmp_path / "in.npy", rows[::-1])
    with pytest.raises(ResumeError, match="input differs"):
        classify(model_file, tmp_path / "in.npy", out, resume=True, **SMALL)


def test_a_truncated_input_keeps_the_parts(tmp_path, rows, model_file):
    path = write_input(tmp_path, "idx.gz", rows)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises((BatchError, ValueError), match="truncated"):
        classify(model_file, path, tmp_path / "out.csv", **SMALL)
    assert not (tmp_path / "out.csv").exists()
    assert list((tmp_path / "out.csv.parts").glob("part-*.json"))


def with_bad_rows(path, rows, *bad):
    lines = [",".join(map(str, row)) for row in rows.tolist()]
    for row in bad:
        lines[row] = lines[row].replace(",", ",bad", 1)
    path.write_text("\n".join(lines) + "\n")


def test_a_bad_row_late_in_a_file_costs_nothing_that_was_done(tmp_path, rows, model_file):
    """The options for bad rows may change on resuming; the others may not."""
    path, whole, out = tmp_path / "in.csv", tmp_path / "whole.csv", tmp_path / "out.csv"
    with_bad_rows(path, rows, 333, 444)
    options = {"chunk_bytes": 12 * 8 * 50}
    summary = classify(model_file, path, whole, on_bad_row="quarantine", **options)
    with pytest.raises(BatchError, match=r"line 334, column 2: .*; to go on .*: --resume --on-bad-row skip"):
        classify(model_file, path, out, **options)
    with pytest.raises(BatchError, match=r"more than 1 bad rows .*line 445"):
        classify(model_file, path, out, resume=True, on_bad_row="skip", max_rejects=1, **options)
    with pytest.raises(BatchError, match="line 334"):  # which has been skipped by now
        classify(model_file, path, out, resume=True, **options)
    resumed = classify(model_file, path, out, resume=True, on_bad_row="quarantine", **options)
    assert (resumed.rows, resumed.rejects) == (summary.rows, summary.rejects) == (498, 2)
    assert resumed.resumed_rows == 399
    assert out.read_bytes() == whole.read_bytes()
    assert (tmp_path / "out.csv.rejects.csv").read_bytes() == (tmp_path / "whole.csv.rejects.csv").read_bytes()


def test_a_run_that_finished_no_part_is_no_hindrance(tmp_path, rows, model_file):
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    with_bad_rows(path, rows, 3)
    with pytest.raises(BatchError, match="line 4"):
        classify(model_file, path, out)
    assert [p.name for p in tmp_path.iterdir()] == ["in.csv"]
    # The state after `kill -9`: a manifest and half a part.
    parts = tmp_path / "out.csv.parts"
    parts.mkdir()
    (parts / "manifest.json").write_text("{}")
    (parts / "part-0000000.npz").write_bytes(b"PK")
    (parts / "lock").touch()
    assert classify(model_file, path, out, on_bad_row="skip").rows == 499
    assert not parts.exists()


@pytest.mark.parametrize("manifest", ["", "[]", "[1]", "7", "null", '{"options": 3}', "\x00", '{"version": {}}'])
def test_a_damaged_manifest_is_one_line(tmp_path, rows, model_file, monkeypatch, manifest):
    np.save(tmp_path / "in.npy", rows)
    out = tmp_path / "out.npy"
    restore = interrupt_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        classify(model_file, tmp_path / "in.npy", out, **SMALL)
    restore()
    (tmp_path / "out.npy.parts" / "manifest.json").write_text(manifest)
    with pytest.raises(ResumeError, match=r"^[^\n]+$"):
        classify(model_file, tmp_path / "in.npy", out, resume=True, **SMALL)
    with pytest.raises(ResumeError, match="--resume"):
        classify(model_file, tmp_path / "in.npy", out, **SMALL)


DAMAGE = [
    "",
    "[]",
    "7",
    "null",
    "{}",
    '{"record": {}, "sha256": ""}',
    '{"record": 3, "sha256": "',
    "\x00",
    "[" * 100_000,
]


@pytest.mark.parametrize("text", [*DAMAGE, "fewer rows", "shorter data", "other data"])
def test_a_damaged_part_is_exit_code_5_and_what_to_do(tmp_path, rows, model_file, monkeypatch, text):
    np.save(tmp_path / "in.npy", rows)
    out, parts = tmp_path / "out.csv", tmp_path / "out.csv.parts"
    arguments = model_file, tmp_path / "in.npy", "-o", out, "--chunk-bytes", 12 * 70
    assert run_cli(*arguments).exit_code == 0
    expected = out.read_bytes()
    out.unlink()
    restore = interrupt_after(monkeypatch, 4)
    assert run_cli(*arguments).exit_code == 130
    restore()
    record, data = parts / "part-0000002.json", parts / "part-0000002.npz"
    damaged = data if "data" in text else record
    if text == "shorter data":
        data.write_bytes(data.read_bytes()[:-1])
    elif text == "other data":
        data.write_bytes(data.read_bytes()[:-1] + b"x")
    else:
        record.write_text(text if text in DAMAGE else record.read_text().replace('"rows": 70', '"rows": 69'))
    for _ in range(2):
        result = run_cli(*arguments, "--resume")
        assert result.exit_code == 5
        assert result.stderr.count("\n") == 1
        assert f"{damaged} is damaged; delete it and the parts after it, then use --resume" in result.stderr
    assert not out.exists()
    for path in parts.glob("part-*"):
        if path == damaged or path.name > "part-0000003":
            path.unlink()
    result = run_cli(*arguments, "--resume")
    assert "500 rows classified, 140 of them by the interrupted run" in result.stderr
    assert out.read_bytes() == expected


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (
            MemoryError("Unable to allocate 8 GiB"),
            1,
            "not enough memory: Unable to allocate 8 GiB; a smaller --chunk-bytes",
        ),
        (MemoryError(), 1, "not enough memory; a smaller --chunk-bytes"),
        (ModuleNotFoundError("No module named 'faiss'", name="faiss"), 3, 'run: pip install "somknn[faiss]"'),
    ],
)
def test_memory_and_packages_are_one_line(tmp_path, rows, model_file, monkeypatch, error, code, text):
    np.save(tmp_path / "in.npy", rows)
    interrupt_after(monkeypatch, 3, error)
    arguments = model_file, tmp_path / "in.npy", "-o", tmp_path / "out.csv", "--chunk-bytes", "1kB"
    result = run_cli(*arguments)
    assert result.exit_code == code
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
    assert len(list((tmp_path / "out.csv.parts").glob("part-*.json"))) == 3
    if code == 1:
        assert result.stderr.endswith("; finished parts are kept, --resume continues\n")


def run_cli(*arguments, stdin=None):
    return CliRunner().invoke(main, ["classify", "--overwrite", *map(str, arguments)], input=stdin)


def test_command(tmp_path, rows, model, model_file):
    np.save(tmp_path / "in.npy", rows)
    result = run_cli(model_file, tmp_path / "in.npy", "-o", tmp_path / "out.csv", "--chunk-bytes", "1kB", "--top", 2)
    assert result.exit_code == 0
    assert "500 rows classified" in result.stderr
    assert (tmp_path / "out.csv").read_text().startswith("row,label,confidence,label_2,confidence_2\n0,")
    text = "\n".join(",".join(map(str, row)) for row in rows[:9].tolist())
    result = run_cli(model_file, "-", "-o", "-", stdin=text.encode())
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 10
    assert result.stdout.splitlines()[1].split(",")[0] == "0"
    assert run_cli(model_file, "-", "-o", tmp_path / "s.csv", "--resume", stdin=text.encode()).exit_code == 3


def test_exit_codes(tmp_path, rows, model_file, monkeypatch):
    np.save(tmp_path / "in.npy", rows)
    np.save(tmp_path / "nan.npy", np.full((3, 12), np.nan))
    (tmp_path / "m").write_bytes(model_file.read_bytes()[:-9])
    out = tmp_path / "out.csv"
    cases = [
        (2, model_file, "-o", out),
        (2, model_file, tmp_path / "in.npy", "-o", out, "--chunk-bytes", "many"),
        (3, model_file, tmp_path / "nan.npy", "-o", out),
        (4, tmp_path / "m", tmp_path / "in.npy", "-o", out),
        (6, model_file, tmp_path / "absent.npy", "-o", out),
    ]
    for code, *arguments in cases:
        result = run_cli(*arguments)
        assert result.exit_code == code, result.output
        assert code == 2 or len(result.stderr.splitlines()) == 1
    restore = interrupt_after(monkeypatch, 1)
    result = run_cli(model_file, tmp_path / "in.npy", "-o", out, "--chunk-bytes", "1kB")
    assert result.exit_code == 130
    assert "--resume continues" in result.stderr
    restore()
    assert run_cli(model_file, tmp_path / "in.npy", "-o", out, "--chunk-bytes", "1kB").exit_code == 5
    assert run_cli(model_file, tmp_path / "in.npy", "-o", out, "--chunk-bytes", "1kB", "--resume").exit_code == 0


def test_progress_is_silent_without_a_terminal(tmp_path, rows, model_file, monkeypatch):
    np.save(tmp_path / "in.npy", rows)
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    seen = []
    classify(
        model_file,
        tmp_path / "in.npy",
        tmp_path / "o.npy",
        progress=lambda done, total: seen.append((done, total)),
        **SMALL,
    )
    assert seen[0] == (0, 500)
    assert seen[-1] == (500, 500)
    assert stderr.getvalue() == ""
