"""Axes in 16-bit integers, for rows and for codebooks, and a codebook as the kernels of the search want it.

A frame's axes are orthonormal up to their rounding. The coordinates of a unit are taken with the inverse of their Gram matrix, so
that no bound pays for it: x·w = y·c + x·(w - A·c) for any c, y = Aᵀx being what the rows are encoded with. Callers keep BLAS from
starting threads of its own (`somknn.threads`).
"""

from typing import NamedTuple

import numpy as np

from somknn.threads import single_threaded_blas
from somknn_kernels import codebook_codes
from somknn_kernels.codebook_codes import CODE_LIMIT, LEAD, NOWHERE, PIECE, SHARED, WIDTH, Short, Units
from somknn_kernels.isa import Isa
from somknn_kernels.parallel import run_tasks
from somknn_kernels.row_products import AXES
from somknn_kernels.tiles import panel_rows

_SAMPLE = 1024
_FAR = 6.0  # times the root mean square: rows beyond have no short vectors, or they would take the others' precision
_ROOM = 1.25  # times the longest row of the sample: the same, where that is less
_BLOCK = 128  # units of a task


def leading_axes(covariance: np.ndarray, width: int, turns: int = 2) -> np.ndarray:
    """Orthonormal columns that span about the `width` leading eigenvectors, in their order.

    The bound holds on any orthonormal axes, so block power iteration will do: a tenth of the time of all eigenvectors. Eigenvectors themselves take more `turns`.
    """
    d = len(covariance)
    if d <= 2 * width:
        return np.linalg.eigh(covariance)[1][:, ::-1][:, :width]
    basis = np.random.RandomState(0).normal(size=(d, min(d, width + 16))).astype(covariance.dtype)
    for _ in range(turns):
        basis = np.linalg.qr(covariance @ basis)[0]
    _, rotation = np.linalg.eigh(basis.T @ covariance @ basis)
    return basis @ rotation[:, ::-1][:, :width]


