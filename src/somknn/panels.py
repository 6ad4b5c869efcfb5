"""Rows of whole numbers in panels, as the tiles of 16-bit integers read them."""

import numpy as np


def pack_int16(values: np.ndarray, panel: int, multiple: int = 4) -> np.ndarray:
    """Panels of `panel` rows of `values` (n, d), whole numbers: int16 (panels, d in whole `multiple` / 2, panel, 2), zeros beyond n and d."""
    n, d = values.shape
    padded = np.zeros((-(-n // panel) * panel, -(-d // multiple) * multiple), np.int16)
    padded[:n, :d] = values
    return np.ascontiguousarray(padded.reshape(len(padded) // panel, panel, -1, 2).transpose(0, 2, 1, 3))
