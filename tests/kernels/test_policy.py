"""How kernels are compiled, cached and announced, seen from fresh processes."""

import ast
import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from processes import python
from somknn_kernels import policy

SEARCH = """
import numpy as np
from somknn_kernels.votes import voting
from somknn_kernels.exact.selection import sorted_heaps
print(sorted_heaps(np.array([[3, 1]]), np.array([[0, 1]]))[0].tolist())
"""


def test_compiling_is_announced_once_and_kept(tmp_path):
    first = python(SEARCH, SOMKNN_CACHE_DIR=str(tmp_path))
    assert first.stdout.strip() == "[[1, 3]]"
    assert first.stderr.count("compiling kernels") == 1
    assert str(tmp_path) in first.stderr
    again = python(SEARCH, SOMKNN_CACHE_DIR=str(tmp_path))
    assert again.stdout == first.stdout
    assert again.stderr == ""


def test_no_kernel_calls_another():
    """A cached kernel contains only its own code, without code linked from other kernels. Shared code is `inlined`."""
    names = {module.name for module in pkgutil.walk_packages([str(policy.PACKAGE_FOLDER)], f"{policy.PACKAGE}.")}
    assert {"somknn_kernels.search.pruned", "somknn_kernels.exact.selection"} <= names
    for module in map(importlib.import_module, names):
        for name, function in vars(module).items():
            if isinstance(function, Dispatcher):
                called = [vars(module).get(word) for word in function.py_func.__code__.co_names]
                assert not any(isinstance(other, Dispatcher) and other._cache.cache_path for other in called), name


LOADING = """
import sys
import numpy as np
from somknn.neighbors import ExactIndex

rows = np.random.default_rng(0).integers(0, 256, (3000, 64), dtype=np.uint8)
print(ExactIndex("pruned").fit(rows).search(rows[:9], 1)[1].ravel().tolist())
print([name for name in ("scipy.linalg", "numba.np.arraymath") if name in sys.modules])
"""


def test_a_loaded_kernel_imports_nothing_of_numba_s_or_scipy_s(tmp_path):
    python(LOADING, SOMKNN_CACHE_DIR=str(tmp_path))
    assert python(LOADING, SOMKNN_CACHE_DIR=str(tmp_path)).stdout.splitlines() == [str(list(range(9))), "[]"]


ALLOCATING = """
import numpy as np
from somknn_kernels import policy

@policy.kernel
def squares(values):
    return np.sort(values) * values + np.zeros(len(values))

@policy.kernel
def cubes(values):
    return np.array([value**3 for value in np.sort(values)])

print(squares(np.arange(3.0)).tolist(), sum(squares.stats.cache_hits.values()))
if MORE:
    print(cubes(np.array([2.0, 1.0])).tolist())
"""


def test_a_process_that_loaded_a_kernel_compiles_others(tmp_path):
    """A kernel is loaded without Numba's registries for compiling; they must be there when another is compiled."""
    script = tmp_path / "kernels.py"
    script.write_text(ALLOCATING)
    for more, expected in ((False, "[0.0, 1.0, 4.0] 0\n"), (True, "[0.0, 1.0, 4.0] 1\n[1.0, 8.0]\n")):
        code = f"import runpy; runpy.run_path({str(script)!r}, {{'MORE': {more}}})"
        done = python(code, SOMKNN_CACHE_DIR=str(tmp_path / "cache"))
        assert done.stdout == expected, done.stderr


