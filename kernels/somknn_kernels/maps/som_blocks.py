"""The classical rule for blocks of rows: the order of the rows is kept, the codebook rests while they are presented.

`present_block` finds units and draws them, row after row, by the products of the block with the resting codebook.
`finish_block` then moves the codebook once for the whole block. `som_byte_blocks` does the same for bytes, where
products and moves are integers.
"""

from typing import NamedTuple

import numpy as np

from somknn_kernels.ir.operations import trailing_zeros
from somknn_kernels.maps.som_block_tiles import LANES, STEP, collect, draw, learn, least_two, near
from somknn_kernels.policy import inlined, kernel


class Block(NamedTuple):
    """A block of B rows, and its products. Arrays may be longer than B; `padded` is units in whole LANES.

    rows : int16 or float64 (B, d), X
    dots : float64 (B, padded), products of X and the codebook W; changed
    gram : float64 (B, B), products of X and X, used at and above the diagonal
    blur : float64, each of `dots` is off by at most this
    """

    rows: np.ndarray
    dots: np.ndarray
    gram: np.ndarray
    blur: float


class Codebook(NamedTuple):
    """The units that a block of rows is presented to.

    weights : float64 (panels, d, lanes), W: unit k is [k // lanes, :, k % lanes]. Rows and weights may have more
    columns than the data: zeros
    n_units : int64, K
    halves : float64 (padded,), half the squared norms of W; changed
    """

    weights: np.ndarray
    n_units: int
    halves: np.ndarray


class Moves(NamedTuple):
    """What a block of rows makes of the units: factors[k]·W[k] + Σ_s shares[s, k]·X[s]. All is overwritten.

    pulls : float64 (B, padded), rate·h of each row and unit; shares : float64 (B, padded); factors : float64 (padded,)
    """

    pulls: np.ndarray
    shares: np.ndarray
    factors: np.ndarray


class Neighborhood(NamedTuple):
    """How strongly a row moves the units around its best one, on a grid of R rows and C columns.

    table : float64 (2R - 1, 3, 2C - 1), h by offset: row; parity of the row, where `hexagonal`; column. Offset 0 is in
    the middle, 1 for the parity
    hexagonal : bool; columns : int64, C
    pushed_within : float64, squared distance up to which a row pushes a unit away where h is below 0. A unit farther
    away keeps its weights. Infinity if h is never below 0
    """

    table: np.ndarray
    hexagonal: bool
    columns: int
    pushed_within: float


@inlined
def _distance_now(X, t, W, k, pulls):
    """Squared distance of row t and unit k after the rows before t have drawn it: the rule as it is written.

    pulls[s, k] is by how much row s draws it.
    """
    lanes = W.shape[2]
    panel, lane = k // lanes, k % lanes
    total = 0.0
    for c in range(W.shape[1]):
        value = W[panel, c, lane]
        for s in range(t):
            value += pulls[s, k] * (np.float64(X[s, c]) - value)
        difference = np.float64(X[t, c]) - value
        total += difference * difference
    return total


@inlined
def _second_least(halves, dots, t, found):
    """(the second least score halves - dots[t], the largest of halves); found : float64 (3, LANES), scratch."""
    least_two(halves, dots, t, found)
    best = np.inf
    next_best = np.inf
    longest = 0.0
    for lane in range(LANES):
        score = found[0, lane]
        if score < best:
            next_best = min(best, found[1, lane])
            best = score
        else:
            next_best = min(next_best, score)
        longest = max(longest, found[2, lane])
    return next_best, longest


@inlined
def _two_least(close, scores, count):
    """(unit, second unit, score, second score) of the two least of the first `count` scores.

    Ties go to the first. Unit 0 and score infinity stand for none.
    """
    winner, runner = np.int64(0), np.int64(0)
    best, next_best = np.inf, np.inf
    for c in range(count):
        score = scores[c]
        if score < best:
            next_best, runner = best, winner
            best, winner = score, close[c]
        elif score < next_best:
            next_best, runner = score, close[c]
    return winner, runner, best, next_best


@inlined
def find_pulls(rate, table, hexagonal, winner, columns, pulls, t):
    """pulls[t, k] = rate·h(winner, k) for all units k of the grid, row by row. The others are as in `Neighborhood`."""
    row_count = (table.shape[0] + 1) // 2
    row, column = winner // columns, winner % columns
    middle = table.shape[0] // 2
    start = table.shape[2] // 2 - column
    place = 0
    for r in range(row_count):
        parity = (r % 2 - row % 2 if hexagonal else 0) + 1
        for c in range(columns):
            pulls[t, place + c] = rate * table[r - row + middle, parity, start + c]
        place += columns


@inlined
def _hold_far(pulls, t, K, halves, dots, square, pushed_within):
    """pulls[t, k] = 0 where it is below 0 and unit k is farther from row t than √pushed_within.

    square : of the row. Without this, units that rows push away would leave all numbers behind: each push multiplies
    the distance.
    """
    bound = 0.5 * (pushed_within - square)
    for k in range(K):
        if pulls[t, k] < 0.0 and not halves[k] - dots[t, k] <= bound:
            pulls[t, k] = 0.0


