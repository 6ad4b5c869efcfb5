"""How a text table separates its cells and writes its fractions; every line becomes one with commas and points.

Readers of CSV files see plain lines only: `Format.plain` turns `1,5;"a;b"` into `1.5,a;b`.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from somknn.datasets import columns

NAMES = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "space": " "}
_CANDIDATES = (",", ";", "\t", "|")
_EXCEL = re.compile(r"sep=(.)", re.IGNORECASE)
_COMMA_NUMBER = re.compile(r"[+-]?(?:[0-9]+,[0-9]*|,[0-9]+)(?:[eE][+-]?[0-9]+)?")


def separator_of(said: str) -> str:
    """The character that a user means by its name or itself; ValueError for anything else."""
    text = NAMES.get(said.lower(), "\t" if said == "\\t" else said)
    if len(text) != 1 or text.isalnum() or text in '"\n\r.+-':
        raise ValueError(f"--separator {said!r} is neither one character nor one of {', '.join(NAMES)}")
    return text


_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?")


def comma_advice(cell: str) -> str:
    """What helps where a cell would be a number without a comma or with a point in its place; "" for other cells."""
    thousands = _THOUSANDS.fullmatch(cell.strip()) is not None
    decimal = "if its comma stands before a fraction: --decimal comma" if has_decimal_comma(cell) else ""
    if thousands:
        decimal += f"{'; ' if decimal else ''}commas between thousands are not read: take them out of the file"
    return decimal


def has_decimal_comma(cell: str) -> bool:
    """Whether a cell would be a number if its comma were a point."""
    return _COMMA_NUMBER.fullmatch(cell.strip()) is not None


@dataclass(frozen=True)
class TextOptions:
    """What a user says about a text table; None says nothing. `header`: whether the first line names the columns."""

    header: bool | None = None
    separator: str | None = None
    decimal: str | None = None


UNSAID = TextOptions()


@dataclass(frozen=True)
class Format:
    """The separator of a file, and the sign before its fractions."""

    separator: str = ","
    decimal: str = "."

    def split(self, text: str) -> list[str]:
        """The cells of a line, quoted or not."""
        return next(csv.reader([text], delimiter=self.separator)) if '"' in text else text.split(self.separator)

    def _require_no_returns(self, text: str) -> None:
        """Raise ValueError for a carriage return in a line, other than in a quoted cell."""
        try:
            if '"' in text:
                self.split(text)
                return
        except csv.Error:
            pass
        raise ValueError(
            "a carriage return within the line; if these end the lines, as in files of old Macs, convert them to line "
            "feeds (tr '\\r' '\\n')"
        )

    def plain(self, text: str) -> str:
        """The line with commas between its cells, in quotes where needed, and points in its numbers.

        Raises ValueError for a number with a point where commas are said to be the sign before fractions, for a quoted
        cell of more characters than Python's csv module takes, and for a carriage return among cells.
        """
        if "\r" in text and "\r" in text.strip():
            self._require_no_returns(text)
        if self.separator == "," and self.decimal == "." and len(text) <= csv.field_size_limit():
            return text
        if self.decimal == "." and '"' not in text and "," not in text:
            return text.replace(self.separator, ",")
        try:
            cells = self.split(text)
        except csv.Error:
            raise ValueError(f"a quoted cell of more than {csv.field_size_limit():,} characters") from None
        if self.decimal == ",":
            for cell in cells:
                if "." in cell and columns.is_plain_number(cell):
                    raise ValueError(
                        f"{columns.shortened(cell)!r} has a point, and --decimal says that fractions have commas"
                    )
            cells = [cell.replace(",", ".") if has_decimal_comma(cell) else cell for cell in cells]
        if self.separator == "," and self.decimal == ".":
            return text
        return ",".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' if {",", '"'} & set(cell) else cell for cell in cells)


def plain_lines(lines: Iterable[tuple[int, int, str]], form: Format, path: Path) -> Iterator[tuple[int, int, str]]:
    """The numbered lines of a file as plain ones; ValueError with file and line where that cannot be."""
    for number, end, text in lines:
        try:
            plain = form.plain(text)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        yield number, end, plain


def format_of(head: Sequence[str], path: Path, separator: str | None, decimal: str | None) -> Format:
    """The format of a file by what the user says, by the file's name and by its first lines.

    A file named .tsv or .tab has tabs. Otherwise the separator is the one of comma, semicolon, tab and bar that gives
    all lines the same number of cells, two or more; if several do, the one whose lines hold the most numbers. Raises
    ValueError that asks for `--separator` if two are as good, and for Excel's line `sep=;`.
    """
    sign = {"comma": ",", "point": ".", None: "."}.get(decimal, decimal)
    if sign not in (",", "."):
        raise ValueError(f"--decimal {decimal!r} is neither comma nor point")
    if separator is not None:
        form = Format(separator_of(separator), sign)
        if form.separator == form.decimal:
            raise ValueError("--separator and --decimal are both a comma: say which character separates the cells")
        return form
    excel = _EXCEL.fullmatch(head[0].strip()) if head else None
    if excel:
        name = {value: name for name, value in NAMES.items()}.get(excel[1], excel[1])
        raise ValueError(
            f"{path}, line 1: {head[0].strip()!r} is a hint for Excel: delete it, and say --separator {name}"
        )
    if {".tsv", ".tab"} & {suffix.lower() for suffix in path.suffixes[-2:]}:
        return Format("\t", sign)
    tried = [Format(each, sign) for each in _CANDIDATES if each != sign]
    fitting = {form: sum(_numbers(form, text) for text in head[1:] or head) for form in tried if _fits(form, head)}
    if not fitting and _fits(Format(" "), head) and not any(map(has_decimal_comma, head)):
        raise ValueError(f"{path}, line 1: what separates the cells? spaces only: say --separator space")
    if not fitting:  # lines of different lengths: the reader says where
        several = [form for form in tried if len(_cells(form, head[0])) > 1] if head else []
        return several[0] if len(several) == 1 else tried[0]
    most = max(fitting.values())
    best = [form for form, numbers in fitting.items() if numbers == most]
    if len(best) > 1:
        names = [name for name, value in NAMES.items() if any(form.separator == value for form in best)]
        raise ValueError(
            f"{path}, line 1: what separates the cells? {' or '.join(names)}: say --separator {names[0]} or "
            f"--separator {names[1]}{'' if sign == ',' else ' (and --decimal comma where fractions have commas)'}"
        )
    return best[0]


def _cells(form: Format, text: str) -> list[str]:
    try:
        return form.split(text)
    except csv.Error:
        return []


def _fits(form: Format, head: Sequence[str]) -> bool:
    counts = {len(_cells(form, text)) for text in head}
    return len(counts) == 1 and counts.pop() > 1


def _numbers(form: Format, text: str) -> int:
    """How many cells of a line are numbers, with commas or points: which of both is not known yet."""
    cells = _cells(form, text)
    return sum(columns.is_number(cell) or (form.separator != "," and has_decimal_comma(cell)) for cell in cells)
