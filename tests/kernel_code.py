"""The compiled code of every kernel that a test run compiled, as text, to compare two versions of the sources.

    FOLDERS="tests/kernels tests/search tests/neighbors"
    SOMKNN_CACHE_DIR=$(mktemp -d) pytest $FOLDERS --kernel-code=before     in one version
    SOMKNN_CACHE_DIR=$(mktemp -d) pytest $FOLDERS --kernel-code=after      in the other
    diff -r before after

One file per kernel and signature (an instruction set is part of the signature). It contains LLVM's optimised
intermediate representation with the names from the sources replaced by numbers, so that moving or renaming does not
change the text. A kernel that was read from the cache has no such code, hence the empty folder.
"""

import hashlib
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from numba.core.dispatcher import Dispatcher

import somknn_kernels

_NAME = r'(?:"[^"]*"|[\w.$<>-]+)'
_LOCAL = re.compile(rf"%{_NAME}")
_GLOBAL = re.compile(rf"@{_NAME}")
_LABEL = re.compile(rf"^({_NAME}):", re.MULTILINE)
_FUNCTION = re.compile(r"^define .*?^}$", re.MULTILINE | re.DOTALL)
_NOISE = re.compile(r"\s*;.*$|,? ![\w.]+ ![\w.]+|,? !\w+$|(?<= )#\d+", re.MULTILINE)


def kernels() -> Iterator[tuple[str, Dispatcher]]:
    """Every kernel of the package by its name."""
    for module in pkgutil.walk_packages(somknn_kernels.__path__, "somknn_kernels."):
        if not module.name.endswith("__main__"):
            for name, value in vars(import_module(module.name)).items():
                if isinstance(value, Dispatcher) and value.py_func.__module__ == module.name:
                    yield name, value


def normalised(text: str) -> str:
    """The functions of a module in LLVM's language, without names, comments and metadata."""
    functions = [each for each in _FUNCTION.findall(text) if "@_ZN7cpython" not in each.split("{", 1)[0]]
    known = {name: f"@{i}" for i, name in enumerate(dict.fromkeys(_GLOBAL.findall("\n".join(functions))))}

    def outer(found: re.Match) -> str:
        return found[0] if found[0].startswith("@llvm.") else known[found[0]]

    return "\n".join(_numbered(_GLOBAL.sub(outer, _NOISE.sub("", each))) for each in functions)


def _numbered(function: str) -> str:
    names: dict[str, str] = {}

    def number(name: str) -> str:
        return names.setdefault(name, str(len(names)))

    function = _LOCAL.sub(lambda found: f"%{number(found[0][1:])}", function)
    return _LABEL.sub(lambda found: f"{number(found[1])}:", function)


def dump(folder: Path) -> None:
    """Write one file for each kernel and signature that this process compiled."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, kernel in kernels():
        for signature, compiled in kernel.overloads.items():
            text = compiled.library.get_llvm_str()
            if _FUNCTION.search(text):  # false for a kernel that was read from the cache
                digest = hashlib.sha256(str(signature).encode()).hexdigest()[:12]
                (folder / f"{name}-{digest}.ll").write_text(f"; {name}{signature}\n{normalised(text)}\n")
