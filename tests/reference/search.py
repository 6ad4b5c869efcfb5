"""Reference implementations of the search engine: every pair, plain NumPy, sequential."""

import numpy as np


def squared_distance_float64(a, b):
    """The documented order of summation: eight running sums, their fixed tree, then the last d mod 8 dimensions.

    a, b : vectors along the last axis; arrays of them are processed pair by pair.
    """
    difference = a.astype(np.float64) - b.astype(np.float64)
    d = difference.shape[-1]
    whole = d - d % 8
    sums = np.zeros((*difference.shape[:-1], 8))
    for start in range(0, whole, 8):
        sums = sums + difference[..., start : start + 8] * difference[..., start : start + 8]
    sums = np.moveaxis(sums, -1, 0)
    total = ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))
    for i in range(whole, d):
        total = total + difference[..., i] * difference[..., i]
    return total


def squared_distances(queries, rows):
    """All pairs, (m, n): int64 between bytes, otherwise float64."""
    if queries.dtype == np.uint8 and rows.dtype == np.uint8:
        difference = queries[:, None].astype(np.int64) - rows[None].astype(np.int64)
        return (difference * difference).sum(axis=2)
    return np.array([squared_distance_float64(query, rows) for query in queries]).reshape(len(queries), len(rows))


def nearest(queries, rows, k):
    """Squared distances and rows of the k nearest, by (distance, row)."""
    return nearest_of(squared_distances(queries, rows), k)


def nearest_of(distances, k):
    """The k smallest of each line of distances (m, n), and their places, by (distance, place)."""
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, axis=1), order


def within(queries, rows, squared_radius):
    """starts, distances and rows of all pairs up to the radius, rows ascending."""
    return within_of(squared_distances(queries, rows), squared_radius)


def within_of(distances, squared_radius):
    """starts, distances and places of all distances (m, n) up to the radius."""
    found = [np.flatnonzero(row <= squared_radius) for row in distances]
    starts = np.concatenate([[0], np.cumsum([len(f) for f in found])])
    return starts, np.concatenate([row[f] for row, f in zip(distances, found, strict=True)]), np.concatenate(found)


def scan_masks(query_codes, row_codes, half_norms, thresholds, stops, narrow):
    """Mask of the rows that survive the scan, bool (queries, rows), and the sums of the last section.

    The mask is all false if a section rules out all rows for all queries; then there are no sums.

    thresholds : (lines, queries), see `scan_tile`; stops : the column at which each section ends
    narrow : whether sums are 16 bits wide, otherwise 32.
    """
    dtype = np.int16 if narrow else np.int32
    n_sections = len(stops)
    total = 0
    start = 0
    for section, stop in enumerate(stops):
        products = query_codes[:, start:stop].astype(np.int64) @ row_codes[:, start:stop].astype(np.int64).T
        total = total + products - half_norms[section] + thresholds[section][:, None]
        if section < n_sections - 1 and (total.astype(dtype) > thresholds[2 * n_sections :].ravel()[section]).all():
            return np.zeros(total.shape, bool), None
        start = stop
    return total.astype(dtype) <= thresholds[2 * n_sections - 1][:, None], total.astype(dtype)


def project(rows, centre, axes):
    """F(x) = (Πx, ρ(x)) with orthonormal `axes` (columns), in float64."""
    centred = rows.astype(np.float64) - centre
    basis, _ = np.linalg.qr(axes)
    along = centred @ basis
    return along, np.linalg.norm(centred - along @ basis.T, axis=1)
