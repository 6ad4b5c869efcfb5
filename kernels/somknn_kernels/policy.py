"""The one place that says how kernels are compiled, cached and announced.

Every kernel is decorated with `@kernel`. It releases the GIL and runs in one thread. Parallelism comes from
`parallel.run_tasks`, which calls kernels from several Python threads. Numba's own `parallel=True` was rejected for
three reasons: it compiles five to ten times slower, its `workqueue` layer aborts the process when two Python threads
call at once (numba#10565), and its OpenMP layer cannot be used in a forked child.

Cache. Numba stamps a cached function with its own file only, so it does not notice a change in another file whose
function was inlined. Here the stamp is a digest of the file and of every kernel file that it imports, and it names a
folder of its own. So a stale kernel cannot be loaded, several checkouts can share one cache, and an installation in a
read-only place works. `cache_files` says which files are trusted, `numba_cache` what is in them.

Read-only arrays (memory-mapped rows, a loaded model) are another type to Numba than writable ones. They would cost
seconds of compilation again. A kernel writes only to arrays that its caller made for it. So one compiled form serves
both.
"""

import functools
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from somknn_kernels import numba_cache
from somknn_kernels.cache_files import cache_folder as cache_folder

PACKAGE = __package__ or "somknn_kernels"
PACKAGE_FOLDER = Path(__file__).parent


# A regular expression, as parsing the files into syntax trees took 0.3 s of every start.
_KERNEL_IMPORT = re.compile(
    rf"^[ \t]*from[ \t]+({PACKAGE}(?:\.\w+)*)[ \t]+import[ \t]*(\([^)]*\)|[^\n]*)", re.MULTILINE
)


@functools.cache
def _imported_kernel_files(path: Path) -> frozenset[Path]:
    """The kernel files that `path` imports, directly or not, and `path` itself.

    Kernels are imported by `from … import …` only (a test checks that).
    """
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


def _compiler(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compiler options of all kernels: no GIL, strict IEEE arithmetic, C-like division, and what `options` add.

    Raises ImportError if the compiler is switched off.
    """
    if numba.config.DISABLE_JIT:
        raise ImportError(
            "somknn's kernels need Numba's compiler, which NUMBA_DISABLE_JIT switches off; "
            "unset that variable and start Python again"
        )
    return numba.njit(nogil=True, fastmath=False, error_model="numpy", boundscheck=False, **options)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` on first use and keep it on disk."""
    dispatcher = _compiler(no_cfunc_wrapper=True)(function)
    numba_cache.take_readonly_arrays(dispatcher)
    file = Path(function.__code__.co_filename)
    if file.is_file():
        numba_cache.cached(dispatcher, _source_digest(file))
    return dispatcher


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a helper that only other kernels call, into its callers. So it is never cached by itself.

    It has no form that Python or C could call, which saves a tenth of the time that all kernels take to compile.
    """
    dispatcher = _compiler(inline="never", no_cfunc_wrapper=True, no_cpython_wrapper=True)(function)
    numba_cache.refuse_python(dispatcher)
    return dispatcher
