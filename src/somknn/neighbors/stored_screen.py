"""What pruning has prepared, as plain arrays for a model file, and back.

The codes are stored row by row, so that a file written with one instruction set loads with another. What is read
is checked for shape and range before a kernel sees it: a wrong index would read outside an array.
"""

import numpy as np

from somknn.neighbors.embedding import Embedding
from somknn.neighbors.pruned import PrunedSearch, pack_codes
from somknn_kernels.isa import Isa

_SCALARS = ("inverse_scale", "unit_norm", "step")


def pack(search: PrunedSearch) -> dict[str, np.ndarray]:
    """The arrays of a fitted search, without its rows."""
    embedding, screen = search.embedding, search.screen
    _, n_panels, groups, rows, g = screen.panels.shape
    codes = (
        screen.panels.transpose(1, 3, 0, 2, 4).reshape(n_panels * rows, 4 * groups * g).astype(np.int16) - screen.lift
    )
    taken = screen.order >= 0
    usual = np.arange(len(screen.order)) < screen.n_usual * rows
    return {
        "screen_order": screen.order[taken],
        "screen_codes": codes[taken].astype(np.int8),
        "screen_n_usual": np.array([np.count_nonzero(taken & usual)], np.int64),
        "screen_errors": screen.errors,
        "screen_axes": embedding.axes,
        "screen_centre": embedding.centre,
        "screen_spectrum": np.array(embedding.spectrum),
        "screen_scalars": np.array([getattr(embedding, name) for name in _SCALARS]),
        "screen_middle": embedding.middle,
        "screen_cells": search.cells,
        "screen_cell_edges": search.cell_edges.astype(np.int64),
    }


def unpack(arrays: dict[str, np.ndarray], rows: np.ndarray, isa: Isa) -> PrunedSearch:
    """The search over `rows` that `pack` described. Raises ValueError for arrays that do not belong together."""
    n, d = rows.shape
    try:
        order, n_usual = arrays["screen_order"], int(arrays["screen_n_usual"][0])
        cells, edges = arrays["screen_cells"], arrays["screen_cell_edges"]
        n_columns = arrays["screen_middle"].shape[0]
    except (KeyError, IndexError) as error:
        raise ValueError(f"the saved index is incomplete: {error}") from None
    expected = {
        "screen_order": ((n,), np.int32),
        "screen_codes": ((n, n_columns), np.int8),
        "screen_errors": ((2, 3), np.float64),
        "screen_axes": ((n_columns - 1, d), np.int16),
        "screen_centre": ((d,), np.float64),
        "screen_spectrum": ((2,), np.float64),
        "screen_scalars": ((len(_SCALARS),), np.float64),
        "screen_middle": ((n_columns,), np.float64),
        "screen_cells": ((len(cells), n_columns // 4), np.float32),
        "screen_cell_edges": ((len(cells) + 1,), np.int64),
    }
    for name, (shape, dtype) in expected.items():
        if name not in arrays:
            raise ValueError(f"the saved index is incomplete: {name} is missing")
        if arrays[name].shape != shape or arrays[name].dtype != dtype:
            raise ValueError(
                f"the saved index does not fit the rows: {name} is {arrays[name].dtype}{arrays[name].shape}"
            )
    if n_columns < 32 or n_columns & (n_columns - 1):
        raise ValueError(f"the saved index has short vectors of {n_columns} columns")
    if not (0 <= n_usual <= n and np.array_equal(np.sort(order), np.arange(n))):
        raise ValueError("the saved index does not list each row once")
    if edges[0] != 0 or (np.diff(edges) < 0).any() or edges[-1] > n:
        raise ValueError("the saved index's cells are out of order")

    embedding = Embedding.__new__(Embedding)
    embedding.isa, embedding.n_columns = isa, n_columns
    embedding.centre = np.ascontiguousarray(arrays["screen_centre"])
    embedding.axes = arrays["screen_axes"]
    smallest, largest = arrays["screen_spectrum"]
    embedding.spectrum = float(smallest), float(largest)
    for name, value in zip(_SCALARS, arrays["screen_scalars"], strict=True):
        setattr(embedding, name, float(value))
    embedding.middle = np.ascontiguousarray(arrays["screen_middle"])
    embedding._pack_axes()

    search = PrunedSearch.__new__(PrunedSearch)
    search.rows, search.isa, search.embedding = rows, isa, embedding
    search.survivors = np.zeros(2)
    search.cells, search.cell_edges = np.ascontiguousarray(cells), edges
    lines, errors = np.arange(len(order)), arrays["screen_errors"].copy()
    search.screen = pack_codes(embedding, arrays["screen_codes"], lines, order, n_usual, errors)
    return search
