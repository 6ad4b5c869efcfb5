"""Encode Python values as JSON plus named arrays, and decode them. Other values raise an error: never a pickle."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from somknn.persistence.container import ModelFileError, can_store

_SCALARS = {
    "bool",
    "float16",
    "float32",
    "float64",
    *(f"{u}int{b}" for u in ("", "u") for b in (8, 16, 32, 64)),
}

EncodeEstimator = Callable[[Any, str], dict[str, Any]]
DecodeEstimator = Callable[[Any], Any]


def encode(value: Any, key: str, what: str, arrays: dict[str, np.ndarray], estimator: EncodeEstimator) -> Any:
    """JSON for `value`; its arrays go into `arrays` under `key` or names that begin with it.

    `what` names the value in an error; `estimator(value, key)` encodes objects with `get_params`. Raises TypeError for
    values that cannot be saved.
    """
    if value is None or isinstance(value, bool | int):
        return value if value is None or isinstance(value, bool) else int(value)
    if isinstance(value, np.generic) and value.dtype.name in _SCALARS:
        item = encode(value.item(), key, what, arrays, estimator)
        return {"$scalar": [value.dtype.name, item]}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, np.dtype):
        return {"$dtype": value.name}
    if isinstance(value, type) and issubclass(value, np.generic):
        return {"$type": np.dtype(value).name}
    if isinstance(value, np.ndarray):
        return _encode_array(value, key, what, arrays)
    if isinstance(value, list | tuple):
        items = [encode(item, f"{key}/{i}", f"{what}[{i}]", arrays, estimator) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {
            "$dict": {
                name: encode(item, f"{key}/{name}", f"{what}[{name!r}]", arrays, estimator)
                for name, item in value.items()
            }
        }
    if hasattr(value, "get_params") and not isinstance(value, type):
        return {"$estimator": estimator(value, key)}
    if callable(value):
        raise TypeError(f"{what} is a function, which a model file cannot hold; use a named option instead")
    raise TypeError(f"{what} is a {type(value).__name__}, which a model file cannot hold")


def _encode_array(array: np.ndarray, key: str, what: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    if can_store(array.dtype):
        arrays[key] = array
        return {"$array": key}
    if array.dtype.kind in "UO":
        values = array.ravel().tolist()
        if all(value is None or type(value) in (str, bool, int, float) for value in values):
            items = [{"$float": str(v)} if type(v) is float and not math.isfinite(v) else v for v in values]
            return {"$objects": {"kind": array.dtype.kind, "shape": list(array.shape), "values": items}}
    raise TypeError(f"{what} is an array of dtype {array.dtype}, which a model file cannot hold")


def decode(value: Any, arrays: dict[str, np.ndarray], estimator: DecodeEstimator) -> Any:
    """The value that `encode` turned into `value`; ModelFileError for anything that `encode` does not write."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value
    if isinstance(value, list):
        return [decode(item, arrays, estimator) for item in value]
    if isinstance(value, dict) and len(value) == 1:
        ((tag, content),) = value.items()
        if tag == "$estimator":
            return estimator(content)
        reader = _READERS.get(tag)
        if reader is not None:
            return reader(content, arrays, estimator)
    raise ModelFileError("damaged model header (a value of unknown kind)")


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise ModelFileError(f"damaged model header ({what})")


def _read_array(content: Any, arrays: dict[str, np.ndarray], estimator: DecodeEstimator) -> np.ndarray:
    _expect(isinstance(content, str) and content in arrays, "an array is missing")
    return arrays[content]


def _read_float(content: Any, arrays: dict[str, np.ndarray], estimator: DecodeEstimator) -> float:
    _expect(content in ("nan", "inf", "-inf"), "a number")
    return float(content)


def _read_scalar(content: Any, arrays: dict[str, np.ndarray], estimator: DecodeEstimator) -> Any:
    _expect(isinstance(content, list) and len(content) == 2, "a number")
    name, item = content
    _expect(isinstance(name, str) and name in _SCALARS, "a number's dtype")
    item = decode(item, arrays, estimator)
    wanted = bool if name == "bool" else float if name.startswith("float") else int
    _expect(type(item) is wanted, "a number")
    try:
        return np.dtype(name).type(item)
    except OverflowError:
        raise ModelFileError("damaged model header (a number out of range)") from None


def _read_dtype(content: Any, arrays: dict[str, np.ndarray], estimator: DecodeEstimator) -> np.dtype:
    _expect(isinstance(content, str) and content in _SCALARS, "a dtype")
    return np.dtype(content)


def _read_type(content: Any, arrays: dict[str, np.ndarray], estimator: DecodeEstimator) -> type:
    return _read_dtype(content, arrays, estimator).type


def _read_tuple(content: Any, arrays: dict[str, np.ndarray], estimator: DecodeEstimator) -> tuple:
    _expect(isinstance(content, list), "a tuple")
    return tuple(decode(item, arrays, estimator) for item in content)


def _read_dict(content: Any, arrays: dict[str, np.ndarray], estimator: DecodeEstimator) -> dict[str, Any]:
    _expect(isinstance(content, dict), "a mapping")
    return {name: decode(item, arrays, estimator) for name, item in content.items()}


def _read_objects(content: Any, arrays: dict[str, np.ndarray], estimator: DecodeEstimator) -> np.ndarray:
    _expect(isinstance(content, dict) and set(content) == {"kind", "shape", "values"}, "a list of labels")
    kind, shape, values = content["kind"], content["shape"], content["values"]
    _expect(isinstance(values, list) and isinstance(shape, list), "a list of labels")
    _expect(all(type(n) is int and 0 <= n <= max(len(values), 1) for n in shape), "a list of labels")
    _expect(len(shape) <= 8 and math.prod(shape) == len(values), "a list of labels")
    values = [decode(v, arrays, estimator) for v in values]
    if kind == "U":
        _expect(all(isinstance(v, str) for v in values), "a list of labels")
        # One long label would widen every element: the memory that NumPy allocates must stay in proportion to the file.
        widest = max((len(v) for v in values), default=0)
        _expect(widest * len(values) <= 64 * (sum(map(len, values)) + len(values) + 1024), "a list of labels")
        return np.array(values, dtype=np.str_).reshape(shape)
    _expect(kind == "O", "a list of labels")
    _expect(all(v is None or type(v) in (str, bool, int, float) for v in values), "a list of labels")
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(shape)


_READERS: dict[str, Callable[..., Any]] = {
    "$array": _read_array,
    "$float": _read_float,
    "$scalar": _read_scalar,
    "$dtype": _read_dtype,
    "$type": _read_type,
    "$tuple": _read_tuple,
    "$dict": _read_dict,
    "$objects": _read_objects,
}
