"""Axes in 16-bit integers, for rows and for codebooks, and a codebook as the kernels of the search want it.

A frame's axes are orthonormal up to their rounding. The coordinates of a unit are taken with the inverse of their Gram matrix, so
that no bound pays for it: x·w = y·c + x·(w - A·c) for any c, y = Aᵀx being what the rows are encoded with. Callers keep BLAS from
starting threads of its own (`somknn.threads`).
"""

from typing import NamedTuple

import numpy as np

from somknn.axes import leading_axes
from somknn.threads import single_threaded_blas
from somknn_kernels import codebook_codes
from somknn_kernels.codebook_codes import CODE_LIMIT, LEAD, NOWHERE, PIECE, SHARED, WIDTH, Short, Units
from somknn_kernels.isa import Isa
from somknn_kernels.parallel import run_tasks
from somknn_kernels.row_products import AXES
from somknn_kernels.tiles import panel_rows

_SAMPLE = 4096
_OWN_SAMPLE = 1024
_FAR = 6.0  # times the root mean square: rows beyond have no short vectors, or they would take the others' precision
_ROOM = 1.25  # times the longest row of the sample: the same, where that is less
_BLOCK = 128  # units of a task


class Frame:
    """Axes rounded to integers.

    Attributes
    ----------
    matrix : (d, p) float64
        The axes after rounding.
    panels : (panels, d in whole pieces / 2, AXES, 2) int16
        The same, times 1 / `inverse`.
    gram : (p, p) float64
    deviation : float
        Of their Gram matrix from the identity.
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
        self.gram = self.matrix.T @ self.matrix
        self.deviation = deviation_of(self.gram)

    def shifts(self, centre: np.ndarray, rows: np.dtype) -> np.ndarray:
        """What the centre adds to products with rows: bytes are multiplied as they are."""
        shifts = np.zeros(len(self.panels) * AXES)
        if rows == np.uint8:
            shifts[: self.matrix.shape[1]] = centre @ self.matrix
        return shifts


def deviation_of(gram: np.ndarray) -> float:
    """At least the spectral norm of gram - 1."""
    return 1.01 * float(np.linalg.norm(gram - np.eye(len(gram)))) + 1e-12


class Axes:
    """Leading principal axes of a sample of some rows.

    Twice the sample is worth its time: from 1,024 rows of MNIST, 10.1 units a row passed all axes in epoch 4, from 4,096, 7.4.
    """

    def __init__(self, X: np.ndarray, n_threads: int = 1):
        n, d = X.shape
        sample = X[np.linspace(0, n - 1, min(n, _SAMPLE)).astype(np.int64)]
        centre = sample.mean(axis=0, dtype=np.float64)
        self.centre = np.rint(centre) if X.dtype == np.uint8 else centre
        if X.dtype == np.uint8:
            self.scale = 1.0
            sample = sample.astype(np.float32)
            sample -= self.centre.astype(np.float32)
        else:
            sample = sample - self.centre
            spread = float(np.abs(sample).max(initial=0.0))
            # Keeps squares within float32 for data of any unit; bytes stay the integers that they are.
            self.scale = float(2.0 ** -np.ceil(np.log2(spread))) if spread > 0 else 1.0
            sample = (sample * self.scale).astype(np.float32)
        self.for_bytes = self.scale == 1.0 and bool((self.centre == np.rint(self.centre)).all())
        squares = np.einsum("ij,ij->i", sample, sample).astype(np.float64)
        # The norm up to which rows get short vectors
        self.reach = float(min(_FAR * np.sqrt(squares.mean()), _ROOM * np.sqrt(squares.max()))) or 1.0
        with single_threaded_blas():
            vectors = leading_axes(_covariance(sample, n_threads), min(WIDTH - 2, d)).astype(np.float64)
            self.frame = Frame(vectors, max(self.longest(np.dtype(np.uint8)), self.longest(np.dtype(np.float64))))
            self.shared = np.linalg.qr(self.frame.matrix[:, :SHARED])[0]

    def longest(self, rows: np.dtype) -> float:
        """The norm that a row of this dtype can have as 16-bit integers: bytes are not centred."""
        if rows == np.uint8:
            return self.reach + float(np.linalg.norm(self.centre)) + 1.0
        return CODE_LIMIT + float(np.sqrt(len(self.centre))) + 1.0


def _covariance(sample: np.ndarray, n_threads: int) -> np.ndarray:
    """sampleᵀ·sample, in parts that do not depend on the threads."""
    parts = np.array_split(sample, max(1, len(sample) // 1024))
    products = np.empty((len(parts), sample.shape[1], sample.shape[1]), sample.dtype)
    run_tasks(lambda task: np.matmul(parts[task].T, parts[task], out=products[task]), len(parts), n_threads)
    return products.sum(axis=0)


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
        codebook_codes.encode_units(
            codebook,
            axes.centre,
            axes.scale,
            step,
            fine,
            rows == np.uint8,
            first,
            last,
            high,
            low,
            errors,
            offsets,
            rests,
        )

    run_tasks(encode, len(edges), n_threads)
    return Encoded(units, squares, longest, high, low, step, fine, offsets, rests, float(errors.max()) * 1.01)


def own_frame(encoded: Encoded, axes: Axes, rows: np.dtype, previous: Frame | None) -> Frame:
    """AXES axes that hold most of what the data's first SHARED leave out of the codebook.

    previous : those of the codebook before, from where the search for them begins.
    """
    units = encoded.units[:: max(1, len(encoded.units) // _OWN_SAMPLE)].astype(np.float32)
    narrow = axes.shared.astype(np.float32)
    shared = units @ narrow

    def turned(basis: np.ndarray) -> np.ndarray:
        """restᵀ·rest·basis, rest being what the shared axes leave out of the units: it is never made."""
        products = units @ basis
        products -= shared @ (narrow.T @ basis)
        return units.T @ products - narrow @ (shared.T @ products)

    if previous is None:
        # From the units themselves: one turn less than from random directions
        basis = units[np.linspace(0, len(units) - 1, AXES + 8).astype(np.int64)].T
        for _ in range(2):
            basis = np.linalg.qr(turned(basis))[0]
        _, rotation = np.linalg.eigh(basis.T @ turned(basis))
        basis = basis @ rotation[:, ::-1][:, :AXES]
    else:
        basis = turned(previous.matrix.astype(np.float32))
    basis = basis.astype(np.float64)
    for _ in range(2):  # once is not enough where the codebook has fewer directions than there are axes
        basis = np.linalg.qr(basis - axes.shared @ (axes.shared.T @ basis))[0]
    return Frame(basis, axes.longest(rows))


def _coordinates(
    matrix: np.ndarray, gram: np.ndarray, encoded: Encoded, unit: float, n_threads: int
) -> tuple[np.ndarray, float]:
    """Codes (K, WIDTH) of the units on axes, and how far at most a unit's rest leans on the axes that it is the rest of."""
    K, d = encoded.units.shape
    p = matrix.shape[1]
    codes = np.zeros((K, WIDTH), np.int16)
    columns = np.arange(p) + (np.arange(p) >= LEAD - 1)
    uncertain = (d + 100) * 2.0**-50 * encoded.longest**2
    inverses = {used: np.linalg.inv(gram[:used, :used]) for used in {min(p, LEAD - 1), p}}
    edges = list(range(0, K, _BLOCK))
    leans = np.zeros(len(edges))

    def work(task: int) -> None:
        part = slice(edges[task], edges[task] + _BLOCK)
        products = encoded.units[part] @ matrix
        whole = np.rint(products @ (inverses[p] / unit))
        codes[part, columns] = whole
        whole *= unit
        for used, inverse in inverses.items():
            leaning = products[:, :used] - whole[:, :used] @ gram[:used, :used]
            inside = np.einsum("ij,ij->i", whole[:, :used], products[:, :used] + leaning)
            beyond = np.sqrt(np.maximum(encoded.squares[part] - inside, 0.0) + uncertain)
            codes[part, WIDTH - 1 if used == p else LEAD - 1] = np.minimum(np.ceil(beyond / unit), 32767)
            square = np.einsum("ij,ij->i", leaning, leaning @ inverse).max()
            leans[task] = max(leans[task], np.sqrt(max(square, 0.0)))
        if p < LEAD:
            codes[part, LEAD - 1] = codes[part, WIDTH - 1]

    run_tasks(work, len(edges), n_threads)
    return codes, float(leans.max()) + 1e-6 * encoded.longest


