"""Starting centres of K-Means: which of a few candidate rows would bring all rows nearest to what is chosen.

Most rows are nearer to what is chosen already. A sieve of two meshes finds the others: the leading half of the short vectors
(`embedding.py`) of all rows in bytes against a few candidates at a time in a register tile, then the whole short vectors of the pairs that are left, in 16
bits. Each row has its own limit, the distance to the nearest chosen row; only rows that a choice brings nearer get new ones.

What is left could come nearer, and by how much at most is known. Only the best candidate is wanted: the others' pairs are measured until
what a candidate has gained and all it could yet gain are less than what another has gained for certain.

Work is split into blocks of rows whose sums of gains are kept apart, so that no result depends on which thread did what.
"""

from typing import Any, NamedTuple

import numpy as np

from somknn_kernels.bounds.interval import range_of, sum_interval
from somknn_kernels.bounds.rounding import CERTAIN, codes_within, distance_within
from somknn_kernels.exact.distances import squared_distance
from somknn_kernels.ir.operations import prefetch_row, trailing_zeros
from somknn_kernels.policy import kernel
from somknn_kernels.tiles.packing import put_code
from somknn_kernels.tiles.row_products import row_product
from somknn_kernels.tiles.sieve_tile import CANDIDATES, sieve_tile

_LONGEST = 32000.0  # norm of fine codes: no sum of products passes 2^31
_AHEAD = 6  # pairs whose rows are asked for before they are measured
_ROUND = 32  # pairs that are measured before candidates are judged again


class Improvements(NamedTuple):
    """Pairs of a row and a candidate that may be nearer than all chosen ones.

    rows, candidates : int32; distances : as `closest`; most : float64, the largest weight·(closest - distance) there can be.
    """

    rows: Any
    candidates: Any
    distances: Any
    most: Any


class Sieve(NamedTuple):
    """Short vectors of all rows, in their order, and what rules candidates out.

    panels : uint8 (panels, groups, panel rows, g), the leading half of the coordinates in multiples of `step`, plus `lift`;
    squares : int64 (n,), their squared norms without `lift`; errors : float64 (n,), theirs, in steps; largest : float64, the error that a
    candidate may have in the tile; starts, tops : int16, with VNNI int32 (panels, panel rows), see `sieve_tile`
    fine : int16 (n, P), all coordinates in multiples of `fine_step`, whose norms are below 2^15; fine_squares : int64 (n,); fine_errors :
    float64 (n,), in fine steps; reach : float64 (n,), the row's limit plus its error, in fine steps
    """

    panels: Any
    squares: Any
    errors: Any
    step: Any
    lift: Any
    largest: Any
    starts: Any
    tops: Any
    fine: Any
    fine_squares: Any
    fine_errors: Any
    fine_step: Any
    reach: Any


