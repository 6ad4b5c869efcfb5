"""The nearest of a few vectors, such as prototypes: a set so small that preparing the search is what costs."""

from typing import Any

import numpy as np

from somknn import machine
from somknn.scaling import exponent_of, fits_float32
from somknn.search.allowance import Allowance
from somknn.search.brute import BruteSearch
from somknn.search.byte_screen import ByteScreen, Vectors, suits
from somknn.search.costs import brute_search
from somknn.search.embedding import Embedding
from somknn.search.pruned import PrunedSearch
from somknn.threads import single_threaded_blas

_PRUNED_FROM = 200  # vectors, with 48 columns or more; below this, comparing all is no slower
_SMALL = 50_000  # nanoseconds of one query by brute force: so few vectors wait until more is worth making
_COLUMNS = 64  # of short vectors: half as many as in the k-NN index


class FewVectorsSearch:
    """Exact nearest rows of `vectors` (K, d), K in the hundreds or thousands; ties to the lowest.

    What the search needs is made when it is first needed. If two threads need it at the same time, it is made twice,
    with the same result. Pickles do not hold it.
    """

    def __init__(self, vectors: np.ndarray):
        self.vectors = vectors
        self._forget()

    def _forget(self) -> None:
        self._selected: machine.Isa | None = None
        self._screen: tuple[ByteScreen, Vectors | None] | None = None
        self._index: BruteSearch | PrunedSearch | None = None
        self._brute: BruteSearch | None = None
        self._allowance: Allowance | None = None
        self._by_codes = suits(self.vectors, len(self.vectors))  # until codes turn out to rule out too little

    def __getstate__(self) -> dict[str, Any]:
        return {"vectors": self.vectors}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    @property
    def _isa(self) -> machine.Isa:
        """The instruction set, asked for once."""
        if self._selected is None:
            self._selected = machine.select()
        return self._selected

    def prepare(self, n_threads: int) -> None:
        """Make ready for the first search among bytes or, if codes do not suit, for rows of any type."""
        if self._covered(0):
            return
        if self._by_codes:
            self._made_screen()
        else:
            self._made_index(n_threads)

    def _made_screen(self) -> tuple[ByteScreen, Vectors | None]:
        made = self._screen
        if made is None:
            screen = ByteScreen(self.vectors, self._isa)
            self._screen = made = screen, screen.vectors(self.vectors)
        return made

    def _made_index(self, n_threads: int) -> BruteSearch | PrunedSearch:
        made = self._index
        if made is None:
            self._index = made = self._make_index(n_threads)
        return made

    def _covered(self, n_rows: int) -> bool:
        """Whether brute force is still to answer so many rows more."""
        allowance = self._allowance
        if allowance is None:
            self._allowance = allowance = Allowance(brute_search(self._isa, 1, self.vectors) <= _SMALL)
        return allowance.covers(brute_search(self._isa, n_rows, self.vectors))

    def _brute_for(self, n_rows: int) -> BruteSearch | None:
        if not self._covered(n_rows):
            return None
        made = self._brute
        if made is None:
            self._brute = made = BruteSearch(self.vectors, self._isa)
        return made

    def _make_index(self, n_threads: int) -> BruteSearch | PrunedSearch:
        wide = len(self.vectors) >= _PRUNED_FROM and self.vectors.shape[1] >= 48
        if wide and fits_float32(exponent_of(self.vectors)):
            with single_threaded_blas():
                embedding = Embedding(self.vectors, self._isa, _COLUMNS)
            return PrunedSearch(self.vectors, embedding, n_threads)
        return BruteSearch(self.vectors, self._isa)

    def search(self, rows: np.ndarray, k: int, *, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Searcher.search`."""
        brute = self._brute_for(len(rows))
        if brute is not None:
            return brute.search(rows, k, n_threads=n_threads)
        if self._by_codes and k == 1 and rows.dtype == np.uint8:
            screen, codes = self._made_screen()
            nearest = np.empty(len(rows), np.int64)
            found = screen.nearest(rows, self.vectors, nearest, False, n_threads, codes)
            if found is not None:
                return found[0][:, None], nearest[:, None]
            self._by_codes, self._screen = False, None
        return self._made_index(n_threads).search(rows, k, n_threads=n_threads)

    def search_within(
        self, rows: np.ndarray, squared_radius: float, *, n_threads: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `Searcher.search_within`."""
        index = self._brute_for(len(rows)) or self._made_index(n_threads)
        return index.search_within(rows, squared_radius, n_threads=n_threads)
