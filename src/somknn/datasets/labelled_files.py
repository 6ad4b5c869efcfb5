"""Rows and labels from a user's files, whatever their kind: tables, arrays, images, and the folders that hold them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from somknn.datasets import columns, hdf5, kinds, labelled, readers, sources
from somknn.datasets.labels import NotClasses


@dataclass
class Rows:
    """The rows of a file, or of several; `layout` says what the columns of a table are."""

    X: np.ndarray
    y: np.ndarray | None
    image_shape: tuple[int, ...] | None = None
    feature_names: list[str] | None = None
    layout: labelled.Layout | None = None
    notes: tuple[str, ...] = ()

    @property
    def categories(self) -> list[int]:
        """The positions of the features that are categories."""
        layout = self.layout
        return [] if layout is None else [i for i, j in enumerate(layout.features) if j in layout.categories]

    @property
    def column_names(self) -> list[str] | None:
        """The names that a table gives to its features."""
        return None if self.layout is None else self.feature_names


KEYS = ("X_train", "y_train", "X_test", "y_test")


def checked(
    X: np.ndarray, y: np.ndarray, path: Path, advice: str = "", *, quantities: bool = False
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...] | None]:
    """Rows, their labels, and the shape of one row where it has any; ValueError if they do not go together.

    Labels are classes, or float64 with `quantities`.
    """
    rows, shape = readers.to_rows(X, path)
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y.ravel()
    if y.ndim != 1 or len(y) != len(rows):
        raise ValueError(f"{path}: {len(rows):,} rows but labels of shape {y.shape}; each row needs one label")
    if quantities:
        if y.dtype.kind not in "biuf" or not np.isfinite(y).all():
            raise ValueError(f"{path}: labels must be finite numbers for --task regression")
        return rows, y.astype(np.float64), shape
    if y.dtype.kind == "f":
        if not np.isfinite(y).all() or (y != np.rint(y)).any():
            raise NotClasses(
                f"{path}: labels must be whole numbers or text{advice}; --task regression predicts numbers"
            )
        if (abs(y) > 2**53).any():
            raise ValueError(f"{path}: labels beyond 2^53 stored as {y.dtype}, which does not keep their digits")
        y = y.astype(np.int64)
    return rows, y, shape


def _read_array(path: Path) -> np.ndarray:
    return readers.map_npy(path) if path.suffix == ".npy" else readers.read_idx(path)


def read_pair(values: Path, labels: Path, *, quantities: bool = False) -> Rows:
    """Rows from one file and their labels from another."""
    y = _read_array(labels)
    if "idx2-int" in labels.name and y.ndim == 2:  # QMNIST: the class, and where the digit was found
        y = y[:, 0]
    return Rows(*checked(_read_array(values), y, values, quantities=quantities))


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


def labels_beside(path: Path) -> Path | None:
    """The file of the labels of the rows in `path`, by its name in the same folder."""
    named = (
        [("images", "labels"), ("idx3", "idx1")],
        [("images", "labels"), ("idx3-ubyte", "idx2-int")],  # QMNIST
        [("images", "labels")],
        [("imgs", "labels")],  # KMNIST
        [("X", "y")],
        [("x", "y")],
    )
    for swaps in named:
        found = _beside(path, *swaps)
        if found:
            return found
    return None


def _read(path: Path, asked: labelled.Asked, like: labelled.Layout | None = None) -> Any:
    """Rows of one file; a dict of four arrays for an .npz with a split. `like` is the layout of the training file."""
    kind = kinds.kind_of(path)
    if kind in ("csv", "parquet", "arrow"):
        return _from_table(path, kind, asked, like)
    labels = labels_beside(path)
    if kind == "npy" and labels is None:
        return _from_npy(path, asked)
    if asked.said():
        raise ValueError(f"{path}: its labels are an array of their own; {asked.said()} can be said of a table only")
    if kind == "image":
        raise ValueError(f"{path}: one image; give the folder of folders of images, whose names are the classes")
    if kind in ("npz", "hdf5"):
        return _from_arrays(path, kind, labels, asked.quantities)
    if labels is not None:
        return read_pair(path, labels, quantities=asked.quantities)
    readers.read_idx(path)  # raises a clear error if it is not an IDX file at all
    raise FileNotFoundError(f"{path}: its labels are not beside it; give a pair of paths (images, labels)")


def _from_table(path: Path, kind: str, asked: labelled.Asked, like: labelled.Layout | None) -> Rows:
    if kind == "csv":
        table = labelled.read_csv(path, asked, like)
        names = table.feature_names
    else:
        from somknn.datasets import labelled_tables

        table = labelled_tables.read_table(path, asked, like)
        names = labelled_tables.feature_names(table)
    notes = tuple(filter(None, [labelled.note_of(table)]))
    return Rows(table.X, table.y, None, names, table.layout, notes)


def _from_parts(paths: list[Path], asked: labelled.Asked, like: labelled.Layout | None = None) -> Rows:
    """The parts of a table one after the other; each has the columns of the first."""
    rows: list[Rows] = []
    for path in paths:
        rows.append(_read(path, asked, like))
        like = like or rows[0].layout
    X = np.concatenate([each.X for each in rows])
    y = None
    if rows[0].y is not None:
        found = [np.asarray(each.y) for each in rows]
        text = any(each.dtype.kind == "U" for each in found)
        y = np.concatenate([each.astype(str) if text else each for each in found])
    first = rows[0]
    return Rows(X, y, None, first.feature_names, first.layout, first.notes)


def _from_class_folders(folder: Path) -> Rows:
    """Images in folders whose names are their classes, in an order that mixes the classes: the first N are of all."""
    from somknn.datasets.image_files import ImageSource, image_names

    names = image_names(folder)
    loose = next((name for name in names if "/" not in name), None)
    if loose is not None:
        raise ValueError(f"{folder / loose}: an image in the folder of no class: folders below {folder} are classes")
    source = ImageSource(folder)
    chunks = list(source.chunks(10_000, None))
    for chunk in chunks:
        if chunk.rejects:
            raise ValueError(str(chunk.rejects[0]))
    texts = [name.partition("/")[0] for name in names]
    whole = all(text.isdecimal() and str(int(text)) == text for text in texts)
    y = np.array([int(text) for text in texts]) if whole else np.array(texts)
    mixed = np.random.default_rng(0).permutation(len(y))
    return Rows(np.concatenate([chunk.values for chunk in chunks])[mixed], y[mixed], source.shape)


def _class_folders(folder: Path) -> list[str]:
    """The names of the folders in a folder that hold images."""
    from somknn.datasets.image_files import image_names

    folders = (entry for entry in folder.iterdir() if entry.is_dir() and not kinds.hidden(entry.name))
    return sorted(entry.name for entry in folders if image_names(entry))


def read_folder(folder: Path, asked: labelled.Asked) -> tuple[Any, Rows | None]:
    """Training rows, and test rows where the folder has any."""
    if train_files(folder):
        return read_with_test(train_file(folder), asked)
    parts, classes = kinds.parts_of(folder), _class_folders(folder)
    if parts:
        return _from_parts(parts, asked), None
    if not classes:
        return read_with_test(train_file(folder), asked)  # says what is expected
    if asked.said() or asked.quantities:
        said = asked.said() or "--task regression"
        raise ValueError(f"{folder}: the labels of images are the names of their folders; it takes no {said}")
    splits = {name.lower(): name for name in classes}
    test = next((splits[name] for name in ("test", "testing") if name in splits), None)
    train = next((splits[name] for name in ("train", "training") if name in splits), None)
    if train is None or test is None:
        return _from_class_folders(folder), None
    found = [_from_class_folders(folder / name) for name in (train, test)]
    others = sorted(set(classes) - {train, test})
    if others:
        found[0].notes = (f"{folder.name}: {', '.join(others)} beside {train} and {test} is left out",)
    return found[0], found[1]


_ADVICE = "; --label NUMBER names another column, --label none says that there is none"


def _from_npy(path: Path, asked: labelled.Asked) -> Rows:
    array = readers.map_npy(path)
    if asked.header is not None:
        raise ValueError(f"{path}: --header is for CSV files")
    if asked.categories or asked.missing:
        raise ValueError(f"{path}: {'--categories' if asked.categories else '--impute'} is for tables")
    none = isinstance(asked.label, str) and asked.label.strip().lower() == "none"
    if none and not asked.drop:
        rows, shape = readers.to_rows(array, path)
        return Rows(rows, None, shape)
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
        Rows(*readers.to_rows(X, path)[:1], None)
        if none
        else Rows(*checked(X, np.asarray(array[:, label]), path, _ADVICE, quantities=asked.quantities))
    )


_SPLITS = (KEYS, ("train_images", "train_labels", "test_images", "test_labels"))  # the second as in MedMNIST


def _only_array(path: Path) -> np.ndarray:
    arrays = readers.read_npz(path)
    if len(arrays) != 1:
        raise ValueError(f"{path}: holds {sorted(arrays)}; expected one array, as its name says")
    return next(iter(arrays.values()))


def _from_arrays(path: Path, kind: str, labels: Path | None, quantities: bool) -> Any:
    if kind == "npz" and labels is not None:
        return Rows(*checked(_only_array(path), _only_array(labels), path, quantities=quantities))
    arrays = readers.read_npz(path) if kind == "npz" else hdf5.labelled_arrays(path)
    lower = {name.lower(): array for name, array in arrays.items()}
    for split in _SPLITS:
        if all(name.lower() in lower for name in split):
            return {key: lower[name.lower()] for key, name in zip(KEYS, split, strict=True)}
    for X, y in (("x", "y"), ("data", "target"), ("images", "labels"), ("arr_0", "arr_1")):
        if X in lower and y in lower:
            return Rows(*checked(lower[X], lower[y], path, quantities=quantities))
    raise ValueError(f"{path}: holds {sorted(arrays)}; expected X_train, y_train, X_test, y_test, or X and y")


def test_file(path: Path) -> Path | None:
    """The file of the test rows that go with a file of training rows, by its name."""
    return _beside(path, ("train", "t10k")) or _beside(path, ("train", "test"))


def read_with_test(path: Path, asked: labelled.Asked) -> tuple[Any, Rows | None]:
    """The rows of a file, and those of the file with its test rows if there is one."""
    train, other = _read(path, asked), test_file(path)
    return train, None if other is None or isinstance(train, dict) else _read(other, asked, train.layout)


def train_file(folder: Path) -> Path:
    """The one file of training rows in a folder; FileNotFoundError, which says what is expected, else."""
    images = sources.idx_in(folder, sources.FILES["train_images"])
    if images is not None:
        return images
    found = train_files(folder)
    if len(found) != 1:
        raise FileNotFoundError(
            f"{folder}: expected {sources.FILES['train_images']}(.gz) and its labels, or one table, .npy or .npz file "
            'with "train" in its name, or the parts of one table, or folders of images'
        )
    return found[0]


def train_files(folder: Path) -> list[Path]:
    """The files of training rows in a folder, by their names."""
    images = sources.idx_in(folder, sources.FILES["train_images"])
    if images is not None:
        return [images]
    found = [p for p in sorted(folder.iterdir()) if "train" in p.name and "label" not in p.name and p.name[0] != "y"]
    return [p for p in found if p.is_file() and kinds.bare_suffix(p) in (*kinds.TABLES, ".npy", ".npz")]
