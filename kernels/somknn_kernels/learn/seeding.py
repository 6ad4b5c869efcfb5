"""Starting centres of K-Means: which of a few candidate rows would bring all rows nearest to what is chosen.

Most rows are nearer to a chosen row already. A sieve with two meshes finds the others. The first mesh compares the
leading half of the short vectors (`embedding.py`) of all rows, in bytes, with a few candidates at a time in a register
tile. The second compares the whole short vectors, in 16 bits, of the pairs that are left. Each row has an upper bound
of its own: its distance to the nearest chosen row. Only rows that a choice brings nearer get a new one.

Each pair that is left may be an improvement, and by how much at most is known. Only the best candidate is wanted. So
the other candidates' pairs are measured only until what a candidate has gained, and all that it may yet gain, are less
than what another has gained for certain.

The work is split into blocks of rows. Each block has its own sums of gains, so no result depends on which thread did
what.
"""

from typing import Any, NamedTuple

import numpy as np

from somknn_kernels.bounds.interval import range_of, sum_interval
from somknn_kernels.bounds.rounding import CERTAIN, codes_within, distance_within
from somknn_kernels.exact.distances import squared_distance
from somknn_kernels.ir.operations import prefetch_row, trailing_zeros
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles.packing import put_code
from somknn_kernels.tiles.row_products import row_product
from somknn_kernels.tiles.sieve_tile import CANDIDATES, sieve_tile

_LONGEST = 32000.0  # norm of fine codes: no sum of products passes 2^31
_AHEAD = 6  # pairs from the one that is measured to the one whose row is fetched
_ROUND = 32  # pairs that are measured before candidates are judged again


class Trial(NamedTuple):
    """One step of k-means++: the candidates, and what they have to improve on.

    candidates : int64 (m,), rows of X
    closest : (n,), int64 for bytes, else float64: squared distance of each row to the nearest chosen row
    weights : float64 (n,)
    block : int64, rows of a block; the last may have fewer
    """

    candidates: Any
    closest: Any
    weights: Any
    block: int


class Improvements(NamedTuple):
    """Pairs of a row and a candidate that may be nearer than all chosen rows, block by block.

    rows, candidates : int32 (n·m,); candidates are numbers from 0 to m - 1. The pairs of block b begin at b·block·m
    distances : as `closest` (n·m,), squared; of the pairs that were measured
    most : float64 (n·m,), at least weight·(closest - distance)
    counts : int64 (blocks,), pairs of each block
    """

    rows: Any
    candidates: Any
    distances: Any
    most: Any
    counts: Any


class Sieve(NamedTuple):
    """Short vectors of all rows, in the order of the rows, and what rules candidates out.

    panels : uint8 (panels, groups, panel rows, g), the leading half of the coordinates in multiples of `step`, plus
    `lift`; squares : int64 (n,), squared norms of these codes without `lift`; errors : float64 (n,), their errors in
    steps
    step : float64; lift : int64; largest : float64, the error that a candidate may have in the tile, in steps
    starts, thresholds : int16, with VNNI int32 (panels, panel rows), see `sieve_tile`
    fine : int16 (n, P), all coordinates in multiples of `fine_step`, with norms below 2^15; fine_squares : int64 (n,);
    fine_errors : float64 (n,), in fine steps; fine_step : float64
    radius : float64 (n,), the row's upper bound plus its error, in fine steps
    """

    panels: Any
    squares: Any
    errors: Any
    step: Any
    lift: Any
    largest: Any
    starts: Any
    thresholds: Any
    fine: Any
    fine_squares: Any
    fine_errors: Any
    fine_step: Any
    radius: Any


class CandidateCodes(NamedTuple):
    """The leading codes of the candidates, as `sieve_tile` reads them.

    packed : int8 (tiles, groups, CANDIDATES, 4), zeros where there is no candidate
    offsets : as `Sieve.starts` (tiles, CANDIDATES)
    """

    packed: Any
    offsets: Any


class Race(NamedTuple):
    """How far each task has measured each of the m candidates. A task writes to its own lines and reads all.

    leader : int64, the candidate that is measured first, to the end
    margin : float64, gains that differ by less are not told apart
    gained, left : float64 (tasks, m), what a task has found for certain, and the most that its other pairs may add
    lost : uint8 (tasks, m), 1 where a task has left pairs unmeasured because another candidate's gain is larger
    """

    leader: int
    margin: float
    gained: Any
    left: Any
    lost: Any


