"""Brute force at the machine's peak rate: every query with every row; each tile's sums are compared at once.

Cost per query and row: d multiply-adds (bytes: 64 per instruction with VNNI, 16 with AVX2; float32: 8) and one
comparison. Columns in which a whole tile of queries is zero are left out. Each task reads each block of rows from
memory once; from then on the block lies in the level-2 cache.
docs/concepts/brute-force.md has the rates and the proof of the float32 margin.
"""

from typing import Any, NamedTuple

import numpy as np

from somknn_kernels.bounds.rounding import distance_within
from somknn_kernels.exact.distances import squared_distance
from somknn_kernels.exact.selection import bound, offer
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles.packing import drop_zero_groups, pack_bytes, pack_centred, square_bytes, sum_bytes
from somknn_kernels.tiles.products import dot_tile_of_groups

LARGEST = np.int64(2**31 - 1)
_UNIT = 2.0**-24  # half a unit in the last place of float32


class Span(NamedTuple):
    """Which queries meet which rows: [q_start, q_stop) and [r_start, r_stop), int64.

    The tiles of queries [pack_start, pack_stop) are packed first. Those before them are packed already. All tiles must
    be packed before rows are searched.
    """

    q_start: Any
    q_stop: Any
    r_start: Any
    r_stop: Any
    pack_start: Any
    pack_stop: Any


class ByteScratch(NamedTuple):
    """What `brute_bytes` keeps of the queries from one range of rows to the next, and room for a block of rows.

    queries : (query tiles, groups, query tile, g) and panels : (panels of a block, groups, panel rows, g), of the types
    that `dot_tile_of_groups` takes
    groups : int32 (query tiles, groups) and n_groups : int64 (query tiles,), the groups in use
    shifts : int32 and norms : int64 (query tiles, query tile), zeros
    """

    queries: Any
    panels: Any
    groups: Any
    n_groups: Any
    shifts: Any
    norms: Any


class FloatScratch(NamedTuple):
    """The same for `brute_floats`.

    queries : float32 (query tiles, d, query tile, 1); panels : float32 (panels, d, panel rows, 1)
    squares, errors : float64 (query tiles, query tile), zeros; groups, n_groups : as in `ByteScratch`
    """

    queries: Any
    panels: Any
    groups: Any
    n_groups: Any
    squares: Any
    errors: Any


@inlined
def _threshold_bytes(worst, norm):
    """`worst` - norm, clipped to int32."""
    if worst > 4 * LARGEST:
        return np.int32(LARGEST)
    return np.int32(max(-LARGEST, min(LARGEST, worst - norm)))


@inlined
def _any_within(dots, j, row_norms, p, shift, threshold):
    found = False
    for r in range(dots.shape[1]):
        found |= row_norms[p, r] - np.int32(2) * (dots[j, r] + shift) <= threshold
    return found