class Frame:
    """Axes rounded to integers.

    Attributes
    ----------
    matrix : (d, p) float64
        The axes after rounding.
    panels : (panels, d in whole pieces / 2, AXES, 2) int16
        The same, times 1 / `inverse`.
    deviation : float
        Of their Gram matrix from the identity, in the spectral norm.
    """

    def __init__(self, vectors: np.ndarray, longest: float):
        """longest : norm of the integers that the axes will be multiplied with."""
        d, p = vectors.shape
        scale = min(32766.0 / np.abs(vectors).max(), (2.0**31 / longest - np.sqrt(d)) / 1.001)
        rounded = np.rint(vectors * scale)
        self.inverse = 1.0 / scale
        self.matrix = rounded * self.inverse
        padded = np.zeros((-(-p // AXES) * AXES, -(-d // PIECE) * PIECE), np.int16)
        padded[:p, :d] = rounded.T
        self.panels = np.ascontiguousarray(padded.reshape(-1, AXES, padded.shape[1] // 2, 2).transpose(0, 2, 1, 3))
        self.deviation = deviation_of(self.matrix.T @ self.matrix)

    def shifts(self, centre: np.ndarray, rows: np.dtype) -> np.ndarray:
        """What the centre adds to products with rows: bytes are multiplied as they are."""
        shifts = np.zeros(len(self.panels) * AXES)
        if rows == np.uint8:
            shifts[: self.matrix.shape[1]] = centre @ self.matrix
        return shifts


def deviation_of(gram: np.ndarray) -> float:
    return 1.01 * float(np.abs(np.linalg.eigvalsh(gram - np.eye(len(gram)))).max()) + 1e-12


class Axes:
    """Leading principal axes of a sample of some rows."""

    def __init__(self, X: np.ndarray):
        n, d = X.shape
        sample = X[np.linspace(0, n - 1, min(n, _SAMPLE)).astype(np.int64)].astype(np.float64)
        centre = sample.mean(axis=0)
        self.centre = np.rint(centre) if X.dtype == np.uint8 else centre
        sample -= self.centre
        spread = float(np.abs(sample).max(initial=0.0))
        # Keeps squares within float32 for data of any unit; bytes stay the integers that they are.
        usual = X.dtype == np.uint8 or not spread > 0
        self.scale = 1.0 if usual else float(2.0 ** -np.ceil(np.log2(spread)))
        self.for_bytes = self.scale == 1.0 and bool((self.centre == np.rint(self.centre)).all())
        sample *= self.scale
        norms = np.sqrt(np.einsum("ij,ij->i", sample, sample))
        # The norm up to which rows get short vectors
        self.reach = float(min(_FAR * np.sqrt(np.mean(norms**2)), _ROOM * norms.max())) or 1.0
        sample = sample.astype(np.float32)
        with single_threaded_blas():
            vectors = leading_axes(sample.T @ sample, min(WIDTH - 2, d)).astype(np.float64)
            self.frame = Frame(vectors, max(self.longest(np.dtype(np.uint8)), self.longest(np.dtype(np.float64))))

    def longest(self, rows: np.dtype) -> float:
        """The norm that a row of this dtype can have as 16-bit integers: bytes are not centred."""
        if rows == np.uint8:
            return self.reach + float(np.linalg.norm(self.centre)) + 1.0
        return CODE_LIMIT + float(np.sqrt(len(self.centre))) + 1.0


class Encoded(NamedTuple):
    """A codebook, centred, and its 16-bit integers: what does not depend on the axes.

    units : float64 (K, d), (w - centre)·scale; squares : float64 (K,), their squared norms. The rest is as in `Units`.
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


def encode_codebook(codebook: np.ndarray, axes: Axes, rows: np.dtype, n_threads: int) -> Encoded:
    """The parts of `Units` that do not depend on the axes. rows : dtype of the rows that it will be multiplied with."""
    K, d = codebook.shape
    units, squares, tops = np.empty((K, d)), np.empty(K), np.empty(K)
    edges = list(range(0, K, _BLOCK))

    def centre(task: int) -> None:
        part = slice(edges[task], edges[task] + _BLOCK)
        np.subtract(codebook[part], axes.centre, out=units[part])
        if axes.scale != 1.0:
            units[part] *= axes.scale
        np.einsum("ij,ij->i", units[part], units[part], out=squares[part])
        tops[part] = np.maximum(units[part].max(axis=1), -units[part].min(axis=1))

    run_tasks(centre, len(edges), n_threads)
    longest = float(np.sqrt(squares.max()))
    # 16-bit integers: no entry beyond 32,767, and no product with a row beyond 31 bits
    room = (2.0**31 - 1) / axes.longest(rows)
    step = max(longest / (room - np.sqrt(d) - 1), float(tops.max()) / 32766.0, 1e-290)
    bits = min(15, int(np.log2(max(2.0, room / np.sqrt(d)))))
    fine = 2.0**-bits
    width = -(-d // PIECE) * PIECE
    high, low = np.zeros((K, width), np.int16), np.zeros((K, width), np.int16)
    errors = np.empty(K)
    offsets, rests = squares / 2, np.zeros(K)

    def encode(task: int) -> None:
        first, last = edges[task], min(K, edges[task] + _BLOCK)
        codebook_codes.encode_units(codebook, axes.centre, axes.scale, step, fine, first, last, high, low, errors)
        if rows == np.uint8:
            offsets[first:last] += step * (high[first:last, :d] @ axes.centre)
            rests[first:last] += step * fine * (low[first:last, :d] @ axes.centre)

    run_tasks(encode, len(edges), n_threads)
    return Encoded(units, squares, longest, high, low, step, fine, offsets, rests, float(errors.max()) * 1.01)


def own_frame(encoded: Encoded, axes: Axes, rows: np.dtype, previous: Frame | None) -> Frame:
    """AXES axes that hold most of what the data's first SHARED leave out of the codebook.

    previous : those of the codebook before, from where the search for them begins.
    """
    units = encoded.units[:: max(1, len(encoded.units) // _SAMPLE)].astype(np.float32)
    d = units.shape[1]
    shared = np.linalg.qr(axes.frame.matrix[:, :SHARED])[0]
    narrow = shared.astype(np.float32)
    rest = units - (units @ narrow) @ narrow.T
    if previous is None:
        basis, turns = np.random.RandomState(0).normal(size=(d, AXES + 8)).astype(np.float32), 3
    else:
        basis, turns = previous.matrix.astype(np.float32), 2
    for _ in range(turns):
        basis = np.linalg.qr(rest.T @ (rest @ basis))[0]
    _, rotation = np.linalg.eigh(basis.T @ (rest.T @ (rest @ basis)))
    basis = (basis @ rotation[:, ::-1][:, :AXES]).astype(np.float64)
    for _ in range(2):  # once is not enough where the codebook has fewer directions than there are axes
        basis = np.linalg.qr(basis - shared @ (shared.T @ basis))[0]
    return Frame(basis, axes.longest(rows))


def units_on(frame: Frame, way: str, encoded: Encoded, axes: Axes, rows: Short, isa: Isa, dtype: np.dtype) -> Units:
    """The codebook on a frame: the data's axes, or (way "own") the first SHARED of them and a codebook's own."""
    K, d = encoded.units.shape
    matrix = frame.matrix if way != "own" else np.concatenate([axes.frame.matrix[:, :SHARED], frame.matrix], axis=1)
    p = matrix.shape[1]
    lead = min(p, LEAD - 1)
    longest, squares = encoded.longest, encoded.squares
    unit = max(longest / CODE_LIMIT, longest**2 / (rows.unit * 2.0**31), 1e-150)
    products = encoded.units @ matrix
    gram = matrix.T @ matrix
    coefficients = np.rint(np.linalg.solve(gram, products.T).T / unit) * unit
    codes = np.zeros((K, WIDTH), np.int16)
    off = 0.0

    def beyond(used: int) -> np.ndarray:
        """Norms of what the first `used` axes leave out, rounded up; and how far they lean on the axes is kept."""
        nonlocal off
        c = coefficients[:, :used]
        inner = gram[:used, :used]
        leaning = products[:, :used] - c @ inner
        rest = squares - np.einsum("ij,ij->i", c, products[:, :used] + leaning)
        norms = np.sqrt(np.maximum(rest, 0.0) + (d + 100) * 2.0**-50 * longest**2)
        leans = np.sqrt(np.maximum(np.einsum("ij,ji->i", leaning, np.linalg.solve(inner, leaning.T)), 0.0))
        off = max(off, float(leans.max()) + 1e-6 * longest)
        return np.minimum(np.ceil(norms / unit), 32767)

    columns = np.arange(p) + (np.arange(p) >= LEAD - 1)
    codes[:, columns] = np.rint(coefficients / unit)
    codes[:, LEAD - 1] = beyond(lead)
    codes[:, WIDTH - 1] = beyond(p)
    # Bounds of stages 1 and 2: |x|·leaning of w, and |c|·loss of y
    held = longest * (1.0 + deviation_of(gram)) + unit * np.sqrt(WIDTH)
    slack = np.array([1.02 * (off + held * rows.loss[0]), 1.02 * held * rows.loss[1]])
    # Scores: what rounding leaves of the codebook, of rows that are no bytes, and of float64 sums and distances
    tiny = d * 2.0**-49 * (rows.rare + 1e-290)
    bytes_ = dtype == np.uint8
    rounded_rows = 0.0 if bytes_ else np.sqrt(d) / (2 * CODE_LIMIT) * (longest + encoded.coarse) * 1.01
    centre = float(np.linalg.norm(axes.centre)) * axes.scale if bytes_ else 0.0
    blur = np.array(
        [
            encoded.coarse + rounded_rows + tiny,
            encoded.step * encoded.fine * np.sqrt(d) * 0.51 + tiny,
            d * 2.0**-49 * longest * (longest + centre),
        ]
    )
    second = codes.copy()
    second[:, LEAD - 1] = 0
    panel = panel_rows(isa)
    n_panels = -(-K // panel)
    scanned = second if way == "deep" else codes[:, :LEAD]
    padded = np.zeros((n_panels * panel, scanned.shape[1]), np.int16)
    padded[:K] = scanned
    panels = np.ascontiguousarray(padded.reshape(n_panels, panel, -1, 2).transpose(0, 2, 1, 3))
    starts = np.full(n_panels * panel, NOWHERE, np.int32)
    starts[:K] = -np.rint(squares / 2 / (rows.unit * unit))
    own = way == "own"
    return Units(
        panels,
        second if way == "staged" else second[:0],
        starts.reshape(n_panels, panel),
        unit,
        frame.panels if own else frame.panels[:0],
        frame.inverse,
        frame.shifts(axes.centre, dtype)[:AXES],
        deviation_of(gram[:lead, :lead]),
        encoded.high,
        encoded.low,
        encoded.step,
        encoded.fine,
        encoded.offsets,
        encoded.rests,
        slack,
        blur,
    )
