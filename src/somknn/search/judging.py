"""Whether short vectors pay, and how wide they should be: judged by searches among a sample of the rows."""

import numpy as np

from somknn.axes import evenly_spaced
from somknn.machine import Isa
from somknn.search.costs import brute_pair, brute_search, exact_pair, scan_pair
from somknn.search.embedding import COLUMNS, WIDEST, Embedding, full_width
from somknn.search.pruned import PrunedSearch
from somknn.search.tree import TreeSearch, always_pays, leaves_within

_SAMPLE, _PROBES = 4096, 32  # rows among which is searched, and queries
_NEIGHBOURS = 6
_WORTH_A_TREE, _WIDEST_TREE, _TREE_SAMPLE = 2000, 31, 65_536  # rows, columns, rows
_QUERY, _LEAF, _LEAF_COLUMN = 150, 20, 2.0  # nanoseconds of a tree's query, of a leaf, and of each of its columns
_OTHERS = 0.15  # of every pair, in other searches of so few columns
_WIDER = 0.7  # wider vectors must promise so much less: where few axes hold much, scans are left before
_SMALL = 250_000  # nanoseconds of one query by brute force
_FEW = 0.25  # if exact comparisons take less than this share of the scan's time, wider vectors are not tried


def worth_judging(rows: np.ndarray) -> bool:
    """Whether the rows are many enough and wide enough for pruning to be considered."""
    n, d = rows.shape
    if d < 48:  # brute force takes so little time that only many floats are worth the preparations
        return n >= 5000 and d >= 4 and rows.dtype != np.uint8
    return n >= 2000


def may_wait(rows: np.ndarray, isa: Isa) -> bool:
    """Whether there is a choice to make among so few rows that it can wait until brute force has taken long."""
    n, d = rows.shape
    return (worth_judging(rows) or (n >= _WORTH_A_TREE and d <= _WIDEST_TREE)) and brute_search(isa, 1, rows) <= _SMALL


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
    widths = [COLUMNS] if d > COLUMNS else []
    if full_width(d) <= WIDEST:
        widths.append(full_width(d))
    best, least = None, np.inf if always else brute_pair(isa, rows)
    for n_columns in widths:
        scan = scan_pair(isa, n_columns)
        if best is not None and scan >= _WIDER * least:
            break
        embedding = Embedding(rows, isa, n_columns)
        if len(widths) == 1 and always:
            return embedding
        exact = exact_pair(rows) * _share_compared(rows, embedding, n_threads)
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
