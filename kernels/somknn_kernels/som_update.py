"""What moves a map: smoothing of per-neuron sums over the grid, and the classical rule, one row at a time.

Sums per neuron themselves are `group_sums`. All arithmetic is float64 in a fixed order, so a map does not depend on threads.
"""

import numpy as np

from somknn_kernels.distances import squared_distance_float64
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


@kernel
def train_online(X, order, W, offsets, table, rates, start, stop, units, distances):
    """The classical rule for the rows order[start:stop]: w_k += rate·h(bmu, k)·(x - w_k), one row after the other.

    X : (n, d); order : int64; W : float32 or float64 (K, d), updated in place; rates : float64, of each step
    offsets : int64 (K, 3), row, parity of the row (0 on rectangular grids) and column of every neuron
    table : float64 (2R - 1, 3, 2C - 1), the neighbourhood h by offset, centred on no offset.
    units : int64 (n, 2): nearest and second nearest unit of each row when it was presented; distances : float64 (n,):
    squared, to the nearest.
    The update of one step and the distances of the next share one pass over the codebook, which halves its traffic.
    Cost per step: K·d differences, products and sums, plus d per neuron with an influence.
    """
    K, d = W.shape
    sums = np.empty(8, np.float64)
    previous = np.int64(-1)
    previous_row = np.int64(-1)
    rate = 0.0
    for step in range(start, stop + 1):
        row = order[step] if step < stop else np.int64(-1)
        first = np.inf
        second = np.inf
        first_unit = np.int64(0)
        second_unit = np.int64(0)
        for k in range(K):
            if previous >= 0:
                pull = rate * _influence(offsets, table, previous, k)
                if pull != 0.0:
                    for c in range(d):
                        old = np.float64(W[k, c])
                        W[k, c] = old + pull * (np.float64(X[previous_row, c]) - old)
            if row >= 0:
                distance = squared_distance_float64(X, row, W, k, sums)
                if distance < first:
                    second = first
                    second_unit = first_unit
                    first = distance
                    first_unit = np.int64(k)
                elif distance < second:
                    second = distance
                    second_unit = np.int64(k)
        if row >= 0:
            units[row, 0] = first_unit
            units[row, 1] = second_unit
            distances[row] = first
            previous = first_unit
            previous_row = row
            rate = rates[step]


@kernel
def train_online_missing(X, order, W, offsets, table, rates, start, stop, units, distances):
    """`train_online` where NaN means missing: such columns take no part in the distance and are not moved."""
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
