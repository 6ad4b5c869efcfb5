"""The best-matching units of all rows, epoch after epoch: one object that keeps what does not change.

`Axes` are fitted once, on a sample. `BMUSearch` embeds its rows on them once. `search(codebook)` encodes the small
codebook and calls the kernel. The previous units give the first upper bounds, so late epochs measure little more than
two units a row in full.
"""

import functools
from typing import NamedTuple

import numpy as np

from somknn.machine import Isa, per_task, run_tasks, select
from somknn.search.allowance import Allowance
from somknn.search.brute import BruteSearch
from somknn.search.costs import brute_search
from somknn.search.frames import Axes, Encoded, deepened, encode_codebook, own_frame, units_on
from somknn.search.index import ExactIndex
from somknn.threads import single_threaded_blas
from somknn_kernels.bounds import codebook_codes
from somknn_kernels.bounds.codebook_codes import CODE_LIMIT, LEAD, WIDTH, RowAxes, Short, Units
from somknn_kernels.ir.layout import aligned
from somknn_kernels.ir.shapes import query_tile
from somknn_kernels.search import codebook_missing, codebook_search
from somknn_kernels.tiles.row_products import AXES

_ROWS_PER_TASK = 768
_PILOTS, _PILOT_ROWS = 4, 128  # parts of the rows, and rows of each, that tell what a search will cost
_LARGE = 8192  # number of rows from which a trial is worth its time, and so are axes for a single search
_SAMPLED_TILES = 64  # tiles that tell whether rows leave columns blank
_MOSTLY_USED = 0.8  # if at least this share of the pairs of columns is used, lists of them save nothing
_TRUSTED = 0.5  # if at least this share of the rows kept its unit in the last search, the next one begins from there
_OWN = {"narrow": AXES - 1, "own": 2 * AXES - 1}  # number of axes of the codebook itself
# Costs in nanoseconds, about, by which the ways of a search are compared
_PASSED = 15.0  # a unit in stage 2
_MEASURED = 90.0  # a unit measured in full
_SCANNED = 0.4  # a unit on LEAD more columns
_PROJECTED = 0.2  # a column of a row on AXES axes of the codebook's own
_OWN_AXES = 1e5  # finding one axis of the codebook's own
_CLEAR = 2.5  # units measured a row, the first two included: below this, the way is taken again without a trial
_ENOUGH = 3.0  # units measured a row in a trial: below this, no other trial is needed
# Mean square of the units, relative to that of the rows. Below this, axes of the codebook's own are tried before those
# of the data; above it, only if the last search used them.
_DRAWN = 0.5


_Way = tuple[str, Units, float]  # name, the codebook for it, cost


