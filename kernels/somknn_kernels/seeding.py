"""Starting centres of K-Means: which rows would come nearer to a chosen row if a candidate were chosen next.

Most rows are nearer to what is chosen already. A sieve of three meshes finds the others: the leading half of the short vectors
(`embedding.py`) of all rows against a few candidates at a time in a register tile, the whole short vectors of the pairs that are left, and their
exact distances. Each row has its own limit, the distance to the nearest chosen row; only rows that a choice brings nearer get new ones.

Work is split into blocks of rows whose sums of gains are kept apart, so that no result depends on which thread did what.
"""

from typing import Any, NamedTuple

import numpy as np

from somknn_kernels.distances import distance_within, squared_distance, squared_distance_bytes
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.sieve_tile import CANDIDATES, sieve_tile
from somknn_kernels.tiles import prefetch_row, trailing_zeros

_CERTAIN = 1.0 + 1e-9  # covers the rounding of the few float64 operations of a limit


class Improvements(NamedTuple):
    """Pairs of a row and a candidate that is nearer than all chosen ones: rows, candidates : int32; distances : as `closest`."""

    rows: Any
    candidates: Any
    distances: Any


class Sieve(NamedTuple):
    """Short vectors of all rows, in their order, and what rules candidates out.

    panels : uint8 (panels, groups, panel rows, g), the leading half of the codes plus `lift`; codes : uint8 (n, P), all of them plus `lift`
    squares : int64 (n,), squared norms of the codes' leading halves; errors : float64 (n, 2), of that half and of the whole, in steps
    step : float64, the codes' unit; largest : float64, the error in steps that a candidate's leading half may have in the tile
    starts, tops : int16, with VNNI int32 (panels, panel rows), see `sieve_tile`; reach : float64 (n,), the row's limit plus its error, in steps
    """

    panels: Any
    codes: Any
    squares: Any
    errors: Any
    step: Any
    lift: Any
    largest: Any
    starts: Any
    tops: Any
    reach: Any


@kernel
def pack_sieve(codes, lift, first_panel, last_panel, panels, shifted, squares):
    """Fill `panels`, `shifted` (Sieve.codes) and `squares` from codes : int8 (n, P), for the rows of some panels; others are left as they are."""
    _, groups, panel_rows, g = panels.shape
    for row in range(first_panel * panel_rows, min(len(codes), last_panel * panel_rows)):
        panel, r = row // panel_rows, row % panel_rows
        for c in range(codes.shape[1]):
            shifted[row, c] = np.uint8(np.int64(codes[row, c]) + lift)
        square = np.int64(0)
        for group in range(groups):
            for i in range(g):
                code = np.int64(codes[row, group * g + i])
                square += code * code
                panels[panel, group, r, i] = np.uint8(code + lift)
        squares[row] = square


