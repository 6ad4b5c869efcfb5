"""Starting centres of K-Means: how near every row comes to the centres so far, and to each candidate for the next."""

import numpy as np

from somknn_kernels.distances import squared_distance, squared_distance_bytes
from somknn_kernels.policy import kernel

_CERTAIN = 1.0 + 1e-9  # covers the rounding of the few float64 operations of a bound


@kernel
def lower_to_candidates(isa, X, candidates, closest, vectors, errors, step, start, stop, lowered, counts):
    """lowered[c, i] = min(closest[i], squared distance of X[i] and candidates[c]) for the rows i in [start, stop).

    X : (n, d) uint8, float32 or float64; candidates : int64 (m,), rows of X; closest : (n,), and lowered : (m, n),
    int64 for bytes, float64 otherwise. Exact, in the arithmetic of `distances.py`.
    vectors : uint8 (n, P), errors : float64 (n,), step : float64: short vectors of the rows and what they are wrong by
    (`embedding.py`); P = 0 for none. ‖x - c‖ >= step·‖vector(x) - vector(c)‖ - errors, so most pairs are settled by P
    bytes of each. counts : int64 (1,), pairs that were compared in full are added.
    Cost: P bytes for every pair, d values for those that the bound leaves.
    """
    P = vectors.shape[1]
    sums = np.empty(8)
    for i in range(start, stop):
        limit = closest[i]
        reach = np.sqrt(np.float64(limit)) * _CERTAIN + errors[i] if P else 0.0
        for c in range(candidates.shape[0]):
            candidate = candidates[c]
            lowered[c, i] = limit
            if P:
                ratio = (reach + errors[candidate]) / step
                if np.float64(squared_distance_bytes(isa, vectors, i, vectors, candidate)) > ratio * ratio * _CERTAIN:
                    continue
            counts[0] += 1
            distance = squared_distance(isa, X, i, X, candidate, sums)
            if distance < limit:
                lowered[c, i] = distance
