"""Axes in 16-bit integers, for rows and for codebooks, and a codebook in the form that the search kernels take.

The axes of a frame are orthonormal up to their rounding. The coordinates of a unit are computed with the inverse of
their Gram matrix, so that this deviation makes no bound looser: x·w = y·c + x·(w - A·c) for any c, with y = Aᵀx, which
is what the rows are encoded with. Callers keep BLAS from starting threads of its own (`somknn.threads`).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from somknn.axes import axes_of_rows, evenly_spaced, sample_size
from somknn.machine import Isa, run_tasks
from somknn.threads import single_threaded_blas
from somknn_kernels.bounds import codebook_units
from somknn_kernels.bounds.codebook_codes import CODE_LIMIT, LEAD, NOWHERE, PIECE, WIDTH, Short, Units
from somknn_kernels.bounds.codebook_units import Basis, WholeUnits
from somknn_kernels.ir.layout import aligned, pair_panels
from somknn_kernels.ir.shapes import panel_rows
from somknn_kernels.tiles.row_products import AXES
from somknn_kernels.tiles.weighted_tiles import FEATURES, TARGETS

_OWN_SAMPLE = 1024
_MOST_PARTS = 8  # of a product that threads share: each has a matrix of its own
_FAR = 6.0  # times the root mean square: rows beyond have no short vectors, as they would take the others' precision
_ROOM = 1.25  # times the longest row of the sample: rows beyond have none either, if this is less
_BLOCK = 64  # units of a task, a multiple of TARGETS


class Frame:
    """Axes rounded to integers.

    Attributes
    ----------
    matrix : (d, p) float64
        The axes after rounding.
    panels : (panels, d in whole pieces / 2, AXES, 2) int16
        The axes after rounding, divided by `inverse`.
    gram : (p, p) float64
    deviation : float
        Bound on how far the Gram matrix is from the identity.
    """

    def __init__(self, vectors: np.ndarray, longest: float):
        """longest : norm of the integers with which the axes will be multiplied."""
        scale = min(32766.0 / np.abs(vectors).max(), (2.0**31 / longest - np.sqrt(len(vectors))) / 1.001)
        rounded = np.rint(vectors * scale)
        self.inverse = 1.0 / scale
        self.matrix = rounded * self.inverse
        self.panels = pair_panels(AXES, PIECE).pack(rounded.T)
        self.gram = self.matrix.T @ self.matrix
        self.deviation = deviation_of(self.gram)

    def shifts(self, centre: np.ndarray, rows: np.dtype) -> np.ndarray:
        """What the centre adds to products with rows: bytes are multiplied without centring."""
        shifts = np.zeros(len(self.panels) * AXES)
        if rows == np.uint8:
            shifts[: self.matrix.shape[1]] = centre @ self.matrix
        return shifts


def deviation_of(gram: np.ndarray) -> float:
    """A number that is at least the spectral norm of gram - 1."""
    return 1.01 * float(np.linalg.norm(gram - np.eye(len(gram)))) + 1e-12


class Axes:
    """Leading principal axes of a sample of some rows.

    A larger sample is worth its time: in epoch 4, with axes from 1,024 rows of MNIST 10.1 units a row passed all axes,
    with axes from 4,096 rows 7.4.
    """

    def __init__(self, X: np.ndarray, n_threads: int = 1):
        n, d = X.shape
        sample = X[evenly_spaced(n, sample_size(d))]
        centre = sample.mean(axis=0, dtype=np.float64)
        self.centre = np.rint(centre) if X.dtype == np.uint8 else np.where(np.isfinite(centre), centre, sample[0])
        if X.dtype == np.uint8:
            self.scale = 1.0
            sample = sample.astype(np.float32)
            sample -= self.centre.astype(np.float32)
        else:
            sample = sample - self.centre
            spread = float(np.abs(sample).max(initial=0.0))
            # Keeps squares within float32 for data in any unit. Bytes stay the integers that they are.
            self.scale = float(2.0 ** -np.clip(np.ceil(np.log2(spread)), -1000, 1000)) if spread > 0 else 1.0
            sample = (sample * self.scale).astype(np.float32)
        whole = (self.centre == np.rint(self.centre)) & (self.centre >= 0) & (self.centre <= 255)
        self.for_bytes = self.scale == 1.0 and bool(whole.all())
        squares = np.einsum("ij,ij->i", sample, sample).astype(np.float64)
        # The norm up to which rows get short vectors.
        self.reach = float(min(_FAR * np.sqrt(squares.mean()), _ROOM * np.sqrt(squares.max()))) or 1.0
        with single_threaded_blas():
            vectors = axes_of_rows(sample, min(WIDTH - 2, d), gram=lambda rows: _gram(rows, n_threads))
            vectors = vectors.astype(np.float64)
            # Centred rows need no room for a centre far from zero: such room would leave the axes no digits.
            of_bytes = self.longest(np.dtype(np.uint8)) if self.for_bytes else 0.0
            self.frame = Frame(vectors, max(of_bytes, self.longest(np.dtype(np.float64))))

    @functools.cached_property
    def basis(self) -> "_Basis":
        return _basis(self.frame.matrix, self.frame.gram)

    def longest(self, rows: np.dtype) -> float:
        """The largest norm of a row of this dtype as 16-bit integers: bytes are not centred."""
        if rows == np.uint8:
            return self.reach + float(np.linalg.norm(self.centre)) + 1.0
        return CODE_LIMIT + float(np.sqrt(len(self.centre))) + 1.0


def _gram(rows: np.ndarray, n_threads: int) -> np.ndarray:
    """rowsᵀ·rows, in parts that do not depend on the number of threads."""
    parts = np.array_split(rows, min(_MOST_PARTS, max(1, len(rows) // 1024)))
    products = np.empty((len(parts), rows.shape[1], rows.shape[1]), rows.dtype)
    run_tasks(lambda task: np.matmul(parts[task].T, parts[task], out=products[task]), len(parts), n_threads)
    return products.sum(axis=0)


class Encoded(NamedTuple):
    """A codebook, centred, and as 16-bit integers: the part that does not depend on the axes.

    units : float64 (K padded to a multiple of TARGETS, d), (w - centre)·scale, then zeros
    squares : float64 (K,), their squared norms. The other fields are as in `Units`.
    """

    units: np.ndarray
    squares: np.ndarray
    longest: float
    high: np.ndarray
    low: np.ndarray
    step: float
    fine: float
    offsets: np.ndarray
    rests: np.ndarray
    coarse: float


def _by_blocks(work: Callable[[int, int], None], K: int, n_threads: int) -> None:
    """Call work(first, last) for blocks of units; first is a multiple of TARGETS."""
    run_tasks(lambda task: work(task * _BLOCK, min(K, (task + 1) * _BLOCK)), -(-K // _BLOCK), n_threads)


def encode_codebook(codebook: np.ndarray, axes: Axes, rows: np.dtype, n_threads: int) -> Encoded:
    """The parts of `Units` that do not depend on the axes. rows : dtype of the rows to be multiplied with."""
    K, d = codebook.shape
    units, squares, tops = np.empty((-(-K // TARGETS) * TARGETS, d)), np.empty(K), np.empty(K)
    units[K:] = 0.0

    def centre(first: int, last: int) -> None:
        codebook_units.centre_units(codebook, axes.centre, axes.scale, first, last, units, squares, tops)

    _by_blocks(centre, K, n_threads)
    longest = float(np.sqrt(squares.max()))
    # 16-bit integers: no entry beyond 32,767, and no product with a row beyond 31 bits.
    room = (2.0**31 - 1) / axes.longest(rows)
    step = max(longest / (room - np.sqrt(d) - 1), float(tops.max()) / 32766.0, 1e-290)
    bits = min(15, int(np.log2(max(2.0, room / np.sqrt(d)))))
    fine = 2.0**-bits
    width = -(-d // PIECE) * PIECE
    high, low, errors = aligned((K, width), np.int16), aligned((K, width), np.int16), np.empty(K)
    offsets, rests = squares / 2, np.zeros(K)
    out = WholeUnits(step, fine, high, low, errors, offsets, rests)
    whole = axes.centre if rows == np.uint8 else np.zeros(d)

    def encode(first: int, last: int) -> None:
        codebook_units.encode_units(units, whole, first, last, out)

    _by_blocks(encode, K, n_threads)
    return Encoded(units, squares, longest, high, low, step, fine, offsets, rests, float(errors.max()) * 1.01)


def own_frame(encoded: Encoded, axes: Axes, rows: np.dtype, n_axes: int) -> Frame:
    """Axes that hold most of the codebook itself: one step of a block power iteration that starts from the data's axes.

    For a young codebook of MNIST, 15 or 31 of these axes leave out at most 1.4 times what the best would. Starting from
    the axes of the previous codebook does not make it less.
    """
    K = len(encoded.squares)
    units = encoded.units[: K : max(1, K // _OWN_SAMPLE)].astype(np.float32)
    products = units @ axes.frame.matrix[:, :n_axes].astype(np.float32)
    return Frame(_orthonormal((units.T @ products).astype(np.float64)), axes.longest(rows))


def _orthonormal(basis: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span the same space as those of `basis`.

    Done twice, as once is not enough if the columns are nearly dependent. The factor comes from the Gram matrix
    (CholeskyQR2), in a quarter of the time of Householder's method. The latter takes over if there are fewer directions
    than columns.
    """
    turned = basis
    for step in range(2):
        turned = turned / np.maximum(np.sqrt(np.einsum("ij,ij->j", turned, turned)), 1e-300)
        gram = turned.T @ turned
        if step == 1 and not deviation_of(gram) < 0.5:
            break
        try:
            turned = turned @ np.linalg.inv(np.linalg.cholesky(gram)).T
        except np.linalg.LinAlgError:
            break
    else:
        return turned
    return np.linalg.qr(np.linalg.qr(basis)[0])[0]


