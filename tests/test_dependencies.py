"""The code imports only packages that the project declares."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

import somknn
import somknn_kernels
from lowest_versions import lowest

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "faiss": "faiss-cpu",
}  # the others have the same name as their module


def imported(folder):
    """Top-level module names imported anywhere in the files below `folder`, with a file for each."""
    found = {}
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
                "import_module",
                "__import__",
            ):
                names = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            found |= {name.split(".")[0]: file.name for name in names if isinstance(name, str)}
    return {name: file for name, file in found.items() if name and name not in sys.stdlib_module_names}


def distributions(requirements):
    return {re.match(r"[\w.-]+", requirement)[0] for requirement in requirements}


@pytest.mark.skipif(not PROJECT.exists(), reason="runs in a checkout")
def test_every_import_is_declared():
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    users = [extras[name] for name in extras if name not in ("all", "test", "benchmark", "dev")]
    declared = distributions(project["dependencies"]).union(*map(distributions, users))
    for package in (somknn, somknn_kernels):
        names = imported(Path(package.__file__).parent)
        assert {"numpy", "numba"} & set(names)
        lacking = {name: file for name, file in names.items() if DISTRIBUTIONS.get(name, name) not in declared}
        assert set(lacking) <= {"somknn", "somknn_kernels"}, lacking


@pytest.mark.skipif(not PROJECT.exists(), reason="runs in a checkout")
def test_every_dependency_has_a_lowest_version():
    """`.ci/lowest` tries them; a requirement of another form than name>=version raises."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    assert distributions(project["dependencies"]) <= set(lowest())
    assert {"faiss-cpu", "pooch", "pytest"} < set(lowest())
    for requirement in lowest().values():
        assert re.fullmatch(r"[\w.-]+(\[\w+\])?==[\d.]+", requirement)
