"""The two nearest rows of a small codebook for every row of the data: best-matching units (BMU) of a map.

Two bounds, then the truth. With y = P(x - c) on orthonormal axes P and r(x) the norm of what they leave out,

    ‖x - w‖² >= ‖y(x) - y(w)‖² + (r(x) - r(w))²            (Cauchy-Schwarz)

so vectors [y, r] never overstate a distance. Stage 1 multiplies the leading columns of all short vectors in a
register-blocked float32 tile; stage 2 adds the remaining columns for the few codebook rows that stage 1 leaves; what is
still alive is measured over all dimensions in float64, which decides. Rounding of the bounds is paid for by `slack`
(below), so that no true neighbour is ever lost.

Cost per row of data: p1·K multiply-adds of float32, p2 for each survivor of stage 1, d for each of stage 2.
"""

import numpy as np

from somknn_kernels.distances import distance_within, squared_distance_float64
from somknn_kernels.policy import inlined, kernel
from somknn_kernels.tiles import dot_tile

_UNIT = 2.0**-24


@kernel
def pack_short(short, width, out):
    """out[t, c, j, 0] = short[t·tile + j, c] for c < width; zero beyond the last row.

    short : float32 (n, p); out : float32 (tiles, width, tile, 1).
    """
    tiles, _, tile, _ = out.shape
    n = short.shape[0]
    for t in range(tiles):
        for j in range(tile):
            row = t * tile + j
            for c in range(width):
                out[t, c, j, 0] = short[row, c] if row < n else np.float32(0.0)


@inlined
def _closer(distance, index, other_distance, other_index):
    return distance < other_distance or (distance == other_distance and index < other_index)


@inlined
def _offer(distance, index, best, best_index):
    """Keep the two smallest (distance, index) pairs in best[0:2], best_index[0:2]."""
    if index == best_index[0] or index == best_index[1]:
        return
    if _closer(distance, index, best[0], best_index[0]):
        best[1] = best[0]
        best_index[1] = best_index[0]
        best[0] = distance
        best_index[0] = index
    elif _closer(distance, index, best[1], best_index[1]):
        best[1] = distance
        best_index[1] = index


@kernel
def two_nearest(isa, X, W, packed, short, squares, short_w, panels, first_tile, last_tile, errors, units, distances):
    """The nearest and second nearest row of W for the rows of the tiles [first_tile, last_tile).

    X : (n, d) uint8, float32 or float64; W : (K, d) float32 or float64, K >= 2
    packed : float32 (tiles, p1, tile, 1), short : float32 (n, p): short vectors of the rows, p1 <= p leading columns
    packed for the tile; squares : float64 (n, 2): squared norms of the leading and of all columns. short_w : float32 (K, p); panels : float32 (panels, p1, panel rows, 1): those of the codebook.
    errors : float64 (3,): the largest distance between a stored and an exact short vector, of rows and codebook,
    and the power of two by which short vectors are scaled.
    Column p1 - 1 is the norm beyond the leading axes; stage 2 replaces it by the columns from p1 on.
    units : int64 (n, 2): on entry two different guesses (previous units) or -1, on return the two nearest
    distances : float64 (n, 2): squared distances, in the order of summation of `distances.py`.
    Exact: ties go to the lowest index, guesses change only the speed.

    The bound in float32: with a, b the stored short vectors and e the errors, ‖x - w‖ >= ‖a - b‖ - e. A
    float32 dot product of p terms errs by at most p·2^-24·‖a‖‖b‖ (1 + small), hence `slack`.
    Returns int64 (2,): codebook rows that reached stage 2, and that were measured in full.
    """
    n = X.shape[0]
    K, p = short_w.shape
    n_panels, p1, panel, _ = panels.shape
    tile = packed.shape[2]
    half = np.empty(n_panels * panel, np.float32)
    rest = np.empty(K, np.float64)
    largest = 0.0
    for k in range(n_panels * panel):
        if k < K:
            square = 0.0
            for c in range(p1):
                square += np.float64(short_w[k, c]) ** 2
            half[k] = square / 2
            for c in range(p1, p):
                square += np.float64(short_w[k, c]) ** 2
            rest[k] = np.sqrt(square)
            largest = max(largest, rest[k])
        else:
            half[k] = np.inf
    dots = np.empty((tile, panel), np.float32)
    values = np.empty((tile, n_panels * panel), np.float32)
    sums = np.empty(8, np.float64)
    best = np.empty(2, np.float64)
    best_index = np.empty(2, np.int64)
    counts = np.zeros(2, np.int64)
    error = errors[0] + errors[1]
    scale = errors[2]
    alive = np.empty(K, np.int64)
    for t in range(first_tile, last_tile):
        rows = min(tile, n - t * tile)
        for q in range(n_panels):
            dot_tile(isa, packed, t, panels, q, dots)
            for j in range(rows):
                for r in range(panel):
                    values[j, q * panel + r] = half[q * panel + r] - dots[j, r]
        for j in range(rows):
            i = t * tile + j
            square_lead = squares[i, 0]
            norm = np.sqrt(squares[i, 1])
            # half[k] rounded once, the dot product p1 times, their difference once; 2 units to spare.
            slack = _UNIT * (p1 + 4) * (norm + largest) * largest
            best[0] = np.inf
            best[1] = np.inf
            best_index[0] = -1
            best_index[1] = -1
            guess_0, guess_1 = units[i, 0], units[i, 1]
            if guess_0 < 0 or guess_1 < 0 or guess_0 == guess_1:
                guess_0, guess_1 = _two_smallest(values, j, K)
            _offer(squared_distance_float64(X, i, W, guess_0, sums), guess_0, best, best_index)
            _offer(squared_distance_float64(X, i, W, guess_1, sums), guess_1, best, best_index)
            reach = distance_within(best[1], X.shape[1]) * scale + error
            bound = (reach * reach * (1.0 + 2.0**-50) - square_lead) / 2 + slack
            limit = np.float32(bound + abs(bound) * 2.0**-22)
            found = _below(values, j, limit, K, panel, alive)
            for position in range(found):
                k = alive[position]
                if k == guess_0 or k == guess_1:  # noqa: SIM109
                    continue
                counts[0] += 1
                reach = distance_within(best[1], X.shape[1]) * scale + error
                total = square_lead + 2.0 * np.float64(values[j, k]) - 2.0 * slack
                if total > reach * reach:
                    continue
                if p > p1:
                    beyond = np.float64(short[i, p1 - 1]) - np.float64(short_w[k, p1 - 1])
                    tail = _tail(short, i, short_w, k, p1, p)
                    if total - beyond * beyond + tail * (1.0 - _UNIT * (p + 4)) > reach * reach:
                        continue
                counts[1] += 1
                _offer(squared_distance_float64(X, i, W, k, sums), k, best, best_index)
            units[i, 0] = best_index[0]
            units[i, 1] = best_index[1]
            distances[i, 0] = best[0]
            distances[i, 1] = best[1]
    return counts


