"""The one place that says how kernels are compiled, cached and announced.

Every kernel is decorated with `@kernel`. It releases the GIL and is single-threaded inside: parallelism comes
from `parallel.run_tasks`, which calls kernels from several Python threads. Numba's own `parallel=True` was
rejected for three reasons: it compiles five to ten times slower, its `workqueue` layer aborts the process when two Python
threads call at once (numba#10565), and its OpenMP layer cannot be used in a forked child.

Cache. Numba stamps a cached function with the modification time of its own file only, so a change in another
file whose function was inlined goes unnoticed. Here the stamp is a digest of the file and of every kernel file
that it imports, and names a folder of its own: a stale kernel cannot be loaded, several checkouts can
share one cache, and an installation in a read-only place works. Numba numbers the files of one function's
signatures in an index, so two processes that compile two signatures at a time can write both under one number, and
one of them is then run with the other's arguments. Here each signature has a file named after it, and no index.

Read-only arrays (memory-mapped rows, a loaded model) are another type to Numba than writable ones, and would be
compiled for seconds again. A kernel writes to the arrays that its caller made for it and to no others: one compiled
form serves both.
"""

import contextlib
import functools
import hashlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
from numba.core import caching, event, sigutils, types
from numba.core.environment import Environment, lookup_environment
from numba.core.runtime import rtsys

PACKAGE = __package__ or "somknn_kernels"
PACKAGE_FOLDER = Path(__file__).parent


def cache_folder() -> Path:
    """Folder of the compiled kernels: $SOMKNN_CACHE_DIR, else $NUMBA_CACHE_DIR, else the user's cache folder."""
    chosen = os.environ.get("SOMKNN_CACHE_DIR") or os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        return Path(chosen) / "somknn-kernels"
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "somknn" / "kernels"


# Parsing the files into syntax trees took 0.3 s of every start.
_KERNEL_IMPORT = re.compile(
    rf"^[ \t]*from[ \t]+({PACKAGE}(?:\.\w+)*)[ \t]+import[ \t]*(\([^)]*\)|[^\n]*)", re.MULTILINE
)


@functools.cache
def _imported_kernel_files(path: Path) -> frozenset[Path]:
    """The kernel files that `path` imports, directly or not, and itself. Kernels are imported by `from … import …` only (a test sees to it)."""
    files = {path}
    for module, imported in _KERNEL_IMPORT.findall(path.read_text(encoding="utf-8")):
        names = [module] + [f"{module}.{name}" for name in re.findall(r"\w+", imported)]
        for name in names:
            found = PACKAGE_FOLDER.joinpath(*name.split(".")[1:]).with_suffix(".py")
            if found.is_file() and found not in files:
                files |= _imported_kernel_files(found)
    return frozenset(files)


