"""Brute force by coarser codes: when to try it, and with which codes. The loop is in `somknn_kernels.brute_screen`."""

import numpy as np

from somknn.axes import sample_rows
from somknn_kernels import brute_screen, scan_tiles, tiles
from somknn_kernels.isa import Avx2, Isa

_BLOCK_BYTES = 200_000  # of packed rows, as in `brute`
_FEWEST_QUERIES = 64  # from here on the rows are worth encoding
_SEEDS = 512, 64  # rows among which a first k-th distance is found: at least, and for each neighbour
_COARSEST = 127  # step up to which the codes' squares and errors fit the kernel's types
_SAMPLE = 64  # queries and rows of which distances are looked at
_PASSING = 1 / 16  # share of the sampled pairs from which on exact comparisons take what the codes save


def codes_may_pay(isa: Isa, n_queries: int) -> bool:
    """Whether the instruction set multiplies bytes faster than it can exactly, and the queries are enough to encode the rows for."""
    return isinstance(isa, Avx2) and n_queries >= _FEWEST_QUERIES


def seed_rows(k: int) -> int:
    """Among how many rows the k-th distances should be known before `search_by_codes`."""
    return max(_SEEDS[0], _SEEDS[1] * k)


def search_by_codes(isa: Isa, queries, q_start, q_stop, rows, r_start, r_stop, ceilings, collector) -> int:
    """As `brute.brute_bytes`; returns the row from which on nothing has been searched: r_stop, or before where it does not pay.

    ceilings : int64 (m,), squared distances beyond which no row is of use to a query.
    """
    step = _code_step(queries[q_start:q_stop], rows[r_start:r_stop], ceilings[q_start:q_stop])
    if step is None:
        return r_start
    tile, panel = tiles.query_tile(isa), scan_tiles.scan_panel_rows(isa)
    pairs = -(-rows.shape[1] // 2)
    n_panels = max(1, min(_BLOCK_BYTES // (2 * pairs * panel), -(-(r_stop - r_start) // panel)))
    packed_queries = np.empty((-(-(q_stop - q_start) // tile), pairs, tile, 4), np.int8)
    panels = np.empty((n_panels, pairs, panel), np.uint16)
    span = (queries, q_start, q_stop, rows, r_start, r_stop)
    return brute_screen.screened_bytes(isa, *span, step, packed_queries, panels, ceilings, collector)


def _code_step(queries, rows, ceilings) -> int | None:
    """The smallest unit with which squared distances of codes rarely pass 2^17, where sums of 16 bits repeat; None where codes do not pay."""
    q, t = sample_rows(queries, _SAMPLE).astype(np.float32), sample_rows(rows, _SAMPLE).astype(np.float32)
    products = np.einsum("ij,kj->ik", q, t)  # not by BLAS, whose threads would wait for one another
    squares = (q**2).sum(axis=1)[:, None] + (t**2).sum(axis=1) - 2 * products
    distances = np.sqrt(np.maximum(squares, 0))
    step = max(3, int(np.ceil(np.quantile(distances, 0.999) / np.sqrt(2.0**17))))
    if step > _COARSEST:
        return None
    errors = [np.linalg.norm(part - step * np.floor(part / step + 0.5), axis=1) for part in (q, t)]
    reach = np.sqrt(sample_rows(ceilings, _SAMPLE)) + errors[0] + errors[1].max()
    return step if (distances <= reach[:, None]).mean() < _PASSING else None
