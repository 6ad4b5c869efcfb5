"""Imports of the kernels point one way, from layer to layer, and take public names only."""

import ast
from pathlib import Path

import pytest

import somknn_kernels

ROOT = Path(somknn_kernels.__file__).parent
# From the bottom up. A file may import from its own layer and from those below.
LAYERS = [
    {"cache_files", "isa", "numba_cache", "parallel", "policy"},
    {"ir"},
    {"tiles"},
    {"exact"},
    {"bounds"},
    {"images", "learn", "maps", "search", "votes"},
]
LAYER_OF = {name: height for height, names in enumerate(LAYERS) for name in names}


def kernel_imports():
    """(file, layer or module of the file, the same of what it imports, imported name) of every import between kernel files."""
    for file in sorted(ROOT.rglob("*.py")):
        own = file.relative_to(ROOT).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == ROOT.name:
                parts = node.module.split(".")[1:]
                for alias in node.names:
                    yield file, own, (parts or [alias.name])[0], alias.name


IMPORTS = list(kernel_imports())


def test_there_are_imports_to_look_at():
    assert len(IMPORTS) > 150
    assert {own for _, own, _, _ in IMPORTS} >= {"tiles", "exact", "bounds", *LAYERS[-1]} - {"votes"}


def test_every_file_belongs_to_a_layer():
    found = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found - {"__init__"} == set(LAYER_OF)


@pytest.mark.parametrize("own", sorted(LAYER_OF))
def test_imports_point_down(own):
    for file, layer, other, name in IMPORTS:
        if layer == own and other != own:
            lower = LAYER_OF[other] < LAYER_OF[own] or LAYER_OF[own] == 0
            assert lower, f"{file.relative_to(ROOT)} imports {name} from {other}, which is not below {own}"


def test_no_private_name_is_imported():
    private = [f"{file.relative_to(ROOT)}: {name}" for file, _, _, name in IMPORTS if name.startswith("_")]
    assert not private


@pytest.mark.parametrize("layer", sorted(set(LAYER_OF) - LAYERS[0]))
def test_a_layer_s_door_says_what_lives_there_and_holds_no_code(layer):
    """Code in an `__init__` would not be among the files whose change makes a cached kernel stale."""
    door = ast.parse((ROOT / layer / "__init__.py").read_text(encoding="utf-8"))
    assert len(door.body) == 1
    text = ast.get_docstring(door)
    for file in (ROOT / layer).glob("*.py"):
        if file.name != "__init__.py":
            assert f"`{file.name}`" in text, f"{layer}/__init__.py says nothing about {file.name}"
