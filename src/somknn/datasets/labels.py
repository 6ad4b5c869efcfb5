"""The label of a table: classes, which are whole numbers or text, or quantities, which a regression predicts."""

import math
import re
from decimal import Decimal
from typing import Any

import numpy as np

from somknn.datasets import columns, readers

_WHOLE = re.compile(r"[+-]?[0-9]{1,400}(?:\.0*)?")  # Python reads no more than 4,300 digits
_INT64 = np.iinfo(np.int64)


class NotClasses(ValueError):
    """Labels that are quantities where classes are expected."""


def read(texts: list[str], places: list[str], layout: Any, quantities: bool) -> np.ndarray:
    """The cells of a label as classes (int64 or text) or, with `quantities`, as float64.

    `places` are the line or the row of each, `layout` is the file's. Raises ValueError with file, place and column.
    """
    return (as_quantities if quantities else as_classes)(texts, places, layout)


def as_quantities(texts: list[str], places: list[str], layout: Any) -> np.ndarray:
    """Labels as float64; ValueError for the first that is no finite number."""
    assert layout.label is not None
    values = [readers.finite_number(text.strip()) for text in texts]
    for text, value, place in zip(texts, values, places, strict=True):
        if value is None:
            where = f"{layout.path}, {place}, {layout.column(layout.label)}"
            raise ValueError(
                f"{where}: {columns.shortened(text)!r} is not a finite number, which --task regression needs in the "
                "label; correct it, leave the row out, or name another column by --label"
            )
    return np.array(values, dtype=np.float64)


def as_classes(texts: list[str], places: list[str], layout: Any) -> np.ndarray:
    """Labels as int64 if all of them are whole numbers that fit; else as text, in which 1.0 is 1 as well.

    `places` are the line or the row of each.
    """
    assert layout.label is not None
    texts = [text.strip() for text in texts]
    plain = [columns.is_plain_number(text) for text in texts]
    where = f"{layout.path}, {{}}, {layout.column(layout.label)}"
    if any(plain):
        for text, is_plain, place in zip(texts, plain, places, strict=True):
            if not is_plain and _python_reads_a_number(text):
                raise ValueError(
                    f"{where.format(place)}: {columns.shortened(text)!r} is not a label among numbers; correct it, "
                    "or leave the row out"
                )
    if not all(plain):
        return np.array([plain_whole(text) for text in texts])
    whole = [_whole(text) for text in texts]
    if None in whole:
        first = whole.index(None)
        line1 = "; the file has no column names, so its first column was taken" if layout.guessed else ""
        raise NotClasses(
            f"{where.format(places[first])}: {columns.shortened(texts[first])!r} is a fraction, and labels are whole "
            f"numbers or text{line1}: --label names another column, --label none says that there is none, --task "
            "regression predicts numbers"
        )
    found = [number for number in whole if number is not None]
    if all(_INT64.min <= number <= _INT64.max for number in found):
        return np.array(found, dtype=np.int64)
    return np.array([str(number) for number in found])


def plain_whole(text: str) -> str:
    """A text as it is, but a whole number with a point without it: "1.0" is "1"."""
    return str(int(text.partition(".")[0])) if "." in text and _WHOLE.fullmatch(text) else text


def _whole(text: str) -> int | None:
    """The whole number that a plain number is, all of its digits kept; None for a fraction."""
    if _WHOLE.fullmatch(text):
        return int(text.partition(".")[0])
    if not math.isfinite(float(text)):
        return None
    exact = Decimal(text)
    return int(exact) if exact == exact.to_integral_value() else None


def _python_reads_a_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
