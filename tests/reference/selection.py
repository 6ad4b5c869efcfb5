"""Readable twins of selection and packing."""

import numpy as np


def k_best(pairs, k):
    """The k first of (distance, row) pairs, by distance, then by row."""
    return sorted(pairs)[:k]


def packed_bytes(source, first, count, n_rows, groups, g, flip):
    """(groups, n_rows, g): value - flip, what lies outside counting as 0."""
    out = np.zeros((n_rows, groups * g), np.int64)
    out[:count, : source.shape[1]] = source[first : first + count]
    return (out - flip).reshape(n_rows, groups, g).transpose(1, 0, 2)
