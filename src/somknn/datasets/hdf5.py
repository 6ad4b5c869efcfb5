"""Arrays in HDF5 files, where h5py is installed: rows, and labels beside them.

A file may hold `X` and `y`, `data` and `target`, `images` and `labels`, also in groups `train` and `test` (as USPS and
Keras' users write them). What is stored in other files (external or virtual datasets) is not followed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from somknn.datasets.chunks import BatchError, Chunk

ROWS = ("x", "data", "images", "features", "x_test", "test/data", "test")
LABELS = ("y", "target", "labels", "label")


@contextmanager
def opened(path: Path) -> Iterator[dict[str, Any]]:
    """The datasets of numbers or text in a file, by their paths in small letters; BatchError if it cannot be read."""
    try:
        import h5py
    except ImportError:
        raise BatchError(
            f"{path}: an HDF5 file, which needs h5py: pip install 'somknn[hdf5]'; or save its arrays as .npz"
        ) from None
    try:
        with h5py.File(path, "r") as file:
            yield _datasets(file, path)
    except (OSError, KeyError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BatchError(f"{path}: damaged, or no HDF5 file ({' '.join(str(error).split())[:200]})") from None


def _datasets(file: Any, path: Path) -> dict[str, Any]:
    import h5py

    found: dict[str, Any] = {}

    def look(name: str, each: Any) -> None:  # `visititems` follows no links to other places or files
        if isinstance(each, h5py.Dataset) and each.shape is not None and each.dtype.kind in "biufSO":
            if each.external or each.is_virtual:
                raise BatchError(f"{path}[{name}]: stored in other files, which are not followed")
            found[name.lower()] = each

    file.visititems(look)
    return found


def rows_in(path: Path, found: dict[str, Any]) -> str:
    """The name of the dataset that holds the rows: a known name, or the only one of two dimensions or more."""
    wide = [name for name, each in found.items() if each.ndim >= 2 and each.dtype.kind in "biuf"]
    chosen = next((name for name in ROWS if name in wide), wide[0] if len(wide) == 1 else None)
    if chosen is None:
        shown = ", ".join(f"{name} {each.shape}" for name, each in sorted(found.items())[:10]) or "no arrays"
        raise BatchError(f"{path}: holds {shown}; expected one array of rows, or one named X")
    return chosen


def labelled_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a data set by the names of an .npz file: `X` and `y`, or `X_train`, `y_train`, `X_test`, `y_test`.

    Raises BatchError, which lists what the file holds, where it is none.
    """
    with opened(path) as found:
        for train, test in (("train", "test"), ("training", "testing")):
            pairs = [_pair(found, f"{part}/", "") or _pair(found, "", f"_{part}") for part in (train, test)]
            if all(pairs):
                (X, y), (X_test, y_test) = pairs[0] or ("", ""), pairs[1] or ("", "")
                names = {"X_train": X, "y_train": y, "X_test": X_test, "y_test": y_test}
                return {name: _read(found[place], path) for name, place in names.items()}
        pair = _pair(found, "", "")
        if pair is None:
            shown = ", ".join(f"{name} {each.shape}" for name, each in sorted(found.items())[:10]) or "no arrays"
            raise BatchError(f"{path}: holds {shown}; expected X and y, or train/X, train/y, test/X, test/y")
        return {"X": _read(found[pair[0]], path), "y": _read(found[pair[1]], path)}


def _pair(found: dict[str, Any], before: str, after: str) -> tuple[str, str] | None:
    rows = next((name for name in ROWS[:4] if f"{before}{name}{after}" in found), None)
    labels = next((name for name in LABELS if f"{before}{name}{after}" in found), None)
    return None if rows is None or labels is None else (f"{before}{rows}{after}", f"{before}{labels}{after}")


def _read(dataset: Any, path: Path) -> np.ndarray:
    if dataset.dtype.kind not in "SO":
        return dataset[()]
    values = dataset[()]
    try:
        texts = [each.decode() if isinstance(each, bytes) else each for each in np.asarray(values).ravel().tolist()]
    except UnicodeDecodeError:
        texts = [None]
    if not all(isinstance(text, str) for text in texts):
        raise BatchError(f"{path}[{dataset.name}]: neither numbers nor text")
    return np.array(texts).reshape(dataset.shape)


class HDF5Source:
    """The rows of an HDF5 file as an input of `somknn.batch`, chunk by chunk."""

    has_names = False

    def __init__(self, path: Path):
        self.path, self.feature_names = path, None
        with opened(path) as found:
            self._name = rows_in(path, found)
            dataset = found[self._name]
            self.n_rows, self.dtype, self._shape = len(dataset), dataset.dtype.newbyteorder("="), dataset.shape
        self.width = int(np.prod(self._shape[1:], dtype=np.int64))
        if not self.width:
            raise BatchError(f"{path}[{self._name}]: shape {self._shape}; expected rows of numbers")

    def chunks(self, n: int, start: Any) -> Iterator[Chunk]:
        with opened(self.path) as found:
            for row in range(int(start or 0), self.n_rows, n):
                values = found[self._name][row : row + n].reshape(-1, self.width)
                values = np.ascontiguousarray(values).astype(self.dtype, copy=False)
                yield Chunk(-1, values, np.arange(row, row + len(values)), len(values), row + len(values))
