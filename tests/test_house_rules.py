"""Rules of the house that can be counted: sizes of functions, and words that the glossary has retired."""

import ast
from pathlib import Path

import pytest

import somknn
import somknn_kernels

ROOTS = [Path(package.__file__).parent for package in (somknn, somknn_kernels)]
FILES = [(root.name, file.relative_to(root).as_posix(), file) for root in ROOTS for file in sorted(root.rglob("*.py"))]
MOST_LINES = 100
MOST_PARAMETERS = 9
# docs/reference/glossary.md, "Retired words", where the whole name is one of them.
RETIRED = {"ceiling", "ceilings", "reaches"}
RETIRED_IN_SEARCH = {"limits", "reach", "residual", "residuals"}


def functions():
    for package, name, file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield package, name, node


def is_public_interface(node: ast.FunctionDef) -> bool:
    """An estimator's `__init__`, `load` and a command take what users may say, an intrinsic what a tile needs."""
    decorators = " ".join(ast.unparse(each) for each in node.decorator_list)
    return node.name in ("__init__", "load") or "command(" in decorators or "intrinsic" in decorators


def test_functions_are_short():
    long = [(name, node.name) for _, name, node in functions() if node.end_lineno - node.lineno >= MOST_LINES]
    assert not long


def test_functions_have_few_parameters():
    """What belongs together is a record."""
    many = {}
    for _, name, node in functions():
        given = node.args
        names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        names = [each for each in names if each not in ("self", "cls", "typing_context")]
        if len(names) > MOST_PARAMETERS and not is_public_interface(node):
            many[f"{name}: {node.name}"] = len(names)
    assert set(many) == {
        "search/byte_screen.py: _measure",
        "search/codebook_search.py: _decide",
        "search/codebook_search.py: two_nearest",
        "search/candidates.py: compare",
        "search/candidates.py: lower",
        "search/pruned.py: set_scan_thresholds",
        "search/self_search.py: _search_block",
        "search/self_search.py: search_pairs",
    }


@pytest.mark.parametrize(("package", "name", "file"), FILES)
def test_retired_words_do_not_come_back(package, name, file):
    retired = RETIRED | (RETIRED_IN_SEARCH if "search/" in name or name.startswith(("bounds/", "exact/")) else set())
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.arg | ast.keyword):
            found.add(node.arg)
    assert not found & retired
