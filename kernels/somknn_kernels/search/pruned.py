"""Search that rules rows out by a certified lower bound before it looks at them.

The scan multiplies the byte vectors of every row, in panels, with those of 6 queries. It leaves a panel as soon as the
leading columns rule out all of its rows (`scan_tiles.scan_tile`). Survivors are compared exactly and offered to the
collector.

`upper_bounds` are known before the scan begins: the distance to the k-th best of a few good guesses (`seed`), that to
the previous best-matching unit, or a radius. No row within its upper bound is ever lost.
"""

from typing import Any, NamedTuple

import numpy as np

from somknn_kernels.bounds.interval import range_of, sum_interval
from somknn_kernels.bounds.rounding import distance_within
from somknn_kernels.exact.distances import squared_distance
from somknn_kernels.exact.selection import NO_INDEX, bound, is_known, offer, push
from somknn_kernels.ir.operations import prefetch_row, trailing_zeros
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles.packing import put_code
from somknn_kernels.tiles.scan_tiles import scan_products, scan_tile

_LIST = 4096  # survivors that are collected before they are compared


class Screen(NamedTuple):
    """What stands for the rows in the scan. A place is the number of a row in the order of the panels.

    panels : uint8 (4, panels, groups / 4, panel rows, g), codes plus `lift`, by quarters of the columns
    half_norms : int16 or int32 (3, panels, panel rows), half the squared norms of the codes' sections, rounded down
    order : int32 (places,), the row at each place, -1 where there is none; step : float64, of the codes
    errors : float64 (2, 3), the largest error of a row up to the end of each section: first in the first `n_usual`
    panels, then in the others, which hold the rare rows (their codes had to be clipped)
    """

    panels: Any
    half_norms: Any
    order: Any
    step: Any
    errors: Any
    lift: Any
    n_usual: Any


class Probes(NamedTuple):
    """The queries' side of the scan. A slot is the number of a query in the order of the tiles.

    order : int64 (slots,), the query in each slot, -1 where there is none; packed : int8 (tiles, groups, query tile, 4)
    sums, squares : int64 (slots, 3), of the codes of each section; errors : float64 (slots, 3), up to its end
    """

    order: Any
    packed: Any
    sums: Any
    squares: Any
    errors: Any


class Tour(NamedTuple):
    """Which panels the queries of the tiles [first_tile, last_tile) meet, and in which order; int64.

    The panels [from_panel, to_panel) come in blocks of `panels_per_block`, the last of which may be shorter. The usual
    panels come first, from the block of `first_panel` on and then from the beginning; then the others likewise.
    `first_panel` lies near the queries, so that their bounds are tight for the later blocks. A call takes the blocks
    with the numbers [first_turn, last_turn).
    """

    first_tile: Any
    last_tile: Any
    from_panel: Any
    to_panel: Any
    panels_per_block: Any
    first_panel: Any
    first_turn: Any
    last_turn: Any


class Guesses(NamedTuple):
    """Where the seeds of the queries are sought.

    windows : int64 (slots, 2), ranges of places to look at, rounded to whole panels; at least `n_candidates` places
    n_candidates : how many of the nearest by their codes are measured, at least k
    k : the upper bound is the k-th smallest of the distances measured
    """

    windows: Any
    n_candidates: Any
    k: Any


@inlined
def _section_stop(section, width):
    """The column where section 0, 1 or 2 ends: after a quarter, after half, or after all of them."""
    return width >> (2 - section)


@kernel
def pack_screen(codes, source, order, lift, first, last, panels, half_norms):
    """Fill `panels` and `half_norms` for the places [first, last) from codes[source[place]].

    codes : int8 (n, P). Places without a row (order[place] < 0) stay zero.
    """
    _, _, groups, rows, g = panels.shape
    for place in range(first, last):
        if order[place] < 0:
            continue
        panel, r, row = place // rows, place % rows, source[place]
        square = np.int64(0)
        for quarter in range(4):
            for group in range(groups):
                for c in range(g):
                    code = np.int64(codes[row, (quarter * groups + group) * g + c])
                    square += code * code
                    panels[quarter, panel, group, r, c] = np.uint8(code + lift)
            if quarter != 2:  # the third section has two quarters
                half_norms[min(quarter, 2), panel, r] = square // 2
                square = np.int64(0)


