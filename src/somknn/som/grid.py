"""Grid geometry of a SOM: positions, distances and adjacency for every topology and boundary.

Rectangular: neuron (r, c) at y = r, x = c. Hexagonal: y = r·√3/2 and x = c, with odd rows shifted half a step to the
right, so that the six nearest neurons of an inner one are all at distance 1. A cylinder joins the first and the last
column; a torus also the first and the last row.
"""

from typing import NamedTuple

import numpy as np

TOPOLOGIES = ("rectangular", "hexagonal")
BOUNDARIES = ("planar", "cylinder", "torus")


class Grid(NamedTuple):
    """The shape of a SOM's grid. `checked` builds one from a user's values."""

    n_rows: int
    n_columns: int
    topology: str = "rectangular"
    boundary: str = "planar"

    @classmethod
    def checked(cls, n_rows: int, n_columns: int, topology: str = "rectangular", boundary: str = "planar") -> "Grid":
        for name, value in (("n_rows", n_rows), ("n_columns", n_columns)):
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise TypeError(f"{name} must be an integer, got {value!r}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1 (an empty grid has no neuron), got {value}")
        if topology not in TOPOLOGIES:
            raise ValueError(f"topology must be one of {', '.join(TOPOLOGIES)}; got {topology!r}")
        if boundary not in BOUNDARIES:
            raise ValueError(f"boundary must be one of {', '.join(BOUNDARIES)}; got {boundary!r}")
        if topology == "hexagonal" and boundary == "torus" and n_rows % 2:
            raise ValueError(
                f"a hexagonal torus needs an even n_rows, got {n_rows}: with an odd number the first and the last row "
                "are shifted alike and do not fit together"
            )
        return cls(int(n_rows), int(n_columns), topology, boundary)

    @property
    def size(self) -> int:
        return self.n_rows * self.n_columns

    @property
    def row_step(self) -> float:
        return np.sqrt(3.0) / 2.0 if self.topology == "hexagonal" else 1.0

    def positions(self) -> np.ndarray:
        """(size, 2) float64: x and y of every neuron, neurons in row-major order."""
        r, c = np.divmod(np.arange(self.size), self.n_columns)
        x = c + 0.5 * (r % 2) if self.topology == "hexagonal" else c.astype(float)
        return np.column_stack([x, r * self.row_step])

    def row_distances(self) -> np.ndarray:
        """(n_rows, n_rows) float64: |y - y'|, the shorter way round on a torus."""
        return _wrap(_differences(np.arange(self.n_rows) * self.row_step), self.n_rows * self.row_step, self._rows_wrap)

    def column_distances(self, shift: float = 0.0) -> np.ndarray:
        """(n_columns, n_columns) float64: |x + shift - x'| within rows, the shorter way round if columns are joined."""
        x = np.arange(self.n_columns, dtype=np.float64)
        return _wrap(np.abs(x[:, None] + shift - x[None, :]), self.n_columns, self.boundary != "planar")

    @property
    def _rows_wrap(self) -> bool:
        return self.boundary == "torus"

    def squared_distances(self, first: int = 0, stop: int | None = None) -> np.ndarray:
        """(stop - first, size) float64: squared Euclidean grid distances of the neurons first to stop - 1 to all."""
        position = self.positions()
        some = position[first:stop]
        dx = _wrap(np.abs(some[:, None, 0] - position[None, :, 0]), self.n_columns, self.boundary != "planar")
        dy = _wrap(np.abs(some[:, None, 1] - position[None, :, 1]), self.n_rows * self.row_step, self._rows_wrap)
        return dx * dx + dy * dy

    def offset_squares(self) -> np.ndarray:
        """(2·n_rows - 1, 3, 2·n_columns - 1) float64: squared distance for each offset of rows and columns.

        Entry [r' - r + n_rows - 1, s + 1, c' - c + n_columns - 1], where s is r' mod 2 - r mod 2 (0 on a
        rectangular grid).
        """
        rows = np.arange(1 - self.n_rows, self.n_rows) * self.row_step
        half = 0.5 if self.topology == "hexagonal" else 0.0
        columns = np.arange(1 - self.n_columns, self.n_columns) + half * np.array([-1.0, 0.0, 1.0])[:, None]
        dy = _wrap(np.abs(rows), self.n_rows * self.row_step, self._rows_wrap)
        dx = _wrap(np.abs(columns), self.n_columns, self.boundary != "planar")
        return dy[:, None, None] ** 2 + dx[None] ** 2

    def adjacent(self, first: np.ndarray, second: np.ndarray, diagonals: bool = True) -> np.ndarray:
        """Whether two neurons (flat indices) are neighbours: boolean array of the broadcast shape.

        Hexagonal: the six at distance 1. Rectangular: the four at distance 1 and, with `diagonals`, the four at √2.
        Joined edges count; a neuron is not its own neighbour.
        """
        position = self.positions()
        first, second = np.asarray(first), np.asarray(second)
        dx = np.abs(position[first, 0] - position[second, 0])
        dy = np.abs(position[first, 1] - position[second, 1])
        if self.boundary != "planar":
            dx = np.minimum(dx, self.n_columns - dx)
        if self._rows_wrap:
            dy = np.minimum(dy, self.n_rows * self.row_step - dy)
        reach = 2.0 if diagonals and self.topology == "rectangular" else 1.0
        return (dx * dx + dy * dy < reach + 0.1) & (first != second)

    def neighbours(self) -> list[np.ndarray]:
        """Flat indices of the adjacent neurons (at most eight or six) of each neuron, ascending."""
        everyone = np.arange(self.size)
        return [everyone[self.adjacent(np.full(self.size, k), everyone)] for k in range(self.size)]


def _differences(x: np.ndarray) -> np.ndarray:
    return np.abs(x[:, None] - x[None, :])


def _wrap(distance: np.ndarray, period: float, joined: bool) -> np.ndarray:
    return np.minimum(distance, np.abs(period - distance)) if joined else distance