@kernel
def brute_bytes(isa, queries, rows, span, scratch, flip, collector):
    """Offer to `collector` every row of a span that a query of the span cannot rule out.

    queries : uint8 (m, d); rows : uint8 (n, d), d <= 33,025, so that every sum fits 32 bits; span : Span
    scratch : ByteScratch; flip : what is subtracted from packed rows, 128 (VNNI) or 0
    Exact: ‖t‖² - 2 q·t = ‖q-t‖² - ‖q‖² in integers. Rows are offered in ascending order.
    """
    # Plain local names: reading a field of a tuple in a loop counts references, with atomic operations.
    q_start, q_stop, r_start, r_stop, pack_start, pack_stop = span
    packed_queries, panels, groups, n_groups = scratch.queries, scratch.panels, scratch.groups, scratch.n_groups
    shifts, norms = scratch.shifts, scratch.norms
    n_tiles, _, tile, _ = packed_queries.shape
    n_panels, _, panel, _ = panels.shape
    for t in range(pack_start, pack_stop):
        first = q_start + t * tile
        count = min(tile, q_stop - first)
        pack_bytes(queries, first, count, 0, packed_queries[t])
        for j in range(count):
            norms[t, j] = square_bytes(queries, first + j)
            shifts[t, j] = flip * sum_bytes(queries, first + j)  # makes up for what was subtracted from packed rows
        n_groups[t] = drop_zero_groups(packed_queries, t, groups)
    row_norms = np.empty((n_panels, panel), np.int32)
    dots = np.empty((tile, panel), np.int32)
    for block in range(r_start, r_stop, n_panels * panel):
        used = min(n_panels, (r_stop - block + panel - 1) // panel)
        for p in range(used):
            first_row = block + p * panel
            pack_bytes(rows, first_row, min(panel, r_stop - first_row), flip, panels[p])
            for r in range(panel):
                row_norms[p, r] = square_bytes(rows, first_row + r) if first_row + r < r_stop else LARGEST
        for t in range(n_tiles):
            first = q_start + t * tile
            for p in range(used):
                dot_tile_of_groups(isa, packed_queries, t, groups, n_groups, panels, p, dots)
                first_row = block + p * panel
                count = min(panel, r_stop - first_row)
                for j in range(min(tile, q_stop - first)):
                    threshold = _threshold_bytes(bound(collector, first + j), norms[t, j])
                    if _any_within(dots, j, row_norms, p, shifts[t, j], threshold):
                        for r in range(count):
                            value = row_norms[p, r] - np.int32(2) * (dots[j, r] + shifts[t, j])
                            if value <= threshold:
                                offer(collector, first + j, np.int64(value) + norms[t, j], first_row + r)


@inlined
def _threshold_floats(worst, scale, query_square, query_error, row_square, row_error, d):
    """A number that ‖t'‖² - 2 q'·t', as float32 arithmetic gives it, does not exceed for rows within `worst`.

    Primes are the packed (centred, scaled, rounded) vectors. row_square and row_error are the largest of the block.
    """
    radius = distance_within(worst, d) * scale + query_error + row_error
    product = np.sqrt(query_square * row_square)
    chain = (d + 2) * _UNIT / (1.0 - (d + 2) * _UNIT)
    rounding = 2.0 * chain * product + 4.0 * _UNIT * (row_square + product) + d * 2.0**-120
    return radius * radius - query_square + rounding + 1e-12 * (radius * radius + query_square)


@inlined
def _any_not_beyond(dots, j, row_norms, p, threshold):
    found = False
    for r in range(dots.shape[1]):
        # Written as "not greater": an overflow (NaN) is never ruled out.
        found |= not (row_norms[p, r] - np.float32(2.0) * dots[j, r] > threshold)
    return found


@kernel
def brute_floats(isa, queries, rows, span, scratch, centre, scale, collector):
    """As `brute_bytes`, for all number types: float32 proposes with a proven margin, float64 decides.

    scratch : FloatScratch; centre : float64 (d,); scale : a power of two that brings the rows near 1.
    """
    q_start, q_stop, r_start, r_stop, pack_start, pack_stop = span
    packed_queries, panels, groups, n_groups = scratch.queries, scratch.panels, scratch.groups, scratch.n_groups
    squares, errors = scratch.squares, scratch.errors
    n_tiles, d, tile, _ = packed_queries.shape
    n_panels, _, panel, _ = panels.shape
    for t in range(pack_start, pack_stop):
        first = q_start + t * tile
        pack_centred(queries, first, min(tile, q_stop - first), centre, scale, packed_queries[t], squares[t], errors[t])
        n_groups[t] = drop_zero_groups(packed_queries, t, groups)
    row_squares = np.empty((n_panels, panel))
    row_errors = np.empty((n_panels, panel))
    row_norms = np.empty((n_panels, panel), np.float32)
    dots = np.empty((tile, panel), np.float32)
    sums = np.empty(8)
    for block in range(r_start, r_stop, n_panels * panel):
        used = min(n_panels, (r_stop - block + panel - 1) // panel)
        largest_square, largest_error = 0.0, 0.0
        for p in range(used):
            first_row = block + p * panel
            count = min(panel, r_stop - first_row)
            pack_centred(rows, first_row, count, centre, scale, panels[p], row_squares[p], row_errors[p])
            for r in range(panel):
                row_norms[p, r] = np.float32(row_squares[p, r]) if r < count else np.float32(np.inf)
                largest_square = max(largest_square, row_squares[p, r])
                largest_error = max(largest_error, row_errors[p, r])
        for t in range(n_tiles):
            first = q_start + t * tile
            for p in range(used):
                dot_tile_of_groups(isa, packed_queries, t, groups, n_groups, panels, p, dots)
                first_row = block + p * panel
                count = min(panel, r_stop - first_row)
                for j in range(min(tile, q_stop - first)):
                    worst = bound(collector, first + j)
                    threshold = _threshold_floats(
                        worst, scale, squares[t, j], errors[t, j], largest_square, largest_error, d
                    )
                    if _any_not_beyond(dots, j, row_norms, p, threshold):
                        for r in range(count):
                            if not (row_norms[p, r] - np.float32(2.0) * dots[j, r] > threshold):
                                exact = squared_distance(isa, queries, first + j, rows, first_row + r, sums)
                                offer(collector, first + j, exact, first_row + r)
                                worst = bound(collector, first + j)
                                threshold = _threshold_floats(
                                    worst,
                                    scale,
                                    squares[t, j],
                                    errors[t, j],
                                    largest_square,
                                    largest_error,
                                    d,
                                )


@kernel
def rowwise(isa, queries, q_start, q_stop, rows, r_start, r_stop, collector):
    """As `brute_bytes`, for a few queries of any types: reads the rows once, unpacked; limited by memory bandwidth."""
    sums = np.empty(8)
    for r in range(r_start, r_stop):
        for query in range(q_start, q_stop):
            distance = squared_distance(isa, queries, query, rows, r, sums)
            if distance <= bound(collector, query):
                offer(collector, query, distance, r)
