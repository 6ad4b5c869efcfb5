"""What kind of file a path leads to: told by its content first, by its name where the content does not tell."""

import os
import zipfile
from pathlib import Path

from somknn.datasets import packed
from somknn.datasets.chunks import BatchError

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".pgm", ".ppm", ".pnm")
UNREAD_IMAGES = (".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg", ".psd", ".dcm", ".ico", ".tga", ".exr")
TABLES = (".csv", ".tsv", ".tab", ".txt", ".parquet", ".pq", ".arrow", ".arrows", ".feather", ".ipc")
KNOWN = (
    "CSV and TSV (also .gz, .bz2, .xz, .zst, .zip), Parquet, Arrow and Feather, .npy, .npz, HDF5, IDX (also .gz), "
    "images, folders of images, folders of the parts of a table, and - for CSV on standard input"
)
_BEGINNINGS = {
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow",
    b"\x93NUMPY": "npy",
    b"\x89PNG": "image",
    b"\xff\xd8\xff": "image",
    b"\x89HDF": "hdf5",
    b"GIF8": "image",
    b"BM": "image",
    b"II*\0": "image",
    b"MM\0*": "image",
}
_REFUSED = {
    b"FEA1": "a Feather file of version 1: save it again with version 2",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save the sheet as CSV",
    b"SQLite": "an SQLite database: save the table as CSV or Parquet",
    b"MATLAB": "a MATLAB file: save its arrays as .npz",
    b"Obj\x01": "an Avro file: save it as Parquet",
    b"ORC": "an ORC file: save it as Parquet",
    b"7z\xbc\xaf": "a 7-Zip archive: unpack it",
    b"%PDF": "a PDF",
}
_REFUSED_SUFFIXES = {
    ".pkl": "a pickle, which can run code: save it as Parquet or .npz",
    ".pickle": "a pickle, which can run code: save it as Parquet or .npz",
    ".joblib": "a pickle, which can run code: save it as Parquet or .npz",
    ".json": "JSON: save it as CSV or Parquet",
    ".jsonl": "JSON: save it as CSV or Parquet",
    ".ndjson": "JSON: save it as CSV or Parquet",
    ".arff": "ARFF: save it as CSV",
    ".xml": "XML: save it as CSV",
    ".html": "HTML: save it as CSV",
}
_SOME = 1 << 9


def bare_suffix(path: Path) -> str:
    """The extension in small letters, without the one of a compression."""
    name = path.name.lower()
    for ending in packed.ENDINGS:
        name = name.removesuffix(ending)
    return os.path.splitext(name)[1]


def kind_of(path: Path) -> str:
    """csv, parquet, arrow, npy, npz, hdf5, idx or image; BatchError, which says what the file is or may be, else."""
    suffix = bare_suffix(path)
    with packed.open_stream(path) as file:
        start = file.read(_SOME)
    if suffix in packed.TEXTS and _is_text(start):
        return "csv"
    for beginning, kind in _BEGINNINGS.items():
        if start.startswith(beginning):
            return _unpacked(path, kind)
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image"
    if suffix in (".parquet", ".pq"):  # damaged: their readers say how
        return "parquet"
    if suffix in (".arrow", ".arrows", ".feather", ".ipc") and start[:4] != b"FEA1":
        return "arrow"
    if suffix in (".npy", ".npz"):
        return suffix[1:]
    if start[:4] in (b"PK\3\4", b"PK\5\6"):
        return _zip(path)
    for beginning, what in _REFUSED.items():
        if start.startswith(beginning):
            raise BatchError(f"{path}: {what}")
    if suffix in _REFUSED_SUFFIXES:
        raise BatchError(f"{path}: {_REFUSED_SUFFIXES[suffix]}")
    if suffix in UNREAD_IMAGES:
        raise BatchError(f"{path}: an image of a kind that is not read: save it as PNG")
    if suffix in IMAGES:
        return "image"
    name = path.name.lower()
    if start[:2] == b"\0\0" or (suffix not in packed.TEXTS and ("idx" in name or bare_suffix(path) == ".idx")):
        return _unpacked(path, "idx")
    if suffix in packed.TEXTS or (start and _is_text(start)):
        return "csv"
    raise BatchError(f"{path}: {'an empty file' if not start else 'unknown kind of file'}; known are {KNOWN}")


def _unpacked(path: Path, kind: str) -> str:
    how = packed.is_packed(path)
    if how and not (kind == "idx" and how == "gzip"):
        kinds = "CSV files" if kind == "idx" else "CSV and IDX files"
        raise BatchError(f"{path}: compressed as a whole ({how}), which is read for {kinds} only: decompress it")
    return kind


def _zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError):
        raise BatchError(f"{path}: a damaged zip archive") from None
    if any(name.startswith("xl/") for name in names):
        raise BatchError(f"{path}: an Excel workbook: save the sheet as CSV")
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    raise BatchError(f"{path}: a zip archive of {len(names):,} files; one CSV file in it is read: unpack it")


def _is_text(start: bytes) -> bool:
    """Whether a file begins like lines of cells: UTF-8 without control characters, and neither markup nor JSON."""
    if start[:1] in b"{[<%@" or set(start) & set(range(9)):
        return False
    try:
        start.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return error.start > len(start) - 4  # a character cut in two
    return True


def hidden(name: str) -> bool:
    """Whether a name in a folder is passed over: hidden files, and the marks of Spark and Hadoop."""
    return name.startswith((".", "_")) or name.endswith(".crc")


def parts_of(folder: Path) -> list[Path]:
    """The parts of a table that is a folder, as Spark, Dask and Hive write it, in the order of their names.

    An empty list if the folder holds no tables. Raises BatchError where tables lie beside images, are of several kinds,
    or in folders of their own (`day=1/`), whose names would be a column.
    """
    entries = sorted(entry for entry in folder.iterdir() if not hidden(entry.name))
    files = [entry for entry in entries if entry.is_file() or entry.is_symlink()]
    parts = [entry for entry in files if bare_suffix(entry) in TABLES or entry.name.startswith("part-")]
    partitions = [entry.name for entry in entries if entry.is_dir() and "=" in entry.name]
    if partitions:
        raise BatchError(f"{folder}: parts in folders such as {partitions[0]}: give the folder of one of them")
    if not parts or any(bare_suffix(entry) in IMAGES for entry in files):
        return []
    kinds = {kind_of(part) for part in parts if part.stat().st_size}
    parts = [part for part in parts if part.stat().st_size]  # Spark writes empty parts
    if len(kinds) > 1:
        raise BatchError(f"{folder}: parts of several kinds ({', '.join(sorted(kinds))}): give the files one by one")
    return parts
