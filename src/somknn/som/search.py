"""The best-matching units of all rows, epoch after epoch: one object that keeps what does not change.

`Axes` are fitted once on a sample, `BMUSearch` embeds its rows on them once, and `search(codebook)` embeds the
small codebook and calls the kernel. The previous units are the starting bounds, so that late epochs measure
little more than two rows in full.
"""

import numpy as np

from somknn.threads import single_threaded_blas
from somknn_kernels import codebook_codes, codebook_search
from somknn_kernels.codebook_codes import CODE_LIMIT, LEAD, NOWHERE, PIECE, WIDTH, Short, Units
from somknn_kernels.isa import Isa, select
from somknn_kernels.parallel import run_tasks
from somknn_kernels.tiles import panel_rows

_SAMPLE = 2048
_AXES = WIDTH - 2
_BLOCK = 128  # rows that are embedded at a time: as floats they stay in the level-2 cache
_FAR = 6.0  # times the root mean square: rows beyond have no short vectors, or they would take the others' precision
_WIDE = 4096  # columns from which float32 sums are too uncertain
_ROWS_PER_TASK = 384
_PILOTS = 3  # tasks that tell what a search will cost
_DEAR = 2000.0  # nanoseconds per row, more than axes of the codebook itself cost
_TRUSTED = 0.5  # share of rows that kept their unit in the last search: from there on it is where the next one begins


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


