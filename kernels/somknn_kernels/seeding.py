"""Starting centres of K-Means: which rows would come nearer to a chosen row if a candidate were chosen next.

Most rows are nearer to what is chosen already, and the scan of `pruned.py` settles them at 32 bytes a pair: the rows are the
queries, the candidates the panels, and each row's distance to the chosen ones is its ceiling. Thresholds are kept from
step to step; only rows that a choice has brought nearer get new ones.
"""

from typing import Any, NamedTuple

import numpy as np

from somknn_kernels.distances import distance_within, squared_distance, squared_distance_bytes
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.pruned import scan_thresholds, second_limit
from somknn_kernels.tiles import prefetch_row, scan_tile, trailing_zeros

_LIST = 4096  # survivors of the scan that are collected before they are looked at


class Thresholds(NamedTuple):
    """What rules candidates out for each slot: offsets, tops : int32 (tiles, query tile); limits : float64 (tiles, query tile)."""

    offsets: Any
    tops: Any
    limits: Any


class Improvements(NamedTuple):
    """Pairs of a row and a candidate that is nearer than all chosen ones: rows, candidates : int32; distances : as `closest`."""

    rows: Any
    candidates: Any
    distances: Any


@kernel
def set_thresholds(probes, step, second_step, lift, wrap, errors, closest, d, found, start, count, choice, thresholds):
    """New thresholds of the rows that `choice` brought nearer (`settle`); slot i is row i, of width d.

    step, second_step, lift, wrap : of the screens to come; errors : float64 (2,), the largest of a candidate's, of both widths.
    """
    offsets, tops, limits = thresholds.offsets, thresholds.tops, thresholds.limits
    tile = offsets.shape[1]
    for i in range(start, start + count):
        if found.candidates[i] == choice:
            row = np.int64(found.rows[i])
            t, j = row // tile, row % tile
            reach = distance_within(closest[row], d)
            norm, total = probes.squares[row], probes.sums[row]
            offsets[t, j], tops[t, j] = scan_thresholds(
                step, errors[0], lift, wrap, probes.errors[row], norm, total, reach
            )
            limits[t, j] = second_limit(second_step, errors[1], probes.second_errors[row], reach)


@inlined
def _measure(isa, X, row, number, candidate, closest, weights, sums, found, at, gains):
    """Write the pair to `found` at `at` if the candidate is nearer; returns the next free place."""
    distance = squared_distance(isa, X, row, X, candidate, sums)
    if distance >= closest[row]:
        return at
    found.rows[at] = row
    found.candidates[at] = number
    found.distances[at] = distance
    gains[number] += weights[row] * np.float64(closest[row] - distance)
    return at + 1


@kernel
def find_improvements(isa, X, candidates, closest, weights, start, stop, found, gains):
    """Measure every pair of a row in [start, stop) and a candidate; returns the number of improvements.

    X : (n, d) uint8, float32 or float64; candidates : int64 (m,), rows of X; closest : (n,), int64 for bytes, else float64;
    weights : float64 (n,); found is filled from `start`·m on; gains : float64 (m,), Σ weight·(closest - distance) over the
    improvements is added. Exact, in the arithmetic of `distances.py`. Cost: d values a pair.
    """
    m = candidates.shape[0]
    sums = np.empty(8)
    at = start * m
    for row in range(start, stop):
        for number in range(m):
            at = _measure(isa, X, row, number, candidates[number], closest, weights, sums, found, at, gains)
    return at - start * m


@kernel
def find_improvements_pruned(
    isa, X, candidates, closest, weights, screen, probes, thresholds, first_tile, last_tile, found, gains
):
    """As `find_improvements` for the rows of the tiles [first_tile, last_tile), measuring only what the bounds leave.

    screen : of the candidates, in their order; probes : of all rows, in their order. Cost: 32 bytes for nearly all pairs.
    """
    m, n, tile, panel_rows = candidates.shape[0], X.shape[0], probes.packed.shape[2], screen.panels.shape[2]
    packed, panels, half_norms, order = probes.packed, screen.panels, screen.half_norms, screen.order
    row_vectors, candidate_vectors = probes.second, screen.second
    offsets, tops, limits = thresholds.offsets, thresholds.tops, thresholds.limits
    masks = np.empty(tile, np.uint64)
    slots, places = np.empty(_LIST, np.int64), np.empty(_LIST, np.int64)
    sums = np.empty(8)
    start = first_tile * tile * m
    at = start
    t = first_tile
    while t < last_tile:
        listed = 0
        while t < last_tile and listed <= _LIST - tile * panels.shape[0] * panel_rows:
            for panel in range(panels.shape[0]):
                if scan_tile(isa, packed, t, panels, half_norms, panel, offsets, tops, t, masks) == 0:
                    continue
                for j in range(tile):
                    mask = masks[j]
                    while mask != 0:
                        place = panel * panel_rows + trailing_zeros(mask)
                        mask &= mask - np.uint64(1)
                        slot = t * tile + j
                        if order[place] < 0 or slot >= n:
                            continue
                        slots[listed] = slot
                        places[listed] = place
                        listed += 1
                        prefetch_row(row_vectors, slot)
            t += 1
        kept = 0
        for i in range(listed):
            slot, place = slots[i], places[i]
            distance = squared_distance_bytes(isa, row_vectors, slot, candidate_vectors, place)
            if np.float64(distance) > limits[slot // tile, slot % tile]:
                continue
            slots[kept] = slot
            places[kept] = np.int64(order[place])
            kept += 1
            prefetch_row(X, slot)
        for i in range(kept):
            number = places[i]
            at = _measure(isa, X, slots[i], number, candidates[number], closest, weights, sums, found, at, gains)
    return at - start


@kernel
def settle(found, start, count, choice, closest):
    """closest[row] = distance, for the improvements start … start + count - 1 by the candidate `choice`."""
    for i in range(start, start + count):
        if found.candidates[i] == choice:
            closest[found.rows[i]] = found.distances[i]