def test_importing_compiles_nothing(tmp_path):
    done = python("import somknn, somknn.cli, somknn.neighbors", SOMKNN_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0
    assert done.stderr == ""
    assert not list(tmp_path.rglob("*.nb*"))


def test_without_a_writable_cache_folder_kernels_still_run(tmp_path):
    (tmp_path / "file").write_text("")
    done = python(SEARCH, SOMKNN_CACHE_DIR=str(tmp_path / "file" / "below"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[[1, 3]]"


@policy.kernel
def total(values, out):
    out[0] = 0
    for value in values:
        out[0] += value


def test_a_file_of_another_signature_is_not_loaded(tmp_path, monkeypatch):
    """Numba's own cache only checked the number of a file: code for one type ran on data of another."""
    monkeypatch.setenv("SOMKNN_CACHE_DIR", str(tmp_path))

    def fresh():
        return policy.kernel(total.py_func)

    def run(dispatcher, dtype):
        out = np.empty(1)
        dispatcher(np.arange(7, dtype=dtype), out)
        assert out[0] == 21
        return sum(dispatcher.stats.cache_hits.values())

    assert [run(fresh(), dtype) for dtype in (np.int64, np.int64, np.float64, np.float64)] == [0, 1, 0, 1]
    first, second = tmp_path.rglob("*.nbc")
    assert not list(tmp_path.rglob("*.nbi"))
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    assert [run(fresh(), dtype) for dtype in (np.int64, np.int64, np.float64, np.float64)] == [0, 1, 0, 1]
    first.unlink()
    assert sorted(run(fresh(), dtype) for dtype in (np.int64, np.float64)) == [0, 1]


@pytest.mark.parametrize("writable", [(True, False), (False, True)])
def test_one_compiled_form_serves_read_only_arrays_too(writable):
    dispatcher = policy.kernel(total.py_func)
    out = np.empty(1)
    for flag in (*writable, *writable):
        values = np.arange(5.0)
        values.flags.writeable = flag
        dispatcher(values, out)
        assert out[0] == 10
    assert len(dispatcher.overloads) == 1


def test_imports_are_found_as_python_finds_them():
    """Kernel files are searched for imports as text: an overlooked form of import would leave stale kernels in use."""
    files = list(policy.PACKAGE_FOLDER.rglob("*.py"))
    assert policy.PACKAGE_FOLDER / "search" / "pruned.py" in files
    for path in files:
        imported = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(alias.name.split(".")[0] == policy.PACKAGE for alias in node.names), path.name
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, path.name
                parts = (node.module or "").split(".")
                if parts[0] == policy.PACKAGE:
                    imported |= {"/".join(parts[1:])} | {"/".join([*parts[1:], alias.name]) for alias in node.names}
        direct = {policy.PACKAGE_FOLDER / f"{name}.py" for name in imported}
        assert {file for file in direct if file.is_file()} <= policy._imported_kernel_files(path)
        indirect = {path}.union(*(policy._imported_kernel_files(file) for file in direct if file.is_file()))
        assert indirect == policy._imported_kernel_files(path)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Three kernel files: outer imports middle, middle imports inner by another form of import."""
    (tmp_path / "inner.py").write_text("value = 1\n")
    (tmp_path / "middle.py").write_text(f"from {policy.PACKAGE} import inner\n")
    (tmp_path / "outer.py").write_text(f"from {policy.PACKAGE}.middle import inner\n")
    (tmp_path / "apart.py").write_text("import numpy\n")
    monkeypatch.setattr(policy, "PACKAGE_FOLDER", tmp_path)

    def digest(name):
        policy._imported_kernel_files.cache_clear()
        policy._source_digest.cache_clear()
        return policy._source_digest(tmp_path / name)

    yield tmp_path, digest
    policy._imported_kernel_files.cache_clear()
    policy._source_digest.cache_clear()


def test_a_change_in_an_imported_file_makes_the_cached_code_stale(package):
    folder, digest = package
    before = {name: digest(name) for name in ("outer.py", "middle.py", "inner.py", "apart.py")}
    assert len(set(before.values())) == 4
    (folder / "inner.py").write_text("value = 2\n")
    after = {name: digest(name) for name in before}
    assert {name for name in before if before[name] != after[name]} == {"outer.py", "middle.py", "inner.py"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SOMKNN_CACHE_DIR": "a", "NUMBA_CACHE_DIR": "b"}, Path("a/somknn-kernels")),
        ({"NUMBA_CACHE_DIR": "b"}, Path("b/somknn-kernels")),
    ],
)
def test_cache_folder_follows_the_environment(monkeypatch, variables, expected):
    for name in ("SOMKNN_CACHE_DIR", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert policy.cache_folder() == expected


@policy.inlined
def one_more(value):
    return value + 1


@policy.kernel
def twice_one_more(value):
    return 2 * one_more(value)


@pytest.mark.parametrize("value", [3, 3.5])
def test_python_cannot_call_what_is_compiled_into_kernels(value):
    """It has no way in for Python: calling it anyway ended the process."""
    for _ in range(2):
        assert twice_one_more(value) == 2 * (value + 1)
        with pytest.raises(TypeError, match="one_more is compiled into kernels; Python cannot call it"):
            one_more(value)
