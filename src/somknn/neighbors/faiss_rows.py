"""The float32 vectors that FAISS gets instead of the rows, and a bound on how their rounding can affect "flat"."""

from functools import cached_property

import numpy as np

from somknn.search.brute import BruteSearch

_BLOCK = 8192  # rows converted to float32 at a time
_LARGEST = 1e15  # above this, the square of a float32 can become infinite


class FloatRows:
    """float32 vectors of `rows` (n, d): bytes unchanged, other numbers centred and scaled into float32's range.

    Neither changes the order of distances, except by rounding. `brute` knows the centre and the scale.
    """

    def __init__(self, rows: np.ndarray, brute: BruteSearch):
        self._rows, self._centre, self._scale = rows, brute.centre, brute.scale
        self.unchanged = rows.dtype == np.uint8 and brute.scale == 1.0 and not brute.centre.any()

    def of(self, rows: np.ndarray) -> np.ndarray:
        """float32 vectors of fitted rows or of queries."""
        if rows.dtype == np.uint8 and self.unchanged:
            return rows.astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            return ((rows.astype(np.float64) - self._centre) * self._scale).astype(np.float32)

    @staticmethod
    def norms(floats: np.ndarray) -> np.ndarray:
        """Euclidean norms, float64; infinite or NaN if the row does not fit into float32."""
        return np.sqrt(np.einsum("ij,ij->i", floats, floats, dtype=np.float64))

    @staticmethod
    def bounded(norms: np.ndarray) -> np.ndarray:
        """Whether float32 distances to vectors of these norms stay finite."""
        return norms < _LARGEST

    @cached_property
    def _largest_norm(self) -> float:
        blocks = (self.of(self._rows[start : start + _BLOCK]) for start in range(0, len(self._rows), _BLOCK))
        return max(float(self.norms(block).max()) for block in blocks)

    def certified(self, estimates: np.ndarray, norms: np.ndarray, kth: np.ndarray) -> np.ndarray:
        """Whether no row outside a shortlist of "flat" can be as near as the k-th best in it, bool (m,).

        estimates : float32 (m, s), FAISS's squared distances of the shortlist, ascending
        norms : float64 (m,), of the queries' vectors
        kth : squared distance of the k-th best row of each shortlist, as `somknn_kernels.exact.distances` computes it

        FAISS's estimate is |x|² + |y|² − 2x·y of the float32 vectors, or their summed squared differences. For any
        order of summation each is within γ·(|x| + |y|)² of the true value, γ = (d + 8)·2^-24/(1 − …) (N. Higham,
        "Accuracy and Stability of Numerical Algorithms", 2nd ed., section 3.1). The vectors differ from the scaled rows
        by 2^-23 of their norms, and by 2^-149 per feature near zero. The estimate of a row outside the shortlist is at
        least the largest estimate in it.
        """
        n, d = self._rows.shape
        if estimates.shape[1] == n:
            return np.ones(len(estimates), bool)
        reach = norms + self._largest_norm
        gamma = (d + 8) * 2.0**-24 * 1.01 if d < 100_000 else np.inf
        squared = np.maximum(estimates[:, -1].astype(np.float64) - gamma * reach**2, 0.0)
        outside = np.sqrt(squared) - 2.0**-23 * reach - np.sqrt(d) * 2.0**-148
        inside = np.sqrt(kth.astype(np.float64)) * self._scale * (1 + (d + 16) * 2.0**-52)
        return outside > inside
