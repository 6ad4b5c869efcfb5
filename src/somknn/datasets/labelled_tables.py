"""Rows and labels of Parquet and Arrow files: the columns play the parts that those of a CSV file play."""

from pathlib import Path
from typing import Any

import numpy as np

from somknn.datasets import labelled, labels
from somknn.datasets.arrow_cells import require_exact
from somknn.datasets.arrow_files import ArrowSource
from somknn.datasets.kinds import kind_of
from somknn.datasets.tables import ParquetSource
from somknn.datasets.text import compact

_ROWS = 50_000
_LABEL = "label"


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
    source.select(layout.features, {} if layout.label is None else {_LABEL: layout.label})
    _ = source.dtype  # says which columns are no features, before anything is read
    chunks = list(source.chunks(_ROWS, None))
    for chunk in chunks:
        if chunk.rejects:
            raise ValueError(str(chunk.rejects[0]))
    if not chunks:
        raise ValueError(f"{path}: no rows")
    X = np.concatenate([chunk.values for chunk in chunks])
    _require_finite(X, source, layout)
    if X.dtype not in (np.uint8, np.float32):
        require_exact(X)
        X = X.astype(np.float64)
    X = compact(X)  # as the cells of a CSV file
    if layout.label is None:
        return labelled.Table(X, None, layout)
    texts = [str(each) for chunk in chunks for each in chunk.marks[_LABEL].tolist()]
    missing = next((row for row, text in enumerate(texts) if not text.strip()), None)
    if missing is not None:
        raise ValueError(f"{path}, row {missing}, {layout.column(layout.label)}: the label is missing")
    places = [f"row {row}" for row in range(len(texts))]
    return labelled.Table(X, labels.read(texts, places, layout, asked.quantities), layout)


def _require_finite(X: np.ndarray, source: Any, layout: labelled.Layout) -> None:
    if X.dtype.kind != "f" or np.isfinite(X.sum(dtype=np.float64)):
        return
    bad = ~np.isfinite(X)
    if bad.any():
        row, at = (int(each) for each in np.argwhere(bad)[0])
        position = layout.features[at] if len(layout.features) == X.shape[1] else layout.features[0]
        raise ValueError(f"{layout.path}, row {row}, {layout.column(position)}: a missing value, or no finite number")


def feature_names(table: labelled.Table) -> list[str] | None:
    """The names of the features; None for lists and images, whose values have no names of their own."""
    return table.feature_names if len(table.layout.features) == table.X.shape[1] else None