class Axes:
    """Leading principal axes of a sample of some rows, and the short vectors of any rows on them."""

    def __init__(self, X: np.ndarray, n_axes: int = WIDTH - 2, like: "Axes | None" = None):
        """like : other axes whose centre and scale are taken, for axes of a codebook."""
        n, d = X.shape
        sample = X[np.linspace(0, n - 1, min(n, _SAMPLE)).astype(np.int64)].astype(np.float64)
        centre = sample.mean(axis=0)
        if like is None:
            self.centre = np.rint(centre) if X.dtype == np.uint8 else centre
            sample -= self.centre
            spread = float(np.abs(sample).max(initial=0.0))
            # Keeps squares within float32 for data of any unit; bytes stay the integers that they are.
            usual = X.dtype == np.uint8 or not spread > 0
            self.scale = 1.0 if usual else float(2.0 ** -np.ceil(np.log2(spread)))
        else:
            self.centre, self.scale = like.centre, like.scale
            sample -= self.centre
        self.for_bytes = self.scale == 1.0 and bool((self.centre == np.rint(self.centre)).all())
        sample *= self.scale
        # The norm up to which rows get short vectors
        self.reach = _FAR * float(np.sqrt(np.einsum("ij,ij->", sample, sample) / len(sample))) or 1.0
        sample = sample.astype(np.float32)
        with single_threaded_blas():
            vectors = leading_axes(sample.T @ sample, min(n_axes, d))
            self.vectors = vectors.astype(np.float32 if d < _WIDE else np.float64)
            gram = self.vectors.T.astype(np.float64) @ self.vectors.astype(np.float64)
        self.deviation = 1.01 * float(np.linalg.norm(gram - np.eye(len(gram)))) + 1e-12
        # Any order of d fused or unfused additions of float32 errs by at most d·2^-24/(1 - d·2^-24) of the product of
        # norms on each axis; one more 2^-24 for the rounding of the row, and some room.
        rounding = 2.0**-24 if self.vectors.dtype == np.float32 else 2.0**-53
        self.loss = 1.05 * (d + 2) * rounding * np.sqrt(self.vectors.shape[1])

    def embed(self, X: np.ndarray, n_threads: int, unit: float, limit: float, *, precise: bool = False) -> Short:
        """Short vectors of the rows of `X` as multiples of `unit`; those with a norm above `limit` get none.

        precise : measure what the axes leave out, for a codebook, most of which they hold: the difference of two
        squared norms is too uncertain there.
        """
        n, d = X.shape
        squares = np.empty(n)
        loss = np.array([self.loss, unit * np.sqrt(WIDTH) / 2 * 1.01])
        codes = np.empty((n, WIDTH), np.int16)
        edges = list(range(0, n, _BLOCK))

        def work(task: int) -> None:
            first, last = edges[task], min(n, edges[task] + _BLOCK)
            centred = np.empty((last - first, d), self.vectors.dtype)
            codebook_codes.centre_rows(X, first, last, self.centre, self.scale, centred, squares)
            projected = centred @ self.vectors
            codebook_codes.encode_short(projected, first, squares, loss, self.deviation, unit, limit, codes)
            if precise:
                self._measure_rest(centred, np.sqrt(squares[first:last]), loss, unit, codes[first:last])

        with single_threaded_blas():
            run_tasks(work, len(edges), n_threads)
        return Short(codes, np.sqrt(squares), self.centre, self.scale, unit, limit, loss)

    def _measure_rest(self, centred, norms, loss, unit, codes) -> None:
        """Norms of rows less what their codes say of them, rounded up, in the codes' last column and that of the lead."""
        n_axes = self.vectors.shape[1]
        columns = np.arange(n_axes) + (np.arange(n_axes) >= LEAD - 1)
        coded = codes[:, columns] * self.vectors.dtype.type(unit)
        rest = centred - coded @ self.vectors.T
        rounding = 2.0**-23 if self.vectors.dtype == np.float32 else 2.0**-52
        # Products of n_axes terms, their difference to the row, and a sum of d squares.
        uncertain = rounding * (n_axes * np.sqrt(n_axes) + 2) * 1.1 * norms
        beyond = np.sqrt(np.einsum("ij,ij->i", rest, rest, dtype=np.float64)) + uncertain
        codes[:, WIDTH - 1] = np.minimum(np.ceil(beyond / unit), 32767)
        tail = np.sqrt(np.einsum("ij,ij->i", coded[:, LEAD - 1 :], coded[:, LEAD - 1 :], dtype=np.float64)) * (1 + 1e-6)
        off = loss[0] * norms + loss[1] + self.deviation * norms
        lead = np.sqrt(beyond**2 + tail**2 * (1 + self.deviation) + 2 * off * tail)
        codes[:, LEAD - 1] = np.minimum(np.ceil(lead / unit), 32767)


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

    Attributes
    ----------
    units : (n, 2) int64
        The nearest and the second nearest.
    distances : (n,) float64
        Squared distances to the nearest, within 1e-7 of themselves.
    axes_in_use : Axes
        The data's own, or those of a codebook whose rows the data's do not tell apart: an early one, where a wide neighbourhood
        has drawn all units together.
    examined : list of 3 int
        Units that passed the scan and the second look in the last search, and that float64 had to tell apart.
    """

    def __init__(self, X: np.ndarray, *, axes: Axes | None = None, missing: bool = False, n_threads: int = 1):
        self.X, self.missing, self.n_threads = X, missing, n_threads
        self.units = np.full((len(X), 2), -1, np.int64)
        self.distances = np.empty(len(X))
        self.examined = [0, 0, 0]
        self._kept = -1
        if missing:
            return
        self._isa: Isa = select()
        # Bytes are multiplied as they are: about a centre of integers, without a scale.
        fits = axes is not None and (X.dtype != np.uint8 or axes.for_bytes)
        self.axes = axes if axes is not None and fits else Axes(X)
        self.axes_in_use = self.axes
        self._short = self._data_short = self._embed(self.axes)
        d = X.shape[1]
        if X.dtype == np.uint8:  # uncentred
            self._longest = self.axes.reach + float(np.linalg.norm(self.axes.centre)) + 1.0
        else:
            self._longest = CODE_LIMIT + np.sqrt(d) + 1.0

    def _embed(self, axes: Axes) -> Short:
        return axes.embed(self.X, self.n_threads, self.axes.reach / CODE_LIMIT, self.axes.reach)

    def search(self, codebook: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Units (n, 2) and squared distances (n,) of the nearest row of `codebook` (K, d).

        Both arrays belong to the search and are overwritten by the next call. A codebook of one row gives unit 0 twice.
        """
        if len(codebook) == 1:
            self.search(np.concatenate([codebook, codebook]))
            self.units[:] = 0
        else:
            self._search(np.ascontiguousarray(codebook, np.float32 if codebook.dtype == np.float32 else np.float64))
        return self.units, self.distances

    def _search(self, codebook: np.ndarray) -> None:
        n = len(self.X)
        if self.missing:
            rows = 256
            run_tasks(
                lambda task: codebook_search.two_nearest_missing(
                    self.X, codebook, task * rows, min(n, (task + 1) * rows), self.units, self.distances
                ),
                (n + rows - 1) // rows,
                self.n_threads,
            )
            return
        trust = self._kept >= _TRUSTED * n
        tasks = list(range(-(-n // _ROWS_PER_TASK)))
        pilot = tasks[:: max(1, len(tasks) // _PILOTS)][:_PILOTS] if len(tasks) > 8 * _PILOTS else []
        view = self._view(codebook)
        if pilot and self._cost(view, codebook, trust, pilot) > _DEAR:
            # Axes that suited another codebook make way for the data's, and those for axes of this codebook.
            if self._short is not self._data_short:
                self.axes_in_use, self._short = self.axes, self._data_short
                view = self._view(codebook)
            if self.X.shape[1] > LEAD and self._cost(view, codebook, trust, pilot) > _DEAR:
                self.axes_in_use = Axes(codebook, LEAD - 1, like=self.axes)
                self._short = self._embed(self.axes_in_use)
                view = self._view(codebook)
        examined = self._run(view, codebook, trust, tasks)
        *self.examined, self._kept = examined.sum(axis=0).tolist()

    def _view(self, codebook: np.ndarray) -> tuple[Short, Units]:
        if float(np.abs(codebook).max()) * self.axes.scale < 1e140:
            return self._short, self._encode(codebook)
        # Squares beyond float64: no bound, but every distance.
        return self._short._replace(rare=-1.0), self._encode(np.zeros_like(codebook))

    def _cost(self, view: tuple[Short, Units], codebook: np.ndarray, trust: bool, pilot: list[int]) -> float:
        """Nanoseconds per row that the units cost which the scan does not rule out, about, from a few tasks."""
        passed, measured = self._run(view, codebook, trust, pilot)[:, :2].mean(axis=0) / _ROWS_PER_TASK
        return float(12.0 * passed + 30.0 * measured)

    def _run(self, view: tuple[Short, Units], codebook: np.ndarray, trust: bool, tasks: list[int]) -> np.ndarray:
        n = len(self.X)
        examined = np.zeros((len(tasks), 4), np.int64)

        def work(position: int) -> None:
            first = tasks[position] * _ROWS_PER_TASK
            codebook_search.two_nearest(
                self._isa, self.X, codebook, *view, trust, first, min(n, first + _ROWS_PER_TASK),
                self.units, self.distances, examined[position],
            )  # fmt: skip

        run_tasks(work, len(tasks), self.n_threads)
        return examined

    def _encode(self, codebook: np.ndarray) -> Units:
        """The codebook in short vectors and 16-bit integers, and by how much the bounds on it may be off."""
        K, d = codebook.shape
        axes, rows = self.axes_in_use, self._short
        squares, tops = np.empty(K), np.empty(K)
        edges = list(range(0, K, _BLOCK))

        def parts(kernel, *arguments):
            def work(task: int) -> None:
                first = edges[task]
                kernel(codebook, axes.centre, axes.scale, *arguments[0], first, min(K, first + _BLOCK), *arguments[1])

            run_tasks(work, len(edges), self.n_threads)

        parts(codebook_codes.measure_units, (), (squares, tops))
        longest = float(np.sqrt(squares.max()))
        unit = max(longest / CODE_LIMIT, longest**2 / (rows.unit * 2.0**31), 1e-150)
        short = axes.embed(codebook, self.n_threads, unit, np.inf, precise=True)
        # 16-bit integers: no entry beyond 32,767, and no product with a row beyond 31 bits
        room = (2.0**31 - 1) / self._longest
        step = max(longest / (room - np.sqrt(d) - 1), float(tops.max()) / 32766.0, 1e-290)
        bits = min(15, int(np.log2(max(2.0, room / np.sqrt(d)))))
        fine = 2.0**-bits
        width = -(-d // PIECE) * PIECE
        high, low = np.zeros((K, width), np.int16), np.zeros((K, width), np.int16)
        errors = np.empty(K)
        parts(codebook_codes.encode_units, (step, fine), (high, low, errors))
        offsets, rests = squares / 2, np.zeros(K)
        if self.X.dtype == np.uint8:
            offsets += step * (high[:, :d] @ axes.centre)
            rests += step * fine * (low[:, :d] @ axes.centre)
        # Bounds of stages 1 and 2: the axes' part is off by |y|·off(v) + |v|·off(y) + 3·deviation·|y||v|
        off = short.loss[0] * longest + short.loss[1]
        reach = longest + off
        slack = np.array(
            [1.02 * (reach * rows.loss[0] + off + 4 * axes.deviation * reach), 1.02 * reach * rows.loss[1]]
        )
        # Scores: what rounding leaves of the codebook, of rows that are no bytes, and of float64 sums and distances
        coarse = float(errors.max()) * 1.01
        tiny = d * 2.0**-49 * (rows.rare + 1e-290)
        rounded_rows = 0.0 if self.X.dtype == np.uint8 else np.sqrt(d) / (2 * CODE_LIMIT) * (longest + coarse) * 1.01
        centre = float(np.linalg.norm(axes.centre)) * axes.scale if self.X.dtype == np.uint8 else 0.0
        blur = np.array(
            [
                coarse + rounded_rows + tiny,
                step * fine * np.sqrt(d) * 0.51 + tiny,
                d * 2.0**-49 * longest * (longest + centre),
            ]
        )
        panel = panel_rows(self._isa)
        n_panels = -(-K // panel)
        padded = np.zeros((n_panels * panel, LEAD), np.int16)
        padded[:K] = short.codes[:, :LEAD]
        panels = np.ascontiguousarray(padded.reshape(n_panels, panel, LEAD // 2, 2).transpose(0, 2, 1, 3))
        starts = np.full(n_panels * panel, NOWHERE, np.int32)
        starts[:K] = -np.rint(squares / 2 / (rows.unit * short.unit))
        second = short.codes
        second[:, LEAD - 1] = 0
        return Units(
            panels,
            second,
            starts.reshape(n_panels, panel),
            short.unit,
            high,
            low,
            step,
            fine,
            offsets,
            rests,
            slack,
            blur,
        )
