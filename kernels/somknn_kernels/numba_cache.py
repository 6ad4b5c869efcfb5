"""All that somknn takes from inside Numba, where any release may change it. It is tested before it is used.

`changed()` says what is missing, judging by names and parameters. Before a process keeps its first kernel it makes a
round trip: a function of one line is compiled, packed, unpacked and run. If either fails, kernels are compiled in
memory, and one line says so: starts are slow then, results are right. Numba's own cache cannot be used instead: it
unpickles what it finds, whoever wrote it and whatever happened to it since. It also does not notice when a file has
changed whose code was inlined.

Only what is needed to run a compiled kernel is kept, so it is loaded in half of the time. Left out are

- its code before it was compiled, which only kernels that are linked with it would need (no kernel calls another; a
  test checks that),
- its source with all types,
- the modules of those functions of Numba that it uses: loading it would import them, and with one of them SciPy's
  linear algebra.

Numba numbers the files of one function's signatures in an index. So two processes that compile two signatures at the
same time can write both under one number, and one of them is then run with the other's arguments. Here each signature
has a file named after it, and there is no index.
"""

import hashlib
import inspect
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import llvmlite.binding
import numba
from numba import types

from somknn_kernels import cache_files, claims, origins, prebuilt

_NullCache: Any = object
try:
    from numba.core import caching, sigutils
    from numba.core.compiler import CompileResult
    from numba.core.environment import Environment, lookup_environment
    from numba.core.runtime import rtsys
    from numba.core.serialize import dumps

    _NullCache = caching.NullCache
    _missing = ""
except (ImportError, AttributeError) as error:
    _missing = str(error)

_REBUILD = [
    "target_context",
    "libdata",
    "fndesc",
    "env",
    "signature",
    "objectmode",
    "lifted",
    "typeann",
    "reload_init",
    "referenced_envs",
]


class _Changed(Exception):
    """Numba is not as this file expects it."""


def changed() -> str:
    """What in Numba differs from when this was written; empty if nothing does."""
    if _missing:
        return _missing
    try:
        found = list(inspect.signature(CompileResult._rebuild).parameters)
        if found != _REBUILD:
            return f"CompileResult._rebuild takes {', '.join(found)}"
        CompileResult._reduce, Environment._memo, rtsys.initialize, dumps, lookup_environment  # noqa: B018
    except (AttributeError, TypeError, ValueError) as error:
        return str(error)
    return ""


_given_up = changed()


def _give_up(why: str) -> None:
    global _given_up
    _given_up = why


def _say_given_up() -> None:
    cache_files.say_once(
        f"{cache_files.IN_MEMORY}: somknn cannot keep those of Numba {numba.__version__} ({_given_up}); "
        "install an earlier Numba or a later somknn"
    )


def cached(dispatcher: Any, digest: str) -> None:
    """Make `dispatcher` keep and find its code in `cache_files`.

    digest : of all source files from which the code is compiled.
    """
    if not _given_up and not hasattr(dispatcher, "_cache"):
        _give_up("Dispatcher has no _cache")
    if _given_up:
        _say_given_up()
    else:
        dispatcher._cache = _KernelCache(dispatcher.py_func, digest)


class _Place(NamedTuple):
    """Where kernels are looked for, what these are compiled for, and how a file is read there."""

    origin: str
    target: tuple
    folder: Path
    read: Callable[[str, str, bytes], bytes | None]


def _places(own: tuple) -> list[_Place]:
    """own : triple, processor and features that this process compiles for"""
    came = [_Place(origins.PREBUILT, each.target, each.folder, each.read) for each in prebuilt.levels()]
    return [*came, _Place(origins.CACHE, own, cache_files.cache_folder() or Path(), cache_files.read)]