@inlined
def _two_smallest(values, j, K):
    """Positions of the two smallest of values[j, :K] (0 and 1 where nothing is comparable)."""
    a, b = 0, 1
    if values[j, b] < values[j, a]:
        a, b = b, a
    for k in range(2, K):
        if values[j, k] < values[j, b]:
            if values[j, k] < values[j, a]:
                b = a
                a = k
            else:
                b = k
    return a, b


@inlined
def _below(values, j, limit, K, step, alive):
    """Write the positions k < K with values[j, k] <= limit to `alive`; returns how many.

    Values come in whole groups of `step`, padded with infinity. Counting the survivors of a group is a loop that LLVM turns into
    vector comparisons (an early exit, or a constant step that it unrolls, is not); most groups have none.
    """
    found = 0
    for start in range(0, values.shape[1], step):
        some = np.int32(0)
        for k in range(start, start + step):
            some += np.int32(values[j, k] <= limit)
        if some > 0:
            for k in range(start, min(K, start + step)):
                if values[j, k] <= limit:
                    alive[found] = k
                    found += 1
    return found


@inlined
def _tail(short, i, short_w, k, start, stop):
    """Sum of squared differences of the columns [start, stop), float32 in four running sums."""
    s0 = np.float32(0.0)
    s1 = np.float32(0.0)
    s2 = np.float32(0.0)
    s3 = np.float32(0.0)
    c = start
    while c + 4 <= stop:
        d0 = short[i, c] - short_w[k, c]
        d1 = short[i, c + 1] - short_w[k, c + 1]
        d2 = short[i, c + 2] - short_w[k, c + 2]
        d3 = short[i, c + 3] - short_w[k, c + 3]
        s0 += d0 * d0
        s1 += d1 * d1
        s2 += d2 * d2
        s3 += d3 * d3
        c += 4
    while c < stop:
        d0 = short[i, c] - short_w[k, c]
        s0 += d0 * d0
        c += 1
    return np.float64((s0 + s1) + (s2 + s3))


@kernel
def two_nearest_missing(X, W, first_row, last_row, units, distances):
    """Like `two_nearest` over the columns where a row is not NaN; rows without any value get unit 0, 1 and distance 0.

    X : float32 or float64 (n, d) with NaN for missing; units, distances as in `two_nearest` (guesses or -1).
    A partial sum past the second best ends a row of W early; terms are added in column order in float64.
    """
    d = X.shape[1]
    K = W.shape[0]
    values = np.empty(d, np.float64)
    columns = np.empty(d, np.int64)
    best = np.empty(2, np.float64)
    best_index = np.empty(2, np.int64)
    for i in range(first_row, last_row):
        present = 0
        for c in range(d):
            if not np.isnan(X[i, c]):
                values[present] = X[i, c]
                columns[present] = c
                present += 1
        best[0] = np.inf
        best[1] = np.inf
        best_index[0] = -1
        best_index[1] = -1
        guess_0, guess_1 = units[i, 0], units[i, 1]
        for turn in range(-2, K):
            k = guess_0 if turn == -2 else guess_1 if turn == -1 else turn
            if k < 0 or (turn >= 0 and (k == guess_0 or k == guess_1)):  # noqa: SIM109
                continue
            total = 0.0
            position = 0
            while position < present and total <= best[1]:
                stop = min(present, position + 32)
                for at in range(position, stop):
                    difference = values[at] - np.float64(W[k, columns[at]])
                    total += difference * difference
                position = stop
            if position == present:
                _offer(total, k, best, best_index)
        units[i, 0] = best_index[0]
        units[i, 1] = best_index[1]
        distances[i, 0] = best[0]
        distances[i, 1] = best[1]
