"""What `somknn_kernels.search.brute_screen` rules out by coarser codes, in plain NumPy without any wrap-around."""

import numpy as np


def encode(rows, step):
    """Codes of bytes, and how far each row is from the middle of its codes."""
    codes = np.floor(rows / step + 0.5).astype(np.int64)
    return codes, np.linalg.norm(rows - step * codes, axis=1)


def not_ruled_out(queries, rows, step, ceilings):
    """Which rows, bool (m, n), may lie within the squared distance `ceilings` of each query as far as the codes tell."""
    query_codes, query_errors = encode(queries, step)
    row_codes, row_errors = encode(rows, step)
    distances = step * np.linalg.norm(query_codes[:, None] - row_codes[None], axis=2)
    return distances <= (np.sqrt(ceilings)[:, None] + query_errors[:, None] + row_errors.max()) * (1 + 1e-9)
