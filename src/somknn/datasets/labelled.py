"""A CSV file of rows and labels: which column is the label, which ones are features, and their values."""

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from somknn.datasets import categories, columns, labels, packed, readers
from somknn.datasets.separators import format_of, plain_lines
from somknn.datasets.text import compact, parse_rows

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Asked:
    """What a user says about the columns of a file; the defaults say nothing.

    `label` is a name, a number from 1, or "none". `header` says whether the first line names the columns. `drop` are
    columns that are no features. Without `needed`, a file may have no label. `separator` and `decimal` say how the
    cells of a CSV file are written. With `quantities`, the label is a number to predict (regression), not a class.
    `categories` are columns whose cells are texts, or "text" for all of these; with `missing`, cells may be empty.
    """

    label: str | int | None = None
    header: bool | None = None
    drop: tuple[str | int, ...] = ()
    needed: bool = True
    separator: str | None = None
    decimal: str | None = None
    quantities: bool = False
    categories: tuple[str | int, ...] = ()
    missing: bool = False

    def said(self) -> str:
        """The options that say something."""
        given = {"--label": self.label is not None, "--drop": bool(self.drop)}
        given |= {"--categories": bool(self.categories), "--impute": self.missing}
        return " or ".join([*(name for name, is_given in given.items() if is_given), *self.of_text()])

    def of_text(self) -> list[str]:
        """Those of the options that only a CSV file can have."""
        given = {"--header": self.header, "--separator": self.separator, "--decimal": self.decimal}
        return [name for name, value in given.items() if value is not None]


@dataclass(frozen=True)
class Layout:
    """The columns of a file: their names if it has any, and the positions of the label, the features, the categories.

    Categories are features whose cells are texts.
    """

    path: Path
    names: list[str] | None
    width: int
    label: int | None
    features: list[int]
    guessed: bool = False
    note: str = ""
    categories: tuple[int, ...] = ()

    def column(self, position: int) -> str:
        """The column in an error message: its number and its name."""
        name = columns.shortened(self.names[position]) if self.names else ""
        return f"column {position + 1}" + (f" ({name})" if name else "")


@dataclass(frozen=True)
class Table:
    """The values of a file."""

    X: np.ndarray
    y: np.ndarray | None
    layout: Layout

    @property
    def feature_names(self) -> list[str] | None:
        """The names of the features, or None for a file without a header."""
        names = self.layout.names
        return None if names is None else [names[j] for j in self.layout.features]


def read_csv(path: str | os.PathLike, asked: Asked = Asked(), like: Layout | None = None) -> Table:
    """Rows, labels and columns of a CSV file, gzip-compressed or not.

    Values become uint8 if all of them are whole numbers from 0 to 255, otherwise float64. Labels become integers if all
    of them are whole numbers (1.0 is 1), otherwise text. `like` is the layout of the training file, for a file of test
    rows. Raises ValueError with file, line and column; or with the option to give where the file does not tell what is
    what.
    """
    path = Path(path)
    with packed.open_stream(path) as file:
        raw = readers.lines(file, path)
        head = list(itertools.islice(raw, columns.SAMPLE + 1))
        if not head:
            raise ValueError(f"{path}: no rows")
        form = format_of([text for _, _, text in head], path, asked.separator, asked.decimal)
        head, stream = list(plain_lines(head, form, path)), plain_lines(raw, form, path)
        first, *below = (readers.split_line(text) for _, _, text in head)
        readers.require_closed_quotes(*head[0][::2], path)
        names: list[str] | None = [cell.strip() for cell in first]
        header = asked.header
        if header is None:
            header = (like is not None and names == like.names) or columns.has_header(first, below, path)
        if not header:
            names, below = None, [first, *below]
        if like is None:
            layout = choose(path, names, len(first), below, asked)
        else:
            layout = same(path, names, len(first), like)
        lines = ((number, text) for number, _, text in itertools.chain(head[header:], stream))
        if asked.categories or asked.missing:
            cells, numbers, columns_of_cells = _read_cells(lines, layout)
            known = None if like is None else like.categories
            places = [f"line {number}" for number in numbers]
            X, found = categories.rows_of_cells(columns_of_cells, places, layout, asked, known)
            layout = replace(layout, categories=tuple(found))
        else:
            X, cells, numbers = _read(lines, layout)
    if layout.label is None:
        return Table(X, None, layout)
    y = labels.read(cells, [f"line {number}" for number in numbers], layout, asked.quantities)
    if layout.guessed:
        _require_class_like(y, asked, layout)
    return Table(X, y, layout)


