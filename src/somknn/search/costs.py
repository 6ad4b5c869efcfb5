"""What searches cost, in nanoseconds, as far as a choice between them needs. Measured on Zen 5; only ratios matter."""

from typing import NamedTuple

import numpy as np

from somknn.machine import Isa, name_of

_PAIR = 0.25  # of every pair of a query and a row: comparing, preparing the queries
FEW_QUERIES = 4  # up to so many queries packing costs more than it saves: rows are compared exactly, one by one
_READ = 0.6  # the share of the columns that a scan reads where it is left early
_CACHED = 2**24  # bytes


class Costs(NamedTuple):
    """Per pair and column: of the scan of short vectors, and of brute force among bytes and among floats."""

    scan: float
    bytes_: float
    floats: float


def costs(isa: Isa) -> Costs:
    """The costs with this instruction set."""
    name = name_of(isa)
    if "vnni" in name:
        narrow = 2.0 if name == "avxvnni" else 1.0
        return Costs(0.0022 * narrow, 0.0023 * narrow, 0.0087 * narrow)
    return Costs(0.0044, 0.007, 0.0165)


def exact_pair(rows: np.ndarray) -> float:
    """An exact comparison: a row comes from memory if all of them are too many for the caches."""
    d = rows.shape[1]
    return 60 + 0.1 * d * rows.itemsize if rows.nbytes > _CACHED else 30 + d / 8


def scan_pair(isa: Isa, n_columns: int) -> float:
    """A scan of so many columns, which it mostly leaves before the end."""
    return _PAIR + _READ * n_columns * costs(isa).scan


def brute_pair(isa: Isa, rows: np.ndarray) -> float:
    """Brute force, for each pair of a query and one of `rows`."""
    per_column = costs(isa)
    return _PAIR + rows.shape[1] * (per_column.bytes_ if rows.dtype == np.uint8 else per_column.floats)


def brute_search(isa: Isa, n_queries: int, rows: np.ndarray) -> float:
    """Brute force for so many queries among `rows`."""
    return n_queries * len(rows) * (exact_pair(rows) if n_queries <= FEW_QUERIES else brute_pair(isa, rows))
