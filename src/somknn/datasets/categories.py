"""Tables with text and missing cells: which columns are categories, and rows that hold texts and NaN beside numbers.

A column is a category if `--categories` names it, or with "text" if its cells are texts. Its cells stay texts, whole
numbers without a fraction's zeros: `1.0` and `1` are one category. An empty cell among texts is a category of its own.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from somknn.datasets import columns, labels, readers
from somknn.datasets.separators import comma_advice
from somknn.datasets.text import compact, parse_rows

TEXT = "text"  # said in place of names: all columns of text
ANY_TEXT = "any text"  # the same, whatever stands in them: for looking only
MOST = 1000  # categories of a column


def category_of(cell: str) -> str:
    """The category that a cell stands for."""
    return labels.plain_whole(cell.strip())


def named(said: Sequence[str | int], names: Sequence[str] | None, width: int, path: Any) -> list[int]:
    """The positions of the columns that a user names as categories."""
    return [columns.find(each, names, width, (path, "--categories")) for each in said if each not in (TEXT, ANY_TEXT)]


def rows_of_cells(
    cells: list[Sequence[str]], places: Sequence[str], layout: Any, asked: Any, known: Sequence[int] | None
) -> tuple[np.ndarray, list[int]]:
    """The rows of a table from the cells of each feature, and which of the file's columns are categories.

    Rows are uint8 or float64 with NaN for missing cells or, if there are categories, objects: texts and floats.
    `known` are the categories of the training file, for test rows. Raises ValueError with file, place and column.
    """
    found: list[Any] = []
    categories: list[int] = []
    for column, position in zip(cells, layout.features, strict=True):
        if position in layout.categories or position in (known or ()):
            found.append(_texts(column, position, layout, ANY_TEXT in asked.categories))
            categories.append(position)
            continue
        values = numbers_of_cells(column, asked.missing)
        if isinstance(values, int) and known is None and {TEXT, ANY_TEXT} & set(asked.categories):
            if TEXT in asked.categories:
                _require_text(column, values, places, position, layout, asked)
            found.append(_texts(column, position, layout, ANY_TEXT in asked.categories))
            categories.append(position)
        elif isinstance(values, int):
            raise ValueError(bad_cell(column[values], places[values], position, layout, missing=asked.missing))
        else:
            found.append(values)
    return together(found, bool(categories)), categories


def together(found: list[Any], mixed: bool) -> np.ndarray:
    """The columns as rows (n, d): of objects where some are `mixed` texts, else of float64, or uint8 where possible."""
    rows = np.empty((len(found[0]), len(found)), object if mixed else np.float64)
    for j, column in enumerate(found):
        rows[:, j] = column
    return rows if mixed else compact(rows)


def numbers_of_cells(column: Sequence[str], missing: bool) -> np.ndarray | int:
    """The numbers in cells (n,), float64, with NaN for missing ones where they may be; else the first that is none."""
    fast = parse_rows(list(column), 1)
    if fast is not None:
        return fast[:, 0].astype(np.float64)
    values = np.empty(len(column))
    for i, cell in enumerate(column):
        value = readers.finite_number(cell)
        if value is None:
            if not (missing and readers.is_missing(cell)):
                return i
            value = np.nan
        values[i] = value
    return values


def bad_cell(cell: str, place: str, position: int, layout: Any, *, missing: bool = False) -> str:
    """What is wrong with a cell that is no number, and the option that helps."""
    say = columns.how_to_say(position, layout.names)
    where = f"{layout.path}, {place}, {layout.column(position)}"
    if readers.is_missing(cell) and not missing:
        shown = f"{columns.shortened(cell)!r} is a missing value" if cell.strip() else "a missing value"
        return f"{where}: {shown}: --impute mean, median or most_frequent fills such cells in"
    advice = ""
    bare = cell.strip().strip("$€£¥% ")
    if comma_advice(cell):
        advice = f"; {comma_advice(cell)}"
    elif bare != cell.strip() and columns.is_plain_number(bare):
        advice = f"; take the sign out of the file, so that {bare!r} is left; if the column is no feature: --drop {say}"
    elif not columns.is_number(cell):
        advice = (
            f"; --categories {say} takes the column's texts as categories ({TEXT}: those of all columns of text); if "
            f"it is no feature: --drop {say}"
        )
        if layout.guessed or layout.label is None:
            advice += f", or --label {say}"
    return f"{where}: {columns.shortened(cell)!r} is not a finite number{advice}"


def _texts(column: Sequence[str], position: int, layout: Any, any_number: bool) -> np.ndarray:
    texts = np.empty(len(column), object)
    same: dict[str, str] = {}  # one string for each category, not for each cell
    for i, cell in enumerate(column):
        if cell not in same:
            same[cell] = category_of(cell)
        texts[i] = same[cell]
    n = len(set(same.values()))
    if n > MOST and not any_number:
        raise ValueError(
            f"{layout.path}, {layout.column(position)}: {n:,} different texts, more than {MOST:,} categories: --drop "
            f"{columns.how_to_say(position, layout.names)} leaves the column out"
        )
    return texts


def _require_text(
    column: Sequence[str], odd: int, places: Sequence[str], position: int, layout: Any, asked: Any
) -> None:
    """Refuse to take a column for categories by itself if numbers stand in it, or if nearly every cell is different."""
    say = columns.how_to_say(position, layout.names)
    where = f"{layout.path}, {places[odd]}, {layout.column(position)}: {columns.shortened(column[odd])!r}"
    if readers.is_missing(column[odd]) and not asked.missing:
        others = [cell for cell in column if not readers.is_missing(cell)]
        if all(columns.is_plain_number(cell) for cell in others):
            raise ValueError(bad_cell(column[odd], places[odd], position, layout))
    if any(columns.is_plain_number(cell) for cell in column):
        raise ValueError(
            f"{where} among numbers: correct it; or --categories {TEXT},{say} takes the column's cells as categories, "
            f"--drop {say} leaves it out"
        )
    n = len(set(column))
    if n > 20 and 2 * n > len(column):
        raise ValueError(
            f"{where} is one of {n:,} different texts in {len(column):,} rows, which are no categories: --drop {say} "
            f"leaves the column out; --categories {TEXT},{say} takes it all the same"
        )
