"""What moves a map: smoothing of sums by unit over the grid, and the classical rule, one row at a time.

The sums by unit are made by `group_sums`. All arithmetic is float64 in a fixed order, so a map does not depend on
threads.
"""

import numpy as np

from somknn_kernels.maps.som_blocks import find_pulls
from somknn_kernels.policy import kernel


@kernel
def weighted_sums(H, S, first_row, last_row, first_column, last_column, out):
    """out[j, c] = sum over i, ascending, of H[j, i]·S[i, c], for a block of rows and columns; zeros of H are skipped.

    H : float64 (J, I); S : float64 (I, C); out : float64 (J, C), the block is overwritten.

    Four terms at a time are added, left to right, before they reach the output: one load and store for four products.
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


@kernel
def train_online_missing(X, order, W, neighborhood, rates, units, distances):
    """The classical rule for the rows `order` where NaN means missing: such columns take no part and are not moved.

    X : (n, d); order : int64 (steps,); W : float32 or float64 (K, d), updated in place
    neighborhood : `som_blocks.Neighborhood`; `pushed_within` is for distances over the columns that are there
    rates : float64 (steps,)
    units : int64 (steps, 2), distances : float64 (steps,): the nearest and second nearest unit of each row when it was
    presented, and the squared distance to the nearest over the columns that are there. Ties go to the lowest unit.

    All arithmetic is float64; W is rounded after each row. Cost per row: d·K differences and updates.
    """
    table, hexagonal, columns = neighborhood.table, neighborhood.hexagonal, neighborhood.columns
    pushed_within = neighborhood.pushed_within
    K, d = W.shape
    pulls, squares = np.empty((1, K)), np.empty(K)
    for step in range(order.shape[0]):
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
            squares[k] = distance
            if distance < first:
                second = first
                second_unit = first_unit
                first = distance
                first_unit = np.int64(k)
            elif distance < second:
                second = distance
                second_unit = np.int64(k)
        units[step, 0] = first_unit
        units[step, 1] = second_unit
        distances[step] = first
        find_pulls(rates[step], table, hexagonal, first_unit, columns, pulls, 0)
        for k in range(K):
            pull = pulls[0, k]
            if pull > 0.0 or (pull < 0.0 and squares[k] <= pushed_within):
                for c in range(d):
                    value = np.float64(X[row, c])
                    if not np.isnan(value):
                        old = np.float64(W[k, c])
                        W[k, c] = old + pull * (value - old)
