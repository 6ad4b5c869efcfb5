"""Rows and labels of Parquet and Arrow files: the columns play the parts that those of a CSV file play."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from somknn.datasets import categories, labelled, labels
from somknn.datasets.arrow_cells import require_exact
from somknn.datasets.arrow_files import ArrowSource
from somknn.datasets.kinds import kind_of
from somknn.datasets.parquet_files import ParquetSource
from somknn.datasets.text import compact

_ROWS = 50_000
_LABEL, _TEXT = "label", "text "  # names of marks


def read_table(path: Path, asked: labelled.Asked, like: labelled.Layout | None = None) -> labelled.Table:
    """Rows, labels and columns of a Parquet or Arrow file; see `somknn.datasets.labelled.read_csv`.

    The features are columns of numbers, or one column of lists or images.
    """
    if asked.of_text():
        raise ValueError(f"{path}: {asked.of_text()[0]} is for CSV files")
    source: Any = (ParquetSource if kind_of(path) == "parquet" else ArrowSource)(path)
    names = source.names_in_file
    if like is None:
        alone = len(names) == 1 and source.vectors([0])
        said = labelled.Asked("none") if alone and asked.label is None and not asked.needed else asked
        layout = labelled.choose(path, names, len(names), [], said)
    else:
        layout = labelled.same(path, names, len(names), like)
    texts = [j for j in layout.features if j in layout.categories]
    if like is None and {categories.TEXT, categories.ANY_TEXT} & set(asked.categories):
        texts = sorted({*texts, *source.texts(layout.features)})
    marks = {f"{_TEXT}{j}": j for j in texts} | ({} if layout.label is None else {_LABEL: layout.label})
    source.select([j for j in layout.features if j not in texts], marks)
    source.advice = "; --categories text takes texts as categories"
    if texts and source.vectors(layout.features):
        raise ValueError(
            f"{path}: --categories is for columns of their own, beside {layout.column(texts[0])} are lists"
        )
    _ = source.dtype  # says which columns are no features, before anything is read
    chunks = list(source.chunks(_ROWS, None))
    for chunk in chunks:
        if chunk.rejects:
            raise ValueError(str(chunk.rejects[0]))
    if not chunks:
        raise ValueError(f"{path}: no rows")
    X = np.concatenate([chunk.values for chunk in chunks])
    _require_finite(X, source, layout, asked.missing)
    if X.dtype not in (np.uint8, np.float32):
        require_exact(X)
        X = X.astype(np.float64)
    if texts:
        cells = {j: [str(cell) for chunk in chunks for cell in chunk.marks[f"{_TEXT}{j}"].tolist()] for j in texts}
        X = _beside_texts(X, cells, layout, asked)
        layout = replace(layout, categories=tuple(texts))
    else:
        X = compact(X)  # as the cells of a CSV file
    if layout.label is None:
        return labelled.Table(X, None, layout)
    found = [str(each) for chunk in chunks for each in chunk.marks[_LABEL].tolist()]
    missing = next((row for row, text in enumerate(found) if not text.strip()), None)
    if missing is not None:
        raise ValueError(f"{path}, row {missing}, {layout.column(layout.label)}: the label is missing")
    places = [f"row {row}" for row in range(len(found))]
    return labelled.Table(X, labels.read(found, places, layout, asked.quantities), layout)


def _beside_texts(X: np.ndarray, cells: dict[int, list[str]], layout: labelled.Layout, asked: labelled.Asked) -> Any:
    """Rows of the columns of numbers `X` and of the texts of the others, in the order of the features."""
    places = [f"row {row}" for row in range(len(X))]
    of_texts, found = replace(layout, features=list(cells)), {}
    for j, column in cells.items():
        one = replace(of_texts, features=[j])
        rows, texts = categories.rows_of_cells([column], places, one, asked, None)
        found[j] = rows[:, 0] if texts else categories.rows_of_cells([column], places, one, asked, [j])[0][:, 0]
    numbers = iter(X.T)
    return categories.together([found[j] if j in found else next(numbers) for j in layout.features], True)


def _require_finite(X: np.ndarray, source: Any, layout: labelled.Layout, missing: bool) -> None:
    if X.dtype.kind != "f" or not X.size or np.isfinite(X.sum(dtype=np.float64)):
        return
    bad = np.isinf(X) if missing else ~np.isfinite(X)
    if bad.any():
        row, at = (int(each) for each in np.argwhere(bad)[0])
        numbers = source.columns
        position = numbers[at] if len(numbers) == X.shape[1] else numbers[0]
        where = f"{layout.path}, row {row}, {layout.column(position)}"
        if np.isnan(X[row, at]):
            raise ValueError(f"{where}: a missing value: --impute mean, median or most_frequent fills such cells in")
        raise ValueError(f"{where}: no finite number")


def feature_names(table: labelled.Table) -> list[str] | None:
    """The names of the features; None for lists and images, whose values have no names of their own."""
    return table.feature_names if len(table.layout.features) == table.X.shape[1] else None