@inlined
def present_block(block, codebook, neighborhood, rates, moves, units, distances):
    """The classical rule w_k += rate·h(bmu, k)·(x - w_k) for a block of rows, one after the other, without moving W.

    A row draws a unit by pull = rate·h. What it leaves is (1 - pull) of all that the unit was. So the unit's product
    with a later row z becomes (1 - pull)·(w·z) + pull·(x·z), and its squared norm follows likewise. The rows of the
    same STEP learn that at once, those after it when the step is over. Then K multiply-adds for each pair of rows do
    for K·d for each row. Where rounding could have put the two nearest units in another order, the distances are
    computed by the rule as it is written. A pull below 0 pushes; `Neighborhood.pushed_within` bounds it.

    block : Block, of B rows or more; codebook : Codebook; neighborhood : Neighborhood; moves : Moves
    rates : float64 (B,)
    units : int64 (B, 2), distances : float64 (B,): the nearest and second nearest unit of each row when it is
    presented, and the squared distance to the nearest; filled. Ties go to the lowest unit.

    Cost per row: B·K / 2 multiply-adds on average.
    """
    X, dots, gram, blur = block.rows, block.dots, block.gram, block.blur
    W, K, halves = codebook.weights, codebook.n_units, codebook.halves
    table, hexagonal, columns = neighborhood.table, neighborhood.hexagonal, neighborhood.columns
    pushed_within = neighborhood.pushed_within
    pulls, shares, factors = moves.pulls, moves.shares, moves.factors
    rows = rates.shape[0]
    d = W.shape[1]
    padded = dots.shape[1]
    found = np.empty((3, LANES))
    close, scores = np.empty(padded, np.int64), np.empty(padded)
    n_steps = (rows + STEP - 1) // STEP
    left = np.empty((n_steps, padded))
    rounding = 2.0**-51 * (d + 8 * rows)
    dots[:rows, K:] = -1e300
    pulls[:rows, K:] = 0.0
    for step in range(n_steps):
        first = step * STEP
        stop = min(rows, first + STEP)
        for t in range(first, stop):
            square = gram[t, t]
            upper_bound, longest = _second_least(halves, dots, t, found)
            farthest = np.sqrt(square) + np.sqrt(2.0 * longest)
            unsure = rounding * farthest * farthest + 4.0 * blur
            upper_bound += unsure
            count = 0
            for place in range(0, padded, LANES):
                mask = near(halves, dots, t, place, upper_bound)
                while mask:
                    unit = place + trailing_zeros(mask)
                    mask &= mask - np.uint64(1)
                    if unit < K:  # padding is near where distances leave float64
                        close[count] = unit
                        count += 1
            for c in range(count):
                k = close[c]
                scores[c] = halves[k] - dots[t, k]
            winner, runner, best, next_best = _two_least(close, scores, count)
            distance = square + 2.0 * best
            if count > 2 or not next_best - best > unsure or not distance > 1e6 * unsure:
                for c in range(count):
                    scores[c] = _distance_now(X, t, W, close[c], pulls)
                winner, runner, distance, _ = _two_least(close, scores, count)
            units[t, 0] = winner
            units[t, 1] = runner
            distances[t] = distance
            find_pulls(rates[t], table, hexagonal, winner, columns, pulls, t)
            if pushed_within < np.inf:
                _hold_far(pulls, t, K, halves, dots, square, pushed_within)
            draw(pulls, t, stop, gram, halves, dots)
        collect(pulls, first, stop, shares, left, step)
        if stop < rows:  # else there are no later rows, and a last step that is short would be read beyond its end
            learn(shares, left, step, first, gram, rows, dots)
    factors[:] = 1.0
    for step in range(n_steps - 1, -1, -1):
        for s in range(step * STEP, min(rows, step * STEP + STEP)):
            for k in range(padded):
                shares[s, k] *= factors[k]
        for k in range(padded):
            factors[k] *= left[step, k]


@kernel
def train_block(block, codebook, neighborhood, rates, moves, units, distances):
    """`present_block` by itself."""
    present_block(block, codebook, neighborhood, rates, moves, units, distances)


@kernel
def finish_block(W, factors, moved, halves, first, last):
    """W[k] = factors[k]·W[k] + moved[k] and halves[k] = half its squared norm, for the units [first, last).

    W : float64 (K, d); factors : float64 (K,) or longer; moved : float32 or float64 (K, d); halves : float64 (K,) or
    longer, summed in four running sums.

    Cost per unit: 2·d multiply-adds, 16 bytes of W and 4 or 8 of `moved` a column.
    """
    d = W.shape[1]
    for k in range(first, last):
        s0 = 0.0
        s1 = 0.0
        s2 = 0.0
        s3 = 0.0
        factor = factors[k]
        for c in range(0, d - d % 4, 4):
            a = factor * W[k, c] + moved[k, c]
            b = factor * W[k, c + 1] + moved[k, c + 1]
            e = factor * W[k, c + 2] + moved[k, c + 2]
            f = factor * W[k, c + 3] + moved[k, c + 3]
            W[k, c] = a
            W[k, c + 1] = b
            W[k, c + 2] = e
            W[k, c + 3] = f
            s0 += a * a
            s1 += b * b
            s2 += e * e
            s3 += f * f
        for c in range(d - d % 4, d):
            a = factor * W[k, c] + moved[k, c]
            W[k, c] = a
            s0 += a * a
        halves[k] = 0.5 * ((s0 + s2) + (s1 + s3))