def choose(path: Path, names: list[str] | None, width: int, below: list[list[str]], asked: Asked) -> Layout:
    """The layout of a file, by what the user says and by the names of its columns."""
    dropped = [columns.find(each, names, width, (path, "--drop")) for each in asked.drop]
    label, guessed, note = None, False, ""
    if width < 2 and not dropped and asked.label is None:
        raise ValueError(
            f"{path}: one column only; expected a label and values (--separator says what separates them, --label none "
            "that there is no label)"
        )
    if isinstance(asked.label, str) and asked.label.strip().lower() == "none":
        pass
    elif asked.label is not None:
        label = columns.find(asked.label, names, width, (path, "--label"))
        if label in dropped:
            raise ValueError(f"{path}: column {asked.label!r} is given to --label and to --drop; leave one of them out")
    elif names is not None:
        label, note = _label_by_name(path, names, dropped, asked)
    else:
        text = any(row and row[0].strip() and not columns.is_number(row[0]) for row in below)
        if 0 in dropped or asked.quantities or not (asked.needed or text):
            raise ValueError(
                f"{path}: no column names: say --label 1 if the first of its {width} columns is the label, another "
                "number, or --label none"
            )
        label, guessed = 0, True
    features = [j for j in range(width) if j != label and j not in dropped]
    index = [j for j in features if names is not None and columns.is_index_name(names[j], j)]
    if index:
        say = columns.how_to_say(index[0], names)
        raise ValueError(
            f"{path}: column {index[0] + 1} ({(names or [])[index[0]] or 'no name'}) looks like the row numbers that "
            f"pandas writes: --drop {say} leaves it out, --label {say} takes it as the label"
        )
    if not features:
        raise ValueError(f"{path}: one column only; no column is left for the features")
    texts = categories.named(asked.categories, names, width, path)
    wrong = [j for j in texts if j not in features]
    if wrong:
        other = "--label" if wrong[0] == label else "--drop"
        raise ValueError(
            f"{path}: column {columns.how_to_say(wrong[0], names)} is given to --categories and to {other}; leave one "
            "of them out"
        )
    return Layout(path, names, width, label, features, guessed, note, tuple(texts))


def _label_by_name(path: Path, names: list[str], dropped: list[int], asked: Asked) -> tuple[int | None, str]:
    found = [j for j, name in enumerate(names) if name.lower() in columns.LABEL_NAMES and j not in dropped]
    if len(found) == 1:
        return found[0], ""
    known = ", ".join(columns.LABEL_NAMES[:-1]) + f" or {columns.LABEL_NAMES[-1]}"
    if found or asked.needed:
        what = f"{len(found)} columns are" if found else "no column is"
        raise ValueError(
            f"{path}: which column is the label? {what} named {known}: say --label NAME, NUMBER or none; the columns "
            f"are {columns.listed(names)}"
        )
    features = len(names) - len(set(dropped))
    return None, f"{path.name}: no column is named {known}: all {features} columns are features (--label NAME: a label)"


def same(path: Path, names: list[str] | None, width: int, like: Layout) -> Layout:
    """The layout of test rows: that of the training rows."""
    if names is not None and like.names is not None and names != like.names:
        missing = [name for name in like.names if name not in names]
        if missing:
            what = f"has no column {columns.shortened(missing[0])!r} (elsewhere it is not taken for test rows)"
        else:
            what = "has them in another order, or others"
        raise ValueError(
            f"{path}: training and test files have different column names: {like.path.name} names "
            f"{columns.listed(like.names)}; {path.name} {what}"
        )
    if width != like.width:
        raise ValueError(f"{path}: {width} columns where the training file, {like.path.name}, has {like.width}")
    if names is not None and like.label is not None:
        named = [j for j, name in enumerate(names) if name.lower() in columns.LABEL_NAMES]
        if like.guessed and named and named != [like.label]:
            raise ValueError(
                f"{path}: its column {named[0] + 1} is named {names[named[0]]!r}, and {like.path.name} has no names: "
                "say --label NUMBER for both"
            )
    return Layout(path, names, width, like.label, like.features, categories=like.categories)


