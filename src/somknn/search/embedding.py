"""Principal axes of the data, and the short vectors of rows along them."""

from collections.abc import Iterator

import numpy as np

from somknn.axes import evenly_spaced, principal_axes, sample_rows
from somknn.machine import Isa, per_task, run_tasks
from somknn_kernels.bounds import embedding as kernels
from somknn_kernels.bounds.codebook_codes import PIECE
from somknn_kernels.bounds.embedding import Projection
from somknn_kernels.ir.half_floats import for_kernels
from somknn_kernels.ir.layout import pair_panels
from somknn_kernels.ir.shapes import code_limits, scan_sums
from somknn_kernels.tiles.row_products import AXES

# Rows from which the axes and the steps are made. 4,096 took 0.13 s more on MNIST for 5% fewer exact distances.
SAMPLE = 2048
COLUMNS = 128  # of short vectors that leave something out
WIDEST = 2048  # columns of short vectors: sums of their products fit 32 bits
_CHUNK = 16384  # rows whose unrounded vectors are in memory at a time
_TASK = 512  # rows of a task, whose unrounded vectors stay in its cache
_RARE = 0.999  # share of the sample that the range of the codes covers; rows beyond it are handled apart
_PART = 32  # columns of a part of long vectors


def section_stops(n_columns: int) -> np.ndarray:
    """The columns at which the sections of short vectors end, int64, ascending; the last is `n_columns`.

    Up to 128 columns: a quarter, half, all. Of longer vectors hardly any pair can be ruled out by the first third, and
    hardly any is left after two thirds. Between them a test pays every 32 columns.
    """
    if n_columns <= COLUMNS:
        return np.array([n_columns // 4, n_columns // 2, n_columns], np.int64)
    step = -(-n_columns // (12 * _PART)) * _PART
    first = max(n_columns // 3 // _PART, 1) * _PART
    stops = [*range(first, n_columns * 2 // 3 + 1, step), n_columns * 5 // 6 // _PART * _PART, n_columns]
    return np.unique(np.array(stops, np.int64))


def part_columns(n_columns: int) -> int:
    """How many columns lie side by side in the panels: every section has a whole number of such parts."""
    return n_columns // 4 if n_columns <= COLUMNS else _PART


def full_width(d: int) -> int:
    """The columns of short vectors that leave nothing out of rows of `d` columns."""
    return next((width for width in (32, 64, COLUMNS) if d <= width), -(-d // _PART) * _PART)


def coarse_columns(n_columns: int) -> int:
    """How many of the leading columns tell which rows are alike."""
    return min(n_columns // 4, 96)


def _rotated_blocks(stops: np.ndarray) -> np.ndarray:
    """Where blocks of coordinates end that are powers of two wide, and that fill every section."""
    ends, at = [], 0
    for stop in stops.tolist():
        while at < stop:
            at += 1 << ((stop - at).bit_length() - 1)
            ends.append(at)
    return np.array(ends, np.int64)


class Embedding:
    """Turns rows into short vectors of `n_columns` coordinates, with proven errors.

    Fitted on a sample of the rows. Any row can be embedded; one far outside the sample gets a large error.

    n_columns : 32, 64, 128, or a larger multiple of 32
    limits : the largest codes of rows, and of queries; `stops` : where the sections end
    """

    def __init__(self, rows: np.ndarray, isa: Isa, n_columns: int = COLUMNS, n_sampled: int = SAMPLE):
        self._take(isa, n_columns)
        sample = sample_rows(rows, n_sampled)
        d = sample.shape[1]
        integers = rows.dtype == np.uint8
        self.centre = np.rint(sample.mean(axis=0)) if integers else sample.mean(axis=0)
        has_rest = d > n_columns
        n_axes = n_columns - 1 if has_rest else d
        axes = np.zeros((n_columns - has_rest, d))
        axes[:n_axes] = principal_axes(sample - self.centre, n_axes).T
        self._round_axes(axes, d, integers)
        self.choose_step(rows, n_sampled)

    def _take(self, isa: Isa, n_columns: int) -> None:
        self.isa, self.n_columns, self.limits = isa, n_columns, code_limits(isa)
        self.stops, self.n_coarse = section_stops(n_columns), coarse_columns(n_columns)

    @classmethod
    def restored(
        cls,
        isa: Isa,
        dtype: np.dtype,
        axes: np.ndarray,
        centre: np.ndarray,
        middle: np.ndarray,
        *,
        inverse_scale: float,
        unit_norm: float,
        step: float,
    ) -> "Embedding":
        """The embedding with the attributes of another one, for rows of `dtype`.

        Raises ValueError if its errors would not hold. Any axes will do, as their Gram matrix is computed again, but
        not axes whose products could pass 32 bits.
        """
        integers, d = dtype == np.uint8, len(centre)
        if integers:
            fits = unit_norm == 0.0 and bool(((centre == np.rint(centre)) & (centre >= 0) & (centre <= 255)).all())
            packed_norm = (255.0 + 0.5) * np.sqrt(d)  # also for fractions that are searched among bytes: see `_embed`
        else:
            fits = 0.0 < unit_norm <= 32766.0
            packed_norm = unit_norm + np.sqrt(d) / 2
        longest = np.sqrt(np.square(axes, dtype=np.float64).sum(axis=1).max())
        positive = np.isfinite([inverse_scale, step]).all() and inverse_scale > 0 and step > 0
        if not (fits and positive and np.isfinite(centre).all() and np.isfinite(middle).all()):
            raise ValueError("the saved index has a centre, a step or a scale out of range")
        if not longest * packed_norm < 2.0**31:
            raise ValueError("the saved index has axes whose products would pass 32 bits")
        self = cls.__new__(cls)
        self._take(isa, len(middle))
        self.centre, self.middle = np.ascontiguousarray(centre), np.ascontiguousarray(middle)
        self.inverse_scale, self.unit_norm, self.step = inverse_scale, unit_norm, step
        self.axes = axes
        self._measure_axes()
        if not 0.25 < self.spectrum[0] <= self.spectrum[1] < 4.0:
            raise ValueError("the saved index has axes that are not orthonormal")
        self._pack_axes()
        return self

    def _round_axes(self, axes: np.ndarray, d: int, integers: bool) -> None:
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
        self.inverse_scale = 1.0 / scale
        self.axes = np.rint(axes * scale).astype(np.int16)
        self._measure_axes()
        self._pack_axes()

    def _measure_axes(self) -> None:
        """Bounds on the eigenvalues of the rounded axes' Gram matrix, as these axes are not quite orthonormal."""
        live = self.axes[self.axes.any(axis=1)] * self.inverse_scale
        spectrum = np.linalg.eigvalsh(live @ live.T) if len(live) else np.zeros(1)
        self.spectrum = (float(spectrum[0]) * (1 - 1e-9) - 1e-9, float(spectrum[-1]) * (1 + 1e-9) + 1e-9)
        # How many times as far apart two rows can be as their short vectors: no limit if these leave something out.
        least, most = self.spectrum
        complete = len(live) == self.axes.shape[1] and least > 0
        self.stretch = float(np.sqrt(most / least)) * (1 + 1e-9) if complete else float("inf")

    def _pack_axes(self) -> None:
        n_axes = len(self.axes)
        packed = pair_panels(AXES, PIECE).pack(self.axes)
        shifts = np.zeros(len(packed) * AXES, np.int32)
        if self.unit_norm == 0.0:
            shifts[:n_axes] = self.axes.astype(np.int64) @ self.centre.astype(np.int64)
        own = packed, shifts, self.inverse_scale, self.spectrum, _rotated_blocks(self.stops), n_axes < self.n_columns
        self._projection = Projection(self.centre, self.unit_norm, *own)

    def choose_step(self, rows: np.ndarray, n_sampled: int = SAMPLE) -> None:
        """The middle of each coordinate, and the step that brings all but the rarest rows into the codes' range.

        The range is that of the instruction set. So a saved step is no use on another machine.
        """
        sample = rows[evenly_spaced(len(rows), n_sampled)]
        vectors, _ = self._embed(sample, 0, len(sample))
        low, high = np.quantile(vectors, [0.001, 0.999], axis=0)
        self.middle = (low + high) / 2
        spread = np.abs(vectors - self.middle).max(axis=1)
        self.step = max(float(np.quantile(spread, _RARE)) * 1.001 / self.limits[0], 1e-280)
        if scan_sums(self.isa) == np.int32:
            return
        # 16-bit sums wrap around at a squared distance of 2^17 steps²: few pairs of rows should be that far apart.
        some = vectors[:: max(1, len(vectors) // 256)].astype(np.float64)
        squares = (some**2).sum(axis=1)[:, None] + (vectors.astype(np.float64) ** 2).sum(axis=1)
        farthest = float(np.quantile(squares - 2 * some @ vectors.T.astype(np.float64), 0.999))
        self.step = max(self.step, np.sqrt(max(farthest, 0.0) / 2**17))

    def _embed(self, rows: np.ndarray, first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Short vectors of rows[first:stop] before rounding, float32 (m, n_columns), and their errors, (m,)."""
        vectors, errors = np.empty((stop - first, self.n_columns), np.float32), np.empty(stop - first)
        projection = self._projection
        if self.unit_norm == 0.0 and rows.dtype != np.uint8:
            # Fractions among bytes: packed to the norm for which the scale of the axes leaves room.
            projection = projection._replace(unit_norm=min(32766.0, 255.0 * float(np.sqrt(rows.shape[1]))))
        kernels.embed(self.isa, for_kernels(rows), first, stop, projection, vectors, errors)
        return vectors, errors

    def _part(self, rows: np.ndarray) -> int:
        """Number of rows of a task."""
        return per_task(_TASK, rows.shape[1] * self.n_columns, 16)

    def chunks(self, rows: np.ndarray, n_threads: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """First row, short vectors before rounding, and errors, chunk by chunk (of a multiple of 1,024 rows)."""
        part = self._part(rows)
        for start in range(0, len(rows), _CHUNK):
            n = min(_CHUNK, len(rows) - start)
            vectors, errors = np.empty((n, self.n_columns), np.float32), np.empty(n)

            def work(task: int, start: int = start, vectors: np.ndarray = vectors, errors: np.ndarray = errors) -> None:
                at = slice(task * part, min(len(vectors), task * part + part))
                vectors[at], errors[at] = self._embed(rows, start + at.start, start + at.stop)

            run_tasks(work, -(-n // part), n_threads)
            yield start, vectors, errors

    def embed(self, rows: np.ndarray, n_threads: int, *, probes: bool) -> "ShortVectors":
        """Short vectors of `rows`. probes : whether they are searched with (queries) or searched (rows)."""
        out = ShortVectors(len(rows), self)
        limit, part = float(self.limits[1 if probes else 0]), self._part(rows)

        def work(task: int) -> None:
            at = slice(task * part, min(len(rows), task * part + part))
            vectors, errors = self._embed(rows, at.start, at.stop)
            out.coarse[at] = vectors[:, : self.n_coarse]
            given = self.middle, self.step, limit, self.stops
            kernels.quantise(vectors, errors, *given, out.codes[at], out.errors[at])

        run_tasks(work, -(-len(rows) // part), n_threads)
        return out


class ShortVectors:
    """Room for the codes of n rows, int8 (n, P), and their errors up to the end of each of S sections, (n, S).

    `coarse` : the leading coordinates before rounding, float32
    """

    def __init__(self, n: int, embedding: Embedding):
        self.coarse = np.empty((n, embedding.n_coarse), np.float32)
        self.codes = np.empty((n, embedding.n_columns), np.int8)
        self.errors = np.empty((n, len(embedding.stops)))