class _KernelCache(_NullCache):
    """What `Dispatcher` needs of a cache. It is called under the lock of Numba's compiler."""

    def __init__(self, function: Callable[..., Any], digest: str):
        code = function.__code__
        self._function = function
        self._folder = f"{Path(code.co_filename).stem}-{digest}"
        name = re.sub(r"[^\w.]", "", function.__qualname__)
        self._name = f"{name}-{code.co_firstlineno}.py{sys.version_info[0]}{sys.version_info[1]}{sys.abiflags}"
        self._kernel = f"{function.__module__.removeprefix(f'{__package__}.')}.{function.__name__}"
        self._ours = function.__module__.startswith(__package__)
        self._missed = 0.0

    @property
    def cache_path(self) -> str:
        return str((cache_files.cache_folder() or Path()) / self._folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled form for a signature, or None."""
        found = None if _given_up else self._find(sig, target_context)
        if not _given_up and found is None:
            if self._ours:
                cache_files.announce(self._folder)
            _, holds = self._key(sig, target_context.codegen().magic_tuple())
            if claims.take(self._folder, self._file(holds)):
                found = self._find(sig, target_context)
                if found is not None:
                    claims.release()
        if _given_up:
            _say_given_up()
        self._missed = origins.clock()
        return found

    def _find(self, signature: Any, target: Any) -> Any:
        """The kernel as it came with the installation, else as it is in the user's cache."""
        start = origins.clock()
        for place in _places(target.codegen().magic_tuple()):
            key, holds = self._key(signature, place.target)
            found = self._load(place, key, holds, target)
            if found is not None:
                origins.note(place.origin, self._kernel, self._file(holds), origins.clock() - start)
                return found
        return None

    def _load(self, place: "_Place", wanted: Any, holds: bytes, target: Any) -> Any:
        try:
            payload = place.read(self._folder, self._file(holds), holds)
            if payload is None:
                return None
            key, data = pickle.loads(payload)
            # As Numba does, but without filling its tables of all it can compile (a quarter of a second). Compiling
            # fills them.
            rtsys.initialize(target)
            return _unpacked(target, data) if key == wanted else None
        except Exception as error:  # the file is as it was written: something else differs
            _try_out()
            what = f"{type(error).__name__}: {error}"
            path = place.folder / self._folder
            cache_files.say_once(f"a kernel is compiled anew, its file in {path} cannot be used: {what}")
            return None

    def save_overload(self, sig: Any, cres: Any) -> None:
        """Keep a compiled form. Like Numba, leave out code that holds addresses of this process."""
        seconds = origins.clock() - self._missed
        _try_out()
        key, holds = self._key(sig, cres.codegen.magic_tuple())
        origins.note(origins.COMPILED, self._kernel, self._file(holds), seconds)
        if not (_given_up or any(not each.can_cache for each in cres.lifted) or cres.library.has_dynamic_globals):
            cache_files.write(self._folder, self._file(holds), holds, dumps((key, _packed(cres))))
        claims.release()

    def _key(self, signature: Any, target: tuple) -> tuple[Any, bytes]:
        """What the code depends on besides the source; and the same, with the versions, as bytes.

        target : triple, processor and features that it is compiled for
        """
        closure = self._function.__closure__ or ()
        values = dumps(tuple(cell.cell_contents for cell in closure)) if closure else b""
        code = hashlib.sha256(self._function.__code__.co_code).hexdigest(), hashlib.sha256(values).hexdigest()
        key = signature, target, code
        return key, f"{self._folder}/{self._name} {numba.__version__} {llvmlite.__version__} {key}".encode()

    def _file(self, holds: bytes) -> str:
        return f"{self._name}.{hashlib.sha256(holds).hexdigest()[:16]}.nbc"


def _packed(compiled: Any) -> tuple:
    library, *parts, _, reload_init, environments = compiled._reduce()
    name, kind, (code, bitcode) = library
    if (kind, len(parts)) != ("object", 5) or not isinstance(code, bytes):
        raise _Changed("CompileResult._reduce gives other parts")
    module = llvmlite.binding.parse_bitcode(bitcode)
    symbols = [
        each.name for group in (module.functions, module.global_variables) for each in group if not each.is_declaration
    ]
    nothing = llvmlite.binding.parse_assembly("").as_bitcode()
    kept = [(each.globals.get("__name__"), each.consts, each.env_name) for each in environments]
    return ((name, kind, (code, nothing)), *parts, "", reload_init), symbols, kept


def _unpacked(target: Any, data: tuple) -> Any:
    parts, symbols, kept = data
    target.codegen()._engine._defined_symbols.update(symbols)
    return CompileResult._rebuild(target, *parts, tuple(_environment(*each) for each in kept))


def _environment(module: str, consts: list, name: str) -> Any:
    """As Numba rebuilds an environment, but without the module's contents, which compiled code never asks for."""
    found = lookup_environment(name)
    if found is None:
        found = Environment({"__name__": module})
        found.consts[:] = consts
        found.env_name = name
        Environment._memo[name] = found
    return found


_tried_out = False


def _try_out() -> None:
    """Pack, unpack and run a function of one line, once in a process that compiles (a tenth of a second).

    If that fails, no kernels are kept.
    """
    global _tried_out
    if _tried_out or _given_up:
        return
    _tried_out = True
    try:
        dispatcher: Any = numba.njit(nogil=True)(lambda number: number + 1)
        dispatcher.compile((types.int64,))
        (compiled,) = dispatcher.overloads.values()
        again = _unpacked(dispatcher.targetctx, pickle.loads(dumps(_packed(compiled))))
        if again.signature != compiled.signature or again.entry_point(41) != 42:
            raise _Changed("a function that was kept gives another result")
    except Exception as error:
        _give_up(f"{type(error).__name__}: {error}")


def take_readonly_arrays(dispatcher: Any) -> None:
    """Make read-only arrays run what is compiled for writable ones. If Numba does not let us, both are compiled."""
    if _missing or not hasattr(dispatcher, "_insert"):
        return
    compile_writable = dispatcher.compile

    def compile(signature: Any) -> Any:
        arguments, _ = sigutils.normalize_signature(signature)
        writable = tuple(_writable(argument) for argument in arguments)
        entry_point = compile_writable(writable)
        if writable != tuple(arguments):
            dispatcher._insert([argument._code for argument in arguments], entry_point, False)
        return entry_point

    dispatcher.compile = compile


def refuse_python(dispatcher: Any) -> None:
    """Raise TypeError if Python calls `dispatcher`, whose functions are compiled without a way in from Python."""

    def add(compiled: Any) -> None:  # as Dispatcher does, but the table of what Python can call stays empty
        dispatcher.overloads[tuple(compiled.signature.args)] = compiled

    def refuse(*arguments: Any, **named: Any) -> Any:
        raise TypeError(f"{dispatcher.py_func.__qualname__} is compiled into kernels; Python cannot call it")

    dispatcher.add_overload, dispatcher._compile_for_args = add, refuse


def _writable(argument: Any) -> Any:
    return argument.copy(readonly=False) if isinstance(argument, types.Array) else argument
