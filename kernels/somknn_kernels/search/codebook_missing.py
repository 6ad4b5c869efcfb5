"""The two nearest rows of a small codebook for rows with missing values, one distance after the other."""

import numpy as np

from somknn_kernels.exact.all_distances import list_present
from somknn_kernels.policy import inlined, kernel


@inlined
def _closer(distance, index, other_distance, other_index):
    """Whether the first pair comes before the other. It does if the other's index is -1 (there is none)."""
    return other_index < 0 or distance < other_distance or (distance == other_distance and index < other_index)


@inlined
def offer_unit(distance, index, best, best_index):
    """Keep the two smallest (distance, index) pairs in best[0:2], best_index[0:2], which are infinity and -1 at first.

    Any distance is better than none, infinity and NaN too. So after two different units were offered, no -1 is left.
    """
    if index == best_index[0] or index == best_index[1]:
        return
    if best_index[0] < 0 or _closer(distance, index, best[0], best_index[0]):
        best[1] = best[0]
        best_index[1] = best_index[0]
        best[0] = distance
        best_index[0] = index
    elif best_index[1] < 0 or _closer(distance, index, best[1], best_index[1]):
        best[1] = distance
        best_index[1] = index


@kernel
def two_nearest_missing(X, W, first_row, last_row, units, distances):
    """As `two_nearest`, over the columns in which a row is not NaN. Rows without values get units 0, 1, distance 0.

    X : float32 or float64 (n, d), NaN for missing; units, distances : as in `two_nearest`. units may hold guesses, or
    numbers that are no units.
    A partial sum above the second best ends a row of W early. Terms are added in column order, in float64.
    """
    d = X.shape[1]
    K = W.shape[0]
    values = np.empty(d, np.float64)
    columns = np.empty(d, np.int64)
    best = np.empty(2, np.float64)
    best_index = np.empty(2, np.int64)
    for i in range(first_row, last_row):
        present = list_present(X, i, values, columns)
        best[0] = np.inf
        best[1] = np.inf
        best_index[0] = -1
        best_index[1] = -1
        guess_0, guess_1 = units[i, 0], units[i, 1]
        for turn in range(-2, K):
            k = guess_0 if turn == -2 else guess_1 if turn == -1 else turn
            if not 0 <= k < K or (turn >= 0 and (k == guess_0 or k == guess_1)):  # noqa: SIM109
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
                offer_unit(total, k, best, best_index)
        units[i, 0] = best_index[0]
        units[i, 1] = best_index[1]
        distances[i] = best[0]
