"""Principal axes of the data, and the short vectors of rows along them."""

from collections.abc import Iterator

import numpy as np

from somknn.axes import principal_axes, sample_rows
from somknn_kernels import embedding as kernels
from somknn_kernels import tiles
from somknn_kernels.isa import Isa
from somknn_kernels.parallel import run_tasks

# Rows that the axes and the steps are made from; 4,096 took 0.13 s more on MNIST for 5% fewer exact distances.
SAMPLE = 2048
COLUMNS = 128  # of short vectors
_CHUNK = 16384  # rows that are embedded at a time
_RARE = 0.999  # share of the sample that the range of the codes covers; rows beyond it are handled apart
_LIMIT = 90.0  # with codes in ±90 no pair of byte products passes 2^15: 2·(32767 // 360)·180 <= 32,767
_PROBE_LIMIT = 91.0


class Embedding:
    """Turns rows into short vectors of `n_columns` coordinates (a power of two, at least 32), with proven errors.

    Fitted on a sample of the rows; any row can be embedded, one far outside the sample with a large error.
    """

    def __init__(self, rows: np.ndarray, isa: Isa, n_columns: int = COLUMNS, n_sampled: int = SAMPLE):
        self.isa, self.n_columns = isa, n_columns
        sample = sample_rows(rows, n_sampled)
        d = sample.shape[1]
        integers = rows.dtype == np.uint8
        self.centre = np.rint(sample.mean(axis=0)) if integers else sample.mean(axis=0)
        n_axes = min(d, n_columns - 1)
        axes = np.zeros((n_columns - 1, d))
        axes[:n_axes] = principal_axes(sample - self.centre, n_axes).T
        self._round_axes(axes, n_axes, d, integers)
        vectors, _ = self._embed(rows[np.linspace(0, len(rows) - 1, len(sample)).astype(int)], 1)
        self._choose_step(vectors)

    def _round_axes(self, axes: np.ndarray, n_axes: int, d: int, integers: bool) -> None:
        """Axes as int16, scaled so that no product with a packed row passes 32 bits."""
        largest = float(np.abs(axes).max()) or 1.0
        if integers:
            scale = min(32767.0 / largest, 2.0**31 / (255.0 * np.sqrt(d) * 1.02))
            self.unit_norm = 0.0
        else:
            scale = min(32767.0 / largest, 2.0**16)
            self.unit_norm = float(min(32766.0, 2.0**31 / (scale * 1.02)) - np.sqrt(d) / 2)
            if self.unit_norm < 1024:  # very wide rows: rounding adds up to sqrt(d)/2 to the packed norm
                self.unit_norm = 1024.0
                scale = 2.0**31 / (1.02 * (self.unit_norm + np.sqrt(d) / 2))
                scale = min(scale, 32767.0 / largest)
        rounded = np.rint(axes * scale)
        live = rounded[:n_axes] / scale
        spectrum = np.linalg.eigvalsh(live @ live.T)
        self.spectrum = (float(spectrum[0]) * (1 - 1e-9) - 1e-9, float(spectrum[-1]) * (1 + 1e-9) + 1e-9)
        self.inverse_scale = 1.0 / scale
        self.axes = rounded.astype(np.int16)
        self._pack_axes()

    def _pack_axes(self) -> None:
        n_axes, d = self.axes.shape
        panel = tiles.panel_rows(self.isa)
        n_panels, groups = -(-n_axes // panel), -(-d // 2)
        padded = np.zeros((n_panels * panel, groups * 2), np.int16)
        padded[:n_axes, :d] = self.axes
        self._packed_axes = np.ascontiguousarray(padded.reshape(n_panels, panel, groups, 2).transpose(0, 2, 1, 3))

    def _choose_step(self, vectors: np.ndarray) -> None:
        """Middle of each coordinate, and the step that brings all but the rarest rows within the codes' range."""
        low, high = np.quantile(vectors, [0.001, 0.999], axis=0)
        self.middle = (low + high) / 2
        reach = np.abs(vectors - self.middle).max(axis=1)
        step = float(np.quantile(reach, _RARE)) * 1.001 / _LIMIT
        # 16-bit sums wrap at a squared distance of 2^17 steps²: let few pairs of rows be that far apart.
        some = vectors[:: max(1, len(vectors) // 256)].astype(np.float64)
        squares = (some**2).sum(axis=1)[:, None] + (vectors.astype(np.float64) ** 2).sum(axis=1)
        farthest = float(np.quantile(squares - 2 * some @ vectors.T.astype(np.float64), 0.999))
        self.step = max(step, np.sqrt(max(farthest, 0.0) / 2**17), 1e-280)

    def _embed(self, rows: np.ndarray, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """Short vectors before rounding, float32 (n, n_columns), and their errors, (n,)."""
        n = len(rows)
        vectors, errors = np.empty((n, self.n_columns), np.float32), np.empty(n)
        unit_norm = self.unit_norm
        if unit_norm == 0.0 and rows.dtype != np.uint8:
            # Fractions beside bytes: packed to the norm that the scale of the axes leaves room for.
            unit_norm = min(32766.0, 255.0 * np.sqrt(rows.shape[1]))

        def work(task: int) -> None:
            chunk = slice(task * 256, min(n, task * 256 + 256))
            kernels.embed(
                self.isa,
                rows,
                chunk.start,
                chunk.stop,
                self.centre,
                unit_norm,
                self._packed_axes,
                self.inverse_scale,
                self.spectrum,
                vectors[chunk],
                errors[chunk],
            )

        run_tasks(work, -(-n // 256), n_threads)
        return vectors, errors

    def chunks(self, rows: np.ndarray, n_threads: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """First row, short vectors before rounding and their errors, chunk by chunk; a chunk is a multiple of 1,024 rows."""
        for start in range(0, len(rows), _CHUNK):
            yield start, *self._embed(rows[start : start + _CHUNK], n_threads)

    def embed(self, rows: np.ndarray, n_threads: int, *, probes: bool) -> "ShortVectors":
        """Short vectors of `rows`; `probes` are what is searched with, else what is searched."""
        out = ShortVectors(len(rows), self.n_columns)
        limit = _PROBE_LIMIT if probes else _LIMIT
        for start, vectors, errors in self.chunks(rows, n_threads):
            out.coarse[start : start + _CHUNK] = vectors[:, : self.n_columns // 4]

            def work(task: int, start: int = start, vectors: np.ndarray = vectors, errors: np.ndarray = errors) -> None:
                at = slice(task * 1024, min(len(vectors), task * 1024 + 1024))
                to = slice(start + at.start, start + at.stop)
                rounded = out.codes[to], out.errors[to]
                kernels.quantise(vectors[at], errors[at], self.middle, self.step, limit, *rounded)

            run_tasks(work, -(-len(vectors) // 1024), n_threads)
        return out


class ShortVectors:
    """Codes, int8 (n, P), and their errors up to the end of each section, (n, 3); `coarse` is the first section before rounding."""

    def __init__(self, n: int, n_columns: int):
        self.coarse = np.empty((n, n_columns // 4), np.float32)
        self.codes = np.empty((n, n_columns), np.int8)
        self.errors = np.empty((n, 3))
