"""Readable twins of the cosine search: rows of unit length, and every pair of them, plain NumPy."""

import numpy as np

from reference import search
from reference.search import squared_distance_float64

ORTHOGONAL = 2.0  # the squared distance of unit rows at a right angle, and that of a row of zeros to any row


def squares(rows):
    """Sums of squares (n,), in the documented order."""
    return squared_distance_float64(rows, np.zeros_like(rows))


def unit_rows(rows):
    """Rows divided by their norms, float64; rows of zeros stay as they are. Also which rows are zeros, bool (n,)."""
    rows = rows.astype(np.float64)
    with np.errstate(over="ignore"):
        first = squares(rows)
    rows = rows * np.where(first > 2.0**900, 2.0**-600, np.where(first < 2.0**-900, 2.0**600, 1.0))[:, None]
    norms = np.sqrt(squares(rows))
    is_zero = norms == 0
    return rows / np.where(is_zero, 1.0, norms)[:, None], is_zero


def squared_distances(queries, rows):
    """Squared distances between unit rows, (m, n): twice the cosine distances; 2 where a row is all zeros."""
    (queries, no_query), (rows, no_row) = unit_rows(queries), unit_rows(rows)
    found = np.array([squared_distance_float64(query, rows) for query in queries]).reshape(len(queries), len(rows))
    return np.where(no_query[:, None] | no_row, ORTHOGONAL, found)


def distances(queries, rows):
    """Cosine distances, (m, n)."""
    return np.minimum(squared_distances(queries, rows) / 2, 2.0)


def nearest(queries, rows, k):
    """Squared distances between unit rows, and rows, of the k nearest, by (distance, row)."""
    return search.nearest_of(squared_distances(queries, rows), k)


def within(queries, rows, squared_radius):
    """starts, squared distances and rows of all pairs up to the radius, rows ascending."""
    return search.within_of(squared_distances(queries, rows), squared_radius)