class _Basis(NamedTuple):
    """Axes as `codebook_units.find_codes` takes them.

    leaning : float, at least the square root of the spectral norm of the inverse
    deviation : of the Gram matrix from the identity: of all axes, and of the leading axes
    """

    of_kernel: Basis
    leaning: float
    deviation: tuple[float, float]


def _basis(matrix: np.ndarray, gram: np.ndarray) -> _Basis:
    d, p = matrix.shape
    inverse = np.linalg.inv(gram)
    padding = ((0, 0), (0, -p % FEATURES))
    panels = np.pad(matrix, padding).reshape(d, -1, FEATURES).transpose(1, 0, 2).reshape(-1, FEATURES)
    leaning = np.sqrt(1.0 + np.linalg.norm(inverse - np.eye(p))) * 1.01
    deviation = deviation_of(gram), deviation_of(gram[: LEAD - 1, : LEAD - 1])
    return _Basis(Basis(panels, np.pad(inverse, padding), np.pad(gram, padding)), float(leaning), deviation)


def _coordinates(basis: _Basis, encoded: Encoded, unit: float, n_threads: int) -> tuple[np.ndarray, float]:
    """Codes (K, WIDTH) of the units on axes, and a bound on the norm of the part of a unit's rest along these axes."""
    K, d = len(encoded.squares), encoded.units.shape[1]
    codes = aligned((K, WIDTH), np.int16)
    uncertain = (d + 100) * 2.0**-50 * encoded.longest**2
    leans: list[float] = []

    def work(first: int, last: int) -> None:
        lean = codebook_units.find_codes(
            encoded.units, encoded.squares, first, last, basis.of_kernel, unit, uncertain, codes
        )
        leans.append(lean)

    _by_blocks(work, K, n_threads)
    return codes, max(leans) * basis.leaning + 1e-6 * encoded.longest


