"""Public names: the same for editors and for Python, and importable without importing everything."""

import ast
import importlib
from pathlib import Path

import pytest

import somknn

ROOT = Path(somknn.__file__).parent
LAZY = ("somknn", "somknn.neighbors", "somknn.evaluation")


@pytest.mark.parametrize("package", LAZY)
def test_what_editors_read_is_what_python_does(package):
    """The imports `from … import name as name` under TYPE_CHECKING agree with the table passed to `lazily`."""
    module = importlib.import_module(package)
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    told = {alias.name: node.module for node in block.body for alias in node.names}
    assert all(alias.asname == alias.name for node in block.body for alias in node.names)
    submodules = {name for name, home in told.items() if home == package}
    assert {name: home for name, home in told.items() if name not in submodules} == module._HOMES
    assert submodules == getattr(module, "_SUBPACKAGES", set())
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)


def test_public_classes_live_where_the_table_says():
    for package in LAZY:
        module = importlib.import_module(package)
        for name, home in module._HOMES.items():
            assert getattr(module, name).__module__ == home


@pytest.mark.parametrize("package", ["somknn", "somknn_kernels"])
def test_type_checkers_are_told_that_there_are_types(package):
    assert (Path(importlib.import_module(package).__file__).parent / "py.typed").is_file()
