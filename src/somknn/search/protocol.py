"""What whoever needs neighbours may ask for, whatever finds them."""

from typing import Protocol

import numpy as np


class Searcher(Protocol):
    """Nearest rows among the rows that it holds.

    `BruteSearch`, `PrunedSearch` and `FewVectorsSearch` are searchers, and so are the indexes that estimators hold: `ExactIndex` and
    `FaissIndex`. A search changes nothing that another one reads: any number of threads may ask one at once.
    """

    def search(self, Q: np.ndarray, k: int, /, *, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances and rows of the k nearest of every query, both (m, k), ascending; equal distances by row.

        Q : (m, d) uint8, float32 or float64; n_threads : changes no answer.
        """

    def search_within(
        self, Q: np.ndarray, squared_radius: float, /, *, n_threads: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All rows at a squared distance of at most `squared_radius`: starts (m + 1,), distances and rows (starts[-1],).

        Those of query i are at starts[i]:starts[i + 1], by ascending row.
        """