@kernel
def pack_probes(codes, order, g, packed, sums, squares):
    """Fill `packed`, `sums` and `squares` from codes : int8 (queries, P). Slots without a query stay zero."""
    _, groups, tile, _ = packed.shape
    for slot in range(order.shape[0]):
        query = order[slot]
        if query < 0:
            continue
        start = 0
        for section in range(3):
            stop = _section_stop(section, groups * g)
            total = square = np.int64(0)
            for c in range(start, stop):
                code = codes[query, c]
                total += np.int64(code)
                square += np.int64(code) * np.int64(code)
                put_code(packed, slot // tile, c, slot % tile, g, code)
            sums[slot, section] = total
            squares[slot, section] = square
            start = stop


@kernel
def seed(isa, queries, rows, screen, probes, guesses, first_tile, last_tile, upper_bounds):
    """Lower upper_bounds[query] to the exact squared distance of the k-th nearest of a few rows that look near.

    For the queries of the tiles [first_tile, last_tile); guesses : Guesses. The sums of `scan_products` tell which rows
    are the nearest by their codes. A sum that wraps around misleads, which only costs time.
    """
    windows, n_candidates, k = guesses
    panels, half_norms, order, slots, packed = (
        screen.panels,
        screen.half_norms,
        screen.order,
        probes.order,
        probes.packed,
    )
    squares, totals, lift = probes.squares, probes.sums, screen.lift
    tile, panel_rows = packed.shape[2], panels.shape[3]
    modulus = np.int64(65535) if panels.shape[4] == 2 else np.int64(2**32 - 1)
    products = np.empty((tile, panel_rows), half_norms.dtype)
    norms = np.empty(panel_rows, np.int64)
    near = np.empty((tile, n_candidates), np.int64)
    places = np.empty((tile, n_candidates), np.int64)
    best = np.empty((1, k), upper_bounds.dtype)
    who = np.empty((1, k), np.int64)
    sums = np.empty(8)
    for t in range(first_tile, last_tile):
        near[:] = NO_INDEX
        places[:] = NO_INDEX
        first = 0
        while first < tile:
            # Neighbouring slots mostly have the same window.
            slot = t * tile + first
            start, stop = windows[slot, 0], windows[slot, 1]
            last = first + 1
            while last < tile and windows[slot + last - first, 0] == start and windows[slot + last - first, 1] == stop:
                last += 1
            for panel in range(start // panel_rows, (stop + panel_rows - 1) // panel_rows):
                scan_products(isa, packed, t, panels, panel, products)
                for r in range(panel_rows):
                    norms[r] = (
                        np.int64(half_norms[0, panel, r])
                        + np.int64(half_norms[1, panel, r])
                        + np.int64(half_norms[2, panel, r])
                    )
                for j in range(first, last):
                    own = t * tile + j
                    total = totals[own, 0] + totals[own, 1] + totals[own, 2]
                    norm = (squares[own, 0] + squares[own, 1] + squares[own, 2] + 3) // 2 + lift * total
                    worst = near[j, 0]
                    for r in range(panel_rows):
                        # Half the squared distance, in squared steps.
                        distance = (norm + norms[r] - np.int64(products[j, r])) & modulus
                        if distance < worst and order[panel * panel_rows + r] >= 0:
                            push(near, places, j, distance, panel * panel_rows + r)
                            worst = near[j, 0]
            first = last
        for j in range(tile):
            for i in range(n_candidates):
                if places[j, i] != NO_INDEX:
                    prefetch_row(rows, np.int64(order[places[j, i]]))
        for j in range(tile):
            query = slots[t * tile + j]
            if query < 0:
                continue
            best[:] = upper_bounds[query]
            who[:] = NO_INDEX
            for i in range(n_candidates):
                if places[j, i] != NO_INDEX:
                    row = np.int64(order[places[j, i]])
                    push(best, who, 0, squared_distance(isa, queries, query, rows, row, sums), row)
            upper_bounds[query] = best[0, 0]


@inlined
def set_scan_thresholds(thresholds, t, j, step, lift, row_errors, kind, probe_errors, squares, sums, slot, upper_bound):
    """thresholds[t, :, j] for `scan_tile`, for a query to which nothing beyond the distance `upper_bound` is of use.

    row_errors : as `Screen.errors`; row `kind` of it is used; probe_errors, squares, sums : as in `Probes`
    """
    largest, half_range = range_of(thresholds.itemsize)
    norm = total = before = np.int64(0)
    for section in range(3):
        norm += squares[slot, section]
        total += sums[slot, section]
        radius = (upper_bound + probe_errors[slot, section] + row_errors[kind, section]) / step
        start, top = sum_interval(radius, norm, 1 + section, largest)
        offset = half_range + start - lift * total
        thresholds[t, section, j] = offset - before
        thresholds[t, 3 + section, j] = top - half_range
        before = offset
    for section in range(2):
        highest = thresholds[t, 3 + section, 0]
        for other in range(1, thresholds.shape[2]):
            highest = max(highest, thresholds[t, 3 + section, other])
        thresholds[t, 6, section] = highest


@kernel
def search(isa, queries, rows, screen, probes, tour, upper_bounds, collector, counts):
    """Offer to `collector` every row of some panels that the queries of some tiles cannot rule out; tour : Tour.

    upper_bounds : int64 or float64 (m,), squared distances (see the module's docstring)
    counts : int64 (2,): the survivors of the scan and the exact comparisons are added
    Exact for any order of the rows, any grouping of the queries, and any upper_bounds that are not too low.
    """
    first_tile, last_tile, from_panel, to_panel, panels_per_block, first_panel, first_turn, last_turn = tour
    # Plain local names: reading a field of a tuple in a loop counts references, with atomic operations.
    panels, half_norms, order, step, lift = screen.panels, screen.half_norms, screen.order, screen.step, screen.lift
    slots, packed, errors = probes.order, probes.packed, screen.errors
    probe_errors, squares, totals = probes.errors, probes.squares, probes.sums
    panel_rows, tile = panels.shape[3], packed.shape[2]
    n_tiles = last_tile - first_tile
    thresholds = np.empty((n_tiles, 7, tile), half_norms.dtype)
    masks = np.empty(tile, np.uint64)
    who = np.empty(_LIST, np.int64)
    found_rows = np.empty(_LIST, np.int64)
    sums = np.empty(8)
    blocks_before = 0
    for kind in range(2):
        kind_start = max(from_panel, 0 if kind == 0 else screen.n_usual)
        kind_stop = min(to_panel, screen.n_usual if kind == 0 else panels.shape[1])
        if kind_start >= kind_stop:
            continue
        n_blocks = (kind_stop - kind_start + panels_per_block - 1) // panels_per_block
        begin, end = max(0, first_turn - blocks_before), min(n_blocks, last_turn - blocks_before)
        blocks_before += n_blocks
        if begin >= end:
            continue
        thresholds[:, :3] = 0
        thresholds[:, 3:] = np.iinfo(thresholds.dtype).min  # rules everything out, for slots without a query
        for t in range(n_tiles):
            for j in range(tile):
                slot = (first_tile + t) * tile + j
                query = slots[slot]
                if query >= 0:
                    upper_bound = distance_within(min(upper_bounds[query], bound(collector, query)), queries.shape[1])
                    given = step, lift, errors, kind, probe_errors, squares, totals, slot, upper_bound
                    set_scan_thresholds(thresholds, t, j, *given)
        first_block = max(0, min(first_panel - kind_start, kind_stop - kind_start - 1)) // panels_per_block
        for turn in range(begin, end):
            block = kind_start + (first_block + turn) % n_blocks * panels_per_block
            block_end = min(block + panels_per_block, kind_stop)
            for t in range(n_tiles):
                base = (first_tile + t) * tile
                panel = block
                while panel < block_end:
                    found = 0
                    while panel < block_end and found <= _LIST - tile * panel_rows:
                        alive = scan_tile(isa, packed, first_tile + t, panels, half_norms, panel, thresholds, t, masks)
                        if alive != 0:
                            for j in range(tile):
                                mask = masks[j]
                                while mask != 0:
                                    row = np.int64(order[panel * panel_rows + trailing_zeros(mask)])
                                    mask &= mask - np.uint64(1)
                                    who[found] = j
                                    found_rows[found] = row
                                    found += 1
                                    prefetch_row(rows, max(row, np.int64(0)))
                        panel += 1
                    counts[0] += found
                    for i in range(found):
                        j, row = who[i], found_rows[i]
                        slot = base + j
                        query = slots[slot]
                        if row < 0 or query < 0 or is_known(collector, query, row):
                            continue
                        counts[1] += 1
                        distance = squared_distance(isa, queries, query, rows, row, sums)
                        before = min(bound(collector, query), upper_bounds[query])
                        if distance <= before:
                            offer(collector, query, distance, row)
                            after = min(bound(collector, query), upper_bounds[query])
                            if after < before:
                                upper_bound = distance_within(after, queries.shape[1])
                                given = step, lift, errors, kind, probe_errors, squares, totals, slot, upper_bound
                                set_scan_thresholds(thresholds, t, j, *given)


@kernel
def distances_to(isa, queries, rows, indices, start, stop, out):
    """out[i, j] = exact squared distance of query i and row indices[i, j], for the queries in [start, stop).

    indices : int64 (m, k); out : int64 (bytes) or float64 (m, k)
    """
    sums = np.empty(8)
    for i in range(start, stop):
        for j in range(indices.shape[1]):
            out[i, j] = squared_distance(isa, queries, i, rows, indices[i, j], sums)
