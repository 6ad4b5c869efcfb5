"""A trained metric: rows are mapped to a few coordinates, and distances are Euclidean in these."""

from typing import Any, NamedTuple

import numpy as np

from somknn import machine
from somknn.machine import per_task, resolve_n_threads, run_tasks
from somknn.persistence.container import ModelFileError
from somknn_kernels.bounds.codebook_codes import centre_rows as centre_rows
from somknn_kernels.ir.layout import pair_panels
from somknn_kernels.ir.shapes import panel_rows
from somknn_kernels.learn import linear_map as kernels
from somknn_kernels.tiles.row_products import AXES

_ROWS = 384  # rows per task
_COVERED = 0.999  # share of the training rows whose coordinates all fit into a byte


class Metric(NamedTuple):
    """Maps a row x to axes @ (x - center).

    axes : (rank, n_features); int16 for models of uint8 rows, otherwise float32 or float64
    center : float64 (n_features,); whole numbers for models of uint8 rows
    shift : with int16 axes, coordinates are bytes: the product is divided by 2^shift, rounded, increased by 128 and
    clipped to 0 to 255. uint8 rows are mapped in integer arithmetic; rows of any dtype with the same numbers get the
    same bytes.
    """

    axes: np.ndarray
    center: np.ndarray
    shift: int

    @property
    def bytes(self) -> bool:
        """Whether mapped rows are uint8."""
        return self.axes.dtype == np.int16

    @property
    def nbytes(self) -> int:
        return self.axes.nbytes + self.center.nbytes

    def apply(self, rows: np.ndarray, n_jobs: int | None) -> np.ndarray:
        """Mapped rows (m, rank): uint8 for a model of uint8 rows, otherwise of the axes' dtype.

        The result is exact, or computed in float64 and rounded to that dtype.
        """
        out = np.empty((len(rows), len(self.axes)), np.uint8 if self.bytes else self.axes.dtype)
        at_once = per_task(_ROWS, self.axes.size, 48)
        if self.bytes and rows.dtype == np.uint8:
            isa = machine.select()
            byte_map = kernels.ByteMap(self.center.astype(np.int16), pair_panels(AXES).pack(self.axes), self.shift)

            def work(task: int) -> None:
                first = task * at_once
                kernels.map_bytes(isa, rows, first, min(len(rows), first + at_once), byte_map, out)
        else:
            columns = np.ascontiguousarray(self.axes.T, dtype=np.float64)

            def work(task: int) -> None:
                at = slice(task * at_once, min(len(rows), (task + 1) * at_once))
                mapped = np.empty((at.stop - at.start, out.shape[1]))
                kernels.map_floats(rows, at.start, at.stop, self.center, columns, mapped)
                if self.bytes:
                    mapped = np.clip(np.floor((mapped + 2**self.shift // 2) / 2**self.shift) + 128, 0, 255)
                with np.errstate(over="ignore"):
                    out[at] = mapped
                if not np.isfinite(mapped).all() or not np.isfinite(out[at]).all():
                    row = at.start + int(np.flatnonzero(~np.isfinite(mapped + out[at]).all(axis=1))[0])
                    raise ValueError(f"row {row} is too large for the metric: its coordinates overflow {out.dtype}")

        run_tasks(work, -(-len(rows) // at_once), resolve_n_threads(n_jobs))
        return out

    def pictures(self, prototypes: np.ndarray) -> np.ndarray:
        """Rows (p, n_features) in float64 that the metric maps to `prototypes`: those nearest to the centre."""
        coordinates = (prototypes.astype(np.float64) - 128) * 2.0**self.shift if self.bytes else prototypes
        return self.center + coordinates @ np.linalg.pinv(self.axes.astype(np.float64)).T


def rounded(axes: np.ndarray, center: np.ndarray, reach: np.ndarray, dtype: np.dtype) -> tuple[Metric, float]:
    """A metric with the axes (rank, n_features), and the number of its units per unit of the axes' coordinates.

    reach : for a sample of rows, the largest absolute value of their coordinates under `axes`; dtype : dtype of the
    rows.
    """
    if dtype != np.uint8:
        return Metric(np.ascontiguousarray(axes, dtype), center, 0), 1.0
    step = float(np.quantile(reach, _COVERED)) / 127 or 1.0
    most = max(float(np.abs(axes).sum(axis=1).max()), 1e-30)
    # As fine as 16-bit axes and 32-bit products allow. Rounding adds up to half a unit per feature.
    room = (2.0**31 - 2) / 255 - axes.shape[1] / 2
    shift = int(
        np.clip(np.floor(np.log2(step * min(32767 / float(np.abs(axes).max() or 1.0), room / most) / 1.01)), 0, 24)
    )
    whole = np.rint(axes * (2.0**shift / step)).astype(np.int16)
    return Metric(np.ascontiguousarray(whole), center, shift), 1.0 / step


def round_prototypes(metric: Metric, prototypes: np.ndarray) -> np.ndarray:
    """Prototypes rounded to the metric's output: bytes, or the axes' dtype."""
    if metric.bytes:
        return np.clip(np.rint(prototypes) + 128, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(prototypes, metric.axes.dtype)


def read_metric(estimator: Any) -> Metric | None:
    """The metric in an estimator's attributes, or None; ModelFileError for values that training cannot produce."""
    axes = getattr(estimator, "metric_", None)
    if axes is None:
        return None
    center, shift = getattr(estimator, "metric_center_", None), getattr(estimator, "metric_shift_", None)
    prototypes, d = estimator.prototypes_, estimator.n_features_in_
    of_bytes = prototypes.dtype == np.uint8
    if not isinstance(axes, np.ndarray) or axes.ndim != 2 or axes.shape[1] != d or len(axes) < 1:
        raise ModelFileError(f"array 'metric_' does not have {d} columns")
    if axes.dtype != (np.int16 if of_bytes else prototypes.dtype):
        raise ModelFileError(
            f"array 'metric_' has dtype {axes.dtype}, which does not go with {prototypes.dtype} prototypes"
        )
    if not isinstance(center, np.ndarray) or center.shape != (d,) or center.dtype != np.float64:
        raise ModelFileError(f"array 'metric_center_' is not float64 of {d} values")
    if not isinstance(shift, int) or isinstance(shift, bool) or not 0 <= shift <= 24:
        raise ModelFileError("metric_shift_ is not from 0 to 24")
    if of_bytes:
        if (center != np.rint(center)).any() or center.min() < 0 or center.max() > 255:
            raise ModelFileError("array 'metric_center_' is not of whole numbers from 0 to 255")
        if int(np.abs(axes.astype(np.int64)).sum(axis=1).max()) * 255 + 2**shift // 2 >= 2**31:
            raise ModelFileError("array 'metric_' is too large for products of 32 bits")
    return Metric(axes, center, shift)


class MappedBytes:
    """Nearest of `prototypes` (p, rank), uint8, to uint8 rows under `metric`: map and search in one pass."""

    def __init__(self, metric: Metric, prototypes: np.ndarray):
        self.isa = machine.select()
        axes = pair_panels(AXES).pack(metric.axes)
        doubled = np.zeros((len(prototypes), axes.shape[0] * axes.shape[2]), np.int16)
        doubled[:, : prototypes.shape[1]] = prototypes.astype(np.int16) * 2 - 256
        panels = pair_panels(panel_rows(self.isa)).pack(doubled)
        starts = np.full((len(panels), panels.shape[2]), -(2**31), np.int32)
        starts.reshape(-1)[: len(prototypes)] = -((prototypes.astype(np.int64) - 128) ** 2).sum(axis=1)
        self._cost = metric.axes.size + prototypes.size  # multiply-adds per row
        self._prepared = kernels.ByteMap(metric.center.astype(np.int16), axes, metric.shift), panels, starts

    def nearest(self, rows: np.ndarray, n_jobs: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances and prototypes, int64 (m, 1); ties go to the lowest prototype."""
        m = len(rows)
        at_once = per_task(_ROWS, self._cost, 48)
        squares, nearest = np.empty((m, 1), np.int64), np.empty((m, 1), np.int64)

        def work(task: int) -> None:
            first = task * at_once
            span = first, min(m, first + at_once)
            kernels.nearest_mapped(self.isa, rows, *span, *self._prepared, squares[:, 0], nearest[:, 0])

        run_tasks(work, -(-m // at_once), resolve_n_threads(n_jobs))
        return squares, nearest
