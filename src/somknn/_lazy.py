"""Public names of a package that are imported when they are first used."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazily(package: str, homes: Mapping[str, str | None]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` (its `__all__`) of the module `package`, whose names live in the submodules `homes`, or are submodules (None)."""

    def getattr_(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = importlib.import_module(f"{package}.{homes[name] or name}")
        if homes[name] is not None:
            value = getattr(value, name)
        setattr(sys.modules[package], name, value)
        return value

    return getattr_, lambda: list(sys.modules[package].__all__)
