"""Rows and codebooks under the cosine distance, for what is trained: both scaled to unit length.

For unit vectors ½·‖u - v‖² = 1 - cos, as in `cosine`. So the unit nearest by cosine distance is the nearest of the
codebook's unit rows, ties by unit, and every search for moving codebooks finds it. A codebook is kept at unit length.
"""

from typing import NamedTuple

import numpy as np

from somknn.search.cosine import ORTHOGONAL, unit_rows


class Directions(NamedTuple):
    """Rows at unit length, float64 (n, d), and the numbers of those that are all zeros (m,): they have no direction."""

    rows: np.ndarray
    zeros: np.ndarray

    @classmethod
    def of(cls, X: np.ndarray, n_threads: int) -> "Directions":
        units, is_zero = unit_rows(X, n_threads)
        return cls(units, np.flatnonzero(is_zero))

    def settle(self, units: np.ndarray, squares: np.ndarray, n_units: int) -> None:
        """Give the rows of zeros what a search by cosine gives them: distance 1 to all, so the first units.

        units (n, k), squares (n,) : of a search among the rows; changed
        """
        units[self.zeros] = np.minimum(np.arange(units.shape[1]), n_units - 1)
        squares[self.zeros] = ORTHOGONAL


def unit_codebook(codebook: np.ndarray, n_threads: int) -> np.ndarray:
    """The codebook (K, d) at unit length, float64: what rows are compared with, whatever its dtype."""
    return unit_rows(np.ascontiguousarray(codebook), n_threads)[0]


def unit_length(moved: np.ndarray, before: np.ndarray, n_threads: int) -> np.ndarray:
    """`moved` (K, d) at unit length, in the dtype of `before`; what has become zero keeps its row of `before`."""
    units, is_zero = unit_rows(np.ascontiguousarray(moved), n_threads)
    units = units.astype(before.dtype)
    units[is_zero] = before[is_zero]
    return units


def checked_start(start: np.ndarray, name: str, n_threads: int) -> np.ndarray:
    """A first codebook (K, d) scaled to unit length. Raises ValueError for a row of zeros: it has no direction.

    name : of the parameter that it comes from
    """
    units, is_zero = unit_rows(np.ascontiguousarray(start), n_threads)
    if is_zero.any():
        raise ValueError(
            f"{name!r} gives unit {int(is_zero.argmax())} only zeros, which have no direction under metric='cosine': "
            "leave out rows of zeros, or give other starting weights"
        )
    return units.astype(start.dtype)