def _packed(codes: np.ndarray, isa: Isa) -> np.ndarray:
    """Codes (K, columns) as panels for the tiles."""
    panel = panel_rows(isa)
    padded = np.zeros((-(-len(codes) // panel) * panel, codes.shape[1]), np.int16)
    padded[: len(codes)] = codes
    pairs = padded.view(np.int32).reshape(-1, panel, codes.shape[1] // 2)
    return np.ascontiguousarray(pairs.transpose(0, 2, 1)).view(np.int16).reshape(len(pairs), -1, panel, 2)


def deepened(staged: Units, isa: Isa) -> Units:
    """The same codebook, all axes to be scanned at once."""
    return staged._replace(panels=_packed(staged.second, isa), second=staged.second[:0])


def units_on(
    own: Frame | None, encoded: Encoded, axes: Axes, rows: Short, isa: Isa, dtype: np.dtype, n_threads: int
) -> Units:
    """The codebook on the data's axes, for a search in two stages, or on the first SHARED of them and its own, in one."""
    K, d = encoded.units.shape
    frame = own or axes.frame
    matrix = frame.matrix if own is None else np.concatenate([axes.frame.matrix[:, :SHARED], own.matrix], axis=1)
    gram = frame.gram if own is None else matrix.T @ matrix
    longest = encoded.longest
    unit = max(longest / CODE_LIMIT, longest**2 / (rows.unit * 2.0**31), 1e-150)
    codes, leaning = _coordinates(matrix, gram, encoded, unit, n_threads)
    # Bounds of stages 1 and 2: |x|·leaning of w, and |c|·loss of y
    held = longest * (1.0 + deviation_of(gram)) + unit * np.sqrt(WIDTH)
    slack = np.array([1.02 * (leaning + held * rows.loss[0]), 1.02 * held * rows.loss[1]])
    # Scores: what rounding leaves of the codebook, of rows that are no bytes, and of float64 sums and distances
    tiny = d * 2.0**-49 * (rows.rare + 1e-290)
    rounded_rows, centre = 0.0, 0.0
    if dtype == np.uint8:
        centre = float(np.linalg.norm(axes.centre)) * axes.scale
    else:
        rounded_rows = np.sqrt(d) / (2 * CODE_LIMIT) * (longest + encoded.coarse) * 1.01
    blur = np.array(
        [
            encoded.coarse + rounded_rows + tiny,
            encoded.step * encoded.fine * np.sqrt(d) * 0.51 + tiny,
            d * 2.0**-49 * longest * (longest + centre),
        ]
    )
    panels = _packed(codes[:, :LEAD], isa)
    starts = np.full((len(panels), panels.shape[2]), NOWHERE, np.int32)
    starts.ravel()[:K] = -np.rint(encoded.squares / 2 / (rows.unit * unit))
    codes[:, LEAD - 1] = 0
    return Units(
        panels,
        codes if own is None else codes[:0],
        starts,
        unit,
        frame.panels[: 0 if own is None else 1],
        frame.inverse,
        frame.shifts(axes.centre, dtype)[:AXES],
        deviation_of(gram[: LEAD - 1, : LEAD - 1]),
        encoded.high,
        encoded.low,
        encoded.step,
        encoded.fine,
        encoded.offsets,
        encoded.rests,
        slack,
        blur,
    )
