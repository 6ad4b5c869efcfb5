"""The nearest codebook vectors of many rows, asked for again and again while the codebook moves: SOM and K-Means.

The rows' short vectors are computed once. Each call embeds the (small) codebook along the same axes. The units that
were nearest before give every row a tight upper bound before the scan begins.
"""

from typing import Any, NamedTuple

import numpy as np

from somknn import machine
from somknn.machine import resolve_n_threads
from somknn.scaling import exponent_of, fits_float32
from somknn.search import byte_screen
from somknn.search.allowance import Allowance
from somknn.search.brute import NO_INDEX, BruteSearch, sorted_lists
from somknn.search.cells import nearest_cell
from somknn.search.costs import brute_search
from somknn.search.embedding import Embedding, ShortVectors
from somknn.search.index import as_rows
from somknn.search.probed_rows import ProbedRows, codebook_embedding
from somknn.search.pruned import Improved, Nearest, measured
from somknn.threads import single_threaded_blas

_COLUMNS = 128
_SAMPLE = 1024  # rows from which the axes are made
_FIRST_LOOK = 512  # units among which a first call seeks its upper bounds
_MOSTLY_MOVED = 0.6  # if more than this share of the units has moved, all are compared
_TOO_MANY = 0.25  # if more than this share of the codebook survives the scan, brute force is better


def worth_encoding(rows: np.ndarray) -> bool:
    """Whether the rows are many enough and wide enough for short vectors beside a codebook that moves."""
    return len(rows) >= 2000 and rows.shape[1] >= 48


def _check_units(units: np.ndarray, shape: tuple[int, int], n_units: int) -> None:
    """Raise ValueError unless `units` has this shape and holds indices from 0 to n_units - 1, as kernels need."""
    if units.shape != shape:
        raise ValueError(f"previous must have the shape {shape}, got {units.shape}")
    if units.size and not (units.min() >= 0 and units.max() < n_units):
        row, column = np.argwhere((units < 0) | (units >= n_units))[0]
        raise ValueError(f"previous names the unit {units[row, column]} for row {row}, but there are {n_units}")


class _Answer(NamedTuple):
    """What a search for the nearest unit found: the codebook, and squared distances and units of the rows (n, 1)."""

    units: np.ndarray
    squares: np.ndarray
    nearest: np.ndarray

    def fits(self, units: np.ndarray, previous: np.ndarray) -> bool:
        """Whether it is about `previous`, and a codebook of this dtype and shape."""
        alike = self.units.dtype == units.dtype and self.units.shape == units.shape
        return alike and np.array_equal(self.nearest, previous)


