"""Starting centres of K-Means: which rows would come nearer to a chosen row if a candidate were chosen next.

Most rows are nearer to what is chosen already, and the scan of `pruned.py` settles them at 32 bytes a pair: the rows are the
queries, the candidates the panels, and each row's distance to the chosen ones is its ceiling. Thresholds are kept from
step to step; only rows that a choice has brought nearer get new ones.
"""

from typing import Any, NamedTuple

import numpy as np

from somknn_kernels.distances import distance_within, squared_distance
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.pruned import set_scan_thresholds
from somknn_kernels.scan_tiles import scan_tile
from somknn_kernels.tiles import prefetch_row, trailing_zeros

_LIST = 4096  # survivors of the scan that are collected before they are looked at


class Improvements(NamedTuple):
    """Pairs of a row and a candidate that is nearer than all chosen ones: rows, candidates : int32; distances : as `closest`."""

    rows: Any
    candidates: Any
    distances: Any


@kernel
def set_thresholds(probes, step, lift, errors, closest, d, found, start, count, choice, thresholds):
    """New thresholds of the rows that `choice` brought nearer (`settle`); slot i is row i, of width d.

    step, lift : of the screens to come; errors : float64 (1, 3), the largest of a candidate's; thresholds : (tiles, 7, query tile), as
    `scan_tile` wants them.
    """
    tile = thresholds.shape[2]
    squares, sums, probe_errors = probes.squares, probes.sums, probes.errors
    for i in range(start, start + count):
        if found.candidates[i] == choice:
            row = np.int64(found.rows[i])
            given = step, lift, errors, 0, probe_errors, squares, sums, row, distance_within(closest[row], d)
            set_scan_thresholds(thresholds, row // tile, row % tile, *given)


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
    m, n, tile, panel_rows = candidates.shape[0], X.shape[0], probes.packed.shape[2], screen.panels.shape[3]
    packed, panels, half_norms, order = probes.packed, screen.panels, screen.half_norms, screen.order
    masks = np.empty(tile, np.uint64)
    slots, numbers = np.empty(_LIST, np.int64), np.empty(_LIST, np.int64)
    sums = np.empty(8)
    start = first_tile * tile * m
    at = start
    t = first_tile
    while t < last_tile:
        listed = 0
        while t < last_tile and listed <= _LIST - tile * panels.shape[1] * panel_rows:
            for panel in range(panels.shape[1]):
                if scan_tile(isa, packed, t, panels, half_norms, panel, thresholds, t, masks) == 0:
                    continue
                for j in range(tile):
                    mask = masks[j]
                    while mask != 0:
                        number = order[panel * panel_rows + trailing_zeros(mask)]
                        mask &= mask - np.uint64(1)
                        slot = t * tile + j
                        if number < 0 or slot >= n:
                            continue
                        slots[listed] = slot
                        numbers[listed] = number
                        listed += 1
                        prefetch_row(X, slot)
            t += 1
        for i in range(listed):
            number = numbers[i]
            at = _measure(isa, X, slots[i], number, candidates[number], closest, weights, sums, found, at, gains)
    return at - start


@kernel
def settle(found, start, count, choice, closest):
    """closest[row] = distance, for the improvements start … start + count - 1 by the candidate `choice`."""
    for i in range(start, start + count):
        if found.candidates[i] == choice:
            closest[found.rows[i]] = found.distances[i]