@kernel
def encode_rows(vectors, errors, middle, limit, first_row, sieve):
    """Fill panels, squares, errors and the fine codes of `sieve` for the rows from `first_row` on.

    vectors : float32 (m, P), errors : float64 (m,), as `embedding.embed` makes them; middle : float64 (P,), of the leading codes; limit : float64,
    their largest size. first_row is a multiple of the panels' rows.
    """
    panels, squares, lead_errors, step, lift = sieve.panels, sieve.squares, sieve.errors, sieve.step, sieve.lift
    fine, fine_squares, fine_errors, fine_step = sieve.fine, sieve.fine_squares, sieve.fine_errors, sieve.fine_step
    _, groups, panel_rows, g = panels.shape
    inverse = 1.0 / step
    for i in range(vectors.shape[0]):
        row = first_row + i
        moved, square = 0.0, np.int64(0)
        for c in range(groups * g):
            exact = np.float64(vectors[i, c]) - middle[c]
            code = np.rint(min(max(exact * inverse, -limit), limit))
            moved += (exact - code * step) * (exact - code * step)
            square += np.int64(code * code)
            panels[row // panel_rows, c // g, row % panel_rows, c % g] = np.uint8(np.int64(code) + lift)
        squares[row] = square
        lead_errors[row] = (errors[i] + np.sqrt(moved)) * CERTAIN / step
        norm = 0.0
        for c in range(vectors.shape[1]):
            norm += np.float64(vectors[i, c]) * np.float64(vectors[i, c])
        norm = np.sqrt(norm) / fine_step
        # A row far beyond those that the step was made for is drawn nearer; its error says so.
        factor = (1.0 if norm <= _LONGEST else _LONGEST / norm) / fine_step
        moved, square = 0.0, np.int64(0)
        for c in range(vectors.shape[1]):
            code = np.rint(vectors[i, c] * factor)
            moved += (vectors[i, c] - code * fine_step) * (vectors[i, c] - code * fine_step)
            square += np.int64(code * code)
            fine[row, c] = np.int16(code)
        fine_squares[row] = square
        fine_errors[row] = (errors[i] + np.sqrt(moved)) * CERTAIN / fine_step


@kernel
def pack_candidates(sieve, rows, packed, offsets):
    """Fill `packed` (tiles, groups, CANDIDATES, 4) and `offsets` (tiles, CANDIDATES) for `sieve_tile` with the codes of rows : int64 (m,)."""
    panels, squares, lift = sieve.panels, sieve.squares, sieve.lift
    _, groups, panel_rows, g = panels.shape
    for number in range(rows.shape[0]):
        t, j, row = number // CANDIDATES, number % CANDIDATES, rows[number]
        total = np.int64(0)
        for group in range(groups):
            for i in range(g):
                code = np.int64(panels[row // panel_rows, group, row % panel_rows, i]) - lift
                total += code
                put_code(packed, t, group * g + i, j, g, code)
        offsets[t, j] = -(squares[row] // 2) - lift * total


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
    rows, numbers, distances = found.rows, found.candidates, found.distances
    for b in range(first, last):
        start = at = b * block * m
        for row in range(b * block, min(X.shape[0], (b + 1) * block)):
            for number in range(m):
                distance = squared_distance(isa, X, row, X, candidates[number], sums)
                if distance < closest[row]:
                    rows[at] = row
                    numbers[at] = number
                    distances[at] = distance
                    gains[b, number] += weights[row] * np.float64(closest[row] - distance)
                    at += 1
        counts[b] = at - start


@kernel
def find_possible(
    isa, candidates, closest, weights, d, sieve, packed, offsets, block, first, last, found, counts, most
):
    """Fill `found` with the pairs that the sieve lets through, as `find_improvements` would, but for the distances.

    packed, offsets : of `pack_candidates`; d : width of the rows; block : a multiple of the panels' rows; most : float64 (blocks, m), Σ found.most
    is added. Cost: P / 2 products of bytes for every pair, P of 16 bits for one in twenty-five (docs/lab-notes/prototypes.md).
    """
    panels, starts, tops, errors, largest = sieve.panels, sieve.starts, sieve.tops, sieve.errors, sieve.largest
    fine, fine_squares, fine_errors, reach = sieve.fine, sieve.fine_squares, sieve.fine_errors, sieve.reach
    rows, numbers, bounds = found.rows, found.candidates, found.most
    n, m, panel_rows = fine.shape[0], candidates.shape[0], panels.shape[2]
    everyone = ~np.uint64(0) >> np.uint64(64 - panel_rows)
    # A distance in fine steps, squared: rounding here and in the exact distance makes it no larger than the latter.
    unit = sieve.fine_step * sieve.fine_step * (1.0 - 1e-8 - d * 2.0**-49)
    masks = np.empty(CANDIDATES, np.uint64)
    for b in range(first, last):
        start = at = b * block * m
        for panel in range(b * block // panel_rows, min(panels.shape[0], (b + 1) * block // panel_rows)):
            for t in range(packed.shape[0]):
                sieve_tile(isa, packed, t, offsets, panels, starts, tops, panel, masks)
                for j in range(min(CANDIDATES, m - t * CANDIDATES)):
                    number = t * CANDIDATES + j
                    mask = masks[j]
                    if not errors[candidates[number]] <= largest:
                        mask = everyone
                    while mask != 0:
                        row = panel * panel_rows + trailing_zeros(mask)
                        mask &= mask - np.uint64(1)
                        if row >= n:
                            break
                        rows[at] = row
                        numbers[at] = number
                        at += 1
                        prefetch_row(fine, row)
        kept = start
        for i in range(start, at):
            row, number = np.int64(rows[i]), np.int64(numbers[i])
            candidate = candidates[number]
            product = row_product(isa, fine, row, fine, candidate)
            square = np.float64(fine_squares[row] + fine_squares[candidate] - 2 * product)
            if square > codes_within(reach[row] + fine_errors[candidate]):
                continue
            rows[kept] = row
            numbers[kept] = number
            least = max(0.0, np.sqrt(square) - fine_errors[row] - fine_errors[candidate])
            bound = weights[row] * max(0.0, np.float64(closest[row]) - least * least * unit + 1e-300)
            bounds[kept] = bound
            most[b, number] += bound
            kept += 1
        counts[b] = kept - start


@kernel
def measure_possible(
    isa, X, candidates, closest, weights, block, first, last, leader, margin, found, counts, task, gained, left, lost
):
    """Measure the pairs of `find_possible` in the blocks [first, last), as far as it takes to find the best candidate.

    leader : the candidate to begin with; margin : float64, gains that differ by less are not told apart. gained, left : float64 (tasks, m), what
    each task has found for certain and the most that the rest may add; a task writes its own line and reads all. lost : uint8 (tasks, m),
    set where a task has left a candidate's pairs unmeasured, because another's gain is larger.
    Which others are measured to the end depends on chance; which is the best, and its distances, does not.
    """
    m = candidates.shape[0]
    rows, numbers, distances, bounds = found.rows, found.candidates, found.distances, found.most
    alive = np.ones(m, np.bool_)
    sums = np.empty(8)
    for turn in range(2):
        measured = 0
        for b in range(first, last):
            start, stop = b * block * m, b * block * m + counts[b]
            for i in range(start, stop):
                if i + _AHEAD < stop:
                    ahead = numbers[i + _AHEAD]
                    if (ahead == leader) == (turn == 0) and alive[ahead]:
                        prefetch_row(X, np.int64(rows[i + _AHEAD]))
                number = np.int64(numbers[i])
                if (number == leader) != (turn == 0) or not alive[number]:
                    continue
                row = np.int64(rows[i])
                distance = squared_distance(isa, X, row, X, candidates[number], sums)
                distances[i] = distance
                left[task, number] -= bounds[i]
                if distance < closest[row]:
                    gained[task, number] += weights[row] * np.float64(closest[row] - distance)
                measured += 1
                if turn == 1 and measured % _ROUND == 1:
                    best = 0.0
                    for j in range(m):
                        best = max(best, gained[:, j].sum())
                    for j in range(m):
                        possible = gained[:, j].sum() + left[:, j].sum()
                        if alive[j] and possible < best * (1.0 - 1e-9) - margin:
                            alive[j] = False
                            lost[task, j] = 1


@kernel
def add_up(found, counts, stride, weights, closest, gains):
    """gains[b, candidate] += weight·(closest - distance) over the improvements in each block, row by row; for measured candidates."""
    rows, numbers, distances = found.rows, found.candidates, found.distances
    for b in range(counts.shape[0]):
        for i in range(b * stride, b * stride + counts[b]):
            row = rows[i]
            if distances[i] < closest[row]:
                gains[b, numbers[i]] += weights[row] * np.float64(closest[row] - distances[i])


@kernel
def set_limits(sieve, rows, closest, d):
    """Set the limits of rows : int32, of width d, to their squared distances `closest`.

    In the tile the row's codes stand for the query's in `bounds.interval`, and the candidate's for the row's.
    """
    starts, tops, squares, errors, reach = sieve.starts, sieve.tops, sieve.squares, sieve.errors, sieve.reach
    step, allowed, fine_step, fine_errors = sieve.step, sieve.largest, sieve.fine_step, sieve.fine_errors
    largest, half_range = range_of(starts.itemsize)
    panel_rows = sieve.panels.shape[2]
    for i in range(rows.shape[0]):
        row = np.int64(rows[i])
        distance = distance_within(closest[row], d)
        reach[row] = distance / fine_step + fine_errors[row]
        start, top = sum_interval(distance / step + errors[row] + allowed, squares[row], 1, largest)
        starts[row // panel_rows, row % panel_rows] = start - half_range
        tops[row // panel_rows, row % panel_rows] = top - half_range


@kernel
def settle(found, counts, stride, choice, place, weights, closest, nearest, masses, moved):
    """closest[row] = distance and nearest[row] = place where that is nearer, for the pairs of the candidate `choice`.

    stride : positions in `found` from a block to the next; nearest : int64 (n,). masses : float64 (blocks,), Σ weight·closest, is brought up to
    date; where these are whole numbers below 2^53, exactly. The rows go to moved : int32 (n,); returns how many they are.
    """
    rows, candidates, distances = found.rows, found.candidates, found.distances
    at = 0
    for block in range(counts.shape[0]):
        for i in range(block * stride, block * stride + counts[block]):
            if candidates[i] == choice and distances[i] < closest[rows[i]]:
                row = rows[i]
                masses[block] -= weights[row] * np.float64(closest[row] - distances[i])
                closest[row] = distances[i]
                nearest[row] = place
                moved[at] = row
                at += 1
    return at


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
