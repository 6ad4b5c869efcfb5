"""A pruned index in a model file: what took long to find, and nothing that an answer could depend on.

Stored are the principal axes, the step of the codes and the order of the rows. The codes of the rows and their errors
are not stored. A code that stands for another row would lose neighbours in silence, and checking codes takes as long as
making them (60,000 × 784 bytes: 0.3 s on two processors, while reading the file takes 0.13 s). So codes are made again
when the queries are worth it. Until then brute force answers, which needs no preparation. What is read is checked for
everything that compiled code relies on.
"""

import numpy as np

from somknn.machine import Isa
from somknn.search.embedding import COLUMNS, WIDEST, Embedding, coarse_columns
from somknn.search.pruned import Arrangement, PrunedSearch

_SCALARS = ("inverse_scale", "unit_norm", "step")
# So many searches by brute force take as long as making the codes: single queries, or queries of a batch, which share
# the rows' bytes. After so many the codes are made. So at worst, both were paid for.
_SINGLE_QUERIES, _BATCHED_QUERIES = 32, 1024
_FEW = 16  # up to so many queries at once count as single ones


def pack(search: PrunedSearch) -> dict[str, np.ndarray]:
    """The arrays of a fitted search, without its rows."""
    embedding, screen = search.embedding, search.screen
    taken = screen.order >= 0
    usual = np.arange(len(screen.order)) < screen.n_usual * screen.panels.shape[3]
    return {
        "screen_order": screen.order[taken],
        "screen_n_usual": np.array([np.count_nonzero(taken & usual)], np.int64),
        "screen_axes": embedding.axes,
        "screen_centre": embedding.centre,
        "screen_scalars": np.array([getattr(embedding, name) for name in _SCALARS]),
        "screen_middle": embedding.middle,
        "screen_cells": search.cells,
        "screen_cell_edges": search.cell_edges.astype(np.int64),
    }


class StoredSearch:
    """The search over `rows` that `arrays` (checked) describe. Its codes are made when they are worth it.

    If two threads come to that point together, both make the same codes, and those of one are kept.
    """

    def __init__(self, arrays: dict[str, np.ndarray], rows: np.ndarray, embedding: Embedding, arrangement: Arrangement):
        self.arrays = arrays
        self._parts = rows, embedding, arrangement
        self._asked = 0.0  # searches by brute force so far; 1 means as long as making the codes takes
        self._built: PrunedSearch | None = None

    @property
    def nbytes(self) -> int:
        """Bytes besides the rows."""
        return sum(array.nbytes for array in self.arrays.values()) if self._built is None else self._built.nbytes

    def built(self, n_threads: int) -> PrunedSearch:
        """The search with its codes."""
        if self._built is None:
            rows, embedding, arrangement = self._parts
            embedding.choose_step(rows)
            self._built = PrunedSearch(rows, embedding, n_threads, arrangement)
        return self._built

    def worth_building(self, n_queries: int) -> bool:
        """Whether so many more queries make the codes worth their time."""
        if self._built is not None:
            return True
        self._asked += n_queries / (_SINGLE_QUERIES if n_queries <= _FEW else _BATCHED_QUERIES)
        return self._asked >= 1.0


def unpack(arrays: dict[str, np.ndarray], rows: np.ndarray, isa: Isa) -> StoredSearch:
    """The search over `rows` that `pack` described. Raises ValueError if the arrays do not belong together."""
    n, d = rows.shape
    try:
        n_columns, n_cells = len(arrays["screen_middle"]), len(arrays["screen_cells"])
        n_axes, n_coarse = len(arrays["screen_axes"]), arrays["screen_cells"].shape[-1]
    except (KeyError, TypeError) as error:
        raise ValueError(f"the saved index is incomplete: {error}") from None
    expected = {
        "screen_order": ((n,), np.int32),
        "screen_n_usual": ((1,), np.int64),
        "screen_axes": ((n_axes, d), np.int16),
        "screen_centre": ((d,), np.float64),
        "screen_scalars": ((len(_SCALARS),), np.float64),
        "screen_middle": ((n_columns,), np.float64),
        "screen_cells": ((n_cells, n_coarse), np.float32),
        "screen_cell_edges": ((n_cells + 1,), np.int64),
    }
    for name, (shape, dtype) in expected.items():
        if name not in arrays:
            raise ValueError(f"the saved index is incomplete: {name} is missing")
        if arrays[name].shape != shape or arrays[name].dtype != dtype:
            raise ValueError(
                f"the saved index does not fit the rows: {name} is {arrays[name].dtype}{arrays[name].shape}"
            )
    if not (n_columns in (32, 64) or (n_columns >= COLUMNS and n_columns % 32 == 0 and n_columns <= WIDEST)):
        raise ValueError(f"the saved index has short vectors of {n_columns} columns")
    if n_axes not in (n_columns - 1, n_columns) or n_coarse != coarse_columns(n_columns):
        raise ValueError(f"the saved index has {n_axes} axes and cells of {n_coarse} columns, for {n_columns} columns")
    order, n_usual = arrays["screen_order"], int(arrays["screen_n_usual"][0])
    if not (0 <= n_usual <= n and _lists_each_once(order)):
        raise ValueError("the saved index does not list each row once")
    cells, edges = arrays["screen_cells"], arrays["screen_cell_edges"]
    if n_cells < 1 or not np.isfinite(cells).all() or edges[0] != 0 or (np.diff(edges) < 0).any() or edges[-1] > n:
        raise ValueError("the saved index's cells are out of order")
    scalars = dict(zip(_SCALARS, map(float, arrays["screen_scalars"]), strict=True))
    embedding = Embedding.restored(
        isa, rows.dtype, arrays["screen_axes"], arrays["screen_centre"], arrays["screen_middle"], **scalars
    )
    arrangement = Arrangement(np.ascontiguousarray(cells), edges, order, n - n_usual)
    return StoredSearch({name: arrays[name] for name in expected}, rows, embedding, arrangement)


def _lists_each_once(order: np.ndarray) -> bool:
    """Whether `order` (n,) is a permutation of 0 to n - 1."""
    if order.min() < 0 or order.max() >= len(order):
        return False
    seen = np.zeros(len(order), bool)
    seen[order] = True
    return bool(seen.all())
