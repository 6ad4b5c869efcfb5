"""Parse lines of numbers into arrays, fast if they are well-formed."""

import re
from typing import Any

import numpy as np

_DIGITS = b"0123456789,\n"
_NUMBERS = _DIGITS + b".+-eE "
_LONG = re.compile(r"(?:^|,)\s*([+-]?[0-9]{16,})\s*(?=,|$)")  # a whole number that float64 may not hold
# Below this number of values, the first import of pyarrow (0.1 s) costs more than it saves.
_WORTH_PYARROW = 100_000


def compact(values: np.ndarray) -> np.ndarray:
    """Convert to uint8 if that loses nothing."""
    small = values.astype(np.uint8, copy=True) if ((values >= 0) & (values <= 255)).all() else None
    return small if small is not None and (small == values).all() else values


def parse_rows(lines: list[str], width: int) -> np.ndarray | None:
    """The numbers of comma-separated lines, or None unless every line has `width` finite numbers.

    Bytes are parsed by a kernel. pyarrow parses other plain numbers five times as fast as NumPy (23 against 130 µs for
    784 of them) and rounds decimal fractions the same way. It also accepts other notations, such as hexadecimal, so it
    gets lines of plain numbers only.
    """
    if not all(line.strip() for line in lines):
        return None
    values = _parse_many(lines, width) if len(lines) * width >= _WORTH_PYARROW else None
    if values is None:
        try:
            values = np.loadtxt(lines, delimiter=",", dtype=np.float64, ndmin=2, comments=None)
        except ValueError:
            return None
    if values.shape != (len(lines), width) or not np.isfinite(values).all():
        return None
    if values.dtype != np.uint8 and (abs(values) > 2**53).any() and any(map(_loses_digits, lines)):
        return None  # each cell is looked at
    return compact(values) if values.dtype != np.uint8 else values


def _loses_digits(line: str) -> bool:
    """Whether a line holds a whole number that float64 does not."""
    return any(int(cell) != int(float(cell)) for cell in _LONG.findall(line))


def _parse_many(lines: list[str], width: int) -> np.ndarray | None:
    """The numbers of many lines: bytes by a kernel, others by pyarrow; None for what neither takes."""
    from somknn_kernels.files.text_of_bytes import rows_of_bytes  # with Numba, whose import takes 0.2 s

    content = "\n".join(lines).encode()
    values = np.empty((len(lines), width), np.uint8)
    if rows_of_bytes(np.frombuffer(content, np.uint8), values):
        return values
    return _parse_with_pyarrow(content, width)


def _parse_with_pyarrow(content: bytes, width: int) -> np.ndarray | None:
    try:
        import pyarrow as pa
        import pyarrow.csv
    except ImportError:
        return None
    if content.translate(None, _NUMBERS):
        return None
    kinds: list[Any] = [pa.float64()] if content.translate(None, _DIGITS) else [pa.uint8(), pa.float64()]
    names = [str(j) for j in range(width)]
    for kind in kinds:
        try:
            table = pa.csv.read_csv(
                pa.py_buffer(content),
                read_options=pa.csv.ReadOptions(column_names=names, block_size=len(content) + 1, use_threads=False),
                parse_options=pa.csv.ParseOptions(quote_char=False),
                convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(names, kind), null_values=[]),
            )
        except pa.ArrowInvalid:
            continue
        values = np.empty((len(table), width), kind.to_pandas_dtype())
        for j, column in enumerate(table.columns):
            values[:, j] = column.to_numpy()
        return values
    return None
