"""Rows that are searched with again and again: their codes are made once, those of the codebook for each search."""

import numpy as np

from somknn.axes import evenly_spaced
from somknn.search.brute import BruteSearch
from somknn.search.costs import scan_pair
from somknn.search.embedding import WIDEST, Embedding, ShortVectors, full_width
from somknn.search.pruned import Improved, Nearest, build_probes, build_screen, measured, run_search, split_rare
from somknn.threads import single_threaded_blas

_WORTH_A_PILOT, _PILOT = 8192, 256  # rows from which two widths are compared, and rows that compare them
_WIDER = 0.7  # wider codes must promise so much less: finding more axes, and codes of all rows on them, takes time too
_COMPARED, _COMPARED_COLUMN = 30.0, 0.125  # nanoseconds of an exact comparison with a unit, which is in a cache


class ProbedRows:
    """Rows (n, d) as probes of an embedding."""

    def __init__(self, rows: np.ndarray, embedding: Embedding, n_threads: int):
        self.rows, self.embedding = rows, embedding
        self._vectors = embedding.embed(rows, n_threads, probes=True)
        self._probes = build_probes(embedding, self._vectors, np.arange(len(rows)), n_threads)

    @property
    def coarse(self) -> np.ndarray:
        """The leading coordinates of the rows before rounding, float32."""
        return self._vectors.coarse

    def encode(self, units: np.ndarray, n_threads: int) -> ShortVectors:
        """Codes of a codebook (K, d)."""
        return self.embedding.embed(units, n_threads, probes=False)

    def improve(
        self,
        units: np.ndarray,
        codes: ShortVectors,
        collector: Improved | Nearest,
        n_threads: int,
        *,
        among: np.ndarray | None = None,
        rows: np.ndarray | None = None,
        first_look: int = 0,
    ) -> np.ndarray:
        """Offer to `collector` all units that may be of use to the rows.

        codes : of `units`, by `encode`; among, rows : int64, the only units, and the only rows, that are compared
        first_look : for a collector that is still empty, the number of units that are compared first
        Returns the mean numbers of units per row that passed the scan, and that were compared exactly, (2,).
        """
        among = np.arange(len(units)) if among is None else among
        rare = split_rare(codes)[among]
        order = among[np.argsort(rare, kind="stable")]
        screen = build_screen(self.embedding, codes, order, int(rare.sum()))
        probes = self._probes
        if rows is not None:
            probes = build_probes(self.embedding, self._vectors, rows, n_threads)
        worst = np.iinfo(np.int64).max if collector.distances.dtype == np.int64 else np.inf
        bounds = np.full(len(self.rows), worst, collector.distances.dtype)
        isa, near = self.embedding.isa, None
        if first_look:
            panels = -(-min(len(screen.order), first_look) // screen.panels.shape[3])
            near = np.tile(np.arange(min(screen.n_usual, panels), dtype=np.int32), (len(probes.packed), 1))
        return run_search(isa, self.rows, units, screen, probes, bounds, [collector], n_threads, near)


def codebook_embedding(rows: np.ndarray, units: np.ndarray, narrow: Embedding, n_threads: int) -> Embedding:
    """The embedding of `rows` for a codebook that moves: `narrow`, or one that leaves nothing out.

    A few rows are searched for among `units`, the first codebook, with their true nearest known beforehand, as they
    nearly are from the second search on. What has to be compared exactly tells which embedding costs less.
    """
    width, isa = full_width(rows.shape[1]), narrow.isa
    if len(rows) < _WORTH_A_PILOT or not narrow.n_columns < width <= WIDEST:
        return narrow
    sample = np.ascontiguousarray(rows[evenly_spaced(len(rows), _PILOT)])
    distances, nearest = BruteSearch(units, isa).search(sample, 1, n_threads=n_threads)

    def comparing(embedding: Embedding) -> float:
        probed = ProbedRows(sample, embedding, n_threads)
        collector = measured(isa, sample, units, nearest, distances.dtype.type, n_threads)
        compared = probed.improve(units, probed.encode(units, n_threads), collector, n_threads)[1]
        return float(compared) * (_COMPARED + _COMPARED_COLUMN * rows.shape[1])

    least, least_wide = (len(units) * scan_pair(isa, columns) for columns in (narrow.n_columns, width))
    least = _WIDER * (least + comparing(narrow))
    if least_wide >= least:
        return narrow
    with single_threaded_blas():
        wide = Embedding(rows, isa, width)
    return wide if least_wide + comparing(wide) < least else narrow
