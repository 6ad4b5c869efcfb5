"""Reference implementation of `somknn_kernels.maps.smoothing`."""

import numpy as np


def smooth_columns(sums: np.ndarray, across: np.ndarray, down: np.ndarray, divisors: np.ndarray) -> np.ndarray:
    """out[r, c] = Σ h(r, c, r', c')·sums[r', c'] / divisors[r, c].

    h is Σ_t across[r % p, r' % p, t, c, c']·down[r, t, r'].

    sums : (rows, columns, d); across : (p, p, terms, columns, columns); down : (rows, terms, rows); divisors : (rows,
    columns).
    """
    rows, columns, _ = sums.shape
    out = np.zeros(sums.shape)
    for r in range(rows):
        for source in range(rows):
            for term in range(across.shape[2]):
                factor = across[r % len(across), source % len(across), term]
                out[r] += down[r, term, source] * (factor @ sums[source].astype(np.float64))
    return out / divisors.reshape(rows, columns, 1)
