"""The nearest of a few vectors to many rows of bytes: codes of both sides for `somknn_kernels.search.byte_screen`."""

import numpy as np

from somknn.axes import principal_axes, sample_rows
from somknn.machine import Isa, per_task, run_tasks
from somknn.threads import single_threaded_blas
from somknn_kernels.bounds.codebook_codes import NOWHERE, PIECE
from somknn_kernels.ir.layout import pair_panels
from somknn_kernels.ir.shapes import panel_rows
from somknn_kernels.search import byte_screen as kernels
from somknn_kernels.search.byte_screen import LEAD, WIDEST, ByteAxes, CodedRows, Found, Vectors
from somknn_kernels.tiles.row_products import AXES

ROWS = 384  # of a task; a multiple of every tile
_SAMPLE = 1024  # rows from which the axes are made; 2,048 made a fit of K-Means 25 ms longer, and no search shorter
_PILOTS = 4  # tasks that tell what all will cost
_TOO_MANY = 0.12  # if more than this share of the vectors is measured, comparing all is better
_CODE_LIMIT = 30000.0  # norm of the codes of a row or a vector: no sum of products passes 2^30


def suits(rows: np.ndarray, n_vectors: int) -> bool:
    """Whether `ByteScreen` is for rows of this dtype and width and for so many vectors."""
    return rows.dtype == np.uint8 and 2 * LEAD <= rows.shape[1] <= WIDEST and n_vectors >= 64


