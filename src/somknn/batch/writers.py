"""Write columns of predictions as Parquet, CSV, .npy, or CSV on a stream. The same columns give the same bytes."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from somknn.datasets.chunks import BatchError

ENDINGS = (".parquet", ".csv", ".npy")


_TAKEN = re.compile(
    r"file|row|label|confidence|value|map_row|map_column|cluster|distance|(label|confidence|proba|neighbor|distance|value)_.*"
)


def is_taken(name: str) -> bool:
    """Whether the output may have a column of this name itself."""
    return _TAKEN.fullmatch(name) is not None


def named_columns(
    columns: dict[str, np.ndarray],
    files: np.ndarray | None,
    classes: np.ndarray | None,
    marks: dict[str, np.ndarray],
    transformed: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """The table as the user sees it: one name per one-dimensional column, and labels instead of class numbers.

    `marks` are columns of the input that go with the rows, `transformed` the names of a transformer's columns.
    """
    table: dict[str, np.ndarray] = {} if files is None else {"file": files}
    table["row"] = columns["row"]
    table |= marks
    if classes is None:
        named = {
            name if name not in table else f"{name} transformed": columns["transformed"][:, j]
            for j, name in enumerate(transformed)
        }
        return table | named | _answers(columns)
    table["label"] = classes[columns["code"]]
    if "confidence" in columns:
        table["confidence"] = columns["confidence"]
    for place in range(1, columns["top_code"].shape[1] if "top_code" in columns else 1):
        table[f"label_{place + 1}"] = classes[columns["top_code"][:, place]]
        table[f"confidence_{place + 1}"] = columns["top_confidence"][:, place]
    if "proba" in columns:
        for j, label in enumerate(classes):
            table[f"proba_{label}"] = columns["proba"][:, j]
    return table | _neighbours(columns)


def _answers(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns of a model that is no classifier: values of a regressor, places on a map, clusters, neighbours."""
    table: dict[str, np.ndarray] = {}
    for name in ("value", "map_row", "map_column", "cluster", "distance"):
        if name in columns and columns[name].ndim == 1:
            table[name] = columns[name]
        elif name == "value" and name in columns:
            table |= {f"value_{j + 1}": columns[name][:, j] for j in range(columns[name].shape[1])}
    return table | _neighbours(columns)


def _neighbours(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    table = {}
    for place in range(columns["neighbor"].shape[1] if "neighbor" in columns else 0):
        table[f"neighbor_{place + 1}"] = columns["neighbor"][:, place]
        table[f"distance_{place + 1}"] = columns["distance"][:, place]
    return table


def plain_classes(classes: np.ndarray) -> np.ndarray:
    """Class labels in a dtype that every output can hold."""
    return classes.astype(str) if classes.dtype.kind == "O" else classes


def csv_text(table: dict[str, np.ndarray], header: bool) -> bytes:
    """The table as CSV; floats in the shortest form that reads back to the same value."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if header:
        writer.writerow(table)
    writer.writerows(zip(*(column.tolist() for column in table.values()), strict=True))
    return buffer.getvalue().encode()


def write_csv(path: Path, tables: Iterable[dict[str, np.ndarray]]) -> None:
    """All tables in one CSV file."""
    with open(path, "wb") as file:
        for i, table in enumerate(tables):
            file.write(csv_text(table, header=i == 0))


def _structured(table: dict[str, np.ndarray]) -> np.ndarray:
    result = np.empty(len(table["row"]), dtype=[(name, column.dtype) for name, column in table.items()])
    for name, column in table.items():
        result[name] = column
    return result


def write_npy(path: Path, tables: Iterable[dict[str, np.ndarray]], n_rows: int) -> None:
    """Write one structured array with a field per column."""
    with open(path, "wb") as file:
        for i, table in enumerate(tables):
            array = _structured(table)
            if i == 0:
                header = np.lib.format.header_data_from_array_1_0(array)
                header["shape"] = (n_rows,)
                np.lib.format.write_array_header_2_0(file, header)
            file.write(array.tobytes())


def write_parquet(path: Path, tables: Iterable[dict[str, np.ndarray]]) -> None:
    """Write a Parquet file with one row group per part."""
    from somknn.datasets.tables import require_pyarrow

    pa = require_pyarrow()
    import pyarrow.parquet as pq

    writer: Any = None
    try:
        for table in tables:
            arrow = pa.table({name: pa.array(column) for name, column in table.items()})
            if writer is None:
                writer = pq.ParquetWriter(path, arrow.schema, compression="zstd")
            writer.write_table(arrow)
    finally:
        if writer is not None:
            writer.close()


def write_output(ending: str, path: Path, tables: Iterable[dict[str, np.ndarray]], n_rows: int) -> None:
    """Write `tables` to `path` in the format of the extension `ending`."""
    if ending == ".parquet":
        write_parquet(path, tables)
    elif ending == ".csv":
        write_csv(path, tables)
    else:
        write_npy(path, tables, n_rows)


def check_output(output: str) -> str:
    """The extension of an output path, or "-" for standard output."""
    if output == "-":
        return "-"
    path = Path(output)
    if path.suffix not in ENDINGS:
        raise BatchError(f"{output}: unknown kind of output; known are {', '.join(ENDINGS)} and - for CSV on stdout")
    if path.suffix == ".parquet":
        from somknn.datasets.tables import require_pyarrow

        require_pyarrow()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"folder {path.parent} does not exist; create it first")
    return path.suffix


def write_rejects(file: IO[str], records: Iterable[list[Any]]) -> None:
    """Write the rejected rows as CSV."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["file", "row", "line", "column", "reason", "value"])
    writer.writerows(records)
