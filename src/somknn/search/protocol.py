"""What anyone who needs neighbours may ask for, whichever search finds them."""

from typing import Protocol

import numpy as np


class Searcher(Protocol):
    """Finds the nearest of the rows that it holds.

    `BruteSearch`, `PrunedSearch`, `TreeSearch` and `FewVectorsSearch` are searchers, and so are the indexes that
    estimators hold: `ExactIndex` and `FaissIndex`. A search changes nothing that another one reads: any number of
    threads may use one searcher at the same time.
    """

    def search(self, Q: np.ndarray, k: int, /, *, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances and rows of the k nearest of every query, both (m, k), ascending; equal distances by row.

        Q : (m, d) uint8, float32 or float64; n_threads : changes no answer
        """

    def search_within(
        self, Q: np.ndarray, squared_radius: float, /, *, n_threads: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All rows within `squared_radius`, a squared distance: starts (m + 1,), distances and rows (starts[-1],).

        Those of query i are at starts[i]:starts[i + 1], in ascending order of the rows.
        """