class ByteScreen:
    """Axes and codes.

    Any rows of bytes as wide as `like` (n, d), with LEAD <= d, can be encoded. Rows that resemble it get tight bounds.
    """

    def __init__(self, like: np.ndarray, isa: Isa):
        self.isa = isa
        sample = sample_rows(like, _SAMPLE)
        d = sample.shape[1]
        self.centre = np.clip(np.rint(sample.mean(axis=0)), 0, 255)
        with single_threaded_blas():
            axes = principal_axes(sample - self.centre, LEAD - 1).T
        # The largest distance of a row from the centre.
        self._farthest = farthest = float(np.sqrt((np.maximum(self.centre, 255 - self.centre) ** 2).sum()))
        scale = min(32767.0 / float(np.abs(axes).max()), 2.0**30 / (1.05 * farthest + d))
        whole = np.rint(axes * scale)
        self.axes = whole / scale
        self.gram = self.axes @ self.axes.T
        largest = float(np.linalg.eigvalsh(self.gram)[-1]) * (1 + 1e-9)
        shift = max(0, int(np.ceil(np.log2(1.05 * farthest * scale / _CODE_LIMIT))))
        self._by = ByteAxes(
            self.centre.astype(np.int16), pair_panels(AXES).pack(whole), shift, scale, 2.0**shift / scale, largest
        )

    def encode(self, rows: np.ndarray, first: int, last: int, codes: np.ndarray, squares: np.ndarray) -> None:
        """Codes, int16 (last - first, LEAD), and squared norms, float64, of rows[first:last]."""
        kernels.encode_bytes(self.isa, rows, first, last, self._by, codes, squares)

    def encode_all(self, rows: np.ndarray, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """Codes and squared norms of all rows, as in `encode`."""
        codes, squares = np.empty((len(rows), LEAD), np.int16), np.empty(len(rows))

        def work(task: int) -> None:
            first, last = task * ROWS, min(len(rows), (task + 1) * ROWS)
            self.encode(rows, first, last, codes[first:last], squares[first:last])

        run_tasks(work, -(-len(rows) // ROWS), n_threads)
        return codes, squares

    def vectors(self, vectors: np.ndarray) -> Vectors | None:
        """Codes of the vectors (K, d); None if numbers are so large that nothing would be certain."""
        centred = vectors.astype(np.float64) - self.centre
        squares = np.einsum("ij,ij->i", centred, centred)
        longest = float(np.sqrt(squares.max()))
        if not longest < 1e30:
            return None
        with single_threaded_blas():
            products = centred @ self.axes.T
            inside = np.linalg.solve(self.gram, products.T).T
        # What float64 may lose in products of d terms is far below 1e-9.
        beyond = np.sqrt(np.maximum(squares * (1 + 1e-9) - np.einsum("ij,ij->i", inside, products), 0.0))
        row_unit, half = self._by.unit, 0.5 * np.sqrt(LEAD - 1)
        # No entry beyond the limit, and no half square beyond 2^30 units.
        unit = max(1.02 * longest / _CODE_LIMIT, longest**2 / (row_unit * 2.0**31), 1e-30)
        codes = np.zeros((len(vectors), LEAD), np.int16)
        codes[:, : LEAD - 1] = np.rint(inside / unit)
        codes[:, LEAD - 1] = np.ceil(beyond / unit)
        panels = pair_panels(panel_rows(self.isa)).pack(codes)
        starts = np.full(panels.shape[0] * panels.shape[2], NOWHERE, np.int32)
        starts[: len(vectors)] = -np.floor(squares / 2 / (row_unit * unit))
        tallest = float(np.sqrt(np.einsum("ij,ij->i", inside, inside).max()))
        slack = np.array(
            [
                1.01 * half * unit * np.sqrt(self._by.largest) + 1e-9 * longest,
                1.01 * half * row_unit * (tallest + half * unit),
            ]
        )
        high, step, coarse = np.zeros((0, PIECE), np.int16), 1.0, 0.0
        if vectors.dtype != np.uint8:
            high, step, coarse = self._second_look(centred, longest)
        placed = starts.reshape(len(panels), -1)
        return Vectors(panels, codes, placed, row_unit * unit, slack, high, step, coarse, squares)

    def _second_look(self, centred: np.ndarray, longest: float) -> tuple[np.ndarray, float, float]:
        """Vectors as 16-bit integers whose products with centred rows fit 32 bits, their step and largest error."""
        K, d = centred.shape
        room = (2.0**31 - 1) / self._farthest  # largest norm of a vector of integers
        step = max(longest / (room - np.sqrt(d)), float(np.abs(centred).max()) / 32766.0, 1e-30)
        high = np.zeros((K, -(-d // PIECE) * PIECE), np.int16)
        high[:, :d] = np.rint(centred / step)
        rest = centred - step * high[:, :d]
        return high, step, float(np.sqrt(np.einsum("ij,ij->i", rest, rest).max())) * 1.01

    def nearest(
        self,
        rows: np.ndarray,
        vectors: np.ndarray,
        indices: np.ndarray,
        guided: bool,
        n_threads: int,
        prepared: Vectors | None = None,
        coded: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Squared distances (m,) to the nearest of `vectors`, and the mean numbers of survivors, (2,).

        The numbers of the nearest vectors are written to `indices` (m,).
        guided : whether `indices` holds good guesses; prepared, coded : what was kept of the vectors and of the rows
        Returns None if the codes rule out so little that comparing all is faster.
        """
        prepared = self.vectors(vectors) if prepared is None else prepared
        if prepared is None:
            return None
        m = len(rows)
        distances: np.ndarray = np.empty(m, np.int64 if vectors.dtype == np.uint8 else np.float64)
        # If few are ruled out, a tenth of the vectors is measured. If even fewer are, the first tasks show it.
        at_once = per_task(ROWS, len(vectors) * (LEAD + rows.shape[1] / 8), 48)
        n_tasks = -(-m // at_once)
        counts = np.zeros((n_tasks, 2), np.int64)

        def work(task: int) -> None:
            first, last = task * at_once, min(m, (task + 1) * at_once)
            if coded is None:
                own = np.empty((last - first, LEAD), np.int16), np.empty(last - first)
                self.encode(rows, first, last, *own)
            else:
                own = coded[0][first:last], coded[1][first:last]
            coded_rows, found = CodedRows(self._by.centre, *own), Found(indices, distances, counts[task])
            kernels.nearest_few(self.isa, rows, vectors, first, last, coded_rows, prepared, guided, found)

        rest = np.arange(n_tasks)
        if n_tasks > 4 * _PILOTS:  # some tasks come first: they tell what all will cost
            pilot = rest[:: n_tasks // _PILOTS][:_PILOTS]
            rest = np.delete(rest, pilot)
            run_tasks(lambda i: work(pilot[i]), len(pilot), n_threads)
            if counts[pilot, 1].sum() > _TOO_MANY * len(vectors) * len(pilot) * at_once:
                return None
        run_tasks(lambda i: work(rest[i]), len(rest), n_threads)
        return distances, counts.sum(axis=0) / max(1, m)
