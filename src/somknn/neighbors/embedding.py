"""Principal axes of the data, and the short vectors of rows along them."""

import numpy as np

from somknn_kernels import embedding as kernels
from somknn_kernels import tiles
from somknn_kernels.isa import Isa
from somknn_kernels.parallel import run_tasks

# Rows that the axes and the steps are made from; 4,096 took 0.13 s more on MNIST for 5% fewer exact distances.
SAMPLE = 2048
_CHUNK = 2048  # rows that are embedded at a time
_RARE = 0.999  # share of the sample that the range of the codes covers; rows beyond it are handled apart
_SHORT_LIMIT = 90.0  # with codes in ±90 no pair of byte products passes 2^15: 2·(32767 // 360)·180 <= 32,767
_PROBE_LIMIT = 91.0
_FULL_LIMIT = 127.0


def sample_rows(rows: np.ndarray, size: int = SAMPLE) -> np.ndarray:
    """At most `size` rows at equal distances, as float64."""
    places = np.linspace(0, len(rows) - 1, min(size, len(rows))).astype(np.int64)
    return rows[places].astype(np.float64)


def _leading_axes(centred: np.ndarray, n_axes: int) -> np.ndarray:
    """The leading principal axes (columns) of centred rows, by subspace iteration; orthonormal, deterministic.

    Halko, Martinsson, Tropp (2011), "Finding structure with randomness", algorithm 4.4. The axes need not be
    accurate: any orthonormal columns give a valid bound, better ones a tighter one.
    """
    d = centred.shape[1]
    scale = float(np.abs(centred).max(initial=0.0)) or 1.0
    work = (centred / scale).astype(np.float32)
    start = np.random.default_rng(0).standard_normal((d, min(d, n_axes + 16)), dtype=np.float32)
    basis, _ = np.linalg.qr(work.T @ (work @ start))
    for _ in range(2):
        basis, _ = np.linalg.qr(work.T @ (work @ basis))
    small = work @ basis
    _, vectors = np.linalg.eigh((small.T @ small).astype(np.float64))
    return basis.astype(np.float64) @ vectors[:, ::-1][:, :n_axes]


class Embedding:
    """Turns rows into short vectors: `n_short` and `n_full` coordinates (powers of two), with proven errors.

    Fitted on a sample of the rows; any row can be embedded, one far outside the sample with a large error.
    """

    def __init__(self, rows: np.ndarray, isa: Isa, n_short: int = 64, n_full: int = 128):
        self.isa, self.n_short, self.n_full = isa, n_short, n_full
        sample = sample_rows(rows)
        d = sample.shape[1]
        integers = rows.dtype == np.uint8
        self.centre = np.rint(sample.mean(axis=0)) if integers else sample.mean(axis=0)
        n_axes = min(d, n_full - 1)
        axes = np.zeros((n_full - 1, d))
        axes[:n_axes] = _leading_axes(sample - self.centre, n_axes).T
        self._round_axes(axes, n_axes, d, integers)
        short, full, _ = self._embed(rows[np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(int)], 1)
        self.short_middle, self.short_step = self._range(short, _SHORT_LIMIT)
        self.full_middle, self.full_step = self._range(full, _FULL_LIMIT)
        self._keep_modulus_wide(short)

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

    @staticmethod
    def _range(vectors: np.ndarray, limit: float) -> tuple[np.ndarray, float]:
        """Middle of each coordinate, and the step that brings all but the rarest rows within ±limit."""
        low, high = np.quantile(vectors, [0.001, 0.999], axis=0)
        middle = (low + high) / 2
        reach = np.abs(vectors - middle).max(axis=1)
        step = float(np.quantile(reach, _RARE)) * 1.001 / limit
        return middle, max(step, 1e-280)

    def _keep_modulus_wide(self, short: np.ndarray) -> None:
        """16-bit sums wrap at a squared distance of 2^17 steps²: let few pairs of rows be that far apart."""
        some = short[:: max(1, len(short) // 256)].astype(np.float64)
        squares = (some**2).sum(axis=1)[:, None] + (short.astype(np.float64) ** 2).sum(axis=1)
        farthest = float(np.quantile(squares - 2 * some @ short.T.astype(np.float64), 0.999))
        self.short_step = max(self.short_step, np.sqrt(max(farthest, 0.0) / 2**17))

    def _embed(self, rows: np.ndarray, n_threads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n = len(rows)
        short, full = np.empty((n, self.n_short), np.float32), np.empty((n, self.n_full), np.float32)
        errors = np.empty((n, 2))
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
                min(self.n_short - 1, self.n_full - 1),
                short[chunk],
                full[chunk],
                errors[chunk],
            )

        run_tasks(work, -(-n // 256), n_threads)
        return short, full, errors

    def embed(self, rows: np.ndarray, n_threads: int, *, probes: bool) -> "ShortVectors":
        """Short vectors of `rows`; `probes` are what is searched with, else what is searched."""
        n = len(rows)
        out = ShortVectors(n, self.n_short, self.n_full)
        for start in range(0, n, _CHUNK * 8):
            block = rows[start : start + _CHUNK * 8]
            short, full, errors = self._embed(block, n_threads)
            out.fill(self, start, short, full, errors, _PROBE_LIMIT if probes else _SHORT_LIMIT, n_threads)
        return out


class ShortVectors:
    """Codes of both widths with squared norms and errors; `coarse` is the first vector before rounding (n, n_short)."""

    def __init__(self, n: int, n_short: int, n_full: int):
        self.coarse = np.empty((n, n_short), np.float32)
        self.short = np.empty((n, n_short), np.int8)
        self.short_squares = np.empty(n, np.int64)
        self.short_errors = np.empty(n)
        self.full = np.empty((n, n_full), np.uint8)
        self.full_errors = np.empty(n)

    def fill(self, embedding: Embedding, start: int, short, full, errors, limit: float, n_threads: int) -> None:
        """Round the vectors of the rows from `start` on."""
        n = len(short)
        self.coarse[start : start + n] = short
        codes = np.empty(full.shape, np.int8)
        squares = np.empty(n, np.int64)
        first, second = np.ascontiguousarray(errors.T)

        def work(task: int) -> None:
            at = slice(task * 1024, min(n, task * 1024 + 1024))
            to = slice(start + at.start, start + at.stop)
            kernels.quantise(
                short[at],
                first[at],
                embedding.short_middle,
                embedding.short_step,
                limit,
                self.short[to],
                self.short_squares[to],
                self.short_errors[to],
            )
            kernels.quantise(
                full[at],
                second[at],
                embedding.full_middle,
                embedding.full_step,
                _FULL_LIMIT,
                codes[at],
                squares[at],
                self.full_errors[to],
            )

        run_tasks(work, -(-n // 1024), n_threads)
        # The middle moves to 128, so that differences of bytes are those of the codes.
        self.full[start : start + n] = codes.view(np.uint8) ^ 0x80