@functools.cache
def _source_digest(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(_imported_kernel_files(path)):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


class _KernelLocator(caching._CacheLocator):
    """Says where a kernel's compiled code lies and which source it belongs to."""

    def __init__(self, py_func, py_file):
        self._lineno = py_func.__code__.co_firstlineno
        self._digest = _source_digest(Path(py_file))
        self._path = str(cache_folder() / f"{Path(py_file).stem}-{self._digest}")

    def get_cache_path(self):
        return self._path

    def get_source_stamp(self):
        return self._digest

    def get_disambiguator(self):
        return str(self._lineno)

    @classmethod
    def from_function(cls, py_func, py_file):
        if not Path(py_file).is_file():
            return None
        locator = cls(py_func, py_file)
        try:
            locator.ensure_cache_path()
        except OSError:
            return None
        return locator


class _KernelCacheImpl(caching.CompileResultCacheImpl):
    """Keeps of a compiled kernel what it takes to run it, so that it is loaded in half of the time.

    Left out: the kernel's code before it was compiled, for those that would be linked with it (no kernel calls another; a test sees to it), its source
    with all types, and the modules of the functions of Numba's that it uses: loading it would import them, and SciPy's linear algebra with
    one of them.
    """

    _locator_classes = [_KernelLocator]  # noqa: RUF012 (Numba's own name and type)

    def reduce(self, cres):
        library, *parts, _, reload_init, environments = super().reduce(cres)
        name, kind, (code, bitcode) = library
        module = llvmlite.binding.parse_bitcode(bitcode)
        symbols = [
            each.name
            for group in (module.functions, module.global_variables)
            for each in group
            if not each.is_declaration
        ]
        nothing = llvmlite.binding.parse_assembly("").as_bitcode()
        kept = [(env.globals.get("__name__"), env.consts, env.env_name) for env in environments]
        return (name, kind, (code, nothing)), *parts, "", reload_init, (symbols, kept)

    def rebuild(self, target_context, payload):
        *parts, (symbols, kept) = payload
        target_context.codegen()._engine._defined_symbols.update(symbols)
        return super().rebuild(target_context, (*parts, tuple(_environment(*each) for each in kept)))


def _environment(module: str, consts: list, name: str) -> Environment:
    """As Numba rebuilds it, but for the module's contents, which compiled code never asks for."""
    found = lookup_environment(name)
    if found is None:
        found = Environment({"__name__": module})
        found.consts[:] = consts
        found.env_name = name
        Environment._memo[name] = found
    return found


class _SignatureFiles(caching.IndexDataCacheFile):
    """One file per signature, replaced as a whole: processes that share the folder cannot mix signatures up."""

    def _file_name(self, key):
        digest = hashlib.sha256(f"{self._version} {key}".encode()).hexdigest()[:16]
        return self._data_name_pattern.format(number=int(digest, 16))

    def save(self, key, data):
        self._save_data(self._file_name(key), (key, data))

    def load(self, key):
        try:
            saved_key, data = self._load_data(self._file_name(key))
        except OSError:
            return None
        return data if saved_key == key else None


class _KernelCache(caching.FunctionCache):
    _impl_class = _KernelCacheImpl

    def __init__(self, py_func):
        super().__init__(py_func)
        self._cache_file = _SignatureFiles(
            self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp()
        )

    def load_overload(self, sig, target_context):
        """As Numba's, without its tables of all it can compile (a quarter of a second), which compiling fills itself."""
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


class _CompilationNotice(event.Listener):
    """One line on stderr the first time that this process compiles a kernel."""

    def __init__(self):
        self.printed = False

    def on_start(self, event):
        name = getattr(event.data.get("dispatcher"), "__module__", "")
        if not self.printed and str(name).startswith(PACKAGE):
            self.printed = True
            print(
                f"somknn: compiling kernels for this machine (once; kept in {cache_folder()})",
                file=sys.stderr,
                flush=True,
            )

    def on_end(self, event):
        pass


_notice = _CompilationNotice()
event.register("numba:compile", _notice)


def _writable(argument: types.Type) -> types.Type:
    return argument.copy(readonly=False) if isinstance(argument, types.Array) else argument


def _take_readonly_arrays(dispatcher: Any) -> None:
    """Have read-only arrays run what is compiled for writable ones."""
    compile_writable = dispatcher.compile

    def compile(signature):
        arguments, _ = sigutils.normalize_signature(signature)
        writable = tuple(_writable(argument) for argument in arguments)
        entry_point = compile_writable(writable)
        if writable != tuple(arguments):
            dispatcher._insert([argument._code for argument in arguments], entry_point, False)
        return entry_point

    dispatcher.compile = compile


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` on first use: no GIL, strict IEEE arithmetic, cached on disk, C-like division."""
    dispatcher = numba.njit(nogil=True, fastmath=False, error_model="numpy", boundscheck=False)(function)
    _take_readonly_arrays(dispatcher)
    # Without a writable cache folder every process compiles the kernel again.
    with contextlib.suppress(RuntimeError):
        dispatcher._cache = _KernelCache(function)
    return dispatcher


def inlined(function: Callable[..., Any]) -> Any:
    """A helper that only other kernels call: compiled into its caller, so never cached by itself."""
    return numba.njit(nogil=True, fastmath=False, error_model="numpy", boundscheck=False, inline="never")(function)
