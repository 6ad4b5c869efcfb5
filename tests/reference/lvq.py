"""Reference implementation of `somknn_kernels.learn.lvq`, in plain NumPy."""

import numpy as np


def winners(rows, codes, prototypes, prototype_codes):
    """own, own_squares, other, other_squares; every row has a prototype of its class and one of another class."""
    squares = ((rows[:, None].astype(float) - prototypes[None].astype(float)) ** 2).sum(axis=2)
    same = prototype_codes[None] == codes[:, None]
    own, other = np.where(same, squares, np.inf), np.where(same, np.inf, squares)
    return own.argmin(axis=1), own.min(axis=1), other.argmin(axis=1), other.min(axis=1)


def lvq1_epoch(rows, codes, order, rates, prototypes, prototype_codes):
    wrong = 0
    for row, rate in zip(order, rates, strict=True):
        x = rows[row].astype(float)
        nearest = ((prototypes - x) ** 2).sum(axis=1).argmin()
        right = prototype_codes[nearest] == codes[row]
        wrong += not right
        prototypes[nearest] += (rate if right else -rate) * (x - prototypes[nearest])
    return wrong


def lvq21_epoch(rows, codes, order, rates, window, prototypes, prototype_codes):
    wrong = 0
    for row, rate in zip(order, rates, strict=True):
        x = rows[row].astype(float)
        distances = np.sqrt(((prototypes - x) ** 2).sum(axis=1))
        two = np.argsort(distances, kind="stable")[:2]
        right = prototype_codes[two] == codes[row]
        wrong += not right[0]
        if len(two) == 2 and right.sum() == 1 and distances[two[0]] > (1 - window) / (1 + window) * distances[two[1]]:
            for p, sign in zip(two, np.where(right, 1, -1), strict=True):
                prototypes[p] += sign * rate * (x - prototypes[p])
    return wrong
