"""The model file format: named arrays and a JSON document in a safetensors file, checked before use.

Layout (the public safetensors format): 8 bytes with the header's length, a JSON header with dtype, shape and position
of each array, then the arrays. The document is in the header's metadata under one key, `somknn-model`, with its own
SHA-256 digest and that of every array. The file can contain only arrays and text: nothing is executed when it is read.
"""

import hashlib
import json
import math
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from somknn._files import replacing

FORMAT = "somknn-model"
FORMAT_VERSION = 1

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "U64": np.uint64,
    "I32": np.int32,
    "U32": np.uint32,
    "I16": np.int16,
    "U16": np.uint16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_CODES = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}

# A header is parsed in memory, so its length has its own limit besides the size of the file.
_LONGEST_HEADER = 64 * 2**20
_MOST_DIMENSIONS = 8


class ModelFileError(ValueError):
    """A model file is damaged, truncated, from a newer version, or not a model file at all."""


def can_store(dtype: np.dtype) -> bool:
    """Whether arrays of this dtype can be stored in the file."""
    return dtype.newbyteorder("=") in _CODES


def _canonical(document: Any) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _array_digest(array: np.ndarray) -> str:
    return hashlib.sha256(memoryview(array.data).cast("B") if array.size else b"").hexdigest()


def write(path: str | os.PathLike, arrays: dict[str, np.ndarray], document: dict[str, Any]) -> None:
    """Write `arrays` and the JSON `document` to `path` as one complete file, or leave `path` unchanged.

    The bytes depend on the contents only: the same model gives the same file.
    """
    arrays = {
        name: np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(array.shape)
        for name, array in sorted(arrays.items())
    }
    tensors = {
        name: {"dtype": _CODES[array.dtype], "shape": list(array.shape), "sha256": _array_digest(array)}
        for name, array in arrays.items()
    }
    body = {"tensors": tensors, "model": document}
    envelope = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "body": body,
        "body_sha256": _text_digest(_canonical(body)),
    }
    with replacing(path) as temporary:
        # One metadata key: safetensors does not guarantee an order for several.
        save_file(arrays, temporary, metadata={FORMAT: _canonical(envelope)})


def read(path: str | os.PathLike, *, memory_map: bool = True) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read and verify a model file: `(arrays, document)`.

    Arrays are read-only views of the mapped file, or copies in memory with `memory_map=False`. Before an array is
    created, the header is checked against the size of the file, and the array's bytes against their digest.

    Raises
    ------
    ModelFileError
        The file is invalid; the one-line message says why.
    OSError
        If the file cannot be opened.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a model file")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < 10:
            raise ModelFileError(f"{path}: not a somknn model file ({size} bytes, too short)")
        buffer: mmap.mmap | bytes
        buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if memory_map else file.read()
    try:
        return _parse(buffer)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    except RecursionError:
        raise ModelFileError(f"{path}: damaged header (nested too deeply)") from None


def _parse(buffer: mmap.mmap | bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    header, data_start = _read_header(buffer)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not isinstance(metadata.get(FORMAT), str):
        raise ModelFileError("a safetensors file, but not a somknn model")
    body = _open_envelope(metadata[FORMAT])
    tensors, document = body.get("tensors"), body.get("model")
    if not isinstance(tensors, dict) or not isinstance(document, dict):
        raise ModelFileError("damaged header (parts are missing)")
    if set(tensors) != set(header):
        raise ModelFileError("damaged header (the arrays listed twice do not agree)")
    places = _check_places(header, len(buffer) - data_start)
    arrays = {}
    for name, (begin, dtype, shape) in places.items():
        recorded = tensors[name]
        if not isinstance(recorded, dict) or recorded.get("dtype") != header[name]["dtype"]:
            raise ModelFileError(f"damaged header (dtype of array {name!r})")
        if recorded.get("shape") != header[name]["shape"]:
            raise ModelFileError(f"damaged header (shape of array {name!r})")
        array = _array_at(buffer, data_start + begin, dtype, shape)
        if _array_digest(array) != recorded.get("sha256"):
            raise ModelFileError(f"array {name!r} does not match its digest: the file is damaged")
        if dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
            raise ModelFileError(f"array {name!r} holds bytes that are no booleans")
        arrays[name] = array
    return arrays, document


def _array_at(buffer: mmap.mmap | bytes, start: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    count = math.prod(shape)
    if count == 0:
        array = np.empty(shape, dtype=dtype)
    else:
        array = np.frombuffer(buffer, dtype=dtype, count=count, offset=start).reshape(shape)
        if not array.flags.aligned:  # allowed by the format, but slow for compiled code or rejected by it
            array = array.copy()
    array.flags.writeable = False
    return array


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ModelFileError("damaged header (a name appears twice)")
    return found


def _no_constant(name: str) -> Any:
    raise ModelFileError(f"damaged header ({name} is no JSON)")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ModelFileError("damaged header (a number out of range)")
    return value


def _parse_json(text: str, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_no_constant, parse_float=_finite)
    except ModelFileError:
        raise
    except ValueError:
        raise ModelFileError(f"damaged {what} (not JSON)") from None
    if not isinstance(value, dict):
        raise ModelFileError(f"damaged {what} (not a JSON object)")
    return value


def _read_header(buffer: mmap.mmap | bytes) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(buffer[:8], "little")
    if length > len(buffer) - 8 or length > _LONGEST_HEADER:
        if buffer[:1] == b"\x80":
            raise ModelFileError("a pickle, which can run any code when loaded; somknn reads safetensors only")
        raise ModelFileError("not a somknn model file, or a truncated one (header longer than the file)")
    try:
        text = bytes(buffer[8 : 8 + length]).decode("utf-8")
    except UnicodeDecodeError:
        raise ModelFileError("not a somknn model file (its header is not text)") from None
    return _parse_json(text, "header"), 8 + length


def _open_envelope(text: str) -> dict[str, Any]:
    envelope = _parse_json(text, "model header")
    version = envelope.get("format_version")
    if envelope.get("format") != FORMAT or type(version) is not int or version < 1:
        raise ModelFileError("a safetensors file, but not a somknn model")
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"format version {version} is newer than this somknn reads ({FORMAT_VERSION}); upgrade somknn"
        )
    body = envelope.get("body")
    if not isinstance(body, dict) or envelope.get("body_sha256") != _text_digest(_canonical(body)):
        raise ModelFileError("the header does not match its digest: the file is damaged")
    return body


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _check_places(header: dict[str, Any], available: int) -> dict[str, tuple[int, np.dtype, tuple[int, ...]]]:
    """Start, dtype and shape of each array; together they must fill the data without gaps or overlaps."""
    places, spans = {}, []
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ModelFileError(f"damaged header (entry of array {name!r})")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or code not in _DTYPES:
            raise ModelFileError(f"array {name!r} has an unknown dtype")
        if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS or not all(map(_is_size, shape)):
            raise ModelFileError(f"damaged header (shape of array {name!r})")
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
            raise ModelFileError(f"damaged header (offsets of array {name!r})")
        dtype = np.dtype(_DTYPES[code])
        n_bytes = math.prod(shape) * dtype.itemsize
        if offsets[1] - offsets[0] != n_bytes or math.prod(n for n in shape if n) >= 2**59:
            raise ModelFileError(f"damaged header (size of array {name!r})")
        spans.append((offsets[0], offsets[1]))
        places[name] = (offsets[0], dtype, tuple(shape))
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise ModelFileError("damaged header (arrays overlap or leave a gap)")
        position = end
    if position != available:
        raise ModelFileError(f"the file is truncated or damaged ({available} bytes of arrays, {position} expected)")
    return places
