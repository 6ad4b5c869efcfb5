"""The fitted state of an estimator: a table that its class declares, checked on saving and on loading.

    _saved_state = {
        "n_features_in_": Integer(1),
        "centers_": Array((None, "n_features_in_"), FLOATS),
        "labels_": Array((None,), "int32", below="centers_"),
        "history_": Optional(History()),
    }

A length is a number, the name of an attribute (an integer, or an object whose length is used), or None for any length.
A file with other attributes, or without one that is not `Optional`, is rejected before the estimator receives any of
it. So compiled code, which does not check lengths, and methods, which rely on their attributes, only see what `fit`
could have produced.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from somknn.persistence.container import ModelFileError, can_store

FLOATS = ("float32", "float64")
ROWS = ("uint8", *FLOATS)
_FINITE_AT_A_TIME = 1 << 20  # values: temporaries stay in the cache


class Kind(Protocol):
    """The set of values that an attribute may have."""

    def check(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        """Raise ModelFileError unless `value` is of this kind; `values` are all attributes of the estimator."""


class Optional(NamedTuple):
    """Another kind; or None; or the attribute is absent."""

    kind: Kind

    def check(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        if value is not None:
            self.kind.check(name, value, values)


class Either(NamedTuple):
    """One kind or the other."""

    first: Kind
    second: Kind

    def check(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        try:
            self.first.check(name, value, values)
        except ModelFileError:
            self.second.check(name, value, values)


class Integer(NamedTuple):
    """An integer of at least `low`."""

    low: int = 0

    def check(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        if type(value) is not int or not self.low <= value < 2**62:
            raise ModelFileError(f"{name} is {_shown(value)}, not an integer of at least {self.low}")


class Number(NamedTuple):
    """A number of at least 0, or NaN if nothing could be measured."""

    def check(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
            raise ModelFileError(f"{name} is {_shown(value)}, not a number")
        if value < 0:
            raise ModelFileError(f"{name} is {value}, a negative number")


class Flag(NamedTuple):
    """True or False."""

    def check(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        if type(value) is not bool:
            raise ModelFileError(f"{name} is {_shown(value)}, not true or false")


class Text(NamedTuple):
    """One of several words."""

    options: tuple[str, ...]

    def check(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        if value not in self.options:
            raise ModelFileError(f"{name} is {_shown(value)}, not one of {', '.join(self.options)}")


class History(NamedTuple):
    """A dict of lists of numbers, the training history, with at least these names."""

    names: tuple[str, ...] = ()

    def check(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        if not isinstance(value, dict):
            raise ModelFileError(f"{name} is {_shown(value)}, not a dict of lists")
        if not value.keys() >= set(self.names):
            raise ModelFileError(f"{name} lacks one of {', '.join(self.names)}")
        for entry, numbers in value.items():
            if not isinstance(numbers, list):
                raise ModelFileError(f"{name}[{entry!r}] is {_shown(numbers)}, not a list of numbers")
            for number in numbers:
                Number().check(f"{name}[{entry!r}]", number, values)


class Names(NamedTuple):
    """An object array (length,) of text, such as column names."""

    length: int | str | None = None

    def check(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        if not isinstance(value, np.ndarray) or value.dtype != object or value.ndim != 1:
            raise ModelFileError(f"{name} is {_shown(value)}, not a list of names")
        _check_shape(name, value.shape, (self.length,), values)
        if not all(type(each) is str for each in value):
            raise ModelFileError(f"{name} holds what is no name")


class Classes(NamedTuple):
    """Sorted labels without duplicates, as `np.unique` returns them."""

    def check(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        if not isinstance(value, np.ndarray) or value.ndim != 1 or not len(value):
            raise ModelFileError(f"{name} is {_shown(value)}, not a list of labels")
        try:
            ascending = bool(np.all(value[:-1] < value[1:]))
        except TypeError:  # labels that cannot be compared
            ascending = False
        if not ascending:
            raise ModelFileError(f"the labels in {name} are not in order, or one stands there twice")


class Categories(NamedTuple):
    """Different texts or finite numbers, at least one, in an array of one dimension."""

    def check(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        if not isinstance(value, np.ndarray) or value.ndim != 1 or not len(value) or value.dtype.kind not in "OUbiuf":
            raise ModelFileError(f"{name} is {_shown(value)}, not a list of categories")
        if value.dtype.kind in "OU" and not all(type(each) is str for each in value.tolist()):
            raise ModelFileError(f"{name} holds a category that is no text")
        check_finite_values(name, value)
        if len(set(value.tolist())) < len(value):
            raise ModelFileError(f"{name} holds a category twice")


class Labels(NamedTuple):
    """An array of labels, each of which occurs in another attribute."""

    classes: str
    shape: tuple[int | str | None, ...]

    def check(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        classes = values.get(self.classes)
        if (
            not isinstance(value, np.ndarray)
            or not isinstance(classes, np.ndarray)
            or value.dtype.kind != classes.dtype.kind
        ):
            raise ModelFileError(f"{name} is {_shown(value)}, not an array of labels as in {self.classes}")
        _check_shape(name, value.shape, self.shape, values)
        if not set(value.ravel().tolist()) <= set(classes.tolist()):
            raise ModelFileError(f"{name} holds a label that is not in {self.classes}")


class ListOf(NamedTuple):
    """A non-empty list of values of one kind."""

    kind: Kind

    def check(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        if not isinstance(value, list) or not value:
            raise ModelFileError(f"{name} is {_shown(value)}, not a list")
        for i, each in enumerate(value):
            self.kind.check(f"{name}[{i}]", each, values)


class Fitted(NamedTuple):
    """A fitted estimator of the class with this name."""

    class_name: str

    def check(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted

        if type(value).__name__ != self.class_name:
            raise ModelFileError(f"{name} is {_shown(value)}, not a {self.class_name}")
        try:
            check_is_fitted(value)
        except NotFittedError:
            raise ModelFileError(f"{name} is a {self.class_name} that is not fitted") from None


class Array(NamedTuple):
    """An array of numbers.

    shape : lengths; dtypes : a name or several; below : values are positions in [0, below), where `below` is a number
    or another attribute; finite : whether NaN and infinity are rejected.
    """

    shape: tuple[int | str | None, ...]
    dtypes: str | tuple[str, ...]
    below: int | str | None = None
    finite: bool = True

    def check(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        if not isinstance(value, np.ndarray) or not can_store(value.dtype):
            raise ModelFileError(f"{name} is {_shown(value)}, not an array of numbers")
        dtypes = (self.dtypes,) if isinstance(self.dtypes, str) else self.dtypes
        if value.dtype.name not in dtypes:
            raise ModelFileError(f"array {name!r} has dtype {value.dtype}, not {' or '.join(dtypes)}")
        _check_shape(name, value.shape, self.shape, values)
        if self.below is not None:
            check_positions(name, value, _length(self.below, values))
        if self.finite:
            check_finite_values(name, value)


class Saved(NamedTuple):
    """A finite array of any shape and dtype, which `_restore` checks further itself."""

    def check(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        if not isinstance(value, np.ndarray) or not can_store(value.dtype):
            raise ModelFileError(f"{name} is {_shown(value)}, not an array of numbers")
        check_finite_values(name, value)


COLUMNS: dict[str, Kind] = {"n_features_in_": Integer(1), "feature_names_in_": Optional(Names("n_features_in_"))}
"""Attributes that `validate_data` records about the fitted columns."""


def check_contents(table: Mapping[str, Kind], values: Mapping[str, Any]) -> None:
    """Raise ModelFileError unless `values` match `table`: every attribute of its kind, none missing, none unknown.

    A name in the table that ends in "*" stands for any number of attributes with that prefix.
    """
    prefixes = {name[:-1]: kind for name, kind in table.items() if name.endswith("*")}
    for name, kind in table.items():
        if name in values:
            kind.check(name, values[name], values)
        elif not isinstance(kind, Optional) and not name.endswith("*"):
            raise ModelFileError(f"{name!r} is missing")
    for name in values.keys() - table.keys():
        kinds = [kind for prefix, kind in prefixes.items() if name.startswith(prefix)]
        if not kinds:
            raise ModelFileError(f"there is no fitted attribute {name!r}")
        kinds[0].check(name, values[name], values)


def check_positions(name: str, array: np.ndarray, below: int) -> None:
    """Raise ModelFileError unless the integers of `array` lie in [0, below)."""
    if array.dtype.kind not in "iu":
        raise ModelFileError(f"array {name!r} has dtype {array.dtype}, not an integer one")
    if array.size and (array.min() < 0 or array.max() >= below):
        raise ModelFileError(f"array {name!r} holds positions outside 0 to {below - 1}")


def check_finite_values(name: str, array: np.ndarray) -> None:
    """Raise ModelFileError for NaN and infinity."""
    if array.dtype.kind != "f" or array.size == 0:
        return
    flat = array.reshape(-1)
    for start in range(0, flat.size, _FINITE_AT_A_TIME):
        if not np.isfinite(flat[start : start + _FINITE_AT_A_TIME]).all():
            raise ModelFileError(f"array {name!r} holds NaN or infinity")


def _length(length: int | str, values: Mapping[str, Any]) -> int:
    if isinstance(length, int):
        return length
    value = values.get(length)
    if type(value) is int:
        return value
    try:
        return len(value)  # type: ignore[arg-type]
    except TypeError:
        raise ModelFileError(f"{length!r} is missing") from None


def _check_shape(
    name: str, shape: tuple[int, ...], wanted: tuple[int | str | None, ...], values: Mapping[str, Any]
) -> None:
    lengths = tuple(None if length is None else _length(length, values) for length in wanted)
    if len(shape) != len(lengths) or any(want not in (None, n) for want, n in zip(lengths, shape, strict=True)):
        text = " × ".join("any" if length is None else str(length) for length in lengths)
        raise ModelFileError(f"array {name!r} has shape {shape}, not {text}")
    if math.prod(shape) == 0:
        raise ModelFileError(f"array {name!r} is empty")


def _shown(value: Any) -> str:
    """A value of a damaged file, formatted for a one-line error."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    text = " ".join(repr(value).split()) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
