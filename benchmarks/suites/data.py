"""Data of the suites: MNIST under $SOMKNN_DATA, or a seeded generated set of the same shape under a different name."""

import contextlib
import gzip
import importlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

SOURCES = ("mnist", "generated")
TRAIN_ROWS, TEST_ROWS = 60_000, 10_000
ZOO_ROWS = 1_000_000  # at most
_ARRAYS = ("X_train", "y_train", "X_test", "y_test")


def feature(module, *names):
    """The names in `module`; raises NotImplementedError, which asv counts as skipped, at a commit that lacks them."""
    try:
        home = importlib.import_module(module)
        found = [getattr(home, name) for name in names]
    except (ImportError, AttributeError) as error:
        raise NotImplementedError(f"this commit has no {module}: {', '.join(names)}") from error
    return found[0] if len(found) == 1 else found


def _read_idx(path):
    with gzip.open(path) as file:
        content = file.read()
    sizes = np.frombuffer(content, ">u4", content[3], 4).astype(int)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(sizes)).reshape(sizes)


def _mnist():
    """Read the files here, not with the library, so that the rows are the same at every commit."""
    folder = Path(os.environ["SOMKNN_DATA"]) / "mnist"
    found = []
    for part, rows in (("train", TRAIN_ROWS), ("t10k", TEST_ROWS)):
        found.append(_read_idx(folder / f"{part}-images-idx3-ubyte.gz")[:rows].reshape(-1, 784))
        found.append(_read_idx(folder / f"{part}-labels-idx1-ubyte.gz")[:rows])
    return found


def _generated():
    """10 classes on a 30-dimensional plane with noise: about as prunable as digits."""
    rng = np.random.default_rng(20261121)
    centres = rng.standard_normal((10, 30)) * 2
    basis = rng.standard_normal((30, 784)) * 12
    n = TRAIN_ROWS + TEST_ROWS
    labels = rng.integers(0, 10, n).astype(np.uint8)
    rows = np.empty((n, 784), np.uint8)
    for start in range(0, n, 5_000):
        at = slice(start, start + 5_000)
        latent = centres[labels[at]] + rng.standard_normal((len(labels[at]), 30))
        noisy = 128 + latent @ basis + 8 * rng.standard_normal((len(latent), 784))
        rows[at] = np.clip(noisy, 0, 255)
    return rows[:TRAIN_ROWS], labels[:TRAIN_ROWS], rows[TRAIN_ROWS:], labels[TRAIN_ROWS:]


def keep():
    """Write the data set that this machine uses into the current folder, one .npy per array, and return its name."""
    try:
        arrays, source = _mnist(), "mnist"
    except (KeyError, OSError):
        arrays, source = _generated(), "generated"
    for name, values in zip(_ARRAYS, arrays, strict=True):
        np.save(f"{source}-{name}.npy", values)
    return source


def read(source):
    """X_train, y_train, X_test, y_test as saved by `keep`."""
    return [np.load(f"{source}-{name}.npy") for name in _ARRAYS]


def keep_compiled(work):
    """`keep`, then `work(X_train, y_train)` on 2,000 rows, to compile the kernels.

    The process whose memory is measured then finds them in the cache.
    """
    source = keep()
    rows, labels = read(source)[:2]
    with contextlib.suppress(NotImplementedError):
        work(rows[:2_000], labels[:2_000])
    return source


class WithData:
    """Base of the suites on rows: `setup_cache` makes the data once for all, `read` skips the other data set."""

    params = (SOURCES,)
    param_names = ("source",)
    version = "2"
    number = 1
    repeat = 5
    warmup_time = 0
    timeout = 600

    def setup_cache(self):
        return keep()

    def read(self, kept, source):
        if source != kept:
            raise NotImplementedError(f"this machine has {kept} rows")
        self.X_train, self.y_train, self.X_test, self.y_test = read(source)


class Cost(NamedTuple):
    """Processor seconds of a process from an empty cache, and of each kernel that it compiled, the dearest first."""

    seconds: float
    kernels: list[tuple[float, str]]


def tracked(unit, version="1"):
    """Unit and version of a `track_` benchmark."""

    def mark(function):
        function.unit, function.version = unit, version
        return function

    return mark
