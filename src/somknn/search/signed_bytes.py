"""Rows of int8, searched as bytes: the same integer distances, by the kernels of uint8.

With the top bit flipped, x becomes the byte x + 128. Differences stay as they are, and so do distances. The flipped
rows are a copy of one byte for each value.
"""

import numpy as np


def compared(rows: np.ndarray) -> np.ndarray:
    """The rows as searches compare them: int8 as uint8, others as they are."""
    return np.bitwise_xor(rows.view(np.uint8), np.uint8(0x80)) if rows.dtype == np.int8 else rows
