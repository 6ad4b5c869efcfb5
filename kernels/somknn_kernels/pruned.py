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

from somknn_kernels.distances import squared_distance, squared_distance_bytes
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.selection import NO_INDEX, bound, offer, push
from somknn_kernels.tiles import prefetch, scan_tile, trailing_zeros

_CERTAIN = 1.0 + 1e-9  # covers the rounding of the few float64 operations of a threshold
_LIST = 4096  # survivors that are collected before they are looked at
_EVERYTHING = 65535


class Screen(NamedTuple):
    """What stands for the rows in stages 1 and 2; `place` counts rows in the order of the panels.

    panels : uint8 (panels, groups, panel rows, g), codes plus `lift`; half_norms : int16 or int32 (panels, panel rows),
    half the codes' squared norms, rounded down; order : int32 (places,), the row at each place, -1 where there is none;
    step, error : float64, stage 1's unit and the largest error of the rows in the first `screened` panels (rows in later panels
    survive stage 1 unseen); second : uint8 (places, P), P = 0 without a stage 2; second_errors : float32 (places,);
    second_step : float64.
    """

    panels: Any
    half_norms: Any
    order: Any
    step: Any
    error: Any
    lift: Any
    screened: Any
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
    near = np.empty(n_candidates, np.int64)
    places = np.empty(n_candidates, np.int64)
    best = np.empty(k, ceilings.dtype)
    who = np.empty(k, np.int64)
    sums = np.empty(8)
    for slot in range(start, stop):
        query = probes.order[slot]
        if query < 0:
            continue
        near[:] = NO_INDEX
        places[:] = NO_INDEX
        for place in range(windows[slot, 0], windows[slot, 1]):
            if screen.order[place] >= 0:
                distance = squared_distance_bytes(isa, probes.second, slot, screen.second, place)
                if distance < near[0]:
                    push(near, places, distance, place)
        for i in range(n_candidates):
            if places[i] != NO_INDEX:
                row = np.int64(screen.order[places[i]])
                prefetch(rows.reshape(-1), row * rows.shape[1], rows.shape[1] * rows.itemsize)
        best[:] = ceilings[query]
        who[:] = NO_INDEX
        for i in range(n_candidates):
            if places[i] != NO_INDEX:
                row = np.int64(screen.order[places[i]])
                push(best, who, squared_distance(isa, queries, query, rows, row, sums), row)
        ceilings[query] = best[0]


@inlined
def _set_thresholds(screen, probes, slot, worst, reaches, offsets, tops, j):
    """What slot's query may rule out now that nothing beyond `worst` is of use to it."""
    reach = np.sqrt(np.float64(worst)) * _CERTAIN
    reaches[j] = reach
    ratio = (reach + probes.errors[slot] + screen.error) / screen.step
    square = ratio * ratio * _CERTAIN + 1.0
    norm = probes.squares[slot]
    highest = (norm + 1) // 2
    shift = screen.lift * probes.sums[slot]
    if square < 2.0**28:  # false for NaN too
        lowest = -((np.int64(square) - norm) // 2)
        top = highest - lowest
        offsets[j] = lowest + shift
        tops[j] = min(top, _EVERYTHING) if screen.half_norms.itemsize == 2 else top
    else:
        offsets[j] = 0
        tops[j] = -1  # as an unsigned number the largest: all survive


@kernel
def search(isa, queries, rows, screen, probes, first_tile, last_tile, panels_per_block, ceilings, collector, counts):
    """Offer to `collector` every row that the queries of tiles [first_tile, last_tile) cannot rule out.

    ceilings : int64 or float64 (m,), see above. counts : int64 (2,), survivors of stages 1 and 2 are added.
    Exact for any order of the rows, any ceilings that are not too low, and any grouping of the queries.
    """
    n_panels, _, panel_rows, _ = screen.panels.shape
    tile = probes.packed.shape[2]
    n_tiles = last_tile - first_tile
    offsets = np.zeros((n_tiles, tile), np.int32)
    tops = np.zeros((n_tiles, tile), np.int32)
    reaches = np.zeros((n_tiles, tile))
    masks = np.empty(tile, np.uint64)
    who = np.empty(_LIST, np.int64)
    places = np.empty(_LIST, np.int64)
    sums = np.empty(8)
    flat_second = screen.second.reshape(-1)
    flat_rows = rows.reshape(-1)
    row_bytes = rows.shape[1] * rows.itemsize
    width = screen.second.shape[1]
    for t in range(n_tiles):
        for j in range(tile):
            slot = (first_tile + t) * tile + j
            query = probes.order[slot]
            if query >= 0:
                worst = min(ceilings[query], bound(collector, query))
                _set_thresholds(screen, probes, slot, worst, reaches[t], offsets[t], tops[t], j)
    for block in range(0, n_panels, panels_per_block):
        block_end = min(block + panels_per_block, n_panels)
        for t in range(n_tiles):
            base = (first_tile + t) * tile
            panel = block
            while panel < block_end:
                found = 0
                while panel < block_end and found <= _LIST - tile * panel_rows:
                    if panel < screen.screened:
                        alive = scan_tile(
                            isa,
                            probes.packed[first_tile + t],
                            screen.panels[panel],
                            screen.half_norms[panel],
                            offsets[t],
                            tops[t],
                            masks,
                        )
                    else:
                        alive = np.uint64(1)
                        masks[:] = ~np.uint64(0) >> np.uint64(64 - panel_rows)
                    if alive != 0:
                        for j in range(tile):
                            mask = masks[j]
                            while mask != 0:
                                place = panel * panel_rows + trailing_zeros(mask)
                                mask &= mask - np.uint64(1)
                                who[found] = j
                                places[found] = place
                                found += 1
                                if width > 0:
                                    prefetch(flat_second, place * width, width)
                    panel += 1
                counts[0] += found
                kept = 0
                for i in range(found):
                    j, place = who[i], places[i]
                    slot = base + j
                    row = np.int64(screen.order[place])
                    if row < 0 or probes.order[slot] < 0:
                        continue
                    if width > 0:
                        distance = squared_distance_bytes(isa, probes.second, slot, screen.second, place)
                        reach = reaches[t, j] + probes.second_errors[slot] + np.float64(screen.second_errors[place])
                        ratio = reach / screen.second_step
                        if np.float64(distance) > ratio * ratio * _CERTAIN:
                            continue
                    who[kept] = j
                    places[kept] = row
                    kept += 1
                    prefetch(flat_rows, row * rows.shape[1], row_bytes)
                counts[1] += kept
                for i in range(kept):
                    j, row = who[i], places[i]
                    slot = base + j
                    query = probes.order[slot]
                    distance = squared_distance(isa, queries, query, rows, row, sums)
                    before = bound(collector, query)
                    if distance <= min(before, ceilings[query]):
                        offer(collector, query, distance, row)
                        after = bound(collector, query)
                        if after < before:
                            worst = min(after, ceilings[query])
                            _set_thresholds(screen, probes, slot, worst, reaches[t], offsets[t], tops[t], j)
