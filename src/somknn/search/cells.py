"""Rough groups of similar vectors. Only speed depends on them, no answer does."""

import numpy as np

from somknn.axes import sample_rows
from somknn.machine import check_stopped, per_task, run_tasks
from somknn.threads import single_threaded_blas
from somknn_kernels.bounds import embedding as embedding_kernels
from somknn_kernels.search import cell_order

_CELL_ROWS = 512  # vectors of a task that finds their cells
_MULTIPLIED = 48  # columns from which a matrix product takes half the time of the kernel
_CELLS = 8  # cells whose rows a task puts in order
_AT_ONCE = 32_768  # rows that a kernel puts in order: 50 ms
_LEADERS = 64  # groups of queries; with 256, 33% of MNIST's columns are in use in a tile instead of 35%
_MOSTLY_USED = 0.8  # if more than this share of the values is not blank, an order of the queries saves nothing


def coarse_cells(coarse: np.ndarray, n_cells: int, n_threads: int) -> np.ndarray:
    """Centres (n_cells, p) of a rough K-Means of a sample of short vectors; deterministic."""
    sample = sample_rows(coarse, 16 * n_cells).astype(np.float32)
    centres = sample[:: max(1, len(sample) // n_cells)][:n_cells].copy()
    for _ in range(4):
        label = nearest_cell(sample, centres, n_threads)
        counts = np.bincount(label, minlength=len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, label, sample)
        filled = counts > 0
        centres[filled] = sums[filled] / counts[filled, None]
    return centres[_chain(centres)]


def _chain(centres: np.ndarray) -> np.ndarray:
    """An order of the centres in which each is followed by the nearest one left: similar centres lie together."""
    left = np.ones(len(centres), bool)
    order = np.empty(len(centres), np.int64)
    at = 0
    for i in range(len(centres)):
        order[i] = at
        left[at] = False
        distances = ((centres - centres[at]) ** 2).sum(axis=1)
        at = int(np.argmin(np.where(left, distances, np.inf)))
    return order


def nearest_cell(coarse: np.ndarray, centres: np.ndarray, n_threads: int) -> np.ndarray:
    """The cell of each short vector. A guess: only speed depends on it."""
    columns = np.ascontiguousarray(centres.T)
    half_squares = (centres**2).sum(axis=1) / 2
    labels = np.empty(len(coarse), np.int64)
    rows = per_task(_CELL_ROWS, centres.size)
    if coarse.shape[1] >= _MULTIPLIED and len(coarse) >= _CELL_ROWS:

        def multiply(task: int) -> None:
            at = slice(task * _CELL_ROWS, min((task + 1) * _CELL_ROWS, len(coarse)))
            (coarse[at] @ columns - half_squares).argmax(axis=1, out=labels[at])

        with single_threaded_blas():
            run_tasks(multiply, -(-len(coarse) // _CELL_ROWS), n_threads)
        return labels

    def work(task: int) -> None:
        stop = min((task + 1) * rows, len(coarse))
        embedding_kernels.nearest_centres(coarse, task * rows, stop, columns, half_squares, labels)

    run_tasks(work, -(-len(coarse) // rows), n_threads)
    return labels


def order_by_cells(
    coarse: np.ndarray, labels: np.ndarray, n_cells: int, panel_rows: int, n_threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """An order of the rows, cell by cell, in which the rows of a panel are near each other; and the edges of the cells.

    The edges are the first place of each cell, and the end of the last. Rows with larger labels than the cells' come
    last.
    """
    order = np.argsort(labels, kind="stable")
    edges = np.searchsorted(labels[order], np.arange(n_cells + 1))

    def work(task: int) -> None:
        first, last = task * _CELLS, min((task + 1) * _CELLS, n_cells)
        if edges[last] - edges[first] <= _AT_ONCE:
            cell_order.order_cells(coarse, edges, first, last, panel_rows, order)
            return
        for cell in range(first, last):
            _order_places(coarse, int(edges[cell]), int(edges[cell + 1]), panel_rows, order)

    run_tasks(work, -(-n_cells // _CELLS), n_threads)
    return order, edges


def _order_places(coarse: np.ndarray, first: int, stop: int, panel_rows: int, order: np.ndarray) -> None:
    """`order_cells` for one cell. As long as a part is large, each halving is a call of its own."""
    check_stopped()
    low, high = first // panel_rows + 1, (stop - 1) // panel_rows
    halve = stop - first > _AT_ONCE and low <= high
    cut = (low + high) // 2 * panel_rows
    # No other multiple of `cut` lies within: the cell is halved there and no further.
    cell_order.order_cells(coarse, np.array([first, stop]), 0, 1, cut if halve else panel_rows, order)
    if halve:
        _order_places(coarse, first, cut, panel_rows, order)
        _order_places(coarse, cut, stop, panel_rows, order)


def similar_first(queries: np.ndarray, blank: np.ndarray | float, n_threads: int) -> np.ndarray | None:
    """An order in which queries with the same blank columns lie together; None if few values are blank.

    Columns that are blank in a whole tile of queries cost nothing in brute force. blank : the blank value, or that of
    each column
    """
    m, d = queries.shape
    if m < 64 or d < 16 or (queries[:: m // 64] != blank).mean() > _MOSTLY_USED:
        return None
    used = np.empty((m, d // 8), np.float32)  # how many of every 8 columns are in use
    rows = per_task(_CELL_ROWS, d)

    def count(task: int) -> None:
        at = slice(task * rows, (task + 1) * rows)
        used[at] = np.bitwise_count(np.ascontiguousarray((queries[at] != blank)[:, : d // 8 * 8]).view(np.uint64))

    run_tasks(count, -(-m // rows), n_threads)
    labels = nearest_cell(used, used[:: max(1, m // _LEADERS)], n_threads)
    return np.argsort(labels, kind="stable")
