"""Public names of a package that are imported when they are first used.

Editors and type checkers read the plain imports that stand beside them under `TYPE_CHECKING`; a test sees that both say the same.
"""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazily(package: str, homes: Mapping[str, str | None]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` (its `__all__`) of the module `package`.

    homes : for each name the module that it lives in, or None for a submodule of `package`.
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
