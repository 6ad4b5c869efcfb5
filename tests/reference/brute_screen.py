"""Reference for the coarse codes of `somknn_kernels.search.brute_screen`, in plain NumPy without wrap-around."""

import numpy as np


def encode(rows, step):
    """Codes of bytes, and the distance of each row from the centre of its codes."""
    codes = np.floor(rows / step + 0.5).astype(np.int64)
    return codes, np.linalg.norm(rows - step * codes, axis=1)


def not_ruled_out(queries, rows, step, upper_bounds):
    """Mask, bool (m, n), of the rows that may be within the squared distance `upper_bounds` of each query.

    Judged by their codes.
    """
    query_codes, query_errors = encode(queries, step)
    row_codes, row_errors = encode(rows, step)
    distances = step * np.linalg.norm(query_codes[:, None] - row_codes[None], axis=2)
    return distances <= (np.sqrt(upper_bounds)[:, None] + query_errors[:, None] + row_errors.max()) * (1 + 1e-9)
