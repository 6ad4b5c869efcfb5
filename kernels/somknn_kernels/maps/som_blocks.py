"""The classical rule for blocks of rows: the order of the rows is kept, the codebook rests while they are presented.

`present_block` decides and draws row after row on the products of the block with the resting codebook; `finish_block` moves the codebook
once for all of them. `som_byte_blocks` does the same for bytes, where products and moves are integers.
"""

import numpy as np

from somknn_kernels.ir.operations import trailing_zeros
from somknn_kernels.maps.som_block_tiles import LANES, STEP, collect, draw, learn, least_two, near
from somknn_kernels.policy import inlined, kernel


@inlined
def _distance_now(X, t, W, k, pulls):
    """Squared distance of row t and unit k after the rows before t have drawn it, pulls[s, k] being by how much: the rule as it is written."""
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
    """(unit, second unit, score, second score) of the two least of the first `count`; ties go to the first, 0 and infinity stand for none."""
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
    """pulls[t, k] = rate·h(winner, k) for the units of the grid, whose rows lie one after the other in `table`."""
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
def present_block(
    X, W, K, dots, gram, halves, blur, table, hexagonal, columns, rates, pulls, shares, factors, units, distances
):
    """The classical rule w_k += rate·h(bmu, k)·(x - w_k) for a block of rows, one after the other, without moving W.

    A row draws a unit by pull = rate·h: what it leaves is (1 - pull) of all that the unit was, so the unit's product with a later
    row z becomes (1 - pull)·(w·z) + pull·(x·z), and its squared norm follows likewise. The rows of the same STEP learn that at once, those
    after it when the step is over: then K multiply-adds for each pair of rows do for K·d for each row. Where rounding could
    have put the two nearest units in another order they are written out and measured.

    X : int16 or float64 (at least B, at least d), rows; W : float64 (panels, d, lanes), unit k at [k // lanes, :, k % lanes], where
    X and W may have more columns than the data, zeros. K : units; all that has units for columns is padded to whole LANES.
    dots : float64 (at least B, padded), products of X and W, changed, each off by at most `blur`; gram : float64 (at least B, B), of X and X,
    used at and above the diagonal. halves : float64 (padded,), half the squared norms of W, changed. table : float64 (2R - 1, 3, 2C - 1),
    the neighbourhood h by offset (row; parity of the row, where `hexagonal`; column), centred on no offset; columns : C; rates : float64 (B,).
    pulls, shares : float64 (at least B, padded) and factors : float64 (padded,), overwritten: in the end a unit is
    factors[k]·W[k] + Σ_s shares[s, k]·X[s].
    units : int64 (B, 2), distances : float64 (B,): nearest and second nearest unit and the squared distance to the nearest, of each
    row when it is presented; ties to the lowest index.
    Cost per row: B·K / 2 multiply-adds on average.
    """
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
            limit, longest = _second_least(halves, dots, t, found)
            reach = np.sqrt(square) + np.sqrt(2.0 * longest)
            unsure = rounding * reach * reach + 4.0 * blur
            limit += unsure
            count = 0
            for place in range(0, padded, LANES):
                mask = near(halves, dots, t, place, limit)
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
def train_block(
    X, W, K, dots, gram, halves, blur, table, hexagonal, columns, rates, pulls, shares, factors, units, distances
):
    """`present_block` by itself."""
    present_block(
        X, W, K, dots, gram, halves, blur, table, hexagonal, columns, rates, pulls, shares, factors, units, distances
    )


@kernel
def finish_block(W, factors, moved, halves, first, last):
    """W[k] = factors[k]·W[k] + moved[k] and halves[k] = half its squared norm, for the units [first, last).

    W : float64 (K, d); moved : float32 or float64 (K, d); halves : float64 (K,), summed in four running sums.
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
