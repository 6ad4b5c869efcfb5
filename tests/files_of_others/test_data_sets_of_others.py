"""Data sets as others write them, with their labels: `load` gives the same rows and labels, or asks in one line."""

import struct

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import writers

from somknn import datasets

NAMES = [f"p{i}" for i in range(64)]


@pytest.fixture(scope="module")
def rows():
    digits = datasets.load("digits", test_size=300)
    return writers.Rows(digits.X_test, NAMES, digits.y_test, [str(i) for i in range(300)])


def pairs(X, y):
    """Rows and labels in an order of their own, as the split shuffles them."""
    found = np.column_stack([X, np.asarray(y).astype(np.int64)])
    return found[np.lexsort(found.T)]


def check(found, rows):
    X, y = np.vstack([found.X_train, found.X_test]), np.concatenate([found.y_train, found.y_test])
    np.testing.assert_array_equal(pairs(X, y), pairs(rows.values, rows.labels))


def frame(rows, label="target"):
    return rows.frame().assign(**{label: rows.labels})


@pytest.mark.parametrize("kind", ["tsv", "semicolons", "CSV", "xz", "german", "bars"])
def test_text(tmp_path, rows, kind):
    name, separator = {"tsv": ("d.tsv", "\t"), "CSV": ("D.CSV", ","), "xz": ("d.csv.xz", ",")}.get(kind, ("d.csv", ";"))
    separator = "|" if kind == "bars" else separator
    table = frame(rows)
    if kind == "german":
        table[NAMES] += 0.5
    table.to_csv(tmp_path / name, sep=separator, index=False, decimal="," if kind == "german" else ".")
    if kind != "german":
        check(datasets.load(tmp_path / name), rows)
        return
    with pytest.raises(ValueError, match=r"line 2, column 1 \(p0\): '.*,5' is not a finite number; .*--decimal comma"):
        datasets.load(tmp_path / name)
    found = datasets.load(tmp_path / name, decimal="comma")
    check(datasets.Dataset(found.X_train - 0.5, found.y_train, found.X_test - 0.5, *[found.y_test] * 5), rows)


@pytest.mark.parametrize("label", ["integers", "floats", "text", "categories"])
@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_tables(tmp_path, rows, ending, label):
    table = frame(rows)
    words = np.array([f"digit {i}" for i in range(10)])[rows.labels]
    as_text = {"text": words, "categories": pd.Categorical(words), "floats": rows.labels.astype(float)}
    table["target"] = as_text.get(label, rows.labels)
    getattr(table, f"to_{ending}")(tmp_path / f"d.{ending}")
    found = datasets.load(tmp_path / f"d.{ending}")
    assert found.column_names == NAMES
    if label in ("text", "categories"):
        assert found.target_names == [f"digit {i}" for i in range(10)]
        number = {name: i for i, name in enumerate(found.target_names)}
        y = [[number[each] for each in part] for part in (found.y_train, found.y_test)]
        found = datasets.Dataset(found.X_train, np.array(y[0]), found.X_test, np.array(y[1]), None, [], [], "")
    check(found, rows)


def test_columns_of_tables_are_asked_for(tmp_path, rows):
    table = frame(rows, "digit").assign(name="x")
    table.to_parquet(tmp_path / "d.parquet")
    with pytest.raises(ValueError, match=r"which column is the label\? no column is named label.*--label"):
        datasets.load(tmp_path / "d.parquet")
    with pytest.raises(ValueError, match=r"column 'name' is .*string; expected numbers \(--drop"):
        datasets.load(tmp_path / "d.parquet", label="digit")
    check(datasets.load(tmp_path / "d.parquet", label="digit", drop=["name"]), rows)
    with pytest.raises(ValueError, match="--separator is for CSV files"):
        datasets.load(tmp_path / "d.parquet", label="digit", separator=",")
    holes = frame(rows).astype(float)
    holes.loc[7, "p5"] = np.nan
    holes.to_parquet(tmp_path / "d.parquet")
    with pytest.raises(ValueError, match=r"row 7, column 6 \(p5\): a missing value"):
        datasets.load(tmp_path / "d.parquet")
    holes = frame(rows).astype({"target": "Int64"})
    holes.loc[9, "target"] = None
    holes.to_parquet(tmp_path / "d.parquet")
    with pytest.raises(ValueError, match=r"row 9, column 65 \(target\): the label is missing"):
        datasets.load(tmp_path / "d.parquet")