@kernel
def pack_candidates(sieve, rows, packed, offsets):
    """Fill `packed` (tiles, groups, CANDIDATES, 4) and `offsets` (tiles, CANDIDATES) for `sieve_tile` with the codes of rows : int64 (m,)."""
    codes, squares, lift, g = sieve.codes, sieve.squares, sieve.lift, sieve.panels.shape[3]
    for number in range(rows.shape[0]):
        t, j, row = number // CANDIDATES, number % CANDIDATES, rows[number]
        total = np.int64(0)
        for c in range(packed.shape[1] * g):
            code = np.int64(codes[row, c]) - lift
            total += code
            packed[t, c // g, j, c % g] = code
            if g == 2:  # a broadcast takes 4 bytes: the pair twice
                packed[t, c // g, j, 2 + c % g] = code
        offsets[t, j] = -(squares[row] // 2) - lift * total


@inlined
def _limit(row, closest, d, panel_rows, squares, errors, step, largest, starts, tops, reach):
    """Set the limits of one row to the squared distance `closest`.

    With p the inner product of the leading codes a of the row and c of a candidate, and S the integers' largest possible
    ‖a - c‖² = ‖a‖² + ‖c‖² - 2p of a candidate within reach: 0 <= p + ⌈(S - ‖a‖²) / 2⌉ - ⌊‖c‖² / 2⌋ <= S / 2 + 1. Sums wrap at
    2^16 or 2^32, and both sides are moved by half of that to be compared as signed numbers.
    """
    wrap, half_range = np.int64(65535), np.int64(32768)
    if starts.itemsize == 4:
        wrap, half_range = np.int64(2**32 - 1), np.int64(2**31)
    distance = distance_within(closest, d) / step
    reach[row] = distance + errors[row, 1]
    ratio = distance + errors[row, 0] + largest
    square = ratio * ratio * _CERTAIN + 1.0
    panel, r = row // panel_rows, row % panel_rows
    if square < 2.0**28:
        whole = np.int64(square)
        starts[panel, r] = -((squares[row] - whole) // 2) - half_range
        tops[panel, r] = min(whole // 2 + 1, wrap) - half_range
    else:  # NaN too: every candidate passes
        starts[panel, r] = 0
        tops[panel, r] = wrap - half_range


@kernel
def set_limits(sieve, found, counts, stride, choice, closest, d):
    """New limits of the rows that `choice` brought nearer (`settle`), of width d."""
    panel_rows = sieve.panels.shape[2]
    given = sieve.squares, sieve.errors, sieve.step, sieve.largest, sieve.starts, sieve.tops, sieve.reach
    rows, candidates = found.rows, found.candidates
    for block in range(counts.shape[0]):
        for i in range(block * stride, block * stride + counts[block]):
            if candidates[i] == choice:
                row = np.int64(rows[i])
                _limit(row, closest[row], d, panel_rows, *given)


@inlined
def _keep_nearer(isa, X, candidates, closest, weights, start, stop, found, sums, gains):
    """Measure the pairs `start` … `stop` - 1 of `found`, keep those that come nearer, side by side; returns how many."""
    rows, numbers, distances = found.rows, found.candidates, found.distances
    kept = start
    for i in range(start, stop):
        row, number = np.int64(rows[i]), np.int64(numbers[i])
        distance = squared_distance(isa, X, row, X, candidates[number], sums)
        if distance < closest[row]:
            rows[kept] = row
            numbers[kept] = number
            distances[kept] = distance
            gains[number] += weights[row] * np.float64(closest[row] - distance)
            kept += 1
    return kept - start


@kernel
def find_improvements(isa, X, candidates, closest, weights, block, first, last, found, counts, gains):
    """Measure every pair of a row and a candidate, for the blocks of rows [first, last).

    X : (n, d) uint8, float32 or float64; candidates : int64 (m,), rows of X; closest : (n,), int64 for bytes, else float64;
    weights : float64 (n,); block : rows of each. Block b fills `found` from b·block·m on with its improvements, of which there are
    counts[b] (int64), and adds Σ weight·(closest - distance) over them, row by row, to gains[b] (float64 (blocks, m)).
    Exact, in the arithmetic of `distances.py`. Cost: d values a pair.
    """
    m = candidates.shape[0]
    sums = np.empty(8)
    rows, numbers = found.rows, found.candidates
    for b in range(first, last):
        start = at = b * block * m
        for row in range(b * block, min(X.shape[0], (b + 1) * block)):
            for number in range(m):
                rows[at] = row
                numbers[at] = number
                at += 1
        counts[b] = _keep_nearer(isa, X, candidates, closest, weights, start, at, found, sums, gains[b])


@kernel
def find_improvements_sieved(
    isa, X, candidates, closest, weights, sieve, packed, offsets, block, first, last, found, counts, gains
):
    """As `find_improvements`, measuring only what the sieve lets through; block is a multiple of the panels' rows.

    packed, offsets : of `pack_candidates`. Cost: P / 2 products of bytes for every pair, P for a tenth, d for a hundredth (docs/prototypes.md).
    """
    panels, codes, errors, reach, starts, tops = (
        sieve.panels,
        sieve.codes,
        sieve.errors,
        sieve.reach,
        sieve.starts,
        sieve.tops,
    )
    rows, numbers = found.rows, found.candidates
    n, m, panel_rows = X.shape[0], candidates.shape[0], panels.shape[2]
    everyone = ~np.uint64(0) >> np.uint64(64 - panel_rows)
    masks = np.empty(CANDIDATES, np.uint64)
    sums = np.empty(8)
    for b in range(first, last):
        start = at = b * block * m
        for panel in range(b * block // panel_rows, min(panels.shape[0], (b + 1) * block // panel_rows)):
            for t in range(packed.shape[0]):
                sieve_tile(isa, packed, t, offsets, panels, starts, tops, panel, masks)
                for j in range(min(CANDIDATES, m - t * CANDIDATES)):
                    number = t * CANDIDATES + j
                    mask = masks[j]
                    if not errors[candidates[number], 0] <= sieve.largest:
                        mask = everyone
                    while mask != 0:
                        row = panel * panel_rows + trailing_zeros(mask)
                        mask &= mask - np.uint64(1)
                        if row >= n:
                            break
                        rows[at] = row
                        numbers[at] = number
                        at += 1
                        prefetch_row(codes, row)
        kept = start
        for i in range(start, at):
            row, number = np.int64(rows[i]), np.int64(numbers[i])
            candidate = candidates[number]
            ratio = reach[row] + errors[candidate, 1]
            if np.float64(squared_distance_bytes(isa, codes, row, codes, candidate)) > ratio * ratio * _CERTAIN + 1.0:
                continue
            rows[kept] = row
            numbers[kept] = number
            kept += 1
            prefetch_row(X, row)
        counts[b] = _keep_nearer(isa, X, candidates, closest, weights, start, kept, found, sums, gains[b])


@kernel
def settle(found, counts, stride, choice, weights, closest, masses):
    """closest[row] = distance, for the improvements by the candidate `choice`.

    stride : places in `found` from a block to the next. masses : float64 (blocks,), Σ weight·closest, is brought up to date; where these
    are whole numbers below 2^53, exactly.
    """
    rows, candidates, distances = found.rows, found.candidates, found.distances
    for block in range(counts.shape[0]):
        for i in range(block * stride, block * stride + counts[block]):
            if candidates[i] == choice:
                row = rows[i]
                masses[block] -= weights[row] * np.float64(closest[row] - distances[i])
                closest[row] = distances[i]


@kernel
def locate(weights, closest, masses, block, wanted, found):
    """found[i] = the first row where the running sum of weight·closest reaches wanted[i], else the last row.

    masses : float64 (blocks,), the sums of blocks of as many rows. For whole numbers below 2^53, whose sums do not depend on their order.
    """
    last = closest.shape[0] - 1
    for i in range(wanted.shape[0]):
        before, b = 0.0, 0
        while b < masses.shape[0] - 1 and before + masses[b] < wanted[i]:
            before += masses[b]
            b += 1
        row = b * block
        total = before + weights[row] * np.float64(closest[row])
        while row < last and total < wanted[i]:
            row += 1
            total += weights[row] * np.float64(closest[row])
        found[i] = row
