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

from somknn.datasets import columns, labelled, readers, sources
from somknn.datasets.augment import augmented, iter_augmented

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
        None for rows without labels.
    image_shape : tuple of int, or None
        (height, width) if rows are images.
    feature_names, target_names : list of str
    name : str
    notes : tuple of str
        What was taken for granted about the columns of a CSV file, a line each.
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


@dataclass
class _Rows:
    X: np.ndarray
    y: np.ndarray | None
    image_shape: tuple[int, ...] | None = None
    feature_names: list[str] | None = None
    layout: labelled.Layout | None = None
    notes: tuple[str, ...] = ()


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
    labels_needed: bool = True,
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
        - .npz with X_train, y_train, X_test, y_test, or X and y;
        - .npy with the label in the first column. A file with an X in its name has its labels in the file with a y
          instead, if there is one.
        - .csv(.gz), with or without a line of column names; `label`, `header` and `drop` say what its columns are.

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
        The column of a CSV file that is the label: its name, its number from 1, or "none" for rows without labels
        (also of an .npy file). By default it is the one named label, target, class or y, in capitals or not. In a file
        without column names it is the first column, if that has repeated whole numbers or text, fewer than half of them
        different. Otherwise an error asks.
    header : bool, optional
        Whether the first line of a CSV file names the columns. By default text does and numbers do not. Numbers that
        count up from 0 or 1 do, over rows that do not count up. Where it may be either, an error asks.
    drop : sequence of str or int
        Columns of a CSV file that are neither label nor features, by name or by number from 1.
    labels_needed : bool, default=True
        False for a method that works without labels: if no column of a CSV file has such a name, all are features, and
        `notes` says so. Without column names, an error asks whether numbers in the first column are labels.

    Raises
    ------
    FileNotFoundError
        The message says where the files were looked for.
    ValueError
        For a damaged file; the message names the file and, for a CSV, line and column. Also for an image shape whose
        number of pixels differs from the row width, for labels that are fractions, and where it is not known which
        column is the label or whether the first line names them.
    """
    if isinstance(drop, str | int):
        drop = (drop,)
    asked = labelled.Asked(label, header, tuple(drop), labels_needed)
    if asked.said() and isinstance(source, str) and source in ("digits", *sources.MIRRORS):
        raise ValueError(f"{source} has labels of its own and takes no {asked.said()}")
    if isinstance(source, str) and source == "digits":
        dataset = _split(_digits(), "digits", train_size, test_size, random_state)
    elif isinstance(source, str) and source in sources.MIRRORS:
        found = sources.locate(source)
        train = _pair(found["train_images"], found["train_labels"])
        dataset = _join(train, _pair(found["test_images"], found["test_labels"]), source)
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
    try:
        path = _train_file(path) if path.is_dir() else path
    except FileNotFoundError:
        return []
    values = [path, *filter(None, (_test_file(path),))]
    return [*values, *filter(None, map(_labels_beside, values))]


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
        train, other = _pair(path, labels), None
    else:
        path = Path(source)
        if path.is_dir():
            train, other = _read_with_test(_train_file(path), asked)
        elif path.is_file():
            train, other = _read_with_test(path, asked)
        else:
            known = ", ".join(["digits", *sources.MIRRORS])
            raise FileNotFoundError(f"{source}: no such file or folder, nor a data set known by name ({known})")
    if isinstance(train, dict):
        X_train, y_train, X_test, y_test = (train[key] for key in _KEYS)
        train, other = _Rows(*_checked(X_train, y_train, path)), _Rows(*_checked(X_test, y_test, path))
    if other is None:
        return _split(train, path.name, train_size, test_size, seed)
    return _first(_join(train, other, path.name), train_size, test_size)


_KEYS = ("X_train", "y_train", "X_test", "y_test")


def _digits() -> _Rows:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return _Rows(bunch.data.astype(np.uint8), bunch.target.astype(np.int64), (8, 8), list(bunch.feature_names))


def _checked(
    X: np.ndarray, y: np.ndarray, path: Path, advice: str = ""
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...] | None]:
    rows, shape = readers.to_rows(X, path)
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y.ravel()
    if y.ndim != 1 or len(y) != len(rows):
        raise ValueError(f"{path}: {len(rows):,} rows but labels of shape {y.shape}; each row needs one label")
    if y.dtype.kind == "f":
        if not np.isfinite(y).all() or (y != np.rint(y)).any():
            raise ValueError(f"{path}: labels must be whole numbers or text{advice}")
        if (abs(y) > 2**53).any():
            raise ValueError(f"{path}: labels beyond 2^53 stored as {y.dtype}, which does not keep their digits")
        y = y.astype(np.int64)
    return rows, y, shape


def _read_array(path: Path) -> np.ndarray:
    return readers.map_npy(path) if path.suffix == ".npy" else readers.read_idx(path)


def _pair(values: Path, labels: Path) -> _Rows:
    return _Rows(*_checked(_read_array(values), _read_array(labels), values))


def _beside(path: Path, *swaps: tuple[str, str]) -> Path | None:
    """The file in the folder of `path` whose name has each first text replaced by the second.

    Names with ".gz" added or removed are tried too.
    """
    name = path.name
    for old, new in swaps:
        if old not in name:
            return None
        name = name.replace(old, new)
    for candidate in (name, name + ".gz", name.removesuffix(".gz")):
        if (path.parent / candidate).is_file() and candidate != path.name:
            return path.parent / candidate
    return None


def _labels_beside(path: Path) -> Path | None:
    for swaps in ([("images", "labels"), ("idx3", "idx1")], [("images", "labels")], [("X", "y")], [("x", "y")]):
        found = _beside(path, *swaps)
        if found:
            return found
    return None


def _read(path: Path, asked: labelled.Asked, like: labelled.Layout | None = None) -> Any:
    """Rows of one file; a dict of four arrays for an .npz with a split. `like` is the layout of the training file."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv"):
        table = labelled.read_csv(path, asked, like)
        notes = tuple(filter(None, [labelled.note_of(table)]))
        return _Rows(table.X, table.y, None, table.feature_names, table.layout, notes)
    labels = None if name.endswith(".npz") else _labels_beside(path)
    if name.endswith(".npy") and labels is None:
        return _from_npy(path, asked)
    if asked.said():
        raise ValueError(f"{path}: its labels are an array of their own; {asked.said()} can be said of a CSV file only")
    if name.endswith(".npz"):
        return _from_npz(path)
    if labels is not None:
        return _pair(path, labels)
    readers.read_idx(path)  # raises a clear error if it is not an IDX file at all
    raise FileNotFoundError(f"{path}: its labels are not beside it; give a pair of paths (images, labels)")