@kernel
def encode_rows(vectors, errors, middle, largest_code, first_row, sieve):
    """Fill panels, squares, errors and the fine codes of `sieve` for the rows from `first_row` on.

    vectors : float32 (m, P), errors : float64 (m,), as `embedding.embed` makes them
    middle : float64 (P,), what is subtracted before the leading codes are made; largest_code : float64, their largest
    size
    first_row : int64, a multiple of the panels' rows

    The errors cover rounding, also that of the errors themselves. Cost: some 10 operations for each coordinate.
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
            code = np.rint(min(max(exact * inverse, -largest_code), largest_code))
            moved += (exact - code * step) * (exact - code * step)
            square += np.int64(code * code)
            panels[row // panel_rows, c // g, row % panel_rows, c % g] = np.uint8(np.int64(code) + lift)
        squares[row] = square
        lead_errors[row] = (errors[i] + np.sqrt(moved)) * CERTAIN / step
        norm = 0.0
        for c in range(vectors.shape[1]):
            norm += np.float64(vectors[i, c]) * np.float64(vectors[i, c])
        norm = np.sqrt(norm) / fine_step
        # A row far beyond those that the step was made for is drawn nearer. Its error says so.
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
def pack_candidates(sieve, rows, codes):
    """Fill `codes`, CandidateCodes, with the leading codes of rows : int64 (m,). Cost: P / 2 codes for each row."""
    panels, squares, lift = sieve.panels, sieve.squares, sieve.lift
    packed, offsets = codes.packed, codes.offsets
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
def find_improvements(isa, X, trial, first, last, found, gains):
    """Measure every pair of a row and a candidate, for the blocks of rows [first, last).

    X : (n, d) uint8, float32 or float64; trial : Trial
    found : Improvements, filled but for `most` with the pairs that are nearer
    gains : float64 (blocks, m), Σ weight·(closest - distance) over the pairs of each block is added, row by row

    Exact, in the arithmetic of `distances.py`. Cost: d values a pair.
    """
    candidates, closest, weights, block = trial.candidates, trial.closest, trial.weights, trial.block
    m = candidates.shape[0]
    sums = np.empty(8)
    rows, numbers, distances, counts = found.rows, found.candidates, found.distances, found.counts
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
def find_possible(isa, trial, sieve, codes, d, first, last, found, most):
    """Find the pairs that the sieve lets through, for the blocks of rows [first, last). No improvement is ruled out.

    trial : Trial, its block a multiple of the panels' rows
    codes : CandidateCodes, filled by `pack_candidates`; d : int64, columns of the rows
    found : Improvements, filled but for the distances
    most : float64 (blocks, m), Σ found.most over the pairs of each block is added

    Cost: P / 2 products of bytes for every pair, P of 16 bits for one in twenty-five (docs/lab-notes/prototypes.md).
    """
    candidates, closest, weights, block = trial.candidates, trial.closest, trial.weights, trial.block
    panels, starts, thresholds = sieve.panels, sieve.starts, sieve.thresholds
    errors, largest = sieve.errors, sieve.largest
    fine, fine_squares, fine_errors, radius = sieve.fine, sieve.fine_squares, sieve.fine_errors, sieve.radius
    packed, offsets = codes.packed, codes.offsets
    rows, numbers, bounds, counts = found.rows, found.candidates, found.most, found.counts
    n, m, panel_rows = fine.shape[0], candidates.shape[0], panels.shape[2]
    everyone = ~np.uint64(0) >> np.uint64(64 - panel_rows)
    # A squared distance of one fine step, a little less: rounding here and in the exact distance never makes a bound
    # larger than the exact distance.
    unit = sieve.fine_step * sieve.fine_step * (1.0 - 1e-8 - d * 2.0**-49)
    masks = np.empty(CANDIDATES, np.uint64)
    for b in range(first, last):
        start = at = b * block * m
        for panel in range(b * block // panel_rows, min(panels.shape[0], (b + 1) * block // panel_rows)):
            for t in range(packed.shape[0]):
                sieve_tile(isa, packed, t, offsets, panels, starts, thresholds, panel, masks)
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
            if square > codes_within(radius[row] + fine_errors[candidate]):
                continue
            rows[kept] = row
            numbers[kept] = number
            least = max(0.0, np.sqrt(square) - fine_errors[row] - fine_errors[candidate])
            bound = weights[row] * max(0.0, np.float64(closest[row]) - least * least * unit + 1e-300)
            bounds[kept] = bound
            most[b, number] += bound
            kept += 1
        counts[b] = kept - start


@inlined
def _total(parts, candidate):
    total = 0.0
    for task in range(parts.shape[0]):
        total += parts[task, candidate]
    return total


@kernel
def measure_possible(isa, X, trial, first, last, found, race, task):
    """Measure the pairs of `find_possible` in the blocks [first, last), as far as it takes to find the best candidate.

    X : (n, d) uint8, float32 or float64; trial : Trial
    found : Improvements, its distances are filled
    race : Race; task : int64, which of its lines is written

    Exact, in the arithmetic of `distances.py`. Which other candidates are measured to the end depends on chance. Which
    is the best, and its distances, do not. Cost: d values for each pair that is measured.
    """
    candidates, closest, weights, block = trial.candidates, trial.closest, trial.weights, trial.block
    m = candidates.shape[0]
    rows, numbers, distances, bounds = found.rows, found.candidates, found.distances, found.most
    counts = found.counts
    leader, margin, gained, left, lost = race.leader, race.margin, race.gained, race.left, race.lost
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
                        best = max(best, _total(gained, j))
                    for j in range(m):
                        possible = _total(gained, j) + _total(left, j)
                        if alive[j] and possible < best * (1.0 - 1e-9) - margin:
                            alive[j] = False
                            lost[task, j] = 1


@kernel
def add_up(trial, found, gains):
    """gains[b, candidate] += weight·(closest - distance) over the improvements of each block b, pair by pair.

    trial : Trial; found : Improvements, of which only measured candidates get useful sums; gains : float64 (blocks, m).
    Cost: two operations for each pair.
    """
    closest, weights, stride = trial.closest, trial.weights, trial.block * trial.candidates.shape[0]
    rows, numbers, distances, counts = found.rows, found.candidates, found.distances, found.counts
    for b in range(counts.shape[0]):
        for i in range(b * stride, b * stride + counts[b]):
            row = rows[i]
            if distances[i] < closest[row]:
                gains[b, numbers[i]] += weights[row] * np.float64(closest[row] - distances[i])


@kernel
def set_upper_bounds(sieve, rows, closest, d):
    """Make `closest` the upper bounds of some rows: sets starts, thresholds and radius of `sieve`.

    sieve : Sieve; rows : int32 (any,), of width d; closest : as in `Trial`

    In the tile, the row's codes take the place of the query's in `bounds.interval`, and the candidate's that of the
    row's. No distance below the bound is ruled out. Cost: some 30 operations for each row.
    """
    starts, thresholds, squares = sieve.starts, sieve.thresholds, sieve.squares
    errors, radius = sieve.errors, sieve.radius
    step, allowed, fine_step, fine_errors = sieve.step, sieve.largest, sieve.fine_step, sieve.fine_errors
    largest, half_range = range_of(starts.itemsize)
    panel_rows = sieve.panels.shape[2]
    for i in range(rows.shape[0]):
        row = np.int64(rows[i])
        distance = distance_within(closest[row], d)
        radius[row] = distance / fine_step + fine_errors[row]
        start, threshold = sum_interval(distance / step + errors[row] + allowed, squares[row], 1, largest)
        starts[row // panel_rows, row % panel_rows] = start - half_range
        thresholds[row // panel_rows, row % panel_rows] = threshold - half_range


@kernel
def settle(trial, found, choice, place, nearest, masses, moved):
    """Choose candidate `choice`: closest[row] = distance and nearest[row] = place for the rows that it brings nearer.

    trial : Trial, its `closest` is changed; found : Improvements, with the distances of that candidate
    choice, place : int64; nearest : int64 (n,)
    masses : float64 (blocks,), Σ weight·closest of each block, is brought up to date. Exact where these are whole
    numbers below 2^53
    moved : int32 (n,), filled with the rows that are nearer now

    Returns how many rows that are. Cost: one look at each pair.
    """
    closest, weights, stride = trial.closest, trial.weights, trial.block * trial.candidates.shape[0]
    rows, candidates, distances, counts = found.rows, found.candidates, found.distances, found.counts
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

    weights, closest : as in `Trial`
    masses : float64 (blocks,), Σ weight·closest of each block; block : int64, rows of a block
    wanted : float64 (m,); found : int64 (m,), filled

    For sums that are whole numbers below 2^53: these do not depend on the order of additions. Cost for each of
    `wanted`: one addition for each block and row passed.
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
