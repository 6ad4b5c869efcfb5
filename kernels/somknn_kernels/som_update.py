"""What moves a map: smoothing of per-neuron sums over the grid, and the classical rule, one row at a time.

Sums per neuron themselves are `group_sums`. All arithmetic is float64 in a fixed order, so a map does not depend on threads.
"""

import numpy as np

from somknn_kernels.policy import inlined, kernel


@kernel
def weighted_sums(H, S, first_row, last_row, first_column, last_column, out):
    """out[j, c] = sum over i, ascending, of H[j, i]·S[i, c], for a block of rows and columns; zeros of H are skipped.

    H : float64 (J, I); S : float64 (I, C); out : float64 (J, C), the block is overwritten.
    Four terms at a time are added left to right before they reach the output: one load and store for four products.
    Cost: (nonzeros of the block's rows)·(columns) multiply-adds.
    """
    count = H.shape[1]
    index = np.empty(count, np.int64)
    for j in range(first_row, last_row):
        used = 0
        for i in range(count):
            if H[j, i] != 0.0:
                index[used] = i
                used += 1
        total = out[j, first_column:last_column]
        total[:] = 0.0
        position = 0
        while position + 4 <= used:
            i0, i1, i2, i3 = index[position], index[position + 1], index[position + 2], index[position + 3]
            h0, h1, h2, h3 = H[j, i0], H[j, i1], H[j, i2], H[j, i3]
            s0 = S[i0, first_column:last_column]
            s1 = S[i1, first_column:last_column]
            s2 = S[i2, first_column:last_column]
            s3 = S[i3, first_column:last_column]
            for c in range(total.shape[0]):
                total[c] += ((h0 * s0[c] + h1 * s1[c]) + h2 * s2[c]) + h3 * s3[c]
            position += 4
        while position < used:
            i0 = index[position]
            h0 = H[j, i0]
            s0 = S[i0, first_column:last_column]
            for c in range(total.shape[0]):
                total[c] += h0 * s0[c]
            position += 1


@inlined
def _influence(offsets, table, winner, k):
    return table[
        offsets[k, 0] - offsets[winner, 0] + table.shape[0] // 2,
        offsets[k, 1] - offsets[winner, 1] + 1,
        offsets[k, 2] - offsets[winner, 2] + table.shape[2] // 2,
    ]


@inlined
def _distance_now(X, t, W, k, shares):
    """Squared distance of row t and unit k after the rows before t have drawn it, shares[s, k] being by how much: the rule as it is written."""
    total = 0.0
    for c in range(X.shape[1]):
        value = W[k, c]
        for s in range(t):
            value += shares[s, k] * (X[s, c] - value)
        difference = X[t, c] - value
        total += difference * difference
    return total


@inlined
def _products_now(products, gram, t, drawn, dot):
    """dot[k] = products[t, k] + Σ gram[t, s]·drawn[s, k] over the rows s before t; four at a time, for one load and store of dot."""
    for k in range(dot.shape[0]):
        dot[k] = products[t, k]
    whole = t - t % 4
    for s in range(0, whole, 4):
        g0, g1, g2, g3 = gram[t, s], gram[t, s + 1], gram[t, s + 2], gram[t, s + 3]
        for k in range(dot.shape[0]):
            near = g0 * drawn[s, k] + g1 * drawn[s + 1, k]
            dot[k] += near + (g2 * drawn[s + 2, k] + g3 * drawn[s + 3, k])
    for s in range(whole, t):
        g0 = gram[t, s]
        for k in range(dot.shape[0]):
            dot[k] += g0 * drawn[s, k]