_ADVICE = "; --label NUMBER names another column, --label none says that there is none"


def _from_npy(path: Path, asked: labelled.Asked) -> _Rows:
    array = readers.map_npy(path)
    if asked.header is not None:
        raise ValueError(f"{path}: --header is for CSV files")
    none = isinstance(asked.label, str) and asked.label.strip().lower() == "none"
    if none and not asked.drop:
        rows, shape = readers.to_rows(array, path)
        return _Rows(rows, None, shape)
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind not in "biuf":
        raise ValueError(f"{path}: expected two dimensions with the label in column 1, or a file of labels beside")
    width = array.shape[1]
    label = columns.find(1 if asked.label is None or none else asked.label, None, width, (path, "--label"))
    dropped = [columns.find(each, None, width, (path, "--drop")) for each in asked.drop]
    features = [j for j in range(width) if j not in dropped and (none or j != label)]
    if not features or (label in dropped and not none):
        raise ValueError(f"{path}: --drop leaves no features, or no label")
    X = array[:, 1:] if features == list(range(1, width)) else array[:, features]
    return (
        _Rows(*readers.to_rows(X, path)[:1], None)
        if none
        else _Rows(*_checked(X, np.asarray(array[:, label]), path, _ADVICE))
    )


def _from_npz(path: Path) -> Any:
    arrays = readers.read_npz(path)
    lower = {name.lower(): array for name, array in arrays.items()}
    if all(key.lower() in lower for key in _KEYS):
        return {key: lower[key.lower()] for key in _KEYS}
    for values, labels in (("x", "y"), ("data", "target"), ("images", "labels"), ("arr_0", "arr_1")):
        if values in lower and labels in lower:
            return _Rows(*_checked(lower[values], lower[labels], path))
    raise ValueError(f"{path}: holds {sorted(arrays)}; expected X_train, y_train, X_test, y_test, or X and y")


