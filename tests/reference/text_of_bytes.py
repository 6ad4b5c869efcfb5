"""Reference implementation of `somknn_kernels.files.text_of_bytes`."""

import re

import numpy as np

_CELL = re.compile(r"[0-9]{1,3}")


def rows_of_bytes(text, n_rows, width):
    """The rows (n_rows, width) uint8 of a text, or None if it is anything else than that many bytes."""
    rows = [line.split(",") for line in text.split("\n")]
    if len(rows) != n_rows or any(len(row) != width for row in rows):
        return None
    if not all(_CELL.fullmatch(cell) and int(cell) <= 255 for row in rows for cell in row):
        return None
    return np.array([[int(cell) for cell in row] for row in rows], np.uint8)
