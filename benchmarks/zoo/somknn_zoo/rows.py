"""The table of all rows: what they are, how they are made, how they are searched, and who is asked."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from somknn_zoo import gist, sources
from somknn_zoo.sources import Missing

__all__ = ["ALL", "Missing", "Rows", "find"]

TREES, FLAT, AXES = "trees", "flat", "axes"
POINTS = (TREES, FLAT)  # few columns
WIDE = (FLAT, AXES)
BOTH = (TREES, FLAT, AXES)


@dataclass(frozen=True)
class Rows:
    """One entry of the zoo.

    make(n, m) returns at most n rows and m queries, C-contiguous, or raises `Missing`. `peers` names the groups of
    peers that are of use for rows of the kind: trees, flat scans, scans along principal axes. Slow peers are given
    fewer queries by giving everyone fewer.
    """

    name: str
    title: str
    make: Callable[[int, int], tuple[np.ndarray, np.ndarray]]
    n: int  # at most; some sources have fewer
    columns: int
    dtype: str
    queries: int  # of a batch, at most
    peers: tuple[str, ...]
    k: int = 5
    further_k: tuple[int, ...] = ()  # batches of other k
    radius: float | None = None  # of a further batch: all rows within it
    singles: int = 100  # queries that are asked one after the other
    optional: bool = False  # only where it is asked for by name


def _uniform(columns, n, queries, **more):
    size = f"{n // 1_000_000}m" if n >= 1_000_000 else f"{n // 1000}k"
    make = sources.uniform(columns)
    return Rows(f"uniform-{columns}-{size}", "uniform points", make, n, columns, "float64", queries, POINTS, **more)


def _clusters(columns, queries):
    make = sources.clusters(columns)
    return Rows(f"clusters-{columns}", "points in 1,000 clusters", make, 100_000, columns, "float64", queries, POINTS)


def _table(name, package, item, columns):
    make, width = sources.table(package, item, columns), len(columns.split())
    return Rows(name, f"the table {item} of {package}", make, 500_000, width, "float64", 2_000, POINTS)


def _mnist(name, title, dtype, deskewed=False):
    return Rows(name, title, sources.mnist(dtype, deskewed), 60_000, 784, dtype, 2_000, WIDE, singles=30)


def _sift(name, dtype):
    make = sources.stored("descriptors", "sift-base.npy", "sift-queries.npy", dtype)
    return Rows(name, "SIFT descriptors of photographs", make, 100_000, 128, dtype, 2_000, WIDE, k=10, singles=50)


def _embeddings(name, title, make, n):
    return Rows(name, title, make, n, 384, "float32", 3_000, WIDE, k=10, singles=50)


_SHARED_EMBEDDINGS = sources.stored("embeddings", "minilm-base.npy", "minilm-queries.npy")

ALL = (
    _uniform(3, 10_000, 5_000),
    _uniform(3, 100_000, 5_000),
    _uniform(3, 200_000, 5_000),
    _uniform(3, 1_000_000, 2_000, further_k=(1, 50), radius=0.0134),  # 10 rows
    _uniform(3, 10_000_000, 500, optional=True),
    _uniform(8, 100_000, 1_000),
    _uniform(16, 100_000, 500),
    _clusters(3, 5_000),
    _clusters(8, 2_000),
    _clusters(16, 1_000),
    Rows(
        "places",
        "places of the earth on the sphere",
        sources.places,
        150_000,
        3,
        "float64",
        5_000,
        POINTS,
        further_k=(1, 50),
        radius=0.003,  # 19 km
    ),
    _table("diamonds", "ggplot2", "diamonds", "carat depth table price x y z"),
    _table(
        "flights",
        "nycflights13",
        "flights",
        "month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay air_time distance",
    ),
    _table("movies", "ggplot2movies", "movies", "year length rating votes r1 r2 r3 r4 r5 r6 r7 r8 r9 r10"),
    _table(
        "counties",
        "wooldridge",
        "countymurders",
        "arrests density popul perc1019 perc2029 percblack percmale rpcincmaint rpcpersinc rpcunemins year murders "
        "murdrate arrestrate lpopul",
    ),
    _embeddings("embeddings", "embeddings of package summaries", _SHARED_EMBEDDINGS, 27_000),
    _embeddings("embeddings-made", "embeddings of docstrings", sources.made_embeddings, 63_000),
    _sift("sift-bytes", "uint8"),
    _sift("sift-float", "float32"),
    Rows(
        "gist", "GIST of patches of photographs", gist.descriptors, 40_000, 960, "float32", 1_000, WIDE, 10, singles=30
    ),
    Rows("digits", "digits of 8 × 8 pixels", sources.digits, 1_500, 64, "float64", 300, BOTH),
    _mnist("mnist-bytes", "MNIST", "uint8"),
    _mnist("mnist-float", "MNIST", "float32"),
    _mnist("deskewed-bytes", "MNIST, deskewed", "uint8", True),
    _mnist("deskewed-float", "MNIST, deskewed", "float32", True),
    Rows("copies", "1,200 different rows, each 50 times", sources.copies, 60_000, 32, "float32", 2_000, BOTH),
    Rows("noise", "uniform noise", sources.noise, 60_000, 784, "float32", 500, WIDE, singles=30),
    Rows("manifold", "a surface of 3 dimensions in 64 columns", sources.manifold, 20_000, 64, "float64", 2_000, BOTH),
)


def find(name: str) -> Rows:
    return next(each for each in ALL if each.name == name)