def _test_file(path: Path) -> Path | None:
    return _beside(path, ("train", "t10k")) or _beside(path, ("train", "test"))


def _read_with_test(path: Path, asked: labelled.Asked) -> tuple[Any, _Rows | None]:
    train, other = _read(path, asked), _test_file(path)
    return train, None if other is None or isinstance(train, dict) else _read(other, asked, train.layout)


def _train_file(folder: Path) -> Path:
    images = sources.idx_in(folder, sources.FILES["train_images"])
    if images is not None:
        return images
    found = [p for p in sorted(folder.iterdir()) if "train" in p.name and "label" not in p.name and p.name[0] != "y"]
    found = [p for p in found if p.name.removesuffix(".gz").endswith((".csv", ".npy", ".npz"))]
    if len(found) != 1:
        raise FileNotFoundError(
            f"{folder}: expected {sources.FILES['train_images']}(.gz) and its labels, or one .csv, .npy or .npz file "
            'with "train" in its name'
        )
    return found[0]


def _names(rows: _Rows) -> tuple[tuple[int, ...] | None, list[str]]:
    width = rows.X.shape[1]
    shape = rows.image_shape
    names = rows.feature_names
    if names is None and shape is not None and len(shape) == 2:
        names = [f"pixel_{r}_{c}" for r in range(shape[0]) for c in range(shape[1])]
    return shape, names if names is not None else [f"feature_{i}" for i in range(width)]


def _join(train: _Rows, test: _Rows, name: str) -> Dataset:
    if train.X.shape[1] != test.X.shape[1]:
        raise ValueError(f"{name}: training rows have {train.X.shape[1]} values, test rows {test.X.shape[1]}")
    if train.feature_names is not None and test.feature_names not in (None, train.feature_names):
        raise ValueError(f"{name}: training and test files have different column names")
    dtype = np.result_type(train.X, test.X)  # a CSV of few rows may get a narrower dtype than the other file
    X_train, X_test = train.X.astype(dtype, copy=False), test.X.astype(dtype, copy=False)
    y_train, y_test = train.y, test.y
    if y_train is None or y_test is None:
        if y_train is not y_test:
            raise ValueError(f"{name}: only one of the training and test files has labels")
        return Dataset(X_train, None, X_test, None, *_names(train), [], name, train.notes)
    if (y_train.dtype.kind == "U") != (y_test.dtype.kind == "U"):
        y_train, y_test = y_train.astype(str), y_test.astype(str)
    shape, names = _names(train)
    targets = [str(label) for label in np.unique(np.concatenate([y_train, y_test]))]
    return Dataset(X_train, y_train, X_test, y_test, shape, names, targets, name, train.notes)


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


def _split(rows: _Rows, name: str, train_size: int | None, test_size: int | None, seed: int) -> Dataset:
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
    y = np.empty(0) if rows.y is None else rows.y
    targets, counts = np.unique(y, return_counts=True)
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
    labels = (None, None) if rows.y is None else (y[train], y[test])
    known = [str(label) for label in targets]
    return Dataset(rows.X[train], labels[0], rows.X[test], labels[1], shape, names, known, name, rows.notes)
