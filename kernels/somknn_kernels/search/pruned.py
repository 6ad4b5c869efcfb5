"""Search that rules rows out by a certified lower bound before it looks at them.

The scan multiplies the byte vectors of every row, in panels, with those of 6 queries. It leaves a panel as soon as the
leading columns rule out all of its rows (`scan_tiles.scan_tile`). What is left are candidates (`candidates.py`), the
best of which are compared exactly and offered to the collector. Panels that look near come first.

`upper_bounds` may be known before the scan begins: the distance to the previous best-matching unit, or a radius. No row
within its upper bound is ever lost.
"""

from typing import Any, NamedTuple

import numpy as np

from somknn_kernels.bounds.interval import range_of, sum_interval
from somknn_kernels.bounds.rounding import distance_within
from somknn_kernels.exact.distances import squared_distance
from somknn_kernels.exact.selection import bound, is_known, wanted
from somknn_kernels.ir.operations import trailing_zeros
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.search.candidates import candidate, compare, lower
from somknn_kernels.tiles.packing import put_code
from somknn_kernels.tiles.scan_tiles import scan_tile


class Screen(NamedTuple):
    """What stands for the rows in the scan. A place is the number of a row in the order of the panels.

    panels : uint8 (parts, panels, groups / parts, panel rows, g), codes plus `lift`, part by part
    half_norms : int16 or int32 (S, panels, panel rows), half the squared norms of the codes' sections, rounded down
    stops : int64 (S,), the part at which each section of the columns ends
    order : int32 (places,), the row at each place, -1 where there is none; step : float64, of the codes
    errors : float64 (2, S), the largest error of a row up to the end of each section: first in the first `n_usual`
    panels, then in the others, which hold the rare rows (their codes had to be clipped)
    stretch : float64, how many times as far apart two rows can be as their short vectors; inf if these leave something
    out
    """

    panels: Any
    half_norms: Any
    stops: Any
    order: Any
    step: Any
    errors: Any
    lift: Any
    n_usual: Any
    stretch: Any


class Probes(NamedTuple):
    """The queries' side of the scan. A slot is the number of a query in the order of the tiles.

    order : int64 (slots,), the query in each slot, -1 where there is none; packed : int8 (tiles, groups, query tile, 4)
    sums, squares : int64 (slots, S), of the codes of each section; errors : float64 (slots, S), up to its end
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
    with the numbers [first_turn, last_turn), in each of which the near panels of a tile are left out. Number -1 is the
    near panels.

    near : int32 (tiles, W), usual panels that look near to each tile, each once, or -1
    room : how many candidates a query can have that wait to be compared, at least 1
    """

    first_tile: Any
    last_tile: Any
    from_panel: Any
    to_panel: Any
    panels_per_block: Any
    first_panel: Any
    first_turn: Any
    last_turn: Any
    near: Any
    room: Any


@kernel
def pack_screen(codes, source, order, lift, first, last, panels, half_norms, stops):
    """Fill `panels` and `half_norms` for the places [first, last) from codes[source[place]].

    codes : int8 (n, P). Places without a row (order[place] < 0) stay zero.
    """
    parts, _, groups, rows, g = panels.shape
    for place in range(first, last):
        if order[place] < 0:
            continue
        panel, r, row = place // rows, place % rows, source[place]
        square, section = np.int64(0), 0
        for part in range(parts):
            for group in range(groups):
                for c in range(g):
                    code = np.int64(codes[row, (part * groups + group) * g + c])
                    square += code * code
                    panels[part, panel, group, r, c] = np.uint8(code + lift)
            if part + 1 == stops[section]:
                half_norms[section, panel, r] = square // 2
                square = np.int64(0)
                section += 1


