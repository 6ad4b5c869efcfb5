"""The best-matching units of all rows, epoch after epoch: one object that keeps what does not change.

`Axes` are fitted once on a sample, `BMUSearch` embeds its rows on them once, and `search(codebook, units)` embeds the
small codebook and calls the kernel. The previous units are the starting bounds, so that late epochs measure
little more than two rows in full.
"""

import functools

import numpy as np
from threadpoolctl import ThreadpoolController

from somknn_kernels import codebook_search as kernels
from somknn_kernels.isa import select
from somknn_kernels.parallel import run_tasks
from somknn_kernels.tiles import panel_rows, query_tile

_SAMPLE = 4096
_LEAD, _AXES = 32, 96  # columns of stage 1, axes of both stages
_BLOCK = 1024
_TILES_PER_TASK = 64


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def leading_axes(covariance: np.ndarray, width: int, turns: int = 3) -> np.ndarray:
    """Orthonormal columns that span about the `width` leading eigenvectors, in their order.

    The bound holds on any orthonormal axes, so block power iteration will do: a tenth of the time of all eigenvectors. Eigenvectors themselves take more `turns`.
    """
    d = len(covariance)
    if d <= 2 * width:
        return np.linalg.eigh(covariance)[1][:, ::-1][:, :width]
    basis = np.random.RandomState(0).normal(size=(d, min(d, width + 16)))
    for _ in range(turns):
        basis = np.linalg.qr(covariance @ basis)[0]
    _, rotation = np.linalg.eigh(basis.T @ covariance @ basis)
    return basis @ rotation[:, ::-1][:, :width]


class Axes:
    """Leading principal axes of a sample of the data, and the short vectors of any rows on them."""

    def __init__(self, X: np.ndarray):
        n, d = X.shape
        sample = X[:: max(1, n // _SAMPLE)][:_SAMPLE].astype(np.float64)
        self.centre = sample.mean(axis=0)
        sample -= self.centre
        spread = float(np.abs(sample).max(initial=0.0))
        # Keeps squares of short vectors within float32 for data of any unit.
        self.scale = float(2.0 ** -np.ceil(np.log2(spread))) if spread > 0 else 1.0
        sample *= self.scale
        width = min(_AXES, d)
        self.vectors = leading_axes(sample.T @ sample, width)
        self.lead = min(_LEAD, width + 1)  # columns of stage 1, the last of them a norm

    def embed(self, X: np.ndarray, n_threads: int = 1) -> tuple[np.ndarray, float]:
        """Short vectors of `X`, float32, and how far the worst of them is from the exact one.

        Columns: the leading axes, the norm of what they leave out, then the other axes and what all axes leave out.
        """
        n, d = X.shape
        width = self.vectors.shape[1]
        lead = self.lead - 1
        out = np.empty((n, width + 2), np.float32)
        largest = np.zeros(max(1, (n + _BLOCK - 1) // _BLOCK))

        def work(task: int) -> None:
            part = slice(task * _BLOCK, min(n, (task + 1) * _BLOCK))
            centred = X[part].astype(np.float64)
            centred -= self.centre
            y = centred @ (self.vectors * self.scale)
            square = np.einsum("ij,ij->i", centred, centred) * self.scale**2
            block = out[part]
            block[:, :lead] = y[:, :lead]
            block[:, lead + 1 : -1] = y[:, lead:]
            y *= y
            block[:, lead] = np.sqrt(np.maximum(square - y[:, :lead].sum(axis=1), 0))
            block[:, -1] = np.sqrt(np.maximum(square - y.sum(axis=1), 0))
            largest[task] = square.max(initial=0.0)

        with _blas().limit(limits=1):  # two levels of threads fight
            run_tasks(work, len(largest), n_threads)
        # Each column within 2^-24 of itself; float64 products within d·2^-53 of the norm; and the norm beyond the
        # axes is the root of a difference that may cancel, so sqrt(8·d·2^-53) of the norm at worst.
        norm = float(np.sqrt(largest.max()))
        return out, norm * (2.0**-22 + d * 2.0**-51 + float(np.sqrt(d * 2.0**-50)))


class BMUSearch:
    """The two nearest codebook rows of every row of `X`, exactly as a float64 computation finds them.

    Parameters
    ----------
    X : (n, d) uint8, float32 or float64, C-contiguous
    axes : Axes or None
        Axes of other data, for chunks of one stream. Ignored with `missing`.
    missing : bool
        NaN in `X` means a missing value: distances run over the columns that a row has.
    n_threads : int
        The result does not depend on it.
    """

    def __init__(self, X: np.ndarray, *, axes: Axes | None = None, missing: bool = False, n_threads: int = 1):
        self.X, self.missing, self.n_threads = X, missing, n_threads
        self.units = np.full((len(X), 2), -1, np.int64)
        self.distances = np.empty((len(X), 2))
        self.examined = np.zeros(2, np.int64)
        if missing:
            return
        self._isa = select()
        self.axes = axes if axes is not None else Axes(X)
        self._short, self._error = self.axes.embed(X, n_threads)
        lead = self._short[:, : self.axes.lead]
        self._squares = np.empty((len(X), 2))
        np.einsum("ij,ij->i", lead, lead, dtype=np.float64, out=self._squares[:, 0])
        np.einsum("ij,ij->i", self._short, self._short, dtype=np.float64, out=self._squares[:, 1])
        self._packed = _pack(self._short, self.axes.lead, query_tile(self._isa))

    def search(self, codebook: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Units (n, 2) and squared distances (n, 2) of the nearest and second nearest row of `codebook` (K, d).

        Both arrays belong to the search and are overwritten by the next call. A codebook of one row gives unit 0
        twice, the second at infinite distance.
        """
        if len(codebook) == 1:
            doubled = np.concatenate([codebook, codebook])
            self._search(np.ascontiguousarray(doubled))
            self.units[:] = 0
            self.distances[:, 1] = np.inf
        else:
            self._search(codebook)
        return self.units, self.distances

    def _search(self, codebook: np.ndarray) -> None:
        n = len(self.X)
        if self.missing:
            rows = 256
            run_tasks(
                lambda task: kernels.two_nearest_missing(
                    self.X, codebook, task * rows, min(n, (task + 1) * rows), self.units, self.distances
                ),
                (n + rows - 1) // rows,
                self.n_threads,
            )
            return
        short, error = self.axes.embed(codebook, self.n_threads)
        panels = _pack(short, self.axes.lead, panel_rows(self._isa))
        errors = np.array([self._error, error, self.axes.scale])
        tiles = len(self._packed)
        examined = np.zeros(((tiles + _TILES_PER_TASK - 1) // _TILES_PER_TASK, 2), np.int64)

        def work(task: int) -> None:
            first = task * _TILES_PER_TASK
            examined[task] = kernels.two_nearest(
                self._isa, self.X, codebook, self._packed, self._short, self._squares, short, panels,
                first, min(tiles, first + _TILES_PER_TASK), errors, self.units, self.distances,
            )  # fmt: skip

        run_tasks(work, len(examined), self.n_threads)
        self.examined = examined.sum(axis=0)


def _pack(short: np.ndarray, width: int, tile: int) -> np.ndarray:
    packed = np.empty(((len(short) + tile - 1) // tile, width, tile, 1), np.float32)
    kernels.pack_short(short, width, packed)
    return packed
