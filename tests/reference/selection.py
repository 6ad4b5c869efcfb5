"""Reference implementations of selection and packing."""

import numpy as np


def k_best(pairs, k):
    """The k first of (distance, row) pairs, by distance, then by row."""
    return sorted(pairs)[:k]


def packed_bytes(source, first, count, n_rows, groups, g, flip):
    """(groups, n_rows, g): value - flip; values outside the source count as 0."""
    out = np.zeros((n_rows, groups * g), np.int64)
    out[:count, : source.shape[1]] = source[first : first + count]
    return (out - flip).reshape(n_rows, groups, g).transpose(1, 0, 2)


def without_zero_groups(packed):
    """The groups of one packed tile that are not all zero, and their numbers; the last group if there are none."""
    used = np.flatnonzero(packed.reshape(len(packed), -1).any(axis=1))
    used = used if len(used) else np.array([len(packed) - 1])
    return packed[used], used
