"""Deliberate damage: model files with correct digests whose contents `fit` did not produce.

This knows no class: it changes the arrays and the JSON that a model happens to have.
"""

import copy
from typing import Any

import numpy as np

_DTYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "?"]
_VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    7,
    255,
    2**31 - 1,
    2**31,
    2**53,
    2**61,
    2**63 - 1,
    2**70,
    -(2**63),
    0.0,
    0.5,
    -1.5,
    1e-300,
    1e300,
    "",
    "auto",
    "pruned",
    "faiss",
    "x" * 1000,
    [],
    [1, 2],
    [[[[]]]],
    {},
    {"$dict": {}},
    {"$tuple": []},
    {"$tuple": [1, 1]},
    {"$tuple": [2**40, 2**20]},
    {"$float": "nan"},
    {"$float": "inf"},
    {"$scalar": ["int64", -1]},
    {"$scalar": ["float32", 2.5]},
    {"$dtype": "float64"},
    {"$type": "uint8"},
    {"$objects": {"kind": "U", "shape": [2], "values": ["a", "b"]}},
    {"$objects": {"kind": "O", "shape": [2], "values": ["a", 1]}},
]


def mutant(arrays: dict[str, np.ndarray], document: dict[str, Any], random: np.random.Generator) -> tuple[Any, Any]:
    """Arrays and document of a model with one to three changes."""
    arrays, document = dict(arrays), copy.deepcopy(document)
    for _ in range(random.integers(1, 4)):
        if arrays and random.random() < 0.5:
            _change_an_array(arrays, random)
        else:
            _change_the_document(arrays, document["estimator"], random)
    return arrays, document


def _extreme(dtype: np.dtype, random: np.random.Generator) -> Any:
    if dtype.kind == "f":
        largest = np.finfo(dtype).max
        return random.choice(np.array([0, 1, -1, 0.5, 1e-30, largest, -largest, np.inf, np.nan, 1e30], dtype))
    if dtype.kind == "b":
        return bool(random.integers(2))
    limits = np.iinfo(dtype)
    return dtype.type(random.choice([limits.min, limits.max, 0, 1, min(limits.max, 127), limits.max // 2]))


def _change_an_array(arrays: dict[str, np.ndarray], random: np.random.Generator) -> None:
    name = str(random.choice(sorted(arrays)))
    array = arrays[name].copy()
    with np.errstate(all="ignore"):
        match random.integers(12):
            case 0:  # one value
                if array.size:
                    array.flat[random.integers(array.size)] = _extreme(array.dtype, random)
            case 1:  # all values
                array[...] = _extreme(array.dtype, random)
            case 2:  # shifted by one, as a position is
                array = array ^ True if array.dtype == bool else array + array.dtype.type(random.integers(1, 3))
            case 3:  # one bit
                raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
                if raw.size and array.dtype != bool:
                    raw[random.integers(raw.size)] ^= np.uint8(1 << random.integers(8))
                    array = raw.view(array.dtype).reshape(array.shape)
            case 4:  # another dtype
                array = array.astype(random.choice(_DTYPES))
            case 5:
                array = np.ascontiguousarray(array.T)
            case 6:  # shorter or longer along one axis
                if array.ndim:
                    axis = int(random.integers(array.ndim))
                    length = int(random.integers(0, 2 * array.shape[axis] + 2))
                    if array.shape[axis]:
                        array = np.take(array, np.arange(length) % array.shape[axis], axis=axis)
            case 7:
                array = array.reshape(-1) if random.random() < 0.5 else array[None]
            case 8:
                array = array[:0] if array.ndim else array
            case 9:
                array = random.permutation(array.reshape(-1)).reshape(array.shape)
            case 10:  # the contents of another array
                array = arrays[str(random.choice(sorted(arrays)))].copy()
            case _:
                del arrays[name]
                return
    arrays[name] = np.ascontiguousarray(array)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every item in a JSON value."""
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    found: list[tuple[Any, Any]] = [(value, key) for key, _ in items]
    for _, inner in items:
        found += _places(inner)
    return found


def _change_the_document(arrays: dict[str, np.ndarray], content: dict[str, Any], random: np.random.Generator) -> None:
    places = _places(content)
    if not places:
        return
    container, key = places[random.integers(len(places))]
    match random.integers(6):
        case 0:
            del container[key]
        case 1:  # a value from another place
            other, place = places[random.integers(len(places))]
            if place in other if isinstance(other, dict) else place < len(other):
                container[key] = copy.deepcopy(other[place])
        case 2 if isinstance(container, dict):  # another name
            container[str(random.choice(["x_", "fit", "labels_", "n_features_in_", "$array", key + "_"]))] = (
                container.pop(key)
            )
        case 3 if arrays:
            container[key] = {"$array": str(random.choice(sorted(arrays)))}
        case 4 if type(container[key]) in (int, float):
            container[key] = container[key] * 2 + 1 if random.random() < 0.5 else -container[key]
        case _:
            container[key] = copy.deepcopy(_VALUES[random.integers(len(_VALUES))])
