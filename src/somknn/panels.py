"""Arrays in the layout that the tile kernels read: aligned to cache lines, integer rows in panels."""

import math
from typing import Any

import numpy as np

_LINE = 64  # bytes of a cache line, and of the widest register


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros of a shape and dtype, aligned to a cache line: an unaligned load of 64 bytes touches two lines."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.zeros(n_bytes + _LINE, np.uint8)
    first = -room.ctypes.data % _LINE
    return room[first : first + n_bytes].view(dtype).reshape(shape)


def pack_int16(values: np.ndarray, panel: int, multiple: int = 4) -> np.ndarray:
    """Pack `values` (n, d), whole numbers, into panels of `panel` rows.

    Returns int16 (panels, d / 2, panel, 2), with d rounded up to a multiple of `multiple`, and zeros beyond n and d.
    """
    n, d = values.shape
    padded = np.zeros((-(-n // panel) * panel, -(-d // multiple) * multiple), np.int16)
    padded[:n, :d] = values
    parts = padded.reshape(len(padded) // panel, panel, -1, 2).transpose(0, 2, 1, 3)
    packed = aligned(parts.shape, np.int16)
    packed[:] = parts
    return packed