class BMUSearch:
    """The two nearest rows of a codebook for every row of `X`, exactly as a float64 computation finds them.

    Parameters
    ----------
    X : (n, d) uint8, float32 or float64, C-contiguous
    axes : Axes or None
        Axes of other data, for chunks of one stream. Ignored with `missing`.
    missing : bool
        NaN in `X` means a missing value: distances take only the columns that a row has.
    n_threads : int
        The result does not depend on it.
    allowance : Allowance or None
        How long brute force goes on before the rows are embedded; None: not at all.

    Attributes
    ----------
    units : (n, 2) int64
        The nearest and the second nearest unit of each row.
    distances : (n,) float64
        Squared distances to the nearest unit, with a relative error of at most 1e-7.
    way : str
        How the last search went: "brute", "staged", "deep" (all axes at once), or on axes of the codebook itself:
        "narrow" (15 of them) or "own" (31). The latter two are for a young codebook whose units the axes of the data do
        not tell apart, because a wide neighbourhood has drawn them together.
    examined : list of 3 int
        In the last search: units that passed the scan, units measured in full, units that float64 had to tell apart.
    """

    def __init__(
        self,
        X: np.ndarray,
        *,
        axes: Axes | None = None,
        missing: bool = False,
        n_threads: int = 1,
        allowance: Allowance | None = None,
    ):
        self.X, self.missing, self.n_threads = X, missing, n_threads
        self.units = np.full((len(X), 2), -1, np.int64)
        self.distances = np.empty(len(X))
        self.examined = [0, 0, 0]
        self.way = "staged"
        self._kept, self._size = -1, 0
        self._allowance = Allowance(False) if allowance is None else allowance
        self._isa: Isa = select()
        # Bytes are multiplied as they are: they need a centre of integers and no scale.
        fits = axes is not None and (X.dtype != np.uint8 or axes.for_bytes)
        self._given_axes = axes if fits else None
        self._own_cost = 0.0  # if the other ways cost more than this, axes of the codebook's own are tried

    @functools.cached_property
    def axes(self) -> Axes:
        """The axes of the rows; made when they are first needed."""
        return self._given_axes if self._given_axes is not None else Axes(self.X, self.n_threads)

    def axes_if_made(self) -> Axes | None:
        """The axes, for the next chunk of a stream; None if no search has needed any so far."""
        return vars(self).get("axes", self._given_axes)

    @functools.cached_property
    def _short(self) -> Short:
        axes, X = self.axes, self.X
        n = len(X)
        frame = axes.frame
        codes, norms = aligned((n, WIDTH), np.int16), np.empty(n)
        unit = axes.reach / CODE_LIMIT
        # Rows that are not bytes are rounded to 16 bits before they are projected.
        rounded = 0.0 if X.dtype == np.uint8 else np.sqrt(X.shape[1]) / (2 * CODE_LIMIT) * 1.02
        loss = np.array([rounded * (1.0 + frame.deviation) + 1e-11, unit * np.sqrt(WIDTH) / 2 * 1.01])
        used = self._used_pairs(frame.panels.shape[1])
        short = Short(codes, norms, axes.centre, axes.scale, unit, axes.reach, loss, used)
        by = RowAxes(frame.panels, frame.shifts(axes.centre, X.dtype), frame.inverse, frame.deviation)

        at_once = per_task(_ROWS_PER_TASK, X.shape[1] * WIDTH, 48)

        def work(task: int) -> None:
            first = task * at_once
            codebook_codes.embed_rows(self._isa, X, first, min(n, first + at_once), by, short)

        run_tasks(work, -(-n // at_once), self.n_threads)
        self._spread = float(np.mean(norms * norms)) if n else 0.0
        return short

    def _used_pairs(self, n_pairs: int) -> np.ndarray:
        """Room for the lists of used pairs of columns, if the lists are short enough to be worth it."""
        tile = query_tile(self._isa)
        n = len(self.X)
        none = np.empty((0, 1 + n_pairs), np.uint16)
        if self.X.dtype != np.uint8 or n_pairs >= 2**16 or n < _SAMPLED_TILES * tile:
            return none
        firsts = np.linspace(0, n - tile, _SAMPLED_TILES).astype(np.int64)
        some = self.X[firsts[:, None] + np.arange(tile)].any(axis=1)
        share = np.logical_or.reduceat(some, np.arange(0, some.shape[1], 2), axis=1).mean()
        return np.empty((-(-n // tile), 1 + n_pairs), np.uint16) if share < _MOSTLY_USED else none

    def search(self, codebook: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Units (n, 2) and squared distances (n,) of the nearest row of `codebook` (K, d).

        Both arrays belong to the search and are overwritten by the next call. A codebook of one row gives unit 0 twice.
        """
        if len(codebook) == 1:
            self.search(np.concatenate([codebook, codebook]))
            self.units[:] = 0
            self._size = 1
        else:
            self._search(np.ascontiguousarray(codebook, np.float32 if codebook.dtype == np.float32 else np.float64))
        return self.units, self.distances

    def _search(self, codebook: np.ndarray) -> None:
        n = len(self.X)
        if len(codebook) != self._size:  # the units of another codebook are no guesses
            self._kept, self._size, self.examined = -1, len(codebook), [0, 0, 0]
            self.units[:] = -1
        if self.missing:
            rows = per_task(256, codebook.size)
            run_tasks(
                lambda task: codebook_missing.two_nearest_missing(
                    self.X, codebook, task * rows, min(n, (task + 1) * rows), self.units, self.distances
                ),
                (n + rows - 1) // rows,
                self.n_threads,
            )
            return
        if self._allowance.covers(brute_search(self._isa, n, codebook)):
            self.way = "brute"
            distances, self.units = BruteSearch(codebook, self._isa).search(self.X, 2, n_threads=self.n_threads)
            self.distances = distances[:, 0]
            return
        # A few units of each row are measured in full; many if the codebook is young.
        at_once = per_task(_ROWS_PER_TASK, len(codebook) * (LEAD + codebook.shape[1] / 16), 48)
        parts = [(first, min(n, first + at_once)) for first in range(0, n, at_once)]
        # Each begins with a whole tile, as the parts do.
        firsts = [part * n // _PILOTS // _ROWS_PER_TASK * _ROWS_PER_TASK for part in range(_PILOTS)]
        pilot = [(first, first + _PILOT_ROWS) for first in firsts] if n > _LARGE else []
        with single_threaded_blas():
            if float(np.abs(codebook).max()) * self.axes.scale < 1e140:
                short, encoded = self._short, self._encode(codebook)
            else:  # squares beyond float64: no bounds, every distance is computed
                short, encoded = self._short._replace(rare=-1.0), self._encode(np.zeros_like(codebook))
            self.way, view = self._choose(short, encoded, codebook, pilot)
        trust = self.way == "staged" and self._kept >= _TRUSTED * n
        examined = self._run(short, view, codebook, trust, parts)
        *self.examined, self._kept = examined.sum(axis=0).tolist()

    def _choose(self, short: Short, encoded: Encoded, codebook: np.ndarray, pilot: list) -> tuple[str, Units]:
        """The way that costs least in this search, as far as a few tasks tell, and the codebook for it."""
        n, (K, d) = len(self.X), codebook.shape
        if not pilot or d <= LEAD:
            return "staged", self._view("staged", encoded)
        passed, measured = self.examined[0] / n, self.examined[1] / n  # in the last search; zero if there was none
        if self.way in _OWN and 0.0 < measured < _CLEAR:
            return self.way, self._view(self.way, encoded)
        before = self._cost(self.way, K, d, passed, measured)
        data = None
        if self.way == "own":  # it will hardly get cheaper: radii shrink
            data = self._data_way(short, encoded, codebook, pilot)
            if data[2] <= before:
                self._own_cost = before
                return data[:2]
        own = self._own_way(short, encoded, codebook, pilot, before)
        if own is not None and own[2] <= self._cost("own", K, d, 0.0, _ENOUGH):
            return own[:2]
        if own is None and self.way == "staged" and 0.0 < _PASSED * passed < 0.95 * _SCANNED * K:
            return "staged", self._view("staged", encoded)
        data = data or self._data_way(short, encoded, codebook, pilot)
        if own is None:
            return data[:2]
        self._own_cost = own[2]
        return own[:2] if own[2] < data[2] else data[:2]

    def _own_way(self, short: Short, encoded: Encoded, codebook: np.ndarray, pilot: list, before: float) -> _Way | None:
        """The better of the ways on axes of the codebook itself, or None if they are not worth a trial.

        before : cost of the last search.
        """
        K, d = codebook.shape
        if self.way in _OWN:
            candidates = ["own"]
        elif float(encoded.squares.mean()) >= _DRAWN * self._spread or 0.0 < before <= max(
            self._own_cost, self._cost("narrow", K, d, 0.0, _ENOUGH)
        ):
            return None
        else:
            candidates = ["narrow", "own"]
        best: _Way | None = None
        for way in candidates:
            view = self._view(way, encoded)
            _, measured = self._pilot(short, view, codebook, False, pilot)
            cost = self._cost(way, K, d, 0.0, measured)
            if best is None or cost < best[2]:
                best = way, view, cost
            if measured < _ENOUGH:
                break
        return best

    def _data_way(self, short: Short, encoded: Encoded, codebook: np.ndarray, pilot: list) -> _Way:
        """The better of the ways on the axes of the data."""
        K, d = codebook.shape
        staged = self._view("staged", encoded)
        passed, measured = self._pilot(short, staged, codebook, self._kept >= _TRUSTED * len(self.X), pilot)
        cost = self._cost("staged", K, d, passed, measured)
        if _PASSED * passed < _SCANNED * K or d <= WIDTH:
            return "staged", staged, cost
        return "deep", deepened(staged, self._isa), cost

    def _cost(self, way: str, K: int, d: int, passed: float, measured: float) -> float:
        """Nanoseconds a row, beyond what all ways have in common; 0 if nothing was measured."""
        if measured == 0.0:
            return 0.0
        if way in ("staged", "deep"):  # the cheaper of the two
            return _MEASURED * measured + min(_PASSED * passed, _SCANNED * K)
        finding = _OWN_AXES * _OWN[way] / len(self.X)
        if way == "narrow":
            return _MEASURED * measured + _PROJECTED * d - 0.5 * _SCANNED * K + finding
        return _MEASURED * measured + 2.0 * _PROJECTED * d + finding

    def _pilot(self, short: Short, view: Units, codebook: np.ndarray, trust: bool, pilot: list) -> tuple[float, float]:
        """Units per row that pass stage 1, and units per row that are measured in full, from a few tasks."""
        passed, measured = self._run(short, view, codebook, trust, pilot)[:, :2].mean(axis=0) / _PILOT_ROWS
        return float(passed), float(measured)

    def _run(self, short: Short, view: Units, codebook: np.ndarray, trust: bool, parts: list) -> np.ndarray:
        examined = np.zeros((len(parts), 4), np.int64)

        def work(task: int) -> None:
            codebook_search.two_nearest(
                self._isa,
                self.X,
                codebook,
                short,
                view,
                trust,
                *parts[task],
                self.units,
                self.distances,
                examined[task],
            )

        run_tasks(work, len(parts), self.n_threads)
        return examined

    def _encode(self, codebook: np.ndarray) -> Encoded:
        return encode_codebook(codebook, self.axes, self.X.dtype, self.n_threads)

    def _view(self, way: str, encoded: Encoded) -> Units:
        frame = own_frame(encoded, self.axes, self.X.dtype, _OWN[way]) if way in _OWN else None
        view = units_on(frame, encoded, self.axes, self._short, self._isa, self.X.dtype, self.n_threads)
        return deepened(view, self._isa) if way == "deep" else view


class Found(NamedTuple):
    """Rows X, the two nearest units of each (n, 2), and the squared distance to the nearest (n,)."""

    X: np.ndarray
    units: np.ndarray
    distances: np.ndarray


def find(X: np.ndarray, codebook: np.ndarray, missing: bool, n_threads: int) -> Found:
    """A single search. For few rows the exact index over the codebook does it: axes would cost more than they save."""
    if missing or len(codebook) == 1 or len(X) > _LARGE:
        return Found(X, *BMUSearch(X, missing=missing, n_threads=n_threads).search(codebook))
    distances, units = ExactIndex(n_jobs=n_threads).fit(codebook).search(X, 2)
    return Found(X, units, distances[:, 0])