def _read(lines: Iterable[tuple[int, str]], layout: Layout) -> tuple[np.ndarray, list[str], list[int]]:
    """Values of the features, the cells of the label and their lines."""
    label, width, features = layout.label, layout.width, layout.features
    others = [j for j in range(width) if j != label]
    first_only, last_only = label == 0 and features == others, label == width - 1 and features == others
    found: list[str] = []
    numbers: list[int] = []
    blocks: list[np.ndarray] = []
    block: list[tuple[int, str]] = []
    size = 0
    for number, text in lines:
        cell = ""
        if '"' in text or not (first_only or last_only or len(features) == width):
            readers.require_closed_quotes(number, text, layout.path)
            cells = readers.split_line(text)
            if len(cells) != width:
                raise ValueError(_wrong_count(layout, number, len(cells)))
            cell = "" if label is None else cells[label]
            kept = [cells[j] for j in features]
            if any("," in each or '"' in each for each in kept):
                _numbers(kept, number, layout)
            rest = ",".join(kept)
        elif first_only:
            cell, _, rest = text.partition(",")
        elif last_only:
            rest, _, cell = text.rpartition(",")
        else:
            rest = text
        if label is not None:
            if not cell.strip():
                raise ValueError(f"{layout.path}, line {number}, {layout.column(label)}: the label is missing")
            found.append(cell)
            numbers.append(number)
        block.append((number, rest))
        size += len(rest)
        if size > _BLOCK:
            blocks.append(_parse_block(block, layout))
            block, size = [], 0
    if block:
        blocks.append(_parse_block(block, layout))
    if not blocks:
        raise ValueError(f"{layout.path}: no rows")
    return np.concatenate(blocks), found, numbers


def _read_cells(lines: Iterable[tuple[int, str]], layout: Layout) -> tuple[list[str], list[int], list[Any]]:
    """The cells of the label, the lines, and the cells of each feature as they are."""
    rows, numbers = [], []
    for number, text in lines:
        readers.require_closed_quotes(number, text, layout.path)
        cells = readers.split_line(text)
        if len(cells) != layout.width:
            raise ValueError(_wrong_count(layout, number, len(cells)))
        if layout.label is not None and not cells[layout.label].strip():
            raise ValueError(f"{layout.path}, line {number}, {layout.column(layout.label)}: the label is missing")
        rows.append(cells)
        numbers.append(number)
    if not rows:
        raise ValueError(f"{layout.path}: no rows")
    every = list(zip(*rows, strict=True))
    found = [] if layout.label is None else list(every[layout.label])
    return found, numbers, [every[j] for j in layout.features]


def _parse_block(block: list[tuple[int, str]], layout: Layout) -> np.ndarray:
    values = parse_rows([text for _, text in block], len(layout.features))
    if values is not None:
        return values
    return compact(np.array([_numbers(text.split(","), number, layout) for number, text in block]))


def _wrong_count(layout: Layout, number: int, count: int) -> str:
    return f"{layout.path}, line {number}: {count} values where {layout.width} are expected"


def _numbers(cells: list[str], number: int, layout: Layout) -> list[float]:
    """The features of one row; ValueError with file, line and column of the first bad cell."""
    if len(cells) != len(layout.features):
        raise ValueError(_wrong_count(layout, number, len(cells) + layout.width - len(layout.features)))
    values = [readers.finite_number(cell) for cell in cells]
    for position, cell, value in zip(layout.features, cells, values, strict=True):
        if value is None:
            raise ValueError(categories.bad_cell(cell, f"line {number}", position, layout))
    return [value for value in values if value is not None]


def _require_class_like(y: np.ndarray, asked: Asked, layout: Layout) -> None:
    """Refuse a first column, taken for the label because nothing was said, that does not look like classes."""
    path, (classes, counts) = layout.path, np.unique(y, return_counts=True)
    if 2 * len(classes) >= len(y):
        raise ValueError(
            f"{path}: no column names, and the first column does not look like classes: {len(classes):,} different "
            f"values in {len(y):,} rows: say --label NUMBER (1 to {layout.width}) or --label none"
        )
    if asked.header is None and y.dtype.kind == "U" and counts[classes == y[0]] == 1 and not y[0].isdecimal():
        raise ValueError(
            f"{path}, line 1: column names or a row? The label {columns.shortened(str(y[0]))!r} occurs nowhere else: "
            "say --header yes or --header no"
        )


def note_of(table: Table) -> str:
    """What was taken for granted about the label, or nothing."""
    layout = table.layout
    if not layout.guessed or table.y is None:
        return layout.note
    classes = [columns.shortened(str(each)) for each in np.unique(table.y)]
    shown = ", ".join(classes if len(classes) <= 5 else [*classes[:3], "…", classes[-1]])
    return (
        f"{layout.path.name}: no column names: its first column is the label, {len(classes):,} classes ({shown}); "
        "--label NUMBER says which one it is"
    )