@kernel
def pack_probes(codes, order, g, packed, sums, squares, stops):
    """Fill `packed`, `sums` and `squares` from codes : int8 (queries, P). Slots without a query stay zero.

    stops : int64 (S,), the column at which each section ends

    Four codes of a group are moved as one word. Sums have a loop of their own, which becomes vector instructions.
    """
    tile = packed.shape[2]
    words, code_words = packed.view(np.int32), codes.view(np.int32)
    for slot in range(order.shape[0]):
        query = order[slot]
        if query < 0:
            continue
        if g == 4:
            for group in range(code_words.shape[1]):
                words[slot // tile, group, slot % tile, 0] = code_words[query, group]
        else:
            for c in range(codes.shape[1]):
                put_code(packed, slot // tile, c, slot % tile, g, codes[query, c])
        start = 0
        for section in range(stops.shape[0]):
            stop = stops[section]
            total = square = np.int64(0)
            for c in range(start, stop):
                code = codes[query, c]
                total += np.int64(code)
                square += np.int64(code) * np.int64(code)
            sums[slot, section] = total
            squares[slot, section] = square
            start = stop


@inlined
def set_scan_thresholds(thresholds, t, j, step, lift, row_errors, kind, probe_errors, squares, sums, slot, upper_bound):
    """thresholds[t, :, j] for `scan_tile`, for a query to which nothing beyond the distance `upper_bound` is of use.

    row_errors : as `Screen.errors`; row `kind` of it is used; probe_errors, squares, sums : as in `Probes`
    Returns h + A of the last section, modulo the range of the sums: see `candidates.py` and `scan_tile`.
    """
    largest, half_range = range_of(thresholds.itemsize)
    norm = total = before = start = np.int64(0)
    n_sections, tile = squares.shape[1], thresholds.shape[2]
    for section in range(n_sections):
        norm += squares[slot, section]
        total += sums[slot, section]
        radius = (upper_bound + probe_errors[slot, section] + row_errors[kind, section]) / step
        start, top = sum_interval(radius, norm, 1 + section, largest)
        offset = half_range + start - lift * total
        thresholds[t, section, j] = offset - before
        thresholds[t, n_sections + section, j] = top - half_range
        before = offset
    for section in range(n_sections - 1):
        highest = thresholds[t, n_sections + section, 0]
        for other in range(1, tile):
            highest = max(highest, thresholds[t, n_sections + section, other])
        thresholds[t, 2 * n_sections + section // tile, section % tile] = highest
    return (norm + n_sections) // 2 + start - half_range


@inlined
def _mark(near, tile, block, n_panels, done):
    """done[i] = whether panel block + i is one of the near panels of a tile, for i < n_panels."""
    done[:n_panels] = 0
    for i in range(near.shape[1]):
        if block <= near[tile, i] < block + n_panels:
            done[near[tile, i] - block] = 1


@kernel
def search(isa, queries, rows, screen, probes, tour, upper_bounds, collector, counts):
    """Offer to `collector` every row of some panels that the queries of some tiles cannot rule out; tour : Tour.

    upper_bounds : int64 or float64 (m,), squared distances (see the module's docstring); may be lowered
    counts : int64 (2,): the survivors of the scan and the exact comparisons are added
    Exact for any order of the rows, any grouping of the queries, any near panels, and any upper_bounds not too low.
    """
    first_tile, last_tile, from_panel, to_panel, panels_per_block, first_panel, first_turn, last_turn, near, room = tour
    # Plain local names: reading a field of a tuple in a loop counts references, with atomic operations.
    panels, half_norms, order, step, lift = screen.panels, screen.half_norms, screen.order, screen.step, screen.lift
    slots, packed, errors = probes.order, probes.packed, screen.errors
    probe_errors, squares, totals, stops = probes.errors, probes.squares, probes.sums, screen.stops
    panel_rows, tile, n_sections, d = panels.shape[3], packed.shape[2], half_norms.shape[0], queries.shape[1]
    n_tiles, k = last_tile - first_tile, wanted(collector)
    largest, stretch = range_of(half_norms.itemsize)[0], screen.stretch
    may_lower = half_norms.itemsize == 4 and stretch < np.inf and k > 0
    thresholds = np.empty((n_tiles, 2 * n_sections + (n_sections + tile - 2) // tile, tile), half_norms.dtype)
    masks, out = np.empty(tile, np.uint64), np.empty((tile, panel_rows), half_norms.dtype)
    keys, n_keys = np.empty((n_tiles * tile, room), np.int64), np.zeros(n_tiles * tile, np.int64)
    bases, sums = np.zeros(n_tiles * tile, np.int64), np.empty(8)
    done = np.zeros(panels_per_block, np.uint8)
    blocks_before = 0
    for kind in range(2):
        kind_start = max(from_panel, 0 if kind == 0 else screen.n_usual)
        kind_stop = min(to_panel, screen.n_usual if kind == 0 else panels.shape[1])
        if kind_start >= kind_stop:
            continue
        n_blocks = (kind_stop - kind_start + panels_per_block - 1) // panels_per_block
        begin, end = max(0, first_turn - blocks_before), min(n_blocks, last_turn - blocks_before)
        blocks_before += n_blocks
        if kind == 0 and first_turn < 0:
            begin = -1
        if begin >= end:
            continue
        error = errors[kind, n_sections - 1]
        thresholds[:, :n_sections] = 0
        thresholds[:, n_sections:] = np.iinfo(thresholds.dtype).min  # rules everything out, for slots without a query
        for line in range(n_tiles * tile):
            query = slots[first_tile * tile + line]
            if query >= 0:
                within = distance_within(min(upper_bounds[query], bound(collector, query)), d)
                own = probe_errors, squares, totals, first_tile * tile + line, within
                bases[line] = set_scan_thresholds(thresholds, line // tile, line % tile, step, lift, errors, kind, *own)
        first_block = max(0, min(first_panel - kind_start, kind_stop - kind_start - 1)) // panels_per_block
        for turn in range(begin, end):
            # Turn -1 : the near panels of each tile. What is found there is compared at once, for tight bounds.
            block = kind_start + (first_block + turn) % n_blocks * panels_per_block
            n_panels = near.shape[1] if turn < 0 else min(block + panels_per_block, kind_stop) - block
            for t in range(n_tiles):
                if turn >= 0:
                    _mark(near, first_tile + t, block, n_panels, done)
                for place in range(n_panels):
                    panel = block + place if turn >= 0 else np.int64(near[first_tile + t, place])
                    if panel < kind_start or panel >= kind_stop or (turn >= 0 and kind == 0 and done[place] != 0):
                        continue
                    scan = panels, half_norms, panel, thresholds, t, masks, stops, out
                    if scan_tile(isa, packed, first_tile + t, *scan) == 0:
                        continue
                    for j in range(tile):
                        line, mask = t * tile + j, masks[j]
                        slot = first_tile * tile + line
                        query, base = slots[slot], bases[line]  # `out` was made with this base
                        while mask != 0:
                            r = trailing_zeros(mask)
                            mask &= mask - np.uint64(1)
                            row = np.int64(order[panel * panel_rows + r])
                            counts[0] += 1
                            if row < 0 or query < 0 or is_known(collector, query, row):
                                continue
                            keys[line, n_keys[line]] = candidate((base - np.int64(out[j, r])) & largest, row)
                            n_keys[line] += 1
                            if n_keys[line] == room:
                                both = probe_errors[slot, n_sections - 1] + error
                                if may_lower:
                                    lower(
                                        keys, n_keys, line, both, step, n_sections, stretch, upper_bounds, query, k, d
                                    )
                                if 2 * n_keys[line] > room:
                                    offers = keys, n_keys, line, both, step, n_sections, upper_bounds, collector, sums
                                    counts[1] += compare(isa, queries, query, rows, *offers)
                                within = distance_within(min(upper_bounds[query], bound(collector, query)), d)
                                own = probe_errors, squares, totals, slot, within
                                bases[line] = set_scan_thresholds(thresholds, t, j, step, lift, errors, kind, *own)
                for j in range(0 if begin < turn < end - 1 else tile):
                    line, slot = t * tile + j, (first_tile + t) * tile + j
                    query = slots[slot]
                    if query >= 0 and n_keys[line] > 0:
                        both = probe_errors[slot, n_sections - 1] + error
                        offers = keys, n_keys, line, both, step, n_sections, upper_bounds, collector, sums
                        counts[1] += compare(isa, queries, query, rows, *offers)
                        within = distance_within(min(upper_bounds[query], bound(collector, query)), d)
                        own = probe_errors, squares, totals, slot, within
                        bases[line] = set_scan_thresholds(thresholds, t, j, step, lift, errors, kind, *own)


@kernel
def distances_to(isa, queries, rows, indices, start, stop, out):
    """out[i, j] = exact squared distance of query i and row indices[i, j], for the queries in [start, stop).

    indices : int64 (m, k); out : int64 (bytes) or float64 (m, k)
    """
    sums = np.empty(8)
    for i in range(start, stop):
        for j in range(indices.shape[1]):
            out[i, j] = squared_distance(isa, queries, i, rows, indices[i, j], sums)
