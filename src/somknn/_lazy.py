"""Import the public names of a package on first use.

Editors and type checkers read the plain imports next to them under `TYPE_CHECKING`; a test checks that both lists
agree.
"""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazily(package: str, homes: Mapping[str, str | None]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` (which lists `__all__`) for the module `package`.

    homes : the module of each name, or None for a submodule of `package`.
    """

    def getattr_(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes[name]
        value = importlib.import_module(home or f"{package}.{name}")
        if home is not None:
            value = getattr(value, name)
        setattr(sys.modules[package], name, value)
        return value

    return getattr_, lambda: list(sys.modules[package].__all__)
