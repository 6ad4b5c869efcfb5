"""Imports point one way, from layer to layer, and take public names only. Few places call kernels."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import somknn
import somknn_kernels

# From the bottom up. A file may import from its own part of its layer and from the layers below.
KERNELS = [
    {"cache_files", "claims", "isa", "levels", "numba_cache", "origins", "parallel", "policy", "prebuild", "prebuilt"},
    {"ir"},
    {"tiles"},
    {"exact"},
    {"bounds"},
    {"files", "images", "learn", "maps", "search", "votes"},
]
SOMKNN = [
    {
        "_ending",
        "_files",
        "_lazy",
        "axes",
        "environment",
        "fitted",
        "grouping",
        "machine",
        "progress",
        "scaling",
        "threads",
    },
    {"datasets", "persistence", "search"},
    {"batch", "neighbors"},
    {"images", "som"},
    {"plots", "prototypes"},
    {"distributed", "evaluation"},
    {"cli"},
]
# Trainers, votes, images and files call the kernels of their own subject. All other ways to kernels lead through
# `machine` and `search`.
CALL_KERNELS = {
    "datasets/parquet_pages.py",
    "datasets/text.py",
    "grouping.py",
    "images/deformation.py",
    "images/transformers.py",
    "machine.py",
    "neighbors/weighting.py",
    "prototypes/glvq.py",
    "prototypes/lvq.py",
    "prototypes/metric.py",
    "prototypes/seeding.py",
    "som/blocks.py",
    "som/neighborhoods.py",
}


class Import(NamedTuple):
    """A name that a file imports from a part of a package: a subpackage, or a file beside the subpackages."""

    file: Path
    own: str
    package: str
    part: str
    name: str


def imports(package) -> Iterator[Import]:
    """Every import from one of the two packages in the files of `package`, at the head of a file or later."""
    root = Path(package.__file__).parent
    for file in sorted(root.rglob("*.py")):
        relative = file.relative_to(root)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("somknn", "somknn_kernels"):
                top, *parts = node.module.split(".")
                for alias in node.names:
                    part = (parts or [alias.name])[0]
                    yield Import(relative, relative.with_suffix("").parts[0], top, part, alias.name)


def heights(layers: list[set[str]]) -> dict[str, int]:
    return {part: height for height, parts in enumerate(layers) for part in parts}


PACKAGES = {
    "somknn": (heights(SOMKNN), list(imports(somknn))),
    "somknn_kernels": (heights(KERNELS), list(imports(somknn_kernels))),
}
PARTS = [(package, part) for package, (height, _) in PACKAGES.items() for part in sorted(height)]


def test_there_are_imports_to_look_at():
    assert {package: len(found) > 150 for package, (_, found) in PACKAGES.items()} == dict.fromkeys(PACKAGES, True)


@pytest.mark.parametrize("package", [somknn, somknn_kernels])
def test_every_file_belongs_to_a_layer(package):
    root = Path(package.__file__).parent
    found = {path.stem for path in root.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found - {"__init__", "__main__"} == set(PACKAGES[package.__name__][0])


@pytest.mark.parametrize(("package", "part"), PARTS)
def test_imports_point_down(package, part):
    height, found = PACKAGES[package]
    for each in found:
        if each.own == part and each.package == package and each.part not in (part, "__version__"):
            other = height.get(each.part)
            if other is None:  # a public name of `somknn` itself, which only commands may use
                assert part == "cli", f"{each.file} imports {each.name} from {package}"
                continue
            assert other < height[part] or height[part] == 0, (
                f"{each.file} imports {each.name} from {package}.{each.part}, which is not below {package}.{part}"
            )


def test_kernels_know_nothing_of_what_calls_them():
    assert not [each for each in PACKAGES["somknn_kernels"][1] if each.package != "somknn_kernels"]


def test_no_private_name_is_imported():
    private = [f"{each.file}: {each.name}" for _, found in PACKAGES.values() for each in found if each.name[0] == "_"]
    assert not [each for each in private if not each.endswith(": __version__")]


def test_few_files_import_kernels():
    files = {each.file.as_posix() for each in PACKAGES["somknn"][1] if each.package == "somknn_kernels"}
    assert {file for file in files if not file.startswith("search/")} == CALL_KERNELS
    assert len(files) <= 25


def test_only_the_search_room_calls_kernels_of_search():
    rooms = {each.own for each in PACKAGES["somknn"][1] if (each.package, each.part) == ("somknn_kernels", "search")}
    assert rooms == {"search"}


@pytest.mark.parametrize("layer", sorted(set().union(*KERNELS[1:])))
def test_a_layer_s_door_says_what_lives_there_and_holds_no_code(layer):
    """Code in an `__init__` would not be among the files whose change makes a cached kernel stale."""
    folder = Path(somknn_kernels.__file__).parent / layer
    door = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    assert len(door.body) == 1
    text = ast.get_docstring(door)
    for file in folder.glob("*.py"):
        if file.name != "__init__.py":
            assert f"`{file.name}`" in text, f"{layer}/__init__.py says nothing about {file.name}"
