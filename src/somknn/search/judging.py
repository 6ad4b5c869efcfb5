"""Whether short vectors pay, and how wide they should be: judged by searches among a sample of the rows.

The costs are nanoseconds per pair of a query and a row, measured on Zen 5. Only their ratios matter.
"""

from typing import NamedTuple

import numpy as np

from somknn.axes import evenly_spaced
from somknn.machine import Isa, name_of
from somknn.search.embedding import COLUMNS, WIDEST, Embedding, full_width
from somknn.search.pruned import PrunedSearch
from somknn.search.tree import TreeSearch, always_pays, leaves_within

_SAMPLE, _PROBES = 4096, 32  # rows among which is searched, and queries
_NEIGHBOURS = 6
_CACHED = 2**24  # bytes
_PAIR = 0.25  # of every pair: comparing, preparing the queries
_WORTH_A_TREE, _WIDEST_TREE, _TREE_SAMPLE = 2000, 31, 65_536  # rows, columns, rows
_QUERY, _LEAF, _LEAF_COLUMN = 150, 20, 2.0  # nanoseconds of a tree's query, of a leaf, and of each of its columns
_OTHERS = 0.15  # of every pair, in other searches of so few columns
_READ = 0.6  # the share of the columns that a scan reads where it is left early
_WIDER = 0.7  # wider vectors must promise so much less: where few axes hold much, scans are left before
_FEW = 0.25  # if exact comparisons take less than this share of the scan's time, wider vectors are not tried


class _Costs(NamedTuple):
    """Nanoseconds per pair and column: of the scan, and of brute force among bytes and among floats."""

    scan: float
    bytes_: float
    floats: float


def _costs(isa: Isa) -> _Costs:
    name = name_of(isa)
    if "vnni" in name:
        narrow = 2.0 if name == "avxvnni" else 1.0
        return _Costs(0.0022 * narrow, 0.0023 * narrow, 0.0087 * narrow)
    return _Costs(0.0044, 0.007, 0.0165)


def _exact(rows: np.ndarray) -> float:
    """Nanoseconds of an exact comparison: a row comes from memory if all of them are too many for the caches."""
    d = rows.shape[1]
    return 60 + 0.1 * d * rows.itemsize if rows.nbytes > _CACHED else 30 + d / 8


def worth_judging(rows: np.ndarray) -> bool:
    """Whether the rows are many enough and wide enough for pruning to be considered."""
    n, d = rows.shape
    if d < 48:  # brute force takes so little time that only many floats are worth the preparations
        return n >= 5000 and d >= 4 and rows.dtype != np.uint8
    return n >= 2000


def tree_pays(rows: np.ndarray, isa: Isa, n_threads: int) -> bool:
    """Whether a tree promises less time than other searches, judged by the leaves that a sample's searches visit."""
    n, d = rows.shape
    if n < _WORTH_A_TREE or d > _WIDEST_TREE:
        return False
    if always_pays(rows):
        return True
    sample = np.ascontiguousarray(rows[evenly_spaced(n, _TREE_SAMPLE)])
    probes = np.ascontiguousarray(sample[:: len(sample) // _PROBES][:_PROBES])
    search = TreeSearch(sample, isa, n_threads)
    distances, _ = search.search(probes, _NEIGHBOURS, n_threads=n_threads)
    visited = leaves_within(search.tree, probes, distances[:, -1])
    return _QUERY + visited * (_LEAF + _LEAF_COLUMN * d) < _OTHERS * len(sample)


def best_embedding(rows: np.ndarray, isa: Isa, n_threads: int, *, always: bool) -> Embedding | None:
    """The embedding with which a pruned search promises the least time; None if brute force promises less.

    always : whether to return an embedding in any case
    """
    d = rows.shape[1]
    costs = _costs(isa)
    brute = _PAIR + d * (costs.bytes_ if rows.dtype == np.uint8 else costs.floats)
    widths = [COLUMNS] if d > COLUMNS else []
    if full_width(d) <= WIDEST:
        widths.append(full_width(d))
    best, least = None, np.inf if always else brute
    for n_columns in widths:
        scan = _PAIR + _READ * n_columns * costs.scan
        if best is not None and scan >= _WIDER * least:
            break
        embedding = Embedding(rows, isa, n_columns)
        if len(widths) == 1 and always:
            return embedding
        exact = _exact(rows) * _share_compared(rows, embedding, n_threads)
        if scan + exact < (least if best is None else _WIDER * least) or (best is None and always):
            best, least = embedding, scan + exact
        if exact < _FEW * scan:
            break
    return best


def _share_compared(rows: np.ndarray, embedding: Embedding, n_threads: int) -> float:
    """The share of the rows that a search compares exactly, judged by a sample.

    The sample is less crowded, so its neighbours are farther away and a larger share survives. Where the data have
    structure, the number of rows compared hardly depends on how many there are. In noise, the share does not. The
    square root lies between the two.
    """
    sample = np.ascontiguousarray(rows[evenly_spaced(len(rows), _SAMPLE)])
    probes = np.ascontiguousarray(sample[:: max(1, len(sample) // _PROBES)][:_PROBES])
    search = PrunedSearch(sample, embedding, n_threads)
    survivors = np.empty(2)
    search.search(probes, min(_NEIGHBOURS, len(sample)), n_threads=n_threads, survivors=survivors)
    return float(survivors[1]) / np.sqrt(float(len(sample)) * len(rows))