def deepened(staged: Units, isa: Isa) -> Units:
    """The same codebook, with all axes scanned at once."""
    return staged._replace(panels=pair_panels(panel_rows(isa)).pack(staged.second), second=staged.second[:0])


def units_on(
    own: Frame | None, encoded: Encoded, axes: Axes, rows: Short, isa: Isa, dtype: np.dtype, n_threads: int
) -> Units:
    """The codebook on the axes of the data, for a search in two stages, or on axes of its own, for a search in one."""
    K, d = len(encoded.squares), encoded.units.shape[1]
    frame = own or axes.frame
    basis = axes.basis if own is None else _basis(own.matrix, own.gram)
    longest = encoded.longest
    unit = max(longest / CODE_LIMIT, longest**2 / (rows.unit * 2.0**31), 1e-150)
    codes, leaning = _coordinates(basis, encoded, unit, n_threads)
    # Bounds of stages 1 and 2: |x|·leaning from w, and |c|·loss from y.
    held = longest * (1.0 + basis.deviation[0]) + unit * np.sqrt(WIDTH)
    rounding = rows.loss[1] if own is None else rows.unit * np.sqrt(own.matrix.shape[1]) / 2 * 1.01
    slack = np.array([1.02 * (leaning + held * rows.loss[0]), 1.02 * held * rounding])
    # Scores: what rounding leaves out of the codebook, of rows that are not bytes, and of float64 sums and distances.
    tiny = d * 2.0**-49 * (rows.rare + 1e-290)
    # Squares below float64's smallest number are zero in distances, which decide, but not in scores.
    lost = float(np.ldexp(d * axes.scale, int(np.log2(axes.scale)) - 1074))
    rounded_rows, centre = 0.0, 0.0
    if dtype == np.uint8:
        centre = float(np.linalg.norm(axes.centre)) * axes.scale
    else:
        rounded_rows = np.sqrt(d) / (2 * CODE_LIMIT) * (longest + encoded.coarse) * 1.01
    blur = np.array(
        [
            encoded.coarse + rounded_rows + tiny,
            encoded.step * encoded.fine * np.sqrt(d) * 0.51 + tiny,
            d * 2.0**-49 * longest * (longest + centre) + lost,
        ]
    )
    columns = LEAD if own is None else len(own.panels) * AXES
    codes[:, columns - 1] = codes[:, LEAD - 1]
    panels = pair_panels(panel_rows(isa)).pack(codes[:, :columns])
    starts = np.full((len(panels), panels.shape[2]), NOWHERE, np.int32)
    starts.ravel()[:K] = -np.rint(encoded.squares / 2 / (rows.unit * unit))
    codes[:, LEAD - 1] = 0
    return Units(
        panels,
        codes if own is None else codes[:0],
        starts,
        unit,
        frame.panels[: 0 if own is None else None],
        frame.inverse,
        frame.shifts(axes.centre, dtype),
        basis.deviation[1],
        encoded.high,
        encoded.low,
        encoded.step,
        encoded.fine,
        encoded.offsets,
        encoded.rests,
        slack,
        blur,
    )
