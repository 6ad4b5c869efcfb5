"""The columns of a CSV file: whether its first line names them, and which one a user means.

What a file does not tell is asked by an error that names the option: `--header`, `--label` or `--drop` of the commands,
`header`, `label` or `drop` of `somknn.datasets.load`.
"""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

SAMPLE = 20  # lines after the first one that are looked at
LABEL_NAMES = ("label", "target", "class", "y")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_INDEX_NAME = re.compile(r"Unnamed: [0-9]+(\.[0-9]+)*")  # what pandas calls a column without a name
_FEW = 4  # numbers; a shorter 0, 1, 2 may well be a row
_SHOWN = 10


def is_plain_number(cell: str) -> bool:
    """Whether a cell is a number in plain notation: `1_0` is none, which Python would read as 10."""
    return _NUMBER.fullmatch(cell.strip()) is not None


def is_number(cell: str) -> bool:
    """The same, or a NaN or an infinity."""
    return is_plain_number(cell) or _NOT_FINITE.fullmatch(cell.strip()) is not None


def _counts_up(cells: Sequence[str]) -> bool:
    """Whether the cells are 0, 1, 2, … or 1, 2, 3, …: the names that pandas and NumPy users give to columns."""
    return bool(cells) and any(list(cells) == [str(first + i) for i in range(len(cells))] for first in (0, 1))


def has_header(first: Sequence[str], below: Iterable[Sequence[str]], path: Path) -> bool:
    """Whether the first line of a CSV file names the columns; `below` are lines after it, read if they matter.

    - A line of text is one, and so is one with a cell label, target, class or y. A line of numbers is none, with this
      exception:
    - Numbers that count up (0, 1, … or 1, 2, …, beside any text) are names if there are four or more of them, or text
      stands above numbers, or the first cell is empty, and no line below counts up.
    - Text above text, beside numbers, is the label of a row.

    Raises ValueError, which names `--header`, where it may be either: fewer than four numbers that count up, a line
    below that does as well, text beside numbers above nothing but numbers, an empty name.
    """
    cells = [cell.strip() for cell in first]
    numbers = [cell for cell in cells if cell and is_number(cell)]
    texts = [j for j, cell in enumerate(cells) if cell and not is_number(cell)]
    if not texts and not _counts_up(numbers):
        return False
    if not numbers and "" not in cells[1:]:
        return True
    rows = list(below)
    above_numbers = any(is_number(row[j]) for j in texts for row in rows if j < len(row))
    label = any(
        cells[j].lower() in LABEL_NAMES
        and (cells[j].lower() != "y" or any(is_number(row[j]) for row in rows if row[j:]))
        for j in texts
    )
    if not numbers:
        why = "a name is empty"
    elif label:
        return True
    elif not _counts_up(numbers):
        if not above_numbers:
            return False
        why = "text and numbers above numbers"
    elif any(_counts_up([cell.strip() for cell in row if is_number(cell)]) for row in rows):
        why = f"numbers from {numbers[0]} to {numbers[-1]}, as in another line"
    elif rows and (len(numbers) >= _FEW or above_numbers or not cells[0]):
        return True
    else:
        why = f"numbers from {numbers[0]} to {numbers[-1]}"
    shown = shortened(",".join(cells))
    raise ValueError(f"{path}, line 1: column names or a row? {shown!r} ({why}): say --header yes or --header no")


def shortened(text: str) -> str:
    """At most 40 characters."""
    return text if len(text) <= 40 else text[:37] + "..."


def is_index_name(name: str, position: int) -> bool:
    """Whether a column is the row numbers that pandas writes: the first one without a name, or `Unnamed: 0`."""
    return (position == 0 and not name) or _INDEX_NAME.fullmatch(name) is not None


def listed(names: Sequence[str]) -> str:
    """The names for an error message; the middle of many is left out."""
    shown = [shortened(name) or "(no name)" for name in names]
    return ", ".join(shown if len(shown) <= _SHOWN else [*shown[: _SHOWN - 2], "…", shown[-1]])


def how_to_say(position: int, names: Sequence[str] | None) -> str:
    """What to write after `--label` or `--drop` for a column."""
    number = str(position + 1)
    if names is None:
        return number
    name = names[position]
    plain = name and "," not in name and name.lower() != "none" and not name.startswith(("name:", "number:"))
    if plain and not name.isdecimal() and names.count(name) == 1:
        return shlex.quote(name)
    return f"number:{number}" if number in names else number


def find(said: str | int, names: Sequence[str] | None, width: int, where: tuple[Path, str]) -> int:
    """The position, from 0, of a column given by its name or its number from 1; `where` is the file and the option.

    A text that is the name of one column and the number of another one is refused: `name:5` and `number:5` tell which.
    An int is a number always.
    """
    path, option = where
    name = number = None
    if isinstance(said, int) and not isinstance(said, bool):
        number = said
    elif isinstance(said, str):
        text = said.strip()
        name = text.removeprefix("name:") if not text.startswith("number:") else None
        digits = text.removeprefix("number:")
        number = int(digits) if re.fullmatch(r"[0-9]{1,9}", digits) else None
    else:
        raise ValueError(f"{option}: {said!r} is neither the name of a column nor its number")
    named = [j for j, each in enumerate(names or ()) if name is not None and each == name]
    if name and not named:
        named = [j for j, each in enumerate(names or ()) if each.lower() == name.lower()]
    if len(named) > 1:
        numbers = ", ".join(str(j + 1) for j in named)
        raise ValueError(f"{path}: columns {numbers} are all named {name!r}: give the number of one to {option}")
    numbered = number is not None and 1 <= number <= width
    if named and numbered and named[0] != number - 1:  # type: ignore[operator]
        raise ValueError(
            f"{path}: column {named[0] + 1} is named {name!r}, and there is a column number {name}: "
            f"say {option} name:{name} or {option} number:{name}"
        )
    if named:
        return named[0]
    if numbered:
        return number - 1  # type: ignore[operator]
    if names is None:
        known = f"it has no column names; say a number from 1 to {width}"
    else:
        known = f"its columns, 1 to {width}, are {listed(names)}"
    raise ValueError(f"{path}: no column {said!r} for {option}; {known}")
