"""Learning vector quantization: winners of each row by comparing all, and Kohonen's rules, one row at a time."""

from typing import NamedTuple

import numpy as np

from somknn_kernels.exact.distances import squared_distance_float64
from somknn_kernels.policy import inlined, kernel


class Winners(NamedTuple):
    """For each of n rows, the nearest prototype of the row's class and the nearest of the other classes.

    own, other : int64 (n,), prototypes, -1 where there is none; own_squares, other_squares : float64 (n,), squared
    distances, infinity where there is none
    """

    own: np.ndarray
    own_squares: np.ndarray
    other: np.ndarray
    other_squares: np.ndarray


@inlined
def _pull(rows, row, prototypes, p, rate):
    for c in range(rows.shape[1]):
        prototypes[p, c] += rate * (np.float64(rows[row, c]) - prototypes[p, c])


@kernel
def winners(rows, codes, start, stop, prototypes, prototype_codes, found):
    """For the rows in [start, stop), the nearest prototype of the row's class and the nearest of the other classes.

    rows : (n, d) and prototypes : (p, d), uint8, float32 or float64
    codes : int64 (n,), prototype_codes : int64 (p,), classes; found : Winners, filled

    Exact, in the arithmetic of `distances.py`. Ties go to the lowest prototype. Cost per row: p·d differences.
    """
    own, own_squares = found.own, found.own_squares
    other, other_squares = found.other, found.other_squares
    sums = np.empty(8)
    for row in range(start, stop):
        best_own, best_other = np.inf, np.inf
        nearest_own, nearest_other = -1, -1
        for p in range(prototypes.shape[0]):
            distance = squared_distance_float64(rows, row, prototypes, p, sums)
            # Also where every distance is infinity or NaN there is a nearest.
            if prototype_codes[p] == codes[row]:
                if distance < best_own or nearest_own < 0:
                    best_own, nearest_own = distance, p
            elif distance < best_other or nearest_other < 0:
                best_other, nearest_other = distance, p
        own[row], own_squares[row] = nearest_own, best_own
        other[row], other_squares[row] = nearest_other, best_other


@kernel
def lvq1_epoch(rows, codes, order, rates, prototypes, prototype_codes):
    """LVQ1 (Kohonen 1995, section 6.1): the nearest prototype moves to a row of its class, and away from any other.

    rows : (n, d) uint8, float32 or float64; codes : int64 (n,), classes
    order : int64 (m,), the rows in the order they are shown; rates : float64 (m,), the part of the way to the row
    prototypes : float64 (p, d), changed; prototype_codes : int64 (p,)

    Returns how many of the rows were wrong when shown, or -1 when it met one whose distances are all beyond float64.
    All arithmetic is float64. Ties go to the lowest prototype. Cost for each row shown: p·d differences.
    """
    sums = np.empty(8)
    wrong = 0
    for step in range(order.shape[0]):
        row = order[step]
        best, nearest = np.inf, 0
        for p in range(prototypes.shape[0]):
            distance = squared_distance_float64(rows, row, prototypes, p, sums)
            if distance < best:
                best, nearest = distance, p
        if not best < np.inf:
            return -1
        if prototype_codes[nearest] == codes[row]:
            _pull(rows, row, prototypes, nearest, rates[step])
        else:
            wrong += 1
            _pull(rows, row, prototypes, nearest, -rates[step])
    return wrong


@kernel
def lvq21_epoch(rows, codes, order, rates, window, prototypes, prototype_codes):
    """LVQ2.1 (Kohonen 1995, section 6.3): the two nearest, one right and one wrong, move if the row is in their window.

    In the window: the smaller distance is more than (1 - window)/(1 + window) of the larger. window : float64 above 0
    and below 1; the other arguments, the result and the cost are as in `lvq1_epoch`.
    """
    sums = np.empty(8)
    least = ((1.0 - window) / (1.0 + window)) ** 2
    wrong = 0
    for step in range(order.shape[0]):
        row = order[step]
        first, second, nearest, next_nearest = np.inf, np.inf, -1, -1
        for p in range(prototypes.shape[0]):
            distance = squared_distance_float64(rows, row, prototypes, p, sums)
            if distance < first:
                second, next_nearest = first, nearest
                first, nearest = distance, p
            elif distance < second:
                second, next_nearest = distance, p
        if nearest < 0:
            return -1
        right = prototype_codes[nearest] == codes[row]
        wrong += not right
        if next_nearest < 0 or right == (prototype_codes[next_nearest] == codes[row]) or first <= least * second:
            continue
        rate = rates[step] if right else -rates[step]
        _pull(rows, row, prototypes, nearest, rate)
        _pull(rows, row, prototypes, next_nearest, -rate)
    return wrong
