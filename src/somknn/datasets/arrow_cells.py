"""Columns of Arrow arrays as NumPy values: numbers, lists of them, images, and the marks that go to an output.

A column is a *vector* if each of its cells is a whole row: a list of any kind (also of lists), a tensor, or an image as
Hugging Face datasets store it, a struct of `bytes` and `path`.
"""

import io
from typing import Any

import numpy as np

from somknn.datasets.chunks import BatchError

MOST_WHOLE = 1 << 53  # whole numbers beyond it are not kept by float64
Odd = list[tuple[int, str]]  # rows that are none: position and reason


def storage(kind: Any) -> Any:
    """The type in which the values of a column lie: that behind an extension type (tensors, UUIDs)."""
    import pyarrow as pa

    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def is_list(kind: Any) -> bool:
    """Whether cells are lists."""
    import pyarrow as pa

    kind = storage(kind)
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def is_image(kind: Any) -> bool:
    """Whether cells are encoded images: a struct of bytes and path."""
    import pyarrow as pa

    if not pa.types.is_struct(kind) or {field.name for field in kind} != {"bytes", "path"}:
        return False
    return pa.types.is_binary(kind.field("bytes").type) or pa.types.is_large_binary(kind.field("bytes").type)


def is_vector(kind: Any) -> bool:
    """Whether a cell of this column is a whole row."""
    return is_list(kind) or is_image(kind)


def number_type(kind: Any) -> np.dtype | None:
    """The dtype of a column's values, of the values in its lists, or of its pixels; None if they are no numbers."""
    import pyarrow as pa

    if is_image(kind):
        return np.dtype(np.uint8)
    kind = storage(kind)
    while is_list(kind):
        kind = storage(kind.value_type)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_decimal(kind):
        return np.dtype(np.float64)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return np.dtype(kind.to_pandas_dtype())
    return None


def numbers_of(array: Any) -> np.ndarray:
    """The numbers of an array without lists; floats with NaN where values are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_decimal(array.type):  # by its digits, which rounds once
        array = pc.cast(pc.cast(array, pa.string()), pa.float64())
    values = array.to_numpy(zero_copy_only=False)
    if array.null_count and pa.types.is_integer(array.type) and array.type.bit_width == 64:
        require_exact(pc.drop_null(array).to_numpy())
    return values.astype(np.float64) if values.dtype == object else values


def require_exact(values: np.ndarray) -> None:
    """Raise BatchError for whole numbers that are about to become floats and would lose digits."""
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8 and len(values):
        large = values[(values > MOST_WHOLE) | (values.astype(np.int64) < -MOST_WHOLE)]
        if len(large):
            raise BatchError(f"the whole number {large[0]} among fractions or missing values, which would lose digits")


def is_text(kind: Any) -> bool:
    """Whether cells are texts, stored one by one or as numbers of a dictionary (pandas' categories)."""
    import pyarrow as pa

    kind = storage(kind)
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def first_width(array: Any) -> int | None:
    """The number of values in the first cell of a vector column that has any; None if all are missing or empty."""
    if is_image(array.type):
        for cell in array:
            levels = _decoded(cell, None)
            if isinstance(levels, np.ndarray):
                return levels.size
        return None
    for cell in array:
        width = sum(1 for _ in _flat(cell.as_py() or ()))
        if width:
            return width
    return None


def _flat(cell: Any) -> Any:
    for each in cell:
        if isinstance(each, list | tuple):
            yield from _flat(each)
        else:
            yield each


def rows_of(array: Any, width: int) -> tuple[np.ndarray, Odd]:
    """The cells of a vector column as rows (n, width), and those that are none: lists of other lengths, bad images.

    A missing list is a row of NaN, an odd one of zeros.
    """
    if is_image(array.type):
        return _images(array, width)
    array = array.storage if hasattr(array.type, "storage_type") else array
    n, counts, missing, fixed = len(array), None, None, 1
    while is_list(array.type):
        array = array.storage if hasattr(array.type, "storage_type") else array
        lengths, gone = _lengths(array)
        array = array.flatten()
        if counts is None:
            missing, counts = gone, lengths
        elif len(lengths) and ((lengths != lengths[0]).any() or gone.any()):
            raise BatchError("lists of lists that have several lengths")
        else:
            fixed *= int(lengths[0]) if len(lengths) else 1
    assert counts is not None
    assert missing is not None
    flat, counts = numbers_of(array), counts * fixed
    odd = [
        (int(i), f"a list of {counts[i]:,} values where {width:,} are expected")
        for i in np.flatnonzero((counts != width) & ~missing)
    ]
    if not odd and not missing.any():
        return flat.reshape(n, width), odd
    values = np.zeros((n, width), np.result_type(flat, np.float32) if missing.any() else flat.dtype)
    values[missing] = np.nan if missing.any() else 0
    good = np.flatnonzero((counts == width) & ~missing)
    starts = np.concatenate([[0], np.cumsum(np.where(missing, 0, counts))])[:-1]
    if len(good):
        values[good] = flat[starts[good][:, None] + np.arange(width)]
    return values, odd


def _lengths(array: Any) -> tuple[np.ndarray, np.ndarray]:
    """The lengths of lists, 0 for the missing ones, and which are missing."""
    import pyarrow.compute as pc

    missing = array.is_null().to_numpy(zero_copy_only=False)
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths, missing


def _images(array: Any, width: int) -> tuple[np.ndarray, Odd]:
    values, odd = np.zeros((len(array), width), np.uint8), []
    for i, cell in enumerate(array):
        levels = _decoded(cell, width)
        if isinstance(levels, np.ndarray):
            values[i] = levels.ravel()
        else:
            odd.append((i, levels))
    return values, odd


def _decoded(cell: Any, n_pixels: int | None) -> Any:
    """The grey levels of an image of so many pixels, or why there are none."""
    import PIL.Image

    from somknn.datasets.image_files import UNREADABLE, grey_levels

    content = cell.as_py() or {}
    if not content.get("bytes"):
        where = f" (it is said to be at {content['path']!r})" if content.get("path") else ""
        return f"the image is not in the file{where}"
    try:
        with PIL.Image.open(io.BytesIO(content["bytes"])) as image:
            if n_pixels is not None and image.width * image.height != n_pixels:  # before any pixel is decoded
                return f"an image of {image.width * image.height:,} pixels where {n_pixels:,} are expected"
            return grey_levels(image)
    except (*UNREADABLE, PIL.Image.DecompressionBombError) as error:
        return " ".join(str(error).split())[:120] or "unreadable image"


def marks_of(array: Any) -> np.ndarray:
    """The values of a column as they go to an output: int64 or uint64 for whole numbers, else text, "" for none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_integer(array.type) and not array.null_count:
        return array.to_numpy(zero_copy_only=False).astype(np.uint64 if array.type == pa.uint64() else np.int64)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    array = array.storage if hasattr(array.type, "storage_type") else array
    if pa.types.is_binary(array.type) or pa.types.is_fixed_size_binary(array.type):
        return np.array(["" if each is None else each.hex() for each in array.to_pylist()], dtype=np.str_)
    try:
        text = pc.cast(array, pa.string())
    except pa.ArrowException:
        raise BatchError(f"values of type {array.type}, which are neither numbers nor text") from None
    return np.array(["" if each is None else each for each in text.to_pylist()], dtype=np.str_)
