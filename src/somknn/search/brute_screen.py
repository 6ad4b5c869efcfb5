"""Brute force by coarser codes: when to try it, and with which codes.

The loop is in `somknn_kernels.search.brute_screen`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from somknn.axes import sample_rows
from somknn.machine import Isa, Steps, check_stopped, per_task
from somknn_kernels.exact.selection import Nearest, Within
from somknn_kernels.ir.layout import scan_queries
from somknn_kernels.ir.shapes import scan_panel_rows
from somknn_kernels.isa import Avx2
from somknn_kernels.search import brute_screen
from somknn_kernels.search.brute import Span

_BLOCK_BYTES = 200_000  # of packed rows, as in `brute`
_FEWEST_QUERIES = 64  # from so many queries on, the rows are worth encoding
_SEEDS = 512, 64  # rows among which a first k-th distance is found: at least, and for each neighbour
_COARSEST = 127  # largest step with which the codes' squares and errors fit the kernel's types
_SAMPLE = 64  # queries, and rows, whose distances are looked at
_PACKING = 50  # multiply-adds that packing one number takes
_PASSING = 1 / 16  # if this share of the sampled pairs passes, exact comparisons take the time that the codes save


def codes_may_pay(isa: Isa, n_queries: int) -> bool:
    """Whether coarser codes multiply faster than exact bytes here, and the queries are worth encoding the rows for."""
    return isinstance(isa, Avx2) and n_queries >= _FEWEST_QUERIES


def seed_rows(k: int) -> int:
    """Number of rows among which the k-th distances should be known before `search_by_codes`."""
    return max(_SEEDS[0], _SEEDS[1] * k)


class Part(NamedTuple):
    """Some of the queries (m, d) and some of the rows (n, d): [q_start, q_stop) and [r_start, r_stop)."""

    queries: np.ndarray
    q_start: int
    q_stop: int
    rows: np.ndarray
    r_start: int
    r_stop: int


def search_by_codes(isa: Isa, part: Part, upper_bounds: np.ndarray, collector: Nearest | Within) -> int:
    """As `brute.brute_bytes`; returns the row from which on nothing was searched: r_stop, or less if it does not pay.

    upper_bounds : int64 (m,), squared distances beyond which no row is of use to a query
    """
    queries, q_start, q_stop, rows, r_start, r_stop = part
    step = _code_step(queries[q_start:q_stop], rows[r_start:r_stop], upper_bounds[q_start:q_stop])
    if step is None:
        return r_start
    layout, panel = scan_queries(isa), scan_panel_rows(isa)
    packed = layout.zeros(q_stop - q_start, rows.shape[1])
    n_tiles, pairs, tile, _ = packed.shape
    n_panels = max(1, min(_BLOCK_BYTES // (2 * pairs * panel), -(-(r_stop - r_start) // panel)))
    scratch = brute_screen.CodeScratch(
        queries=packed,
        panels=np.empty((n_panels, pairs, panel), np.uint16),
        groups=np.empty((n_tiles, pairs), np.int32),
        n_groups=np.empty(n_tiles, np.int64),
        norms=np.zeros((n_tiles, tile), np.int64),
        errors=np.zeros((n_tiles, tile)),
        counts=np.zeros(2, np.int64),
    )

    def search(first: int, last: int, *to_pack: int) -> int:
        span = Span(q_start, q_stop, first, last, *to_pack)
        return brute_screen.screened_bytes(isa, queries, rows, span, step, scratch, upper_bounds, collector)

    return search_in_steps(search, scratch.queries, n_panels * panel, r_start, r_stop)


def search_in_steps(
    search: Callable[[int, int, int, int], int | None], queries: np.ndarray, block: int, r_start: int, r_stop: int
) -> int:
    """Call search(first row, last row, first tile to pack, last tile to pack) for ranges of rows; returns the end.

    queries : room for the packed queries, tile by tile; block : rows that a search packs at once
    """
    n_tiles, size = len(queries), queries[0].size
    at_once = per_task(n_tiles, _PACKING * size)
    packed = 0
    while n_tiles - packed > at_once:
        check_stopped()
        search(r_start, r_start, packed, packed + at_once)
        packed += at_once

    def call(first: int, last: int) -> int | None:
        nonlocal packed
        to_pack, packed = packed, n_tiles
        return search(first, last, to_pack, n_tiles)

    return Steps(per_task(r_stop - r_start, n_tiles * size), block).run(call, r_start, r_stop)


def _code_step(queries: np.ndarray, rows: np.ndarray, upper_bounds: np.ndarray) -> int | None:
    """The smallest step with which squared distances of codes rarely pass 2^17, where sums of 16 bits repeat.

    None if codes do not pay.
    """
    q, t = sample_rows(queries, _SAMPLE).astype(np.float32), sample_rows(rows, _SAMPLE).astype(np.float32)
    products = np.einsum("ij,kj->ik", q, t)  # not by BLAS, whose threads would wait for each other
    squares = (q**2).sum(axis=1)[:, None] + (t**2).sum(axis=1) - 2 * products
    distances = np.sqrt(np.maximum(squares, 0))
    step = max(3, int(np.ceil(np.quantile(distances, 0.999) / np.sqrt(2.0**17))))
    if step > _COARSEST:
        return None
    errors = [np.linalg.norm(part - step * np.floor(part / step + 0.5), axis=1) for part in (q, t)]
    radius = np.sqrt(sample_rows(upper_bounds, _SAMPLE)) + errors[0] + errors[1].max()
    return step if (distances <= radius[:, None]).mean() < _PASSING else None
