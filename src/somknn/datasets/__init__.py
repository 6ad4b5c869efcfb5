"""Example data sets and the user's own files, in one form.

>>> from somknn import datasets
>>> digits = datasets.load("digits")
>>> digits.X_train.shape, digits.X_test.shape, digits.image_shape
((1438, 64), (359, 64), (8, 8))
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from somknn.datasets import labelled, sources
from somknn.datasets.augment import augmented, iter_augmented
from somknn.datasets.labelled_files import (
    KEYS,
    Rows,
    checked,
    labels_beside,
    read_folder,
    read_pair,
    read_with_test,
    test_file,
    train_file,
    train_files,
)

__all__ = ["Dataset", "augmented", "iter_augmented", "load"]

_FASHION = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
_TEST_SHARE = 0.2


@dataclass(frozen=True)
class Dataset:
    """Rows and labels for training and test.

    Attributes
    ----------
    X_train, X_test : ndarray, shape (n, d)
        Flattened rows, dtype as stored.
    y_train, y_test : ndarray, shape (n,), or None
        Classes, or float64 for regression; None for rows without labels.
    image_shape : tuple of int, or None
        (height, width) if rows are images.
    feature_names, target_names : list of str
        Names of the columns and of the classes.
    name : str
    notes : tuple of str
        What was taken for granted about the columns of a table, a line each.
    column_names : list of str, or None
        The names that a table gives to its features; `feature_names` are made up where there are none.
    categories : tuple of int
        Positions of the features that are texts: the rows then are objects, texts and floats.
    encoder : transformer or None
        What made the rows of the table's columns (one-hot codes, filled cells), if they are no longer these columns;
        `column_names` are still the table's.
    """

    X_train: np.ndarray
    y_train: Any
    X_test: np.ndarray
    y_test: Any
    image_shape: tuple[int, ...] | None
    feature_names: list[str]
    target_names: list[str]
    name: str
    notes: tuple[str, ...] = ()
    column_names: list[str] | None = None
    categories: tuple[int, ...] = ()
    encoder: Any = None


def load(
    source: Any,
    *,
    train_size: int | None = None,
    test_size: int | None = None,
    image_shape: tuple[int, int] | None = None,
    random_state: int = 0,
    label: str | int | None = None,
    header: bool | None = None,
    drop: Sequence[str | int] = (),
    separator: str | None = None,
    decimal: str | None = None,
    labels_needed: bool = True,
    task: str = "classification",
    categories: Sequence[str | int] = (),
    missing: bool = False,
) -> Dataset:
    """Load a data set by name or from files.

    Parameters
    ----------
    source : str, path-like, or a pair of paths (values, labels)
        - "digits": 1,797 real 8×8 digits that scikit-learn ships (works offline);
        - "mnist", "fashion-mnist": IDX files under ``$SOMKNN_DATA/<name>/``, else the user's cache folder, else
          downloaded;
        - a folder with MNIST-like IDX files, or with one training and one test file;
        - an IDX file of images whose labels are in the same folder ("images" in the name becomes "labels");
        - .npz with X_train, y_train, X_test, y_test, or X and y; HDF5 with the same or with groups train and test;
        - .npy with the label in the first column. A file with an X in its name has its labels in the file with a y
          instead, if there is one.
        - CSV or TSV (also .gz, .bz2, .xz, .zst, .zip), with or without a line of column names, Parquet, Arrow and
          Feather; `label`, `header` and `drop` say what the columns are. A column of lists, or of images as Hugging
          Face datasets store them, is a whole row each;
        - a folder of the parts of such a table, as Spark writes it;
        - a folder of folders of images, whose names are the classes; with `train` and `test` above them, or not.

        For a file with "train" in its name, the test rows come from the file with "test" (or "t10k") instead, if it
        exists.
    train_size, test_size : int, optional
        Number of rows. Sources with their own split give their first rows. Other sources are split here: by default a
        fifth of the rows is for test, stratified by class.
    image_shape : (height, width), optional
        The shape of one image, for sources that do not state it, such as a CSV file.
    random_state : int, default=0
        Seed of the split made here.
    label : str or int, optional
        The column of a table that is the label: its name, its number from 1, or "none" for rows without labels
        (also of an .npy file). By default it is the one named label, target, class or y, in capitals or not. In a file
        without column names it is the first column, if that has repeated whole numbers or text, fewer than half of them
        different. Otherwise an error asks.
    header : bool, optional
        Whether the first line of a CSV file names the columns. By default text does and numbers do not. Numbers that
        count up from 0 or 1 do, over rows that do not count up. Where it may be either, an error asks.
    drop : sequence of str or int
        Columns of a table that are neither label nor features, by name or by number from 1.
    separator : str, optional
        What separates the cells of a CSV file: a character, or "comma", "semicolon", "tab", "bar" or "space". By
        default its first lines tell.
    decimal : {"point", "comma"}, optional
        The sign before fractions in a CSV file; the point by default.
    labels_needed : bool, default=True
        False for a method that works without labels: if no column of a CSV file has such a name, all are features, and
        `notes` says so. Without column names, an error asks whether numbers in the first column are labels.
    task : {"classification", "regression"}, default="classification"
        Whether the label is a class or, for "regression", a number to predict: float64, fractions too.
    categories : sequence of str or int
        Columns of a table whose cells are categories, by name or by number from 1; "text": all columns of text;
        "any text": the same without a look at whether they are categories. The rows then are objects: texts and floats.
    missing : bool, default=False
        Whether cells of a table's numbers may be empty, NA, N/A, NaN, NULL or None. They become NaN. An empty cell
        among texts is a category of its own.

    Raises
    ------
    FileNotFoundError
        The message says where the files were looked for.
    ValueError
        For a damaged file; the message names the file and, for a CSV, line and column. Also for an image shape whose
        number of pixels differs from the row width, for labels that are fractions, and where it is not known which
        column is the label or whether the first line names them.
    """
    asked = labelled.Asked(label, header, _as_tuple(drop), labels_needed, separator, decimal)
    asked = replace(asked, quantities=_is_regression(task), categories=_as_tuple(categories), missing=missing)
    if asked.quantities and isinstance(source, str) and source in ("digits", *sources.MIRRORS):
        raise ValueError(f"{source} has classes; --task regression is for data sets whose label is a number")
    if asked.said() and isinstance(source, str) and source in ("digits", *sources.MIRRORS):
        raise ValueError(f"{source} has labels of its own and takes no {asked.said()}")
    if isinstance(source, str) and source == "digits":
        dataset = _split(_digits(), "digits", train_size, test_size, random_state)
    elif isinstance(source, str) and source in sources.MIRRORS:
        found = sources.locate(source)
        train = read_pair(found["train_images"], found["train_labels"])
        dataset = _join(train, read_pair(found["test_images"], found["test_labels"]), source)
        dataset = replace(dataset, target_names=_FASHION) if source == "fashion-mnist" else dataset
        dataset = _first(dataset, train_size, test_size)
    else:
        dataset = _from_files(source, asked, train_size, test_size, random_state)
    return dataset if image_shape is None else replace(dataset, image_shape=_image_shape(dataset, image_shape))


def files_of(source: Any) -> list[Path]:
    """The files that `load(source)` would read, and possibly others with such names; nothing is read or downloaded."""
    if isinstance(source, str) and source in ("digits", *sources.MIRRORS):
        return list((sources.on_this_machine(source) or {}).values()) if source != "digits" else []
    if isinstance(source, Sequence) and not isinstance(source, str | bytes):
        return [Path(path) for path in source]
    path = Path(source)
    if path.is_dir() and not train_files(path):
        return [each for each in path.rglob("*") if each.is_file()]
    try:
        path = train_file(path) if path.is_dir() else path
    except FileNotFoundError:
        return []
    values = [path, *filter(None, (test_file(path),))]
    return [*values, *filter(None, map(labels_beside, values))]


def _image_shape(dataset: Dataset, shape: tuple[int, int]) -> tuple[int, int]:
    height, width = (operator.index(length) for length in shape)
    pixels = dataset.X_train.shape[1]
    if min(height, width) < 1 or height * width != pixels:
        raise ValueError(f"{dataset.name}: images of {height}×{width} have {height * width} pixels, its rows {pixels}")
    return height, width


def _from_files(
    source: Any, asked: labelled.Asked, train_size: int | None, test_size: int | None, seed: int
) -> Dataset:
    if isinstance(source, Sequence) and not isinstance(source, str | bytes):
        if len(source) != 2:
            raise ValueError("expected a pair of paths: values and labels")
        if asked.said():
            raise ValueError(f"a pair of files has its labels in the second one and takes no {asked.said()}")
        path, labels = Path(source[0]), Path(source[1])
        train, other = read_pair(path, labels, quantities=asked.quantities), None
    else:
        path = Path(source)
        if path.is_dir():
            train, other = read_folder(path, asked)
        elif path.is_file():
            train, other = read_with_test(path, asked)
        else:
            known = ", ".join(["digits", *sources.MIRRORS])
            raise FileNotFoundError(f"{source}: no such file or folder, nor a data set known by name ({known})")
    if isinstance(train, dict):
        X_train, y_train, X_test, y_test = (train[key] for key in KEYS)
        train = Rows(*checked(X_train, y_train, path, quantities=asked.quantities))
        other = Rows(*checked(X_test, y_test, path, quantities=asked.quantities))
    if other is None:
        return _split(train, path.name, train_size, test_size, seed)
    return _first(_join(train, other, path.name), train_size, test_size)


def _digits() -> Rows:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Rows(bunch.data.astype(np.uint8), bunch.target.astype(np.int64), (8, 8), list(bunch.feature_names))


def _names(rows: Rows) -> tuple[tuple[int, ...] | None, list[str]]:
    width = rows.X.shape[1]
    shape = rows.image_shape
    names = rows.feature_names
    if names is None and shape is not None and len(shape) == 2:
        names = [f"pixel_{r}_{c}" for r in range(shape[0]) for c in range(shape[1])]
    return shape, names if names is not None else [f"feature_{i}" for i in range(width)]


def _of_table(rows: Rows) -> dict[str, Any]:
    return {"notes": rows.notes, "column_names": rows.column_names, "categories": tuple(rows.categories)}


def _as_tuple(said: Sequence[str | int] | str | int) -> tuple[str | int, ...]:
    return (said,) if isinstance(said, str | int) else tuple(said)


def _is_regression(task: str) -> bool:
    if task not in ("classification", "regression"):
        raise ValueError(f"task={task!r} must be 'classification' or 'regression'")
    return task == "regression"


def _are_quantities(y: np.ndarray) -> bool:
    """Whether labels are numbers to predict: classes are whole numbers or text."""
    return y.dtype.kind == "f"


def _class_names(y: np.ndarray) -> list[str]:
    return [] if _are_quantities(y) else [str(label) for label in np.unique(y)]


def _join(train: Rows, test: Rows, name: str) -> Dataset:
    if train.X.shape[1] != test.X.shape[1]:
        raise ValueError(f"{name}: training rows have {train.X.shape[1]} values, test rows {test.X.shape[1]}")
    if train.feature_names is not None and test.feature_names not in (None, train.feature_names):
        raise ValueError(f"{name}: training and test files have different column names")
    dtype = np.result_type(
        train.X.dtype, test.X.dtype
    )  # a CSV of few rows may get a narrower dtype than the other file
    X_train, X_test = train.X.astype(dtype, copy=False), test.X.astype(dtype, copy=False)
    y_train, y_test = train.y, test.y
    if y_train is None or y_test is None:
        if y_train is not y_test:
            raise ValueError(f"{name}: only one of the training and test files has labels")
        return Dataset(X_train, None, X_test, None, *_names(train), [], name, **_of_table(train))
    if (y_train.dtype.kind == "U") != (y_test.dtype.kind == "U"):
        y_train, y_test = y_train.astype(str), y_test.astype(str)
    shape, names = _names(train)
    targets = _class_names(np.concatenate([y_train, y_test]))
    return Dataset(X_train, y_train, X_test, y_test, shape, names, targets, name, **_of_table(train))


def _check_size(size: int | None, available: int, what: str) -> int | None:
    if size is None:
        return None
    if isinstance(size, bool) or not hasattr(size, "__index__") or not 1 <= size <= available:
        raise ValueError(f"{what}={size!r} must be a whole number from 1 to {available:,}")
    return size.__index__()


def _first(dataset: Dataset, train_size: int | None, test_size: int | None) -> Dataset:
    train = _check_size(train_size, len(dataset.X_train), "train_size")
    test = _check_size(test_size, len(dataset.X_test), "test_size")
    return replace(
        dataset,
        X_train=dataset.X_train[:train],
        y_train=None if dataset.y_train is None else dataset.y_train[:train],
        X_test=dataset.X_test[:test],
        y_test=None if dataset.y_test is None else dataset.y_test[:test],
    )


def _split(rows: Rows, name: str, train_size: int | None, test_size: int | None, seed: int) -> Dataset:
    from sklearn.model_selection import train_test_split

    n = len(rows.X)
    if n < 2:
        raise ValueError(f"{name}: one row cannot be split into training and test rows")
    train_size = _check_size(train_size, n - 1, "train_size")
    test_size = _check_size(test_size, n - (train_size or 1), "test_size")
    if test_size is None:
        test_size = min(max(1, round(n * _TEST_SHARE)), n - (train_size or 1))
    if train_size is None:
        train_size = n - test_size
    y = np.empty(0, np.int64) if rows.y is None or _are_quantities(rows.y) else rows.y
    counts = np.unique(y, return_counts=True)[1]
    # Stratify by class if every class is large enough to be on both sides.
    proportional = len(counts) and counts.min() >= 2 and min(train_size, test_size) >= len(counts)
    train, test = train_test_split(
        np.arange(n),
        train_size=train_size,
        test_size=test_size,
        random_state=seed,
        stratify=y if proportional else None,
    )
    shape, names = _names(rows)
    labels = (None, None) if rows.y is None else (rows.y[train], rows.y[test])
    known = [] if rows.y is None else _class_names(rows.y)
    return Dataset(rows.X[train], labels[0], rows.X[test], labels[1], shape, names, known, name, **_of_table(rows))
