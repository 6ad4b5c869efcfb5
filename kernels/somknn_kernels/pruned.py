"""Search that rules rows out by a certified lower bound before it looks at them.

Three stages, each on what the one before could not rule out:

1. the scan: 64-wide byte vectors of every row, in panels, one register tile per 6 queries (`tiles.scan_tile`);
2. the second look: a 128-wide byte vector of the row, two cache lines;
3. the exact distance, offered to the collector.

`ceilings` are upper bounds on what is wanted, known before the scan begins: the distance to the k-th best of a few
good guesses (`seed`), the previous best-matching unit's, or a radius. Nothing within a ceiling is ever lost.
"""

from typing import Any, NamedTuple

import numpy as np

from somknn_kernels.distances import distance_within, squared_distance, squared_distance_bytes
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.selection import NO_INDEX, bound, is_known, offer, push
from somknn_kernels.tiles import prefetch_row, scan_tile, trailing_zeros

_CERTAIN = 1.0 + 1e-9  # covers the rounding of the few float64 operations of a threshold
_LIST = 4096  # survivors that are collected before they are looked at


class Screen(NamedTuple):
    """What stands for the rows in stages 1 and 2; `place` counts rows in the order of the panels.

    panels : uint8 (panels, groups, panel rows, g), codes plus `lift`; half_norms : int16 or int32 (panels, panel rows),
    half the codes' squared norms, rounded down; order : int32 (places,), the row at each place, -1 where there is none;
    step : float64, stage 1's unit; errors : float64 (2,), the largest error of a row in the first `n_usual` panels and in the
    others, where the rows are whose codes had to be clipped; second : uint8 (places, P), P = 0 without a stage 2; second_errors : float64 (2,), as
    errors; second_step : float64.
    """

    panels: Any
    half_norms: Any
    order: Any
    step: Any
    errors: Any
    lift: Any
    n_usual: Any
    second: Any
    second_errors: Any
    second_step: Any


class Probes(NamedTuple):
    """The queries' side. Slots are queries in the order of the tiles.

    order : int64 (slots,), the query in each slot, -1 where there is none; packed : int8 (tiles, groups, query tile, 4);
    sums, squares : int64 (slots,), of the codes; errors : float64 (slots,); second : uint8 (slots, P); second_errors : float64 (slots,).
    """

    order: Any
    packed: Any
    sums: Any
    squares: Any
    errors: Any
    second: Any
    second_errors: Any


