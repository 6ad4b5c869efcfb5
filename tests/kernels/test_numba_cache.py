"""A future Numba, simulated by removing parts of the present one: kernels still run."""

import numpy as np
import pytest

from processes import python
from somknn_kernels import numba_cache, policy

KERNELS = """
import numpy as np
from somknn_kernels import policy

@policy.kernel
def total(values, out):
    out[0] = 0
    for value in values:
        out[0] += value

@policy.kernel
def largest(values):
    return values.max()

out = np.empty(1)
total(np.arange(7), out)
readonly = np.arange(8)
readonly.flags.writeable = False
total(readonly, out)
print(out[0], largest(np.arange(5)), sum(total.stats.cache_hits.values()))
"""

CHANGES = {
    "a name gone": "import numba.core.environment as e; del e.lookup_environment",
    "a class gone": "import numba.core.ccallback, numba.core.caching as c; del c.NullCache",
    "a method gone": "from numba.core.compiler import CompileResult; del CompileResult._rebuild",
    "another parameter": """
from numba.core.compiler import CompileResult
CompileResult._rebuild = classmethod(lambda cls, target_context, everything: None)
""",
    "another attribute of Dispatcher": """
import numba.core.dispatcher as d
class Renamed(d.Dispatcher):
    _cache = property(lambda self: self.__dict__["_store"], lambda self, cache: self.__dict__.update(_store=cache))
    def __getattribute__(self, name):
        if name == "_cache" and sys._getframe(1).f_globals["__name__"].startswith("somknn"):
            raise AttributeError(name)
        return super().__getattribute__(name)
import sys, numba
njit = numba.njit
def renamed(*args, **options):
    def decorate(function):
        dispatcher = njit(*args, **options)(function)
        dispatcher.__dict__["_store"] = dispatcher.__dict__.pop("_cache")
        dispatcher.__class__ = Renamed
        return dispatcher
    return decorate
numba.njit = renamed
""",
    "other parts": """
from numba.core.compiler import CompileResult
reduced = CompileResult._reduce
CompileResult._reduce = lambda self: (*reduced(self), "and more")
""",
    "parts in another order": """
from numba.core.compiler import CompileResult
reduced = CompileResult._reduce
CompileResult._reduce = lambda self: reduced(self)[::-1]
""",
    "another result": """
import functools
from numba.core.compiler import CompileResult
rebuilt = CompileResult._rebuild.__func__
@functools.wraps(rebuilt)
def rebuild(*args):
    result = rebuilt(*args)
    return result._replace(entry_point=lambda number: number)
CompileResult._rebuild = classmethod(rebuild)
""",
}


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("kernels") / "kernels.py"
    path.write_text(KERNELS)
    return f"import runpy; runpy.run_path({str(path)!r})"


@pytest.fixture(scope="module")
def warm(script, tmp_path_factory):
    """A cache filled by the present Numba."""
    folder = tmp_path_factory.mktemp("warm")
    for hits in (0, 1):
        done = python(script, SOMKNN_CACHE_DIR=str(folder))
        assert done.stdout == f"28.0 4 {hits}\n", done.stderr
    return folder


@pytest.mark.parametrize("change", CHANGES)
def test_kernels_run_with_a_numba_that_has_changed(change, script, warm):
    before = list(warm.rglob("*"))
    done = python(f"import numba\nnumba.__version__ = '99.0'\n{CHANGES[change]}\n{script}", SOMKNN_CACHE_DIR=str(warm))
    assert done.stdout == "28.0 4 0\n", done.stderr
    assert done.stderr.count("\n") == 1
    assert "cannot keep those of Numba 99.0" in done.stderr
    assert list(warm.rglob("*")) == before


def test_a_numba_that_is_only_newer_keeps_files_of_its_own(script, warm):
    newer = f"import numba\nnumba.__version__ = '99.0'\n{script}"
    for hits in (0, 1):
        done = python(newer, SOMKNN_CACHE_DIR=str(warm))
        assert done.stdout == f"28.0 4 {hits}\n"
        assert done.stderr == ""


UNUSABLE = """
from numba.core.compiler import CompileResult
rebuilt = CompileResult._rebuild.__func__
once = []
def rebuild(
    cls, target_context, libdata, fndesc, env, signature, objectmode, lifted, typeann, reload_init, referenced_envs
):
    if not once:
        once.append(None)
        raise ValueError("cannot be rebuilt")
    return rebuilt(
        cls, target_context, libdata, fndesc, env, signature, objectmode, lifted, typeann, reload_init, referenced_envs
    )
CompileResult._rebuild = classmethod(rebuild)
"""


def test_a_kernel_that_cannot_be_rebuilt_is_compiled(script, warm):
    done = python(f"{UNUSABLE}\n{script}", SOMKNN_CACHE_DIR=str(warm))
    assert done.stdout == "28.0 4 0\n", done.stderr
    assert done.stderr.count("\n") == 1
    assert "ValueError: cannot be rebuilt" in done.stderr


def test_this_numba_is_as_expected():
    assert numba_cache.changed() == ""


def test_one_form_of_a_kernel_for_read_only_arrays_is_only_an_economy():
    """As with a Numba whose dispatchers do not accept inserted forms: both are compiled."""

    class Foreign:
        compile = None

    numba_cache.take_readonly_arrays(Foreign())
    assert Foreign.compile is None


def test_without_the_compiler_one_sentence_says_so():
    done = python("import somknn_kernels.exact.selection", NUMBA_DISABLE_JIT="1")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: somknn's kernels need Numba's compiler")
    assert "NUMBA_DISABLE_JIT" in last
    assert "unset" in last


def test_kernels_with_a_closure_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("SOMKNN_CACHE_DIR", str(tmp_path))

    def adding(number):
        @policy.kernel
        def add(value):
            return value + number

        return add

    for hits in (0, 1):
        for number in (1, 2):
            add = adding(number)
            assert add(np.int64(3)) == 3 + number
            assert sum(add.stats.cache_hits.values()) == hits
