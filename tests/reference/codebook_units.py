"""Reference implementations of `somknn_kernels.bounds.codebook_units`."""

import numpy as np


def encode_units(W, centre, scale, step):
    """(W - centre)·scale as integer multiples of `step`, and the remainder of each unit."""
    scaled = (W.astype(np.float64) - centre) * scale / step
    high = np.rint(scaled)
    return high, (scaled - high) * step


def find_codes(units, matrix, unit):
    """Coordinates, and two norms of each unit's remainder.

    Returns coordinates in multiples of `unit` (K, p), the norm beyond the axes (K,), and the norm of the remainder's
    part along the axes (K,).
    """
    coordinates = np.rint(np.linalg.lstsq(matrix, units.T, rcond=None)[0].T / unit)
    rest = units - unit * coordinates @ matrix.T
    basis, _ = np.linalg.qr(matrix)
    inside = rest @ basis
    return coordinates, np.linalg.norm(rest - inside @ basis.T, axis=1), np.linalg.norm(rest @ matrix, axis=1)