class CodebookSearch:
    """Exact nearest codebook vectors of the rows `X` (n, d).

    Parameters
    ----------
    X : array (n, d), uint8, float32 or float64
        It must not change while the search is in use.
    n_jobs : int or None
    algorithm : {"auto", "brute", "pruned"}
        "auto" prunes from 64 units and 48 features on, until a call shows that too little is ruled out. A few rows and
        the first codebook tell how many columns the codes have.
    allowance : Allowance or None
        How long brute force goes on before that; None: as long as small work takes with "auto", not at all otherwise.

    Attributes
    ----------
    survivors_ : ndarray (2,)
        Mean numbers of units per row that passed the scan, and that were compared exactly, in the last call.
    """

    def __init__(
        self,
        X: Any,
        *,
        n_jobs: int | None = None,
        algorithm: str = "auto",
        isa: str | None = None,
        allowance: Allowance | None = None,
    ):
        if algorithm not in ("auto", "brute", "pruned"):
            raise ValueError(f"algorithm must be auto, brute or pruned; got {algorithm!r}")
        self.rows = as_rows(X, "X")
        self.n_jobs, self.algorithm = n_jobs, algorithm
        self.isa = machine.select(isa)
        self.survivors_ = np.zeros(2)
        self._embedding: Embedding | None = None
        self._probed: ProbedRows | None = None
        self._last: _Answer | None = None
        self._byte_screen: tuple[byte_screen.ByteScreen, tuple[np.ndarray, np.ndarray]] | None = None
        self._hopeless = False
        self._allowance = Allowance(algorithm == "auto") if allowance is None else allowance
        # Short vectors are float32. For numbers outside its range they would rule nothing out.
        self._short = fits_float32(exponent_of(self.rows))

    def _prepare(self, units: np.ndarray, n_threads: int) -> ProbedRows:
        """The rows' codes, as wide as the first codebook says."""
        if self._probed is None:
            embedding = codebook_embedding(self.rows, units, self._fit_embedding(), n_threads)
            self._probed = ProbedRows(self.rows, embedding, n_threads)
        return self._probed

    def embedding(self) -> Embedding | None:
        """The embedding that makes short vectors; None if rows are searched by brute force."""
        if self.algorithm == "brute" or not self._short or (self.algorithm == "auto" and not worth_encoding(self.rows)):
            return None
        return self._fit_embedding()

    def _fit_embedding(self) -> Embedding:
        if self._embedding is None:
            with single_threaded_blas():
                self._embedding = Embedding(self.rows, self.isa, _COLUMNS, _SAMPLE)
        return self._embedding

    def nearest(self, codebook: Any, k: int = 1, previous: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest codebook vectors of every row.

        Parameters
        ----------
        codebook : array (n_units, d), uint8, float32 or float64
        k : int
        previous : int64 array (n, k) or None
            k different units for each row that are likely to be near: the answer for the previous codebook.

        Returns
        -------
        squared_distances : ndarray (n, k), float64 (int64 if both sides are uint8), ascending
        indices : ndarray (n, k), int64; ties to the lowest unit

        Raises
        ------
        TypeError, ValueError
            For rows or a codebook of another kind or shape, for a k out of range, and for `previous` of another shape
            or with numbers that are no units.
        """
        units = as_rows(codebook, "codebook", self.rows.shape[1])
        if not 1 <= k <= len(units):
            raise ValueError(f"k must be between 1 and the number of units, {len(units)}; got {k}")
        if previous is not None:
            _check_units(previous, (len(self.rows), k), len(units))
        n_threads = resolve_n_threads(self.n_jobs)
        small = len(units) < 64 or self.rows.shape[1] < 48 or self._hopeless
        if (
            self.algorithm == "brute"
            or not self._short
            or (self.algorithm == "auto" and small)
            or self._allowance.covers(brute_search(self.isa, len(self.rows), units))
        ):
            return BruteSearch(units, self.isa).search(self.rows, k, n_threads=n_threads)
        if k == 1 and byte_screen.suits(self.rows, len(units)):
            found = self._among_few(units, previous, n_threads)
            if found is not None:
                return found
            if self.algorithm == "auto":
                return BruteSearch(units, self.isa).search(self.rows, k, n_threads=n_threads)
        probed = self._prepare(units, n_threads)
        codes = probed.encode(units, n_threads)
        likely = previous
        if previous is None and k == 1:
            # The nearest by the leading axes, before rounding.
            likely = nearest_cell(probed.coarse, codes.coarse, n_threads)
        integers = self.rows.dtype == np.uint8 and units.dtype == np.uint8
        dtype, worst = (np.int64, np.iinfo(np.int64).max) if integers else (np.float64, np.inf)
        collector: Improved | Nearest
        if likely is not None:
            collector = measured(self.isa, self.rows, units, likely, dtype, n_threads)
            self.survivors_ = self._improve(probed, units, codes, collector, previous, n_threads)
        else:
            shape = len(self.rows), k
            collector = Nearest(np.full(shape, worst, dtype), np.full(shape, NO_INDEX, np.int64))
            self.survivors_ = probed.improve(units, codes, collector, n_threads, first_look=max(_FIRST_LOOK, 2 * k))
        if previous is not None and self.survivors_[0] > _TOO_MANY * len(units):
            self._hopeless = True
        found = sorted_lists(collector.distances, collector.indices, n_threads)
        self._last = _Answer(units.copy(), found[0].copy(), found[1].copy()) if k == 1 else None
        return found

    def _improve(
        self,
        probed: ProbedRows,
        units: np.ndarray,
        codes: ShortVectors,
        collector: Improved,
        previous: np.ndarray | None,
        n_threads: int,
    ) -> np.ndarray:
        """Find the nearest units, given likely ones. After the answer for another codebook, only where it may change.

        A unit whose weights are what they were is at the distance at which it was. So a row whose distance to its unit
        has not risen is nearer to that unit than to every other one that has not moved, ties included.
        """
        last = self._last
        if last is None or previous is None or not last.fits(units, previous):
            return probed.improve(units, codes, collector, n_threads)
        moved = (units != last.units).any(axis=1)
        if moved.mean() > _MOSTLY_MOVED:
            return probed.improve(units, codes, collector, n_threads)
        rose = np.flatnonzero(collector.distances[:, 0] > last.squares[:, 0])
        survivors = np.zeros(2)
        for among, rows in ((np.flatnonzero(moved), None), (np.flatnonzero(~moved), rose)):
            if len(among) and (rows is None or len(rows)):
                survivors += probed.improve(units, codes, collector, n_threads, among=among, rows=rows)
        return survivors

    def _among_few(
        self, units: np.ndarray, previous: np.ndarray | None, n_threads: int
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """The nearest unit of every row of bytes, by codes of one width, which take a quarter of the preparations.

        None if they rule out too little.
        """
        if self._byte_screen is None:
            screen = byte_screen.ByteScreen(self.rows, self.isa)
            self._byte_screen = screen, screen.encode_all(self.rows, n_threads)
        screen, coded = self._byte_screen
        guided = previous is not None
        indices = np.array(previous, np.int64).reshape(-1) if guided else np.empty(len(self.rows), np.int64)
        found = screen.nearest(self.rows, units, indices, guided, n_threads, coded=coded)
        if found is None:
            self._hopeless = True
            return None
        self.survivors_ = found[1]
        return found[0][:, None], indices[:, None]