@kernel
def pack_screen(codes, order, lift, panels, half_norms):
    """Fill `panels` and `half_norms` from codes : int8 (places, p), signed; rows without an order are left zero."""
    _, groups, rows, g = panels.shape
    for place in range(codes.shape[0]):
        if order[place] < 0:
            continue
        panel, r = place // rows, place % rows
        square = np.int64(0)
        for c in range(groups * g):
            code = np.int64(codes[place, c])
            square += code * code
            panels[panel, c // g, r, c % g] = np.uint8(code + lift)
        half_norms[panel, r] = square // 2


@kernel
def pack_probes(codes, order, g, packed, sums):
    """Fill `packed` and `sums` from codes : int8 (queries, p); slots without a query are left zero."""
    _, groups, tile, _ = packed.shape
    for slot in range(order.shape[0]):
        query = order[slot]
        if query < 0:
            continue
        total = np.int64(0)
        for c in range(groups * g):
            code = codes[query, c]
            total += np.int64(code)
            packed[slot // tile, c // g, slot % tile, c % g] = code
            if g == 2:  # a broadcast takes 4 bytes: the pair twice
                packed[slot // tile, c // g, slot % tile, 2 + c % g] = code
        sums[slot] = total


@kernel
def seed(isa, queries, rows, screen, probes, windows, start, stop, n_candidates, ceilings, k):
    """ceilings[query] = exact squared distance to the k-th nearest among a few rows that look near.

    windows : int64 (slots, 2), the places to look at, at least n_candidates >= k of them. The candidates are the nearest by
    the second vectors.
    """
    order, query_order, second, query_second = screen.order, probes.order, screen.second, probes.second
    near = np.empty((1, n_candidates), np.int64)
    places = np.empty((1, n_candidates), np.int64)
    best = np.empty((1, k), ceilings.dtype)
    who = np.empty((1, k), np.int64)
    sums = np.empty(8)
    for slot in range(start, stop):
        query = query_order[slot]
        if query < 0:
            continue
        near[:] = NO_INDEX
        places[:] = NO_INDEX
        for place in range(windows[slot, 0], windows[slot, 1]):
            if order[place] >= 0:
                distance = squared_distance_bytes(isa, query_second, slot, second, place)
                if distance < near[0, 0]:
                    push(near, places, 0, distance, place)
        for i in range(n_candidates):
            if places[0, i] != NO_INDEX:
                prefetch_row(rows, np.int64(order[places[0, i]]))
        best[:] = ceilings[query]
        who[:] = NO_INDEX
        for i in range(n_candidates):
            if places[0, i] != NO_INDEX:
                row = np.int64(order[places[0, i]])
                push(best, who, 0, squared_distance(isa, queries, query, rows, row, sums), row)
        ceilings[query] = best[0, 0]


@inlined
def scan_thresholds(step, error, lift, wrap, probe_error, norm, total, reach):
    """(offset, top) for `scan_tile`: what a query may rule out when nothing beyond the distance `reach` is of use to it.

    error : the largest of the rows'; wrap : the largest top that 16-bit sums can tell apart.
    """
    ratio = (reach + probe_error + error) / step
    square = ratio * ratio * _CERTAIN + 1.0
    if not square < 2.0**28:  # NaN too
        return np.int32(0), np.int32(-1)  # -1 is the largest unsigned number: all survive
    lowest = -((np.int64(square) - norm) // 2)
    return np.int32(lowest + lift * total), np.int32(min((norm + 1) // 2 - lowest, wrap))


@inlined
def second_limit(step, error, probe_error, reach):
    """The largest squared distance of second vectors that a row within `reach` can have; NaN where nothing is certain."""
    ratio = (reach + probe_error + error) / step
    return ratio * ratio * _CERTAIN


@kernel
def search(
    isa,
    queries,
    rows,
    screen,
    probes,
    first_tile,
    last_tile,
    from_panel,
    to_panel,
    panels_per_block,
    first_panel,
    ceilings,
    collector,
    counts,
):
    """Offer to `collector` every row of panels [from_panel, to_panel) that the queries of tiles [first_tile, last_tile) cannot rule out.

    first_panel : where the scan begins: near the queries, so that their bounds are tight for the rest.
    ceilings : int64 or float64 (m,), see above. counts : int64 (2,), survivors of stages 1 and 2 are added.
    Exact for any order of the rows, any ceilings that are not too low, and any grouping of the queries.
    """
    # Plain local names: reading a field of a tuple in a loop counts references, atomically.
    panels, half_norms, order, second = screen.panels, screen.half_norms, screen.order, screen.second
    step, lift, second_step = screen.step, screen.lift, screen.second_step
    slots, packed, query_second, query_second_errors = probes.order, probes.packed, probes.second, probes.second_errors
    probe_errors, norms, totals = probes.errors, probes.squares, probes.sums
    panel_rows, tile, width = panels.shape[2], packed.shape[2], second.shape[1]
    wrap = np.int64(65535) if panels.shape[3] == 2 else np.int64(2**31 - 1)
    n_tiles = last_tile - first_tile
    offsets = np.zeros((n_tiles, tile), np.int32)
    tops = np.zeros((n_tiles, tile), np.int32)
    second_limits = np.zeros((n_tiles, tile))
    masks = np.empty(tile, np.uint64)
    who = np.empty(_LIST, np.int64)
    places = np.empty(_LIST, np.int64)
    seconds = np.empty(_LIST, np.int64)
    sums = np.empty(8)
    for kind in range(2):
        error, second_error = screen.errors[kind], screen.second_errors[kind]
        kind_start = max(from_panel, 0 if kind == 0 else screen.n_usual)
        kind_stop = min(to_panel, screen.n_usual if kind == 0 else panels.shape[0])
        if kind_start >= kind_stop:
            continue
        for t in range(n_tiles):
            for j in range(tile):
                slot = (first_tile + t) * tile + j
                query = slots[slot]
                if query >= 0:
                    reach = distance_within(min(ceilings[query], bound(collector, query)), queries.shape[1])
                    offsets[t, j], tops[t, j] = scan_thresholds(
                        step, error, lift, wrap, probe_errors[slot], norms[slot], totals[slot], reach
                    )
                    second_limits[t, j] = second_limit(second_step, second_error, query_second_errors[slot], reach)
        n_blocks = (kind_stop - kind_start + panels_per_block - 1) // panels_per_block
        first_block = max(0, min(first_panel - kind_start, kind_stop - kind_start - 1)) // panels_per_block
        for turn in range(n_blocks):
            block = kind_start + (first_block + turn) % n_blocks * panels_per_block
            block_end = min(block + panels_per_block, kind_stop)
            for t in range(n_tiles):
                base = (first_tile + t) * tile
                panel = block
                while panel < block_end:
                    found = 0
                    while panel < block_end and found <= _LIST - tile * panel_rows:
                        alive = scan_tile(
                            isa, packed, first_tile + t, panels, half_norms, panel, offsets, tops, t, masks
                        )
                        if alive != 0:
                            for j in range(tile):
                                mask = masks[j]
                                while mask != 0:
                                    place = panel * panel_rows + trailing_zeros(mask)
                                    mask &= mask - np.uint64(1)
                                    who[found] = j
                                    places[found] = place
                                    found += 1
                                    prefetch_row(second, place)
                        panel += 1
                    counts[0] += found
                    kept = 0
                    for i in range(found):
                        j, place = who[i], places[i]
                        row = np.int64(order[place])
                        if row < 0 or slots[base + j] < 0 or is_known(collector, slots[base + j], row):
                            continue
                        distance = np.int64(0)
                        if width > 0:
                            distance = squared_distance_bytes(isa, query_second, base + j, second, place)
                            if np.float64(distance) > second_limits[t, j]:
                                continue
                        seconds[kept] = distance
                        who[kept] = j
                        places[kept] = row
                        kept += 1
                        prefetch_row(rows, row)
                    counts[1] += kept
                    for i in range(kept):
                        j, row = who[i], places[i]
                        slot = base + j
                        query = slots[slot]
                        if np.float64(seconds[i]) > second_limits[t, j]:
                            continue  # the bound has become tighter since the list was made
                        distance = squared_distance(isa, queries, query, rows, row, sums)
                        before = min(bound(collector, query), ceilings[query])
                        if distance <= before:
                            offer(collector, query, distance, row)
                            after = min(bound(collector, query), ceilings[query])
                            if after < before:
                                reach = distance_within(after, queries.shape[1])
                                offsets[t, j], tops[t, j] = scan_thresholds(
                                    step, error, lift, wrap, probe_errors[slot], norms[slot], totals[slot], reach
                                )
                                second_limits[t, j] = second_limit(
                                    second_step, second_error, query_second_errors[slot], reach
                                )


@kernel
def distances_to(isa, queries, rows, indices, start, stop, out):
    """out[i, j] = exact squared distance of query i and row indices[i, j], for the queries in [start, stop).

    indices : int64 (m, k); out : int64 (bytes) or float64 (m, k).
    """
    sums = np.empty(8)
    for i in range(start, stop):
        for j in range(indices.shape[1]):
            out[i, j] = squared_distance(isa, queries, i, rows, indices[i, j], sums)