@kernel
def train_block(X, W, products, gram, norms, offsets, table, rates, shares, factors, units, distances):
    """The classical rule w_k += rate·h(bmu, k)·(x - w_k) for a block of rows, one after the other, without moving W.

    After some rows of the block a unit is factors[k]·(W[k] + Σ_s drawn[s, k]·X[s]): what a later row leaves of a unit is left of all its
    parts, so only the factor changes. Its product with the next row follows from products of the rows with W and with each other, its
    squared norm from the one before, so a step costs K·t multiply-adds in place of K·d; the two matrix products are made for the
    whole block. Where rounding could have put the two nearest units in another order they are written out and measured.

    X : float64 (B, d) rows, centred; W : float64 (K, d), centred; products : float64 (B, K), of X and W; gram : float64 (B, B), of
    X and X; norms : float64 (K,), squared norms of W, changed. offsets : int64 (K, 3), row, parity of the row (0 on rectangular
    grids) and column of every neuron; table : float64 (2R - 1, 3, 2C - 1), the neighbourhood h by offset, centred
    on no offset; rates : float64 (B,): the product of 1 - rate over all but the last is so far from 0 that one may divide by it.
    shares : float64 (B, K) and factors : float64 (K,), overwritten: in the end a unit is factors[k]·W[k] + Σ_s shares[s, k]·X[s].
    units : int64 (B, 2), distances : float64 (B,): nearest and second nearest unit and the squared distance to the nearest, of each
    row when it is presented; ties to the lowest index.
    Cost per row: B·K / 2 multiply-adds on average, and d·K multiply-adds twice for the caller's products.
    """
    rows, d = X.shape
    K = W.shape[0]
    dot = np.empty(K)
    drawn = np.empty((rows, K))
    best = np.empty(2)
    which = np.empty(2, np.int64)
    factors[:] = 1.0
    for t in range(rows):
        if t > 0:
            for k in range(K):
                drawn[t - 1, k] = shares[t - 1, k] / factors[k]
        _products_now(products, gram, t, drawn, dot)
        longest = 0.0
        for k in range(K):
            dot[k] *= factors[k]
            longest = max(longest, norms[k])
        best[:] = np.inf
        which[:] = 0
        for k in range(K):
            score = 0.5 * norms[k] - dot[k]
            if score < best[1]:
                if score < best[0]:
                    best[1] = best[0]
                    which[1] = which[0]
                    best[0] = score
                    which[0] = k
                else:
                    best[1] = score
                    which[1] = k
        square = gram[t, t]
        reach = np.sqrt(square) + np.sqrt(longest)
        unsure = 2.0**-51 * (d + 8 * rows) * reach * reach
        close = 0
        for k in range(K):
            close += int(not 0.5 * norms[k] - dot[k] > best[1] + unsure)
        distance = square + 2.0 * best[0]
        if close > 2 or not best[1] - best[0] > unsure or not distance > 1e8 * unsure:
            limit = best[1] + unsure
            best[:] = np.inf
            which[:] = 0
            for k in range(K):
                if not 0.5 * norms[k] - dot[k] > limit:
                    measured = _distance_now(X, t, W, k, shares)
                    if measured < best[0]:
                        best[1] = best[0]
                        which[1] = which[0]
                        best[0] = measured
                        which[0] = k
                    elif measured < best[1]:
                        best[1] = measured
                        which[1] = k
            distance = best[0]
        units[t, 0] = which[0]
        units[t, 1] = which[1]
        distances[t] = distance
        winner = which[0]
        for k in range(K):
            shares[t, k] = rates[t] * _influence(offsets, table, winner, k)
        for k in range(K):
            pull = shares[t, k]
            rest = 1.0 - pull
            norms[k] = rest * rest * norms[k] + 2.0 * pull * rest * dot[k] + pull * pull * square
            factors[k] *= rest
    # Once more from pulls and not from `drawn`, which a division has rounded: exact for units and rates that are.
    factors[:] = 1.0
    for s in range(rows - 1, -1, -1):
        for k in range(K):
            pull = shares[s, k]
            shares[s, k] = pull * factors[k]
            factors[k] *= 1.0 - pull


@kernel
def finish_block(W, factors, moved, norms, first, last):
    """W[k] = factors[k]·W[k] + moved[k] and norms[k] = its squared norm, for the units [first, last).

    W : float64 (K, d); moved : float32 or float64 (K, d); norms : float64 (K,), summed in four running sums.
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
        norms[k] = (s0 + s2) + (s1 + s3)


@kernel
def train_online_missing(X, order, W, offsets, table, rates, start, stop, units, distances):
    """The classical rule for the rows order[start:stop] where NaN means missing: such columns take no part and are not moved.

    X : (n, d); order : int64; W : float32 or float64 (K, d), updated in place; rates : float64, of each step; offsets, table :
    as in `train_block`. units : int64 (n, 2), distances : float64 (n,): nearest and second nearest unit of each row
    when it was presented, and the squared distance to the nearest. Cost per row: d·K differences and updates.
    """
    K, d = W.shape
    for step in range(start, stop):
        row = order[step]
        first = np.inf
        second = np.inf
        first_unit = np.int64(0)
        second_unit = np.int64(0)
        for k in range(K):
            distance = 0.0
            for c in range(d):
                value = np.float64(X[row, c])
                if not np.isnan(value):
                    difference = value - np.float64(W[k, c])
                    distance += difference * difference
            if distance < first:
                second = first
                second_unit = first_unit
                first = distance
                first_unit = np.int64(k)
            elif distance < second:
                second = distance
                second_unit = np.int64(k)
        units[row, 0] = first_unit
        units[row, 1] = second_unit
        distances[row] = first
        for k in range(K):
            pull = rates[step] * _influence(offsets, table, first_unit, k)
            if pull != 0.0:
                for c in range(d):
                    value = np.float64(X[row, c])
                    if not np.isnan(value):
                        old = np.float64(W[k, c])
                        W[k, c] = old + pull * (value - old)
