"""What `somknn_kernels.seeding` computes, in plain NumPy."""

import numpy as np


def lower_to_candidates(X, candidates, closest):
    """(m, n): the smaller of closest[i] and the squared distance of X[i] and X[candidates[c]]."""
    kind = np.int64 if X.dtype == np.uint8 else np.float64
    rows = X.astype(kind)
    squares = np.stack([((rows - rows[c]) ** 2).sum(axis=1) for c in candidates])
    return np.minimum(closest, squares)
