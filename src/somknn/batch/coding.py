"""Categories in files: rows of a model that takes texts travel as numbers, and become texts again before the model.

So chunks are arrays of floats whatever the model takes: a text is the position of its category among those that
training saw. `Coding` says which columns these are; it is read off the model's first step.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from somknn.datasets.categories import category_of
from somknn.datasets.chunks import Chunk, Reject

_MARK = "\0category "  # in the name of a mark, which no column has: the column of the model, and that of the file


class Coding(NamedTuple):
    """The categories of each column (position to list, as in the model) and the number of columns."""

    categories: dict[int, list[str]]
    n_features: int

    @property
    def numbers(self) -> list[int]:
        """The columns that are no categories."""
        return [j for j in range(self.n_features) if j not in self.categories]


def coding_of(model: Any) -> Coding | None:
    """The categories that a model takes as texts, by the column of its rows; None if it takes numbers only."""
    first = model
    while hasattr(first, "steps"):
        first = next((step for _, step in first.steps if step not in (None, "passthrough")), None)
    found: dict[int, list[str]] = {}
    for encoder, columns in _parts(first):
        if type(encoder).__name__ == "OneHotEncoder":
            texts = [each.tolist() if each.dtype.kind in "OU" else [] for each in encoder.categories_]
            found |= {column: each for column, each in zip(columns, texts, strict=True) if each}
    return Coding(found, int(first.n_features_in_)) if found else None


def _parts(first: Any) -> Iterable[tuple[Any, list[int]]]:
    """The transformers that see a model's columns, and which of them."""
    if not hasattr(first, "transformers_"):
        return [(first, list(range(getattr(first, "n_features_in_", 0))))]
    parts = []
    for name, step, _ in first.transformers_:
        inner = step
        while hasattr(inner, "steps"):
            inner = inner.steps[0][1]
        parts.append((inner, [int(column) for column in first._transformer_to_input_indices[name]]))
    return parts


def fills_missing(first: Any) -> bool:
    """Whether a first step of several transformers has an imputer for every column of numbers that it passes on."""
    numbers = [(inner, columns) for inner, columns in _parts(first) if type(inner).__name__ != "OneHotEncoder"]
    return any(columns for _, columns in numbers) and all(
        type(inner).__name__ == "SimpleImputer" or isinstance(inner, str) for inner, columns in numbers if columns
    )


def marks_for(coding: Coding, chosen: list[int]) -> dict[str, int]:
    """The columns of a file that a source hands over as texts, by name; `chosen` has one for each of the model's."""
    return {f"{_MARK}{column} {chosen[column]}": chosen[column] for column in coding.categories}


def coded(chunk: Chunk, coding: Coding, file: str, *, ignore_unknown: bool) -> Chunk:
    """The chunk with the model's columns: its numbers, and its texts as positions of categories.

    Rows with texts that no category is are set apart; with `ignore_unknown` their position is -1.
    """
    values = np.empty((len(chunk.numbers), coding.n_features))
    values[:, coding.numbers] = chunk.values
    rejects: dict[int, Reject] = {}
    for mark in [name for name in chunk.marks if name.startswith(_MARK)]:
        column, place = map(int, mark.removeprefix(_MARK).split())
        known = {category_of(each): code for code, each in enumerate(coding.categories[column])}
        texts, inverse = np.unique(chunk.marks.pop(mark).astype(np.str_), return_inverse=True)
        codes = np.array([known.get(category_of(text), -1) for text in texts.tolist()])[inverse]
        values[:, column] = codes
        if not ignore_unknown:
            for row in np.flatnonzero(codes < 0):
                text = str(texts[inverse[row]])
                reason = "a category that the model does not know; --unknown-categories ignore takes such rows"
                reject = Reject(file, int(chunk.numbers[row]), 0, place + 1, reason, text[:60] or "an empty cell")
                rejects.setdefault(int(row), reject)
    if rejects:
        good = np.ones(len(values), bool)
        good[list(rejects)] = False
        values, chunk.numbers = values[good], chunk.numbers[good]
        chunk.marks = {name: mark[good] for name, mark in chunk.marks.items()}
        chunk.rejects = sorted([*chunk.rejects, *rejects.values()], key=lambda reject: reject.row)
    chunk.values = values
    return chunk


def decoded(rows: np.ndarray, coding: Coding) -> np.ndarray:
    """Coded rows (n, d) as the objects that the model was fitted on: texts and floats."""
    found = np.empty(rows.shape, object)
    for column in coding.numbers:
        found[:, column] = rows[:, column]
    for column, categories in coding.categories.items():
        table = np.empty(len(categories) + 1, object)
        table[:-1] = categories
        table[-1] = _none_of(categories)
        found[:, column] = table[rows[:, column].astype(np.int64)]
    return found


def _none_of(categories: list[str]) -> str:
    """A text that is none of the categories."""
    text = "(unknown)"
    while text in categories:
        text += ")"
    return text
