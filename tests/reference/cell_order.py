"""Bisection of a cell across its longest extent, by an eigendecomposition."""

import numpy as np


def order_cell(vectors: np.ndarray, rows: list[int], start: int, panel_rows: int) -> list[int]:
    """`rows`, the first of which is at place `start`, bisected at panel boundaries down to single panels."""
    low, high = start // panel_rows + 1, (start + len(rows) - 1) // panel_rows
    if low > high:
        return rows
    cut = (low + high) // 2 * panel_rows - start
    centred = vectors[rows] - vectors[rows].mean(axis=0)
    along = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1]
    rows = [rows[i] for i in np.argsort(along, kind="stable")]
    halves = rows[:cut], rows[cut:]
    return order_cell(vectors, halves[0], start, panel_rows) + order_cell(vectors, halves[1], start + cut, panel_rows)