def test_whole_rows_in_one_column(tmp_path, rows):
    columns = {"x": writers.lists(rows, "float64"), "label": pa.array(rows.labels)}
    found = datasets.load(writers.parquet(tmp_path, pa.table(columns)))
    assert found.column_names is None
    check(found, rows)
    check(datasets.load(writers.parquet_hugging_face(rows, tmp_path)), rows)
    with pytest.raises(ValueError, match=r"column 'x' holds whole rows and stands beside id: --drop"):
        datasets.load(writers.parquet(tmp_path, pa.table(columns | {"id": pa.array(range(300))})))
    odd = pa.array([[1.0, 2.0]] * 5 + [[1.0, 2.0, 3.0]])
    pq.write_table(pa.table({"x": odd, "label": [0, 1, 0, 1, 0, 1]}), tmp_path / "odd.parquet")
    with pytest.raises(ValueError, match=r"odd.parquet, row 5, column 1: a list of 3 values where 2 are expected"):
        datasets.load(tmp_path / "odd.parquet")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_folder_of_parts(tmp_path, rows, ending):
    place = tmp_path / f"table.{ending}"
    place.mkdir()
    (place / "_SUCCESS").touch()
    for i in range(3):
        part = frame(rows)[i * 100 : (i + 1) * 100]
        if ending == "csv":
            part.to_csv(place / f"part-0000{i}.csv", index=False)
        else:
            part.to_parquet(place / f"part-0000{i}.snappy.parquet", index=False)
    check(datasets.load(place), rows)
    (place / "day=1").mkdir()
    with pytest.raises(ValueError, match="parts in folders such as day=1: give the folder of one of them"):
        datasets.load(place)


def test_folders_of_images(tmp_path, rows):
    place = tmp_path / "digits"
    for i, (row, label) in enumerate(zip(rows.values, rows.labels, strict=True)):
        (place / str(label)).mkdir(parents=True, exist_ok=True)
        writers.into(place / str(label) / f"{i}.png", writers.png(row))
    found = datasets.load(place)
    assert found.image_shape == (8, 8)
    check(found, rows)
    (tmp_path / "split").mkdir()
    place.rename(tmp_path / "split" / "train")
    (tmp_path / "split" / "test" / "3").mkdir(parents=True)
    writers.into(tmp_path / "split" / "test" / "3" / "0.png", writers.png(rows.values[0]))
    found = datasets.load(tmp_path / "split", train_size=100)
    assert len(np.unique(found.y_train)) > 5  # the first 100 are of all classes
    assert found.y_test.tolist() == [3]
    writers.into(tmp_path / "split" / "train" / "loose.png", writers.png(rows.values[0]))
    with pytest.raises(ValueError, match=r"loose\.png: an image in the folder of no class"):
        datasets.load(tmp_path / "split")


def test_kmnist_medmnist_and_qmnist(tmp_path, rows):
    images = rows.values.reshape(-1, 8, 8)
    for part, at in (("train", slice(200)), ("test", slice(200, None))):
        np.savez_compressed(tmp_path / f"kmnist-{part}-imgs.npz", images[at])
        np.savez_compressed(tmp_path / f"kmnist-{part}-labels.npz", rows.labels[at])
    found = datasets.load(tmp_path / "kmnist-train-imgs.npz")
    assert (len(found.X_train), found.image_shape) == (200, (8, 8))
    check(found, rows)
    arrays = {"val_images": images[:5], "val_labels": rows.labels[:5, None]}
    for part, at in (("train", slice(200)), ("test", slice(200, None))):
        arrays |= {f"{part}_images": images[at], f"{part}_labels": rows.labels[at, None]}
    np.savez_compressed(tmp_path / "digitmnist.npz", **arrays)
    check(datasets.load(tmp_path / "digitmnist.npz"), rows)
    place = tmp_path / "qmnist"
    place.mkdir()
    table = np.column_stack([rows.labels, *[np.full(300, 99)] * 7]).astype(">i4")
    head = struct.pack(">HBBIII", 0, 8, 3, 300, 8, 8)
    writers.into(place / "qmnist-test-images-idx3-ubyte", head + rows.values.tobytes())
    writers.into(place / "qmnist-test-labels-idx2-int", struct.pack(">HBBII", 0, 12, 2, 300, 8) + table.tobytes())
    check(datasets.load(place / "qmnist-test-images-idx3-ubyte"), rows)
