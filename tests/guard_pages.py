"""Arrays next to an inaccessible page: a kernel that reads or writes outside an array crashes at that load or store.

`install("end")` places the last byte of every array directly before inaccessible pages, `install("start")` the first
byte directly after them. On the other side are up to a page of bytes with a pattern that is checked when the array is
freed, then also inaccessible pages. This applies to NumPy's arrays (its allocator is replaced, see NEP 49) and to those
that compiled code allocates (the symbol through which it asks Numba's runtime for memory is replaced). New memory is
filled with a pattern that is not a sensible number, so that code that relies on zeros is found as well.

Not guarded: arrays made before, arrays on the stack (`llvm alloca`), memory allocated by others than NumPy and Numba
(mapped files, `np.frombuffer`), and arrays without elements, for which NumPy allocates one.

The allocator is compiled by Numba, because it is called without the GIL, from any thread, and while the interpreter
exits.
"""

import ctypes
import faulthandler
import mmap
import os
import threading
from typing import Any, NamedTuple

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import cfunc, njit, types
from numba.core.registry import cpu_target
from numba.core.runtime import _nrt_python, rtsys
from numba.extending import intrinsic

from somknn_kernels.ir import layout

PAGE = mmap.PAGESIZE
GUARD = 1 << 20  # inaccessible bytes on each side: address space, no memory
MODES = ("end", "start")
# An array takes four mappings; Linux allows a process 65,530. Arrays beyond this number have no guards, and are
# counted.
MOST_AT_ONCE = 12_000
_MAGIC = 0x5AFE_9A6E_5AFE_9A6E
_FRESH = 0xE5  # fills new memory: an index far out of range, or a float of -1e185 or -1e23
_BESIDE = 0xA7  # fills the bytes next to an array

_keep: list[Any] = []  # keeps objects that compiled code points to alive
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_keep))  # arrays are freed until the process has ended


class Counts(ctypes.Structure):
    """Numbers of arrays: alive, guarded, made by compiled code (among the guarded), unguarded for lack of mappings."""

    _fields_ = [(name, ctypes.c_int64) for name in ("alive", "guarded", "of_kernels", "unguarded")]


counts = Counts()


class _NumPyAllocator(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("ctx", "malloc", "calloc", "realloc", "free")]


class _NumPyHandler(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("allocator", _NumPyAllocator)]


class _Functions(NamedTuple):
    """Addresses of compiled functions."""

    malloc: int
    calloc: int
    realloc: int
    free: int
    new_block: int


def _c_function(name: str, *arguments: Any, result: Any = ctypes.c_ssize_t) -> Any:
    """A function of the C library for compiled code; pointers are integers there."""
    function = getattr(ctypes.CDLL(None), name)
    function.argtypes, function.restype = arguments, result
    return function


@intrinsic
def _load(typing_context, address):
    """The int64 at an address."""

    def codegen(context, builder, signature, arguments):
        return builder.load(builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()))

    return types.int64(types.int64), codegen


@intrinsic
def _store(typing_context, address, value):
    def codegen(context, builder, signature, arguments):
        builder.store(arguments[1], builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def _add(typing_context, address, number):
    """Add to the int64 at an address; return its old value."""

    def codegen(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", pointer, arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def _manage(typing_context, manage, data, free):
    """Numba's own record of a block: the result of `manage_memory` in its table of functions (nrt_external.h)."""

    def codegen(context, builder, signature, arguments):
        number = ir.IntType(64)
        function = builder.inttoptr(arguments[0], ir.FunctionType(number, [number, number]).as_pointer())
        return builder.call(function, arguments[1:])

    return types.int64(types.int64, types.int64, types.int64), codegen


def _compile(at_end: bool) -> _Functions:
    """Compile the allocator. A block is a page with its bookkeeping, a guard, the pages of the array, a guard."""
    size_t, ssize_t, c_int = ctypes.c_size_t, ctypes.c_ssize_t, ctypes.c_int
    map_pages = _c_function("mmap", size_t, size_t, c_int, c_int, c_int, ssize_t)
    unmap = _c_function("munmap", size_t, size_t, result=c_int)
    protect = _c_function("mprotect", size_t, size_t, c_int, result=c_int)
    fill = _c_function("memset", size_t, c_int, size_t)
    copy = _c_function("memcpy", size_t, size_t, size_t)
    compare = _c_function("memcmp", size_t, size_t, size_t, result=c_int)
    write = _c_function("write", c_int, size_t, size_t)
    abort = _c_function("abort", result=None)
    nothing, everything = 0, mmap.PROT_READ | mmap.PROT_WRITE
    private, around = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, PAGE + 2 * GUARD

    pattern = ctypes.create_string_buffer(bytes([_BESIDE]) * PAGE)
    texts = [
        ctypes.create_string_buffer(b"guard pages: " + text + b"\n")
        for text in (
            b"bytes before an array were written",
            b"bytes behind an array were written",
            b"memory is freed that was not allotted",
        )
    ]
    _keep.extend([pattern, *texts])
    untouched, stderr = ctypes.addressof(pattern), os.dup(2)  # a test runner may redirect its own stderr to a file
    before, behind, unknown = ((ctypes.addressof(text), len(text) - 1) for text in texts)
    alive, guarded, of_kernels, unguarded = (
        ctypes.addressof(counts) + getattr(Counts, name).offset for name, _ in Counts._fields_
    )

    @njit
    def allocate(size, fresh):
        room = -(-size // PAGE) * PAGE
        guard = _add(alive, 1) < MOST_AT_ONCE
        base = map_pages(0, room + around, nothing if guard else everything, private, -1, 0)
        if base == -1:
            _add(alive, -1)
            return 0
        data = base + PAGE + GUARD
        failed = guard and (protect(base, PAGE, everything) != 0 or (room > 0 and protect(data, room, everything) != 0))
        if failed:
            unmap(base, room + around)
            _add(alive, -1)
            return 0
        _add(guarded if guard else unguarded, 1)
        place = data + room - size if at_end else data
        _store(base, _MAGIC)
        _store(base + 8, size)
        _store(base + 16, room)
        if fresh:
            fill(place, _FRESH, size)
        fill(data, _BESIDE, place - data)
        fill(place + size, _BESIDE, data + room - place - size)
        return place

    @njit
    def complain(text):
        write(stderr, text[0], text[1])
        abort()

    @njit
    def base_of(place):
        base = (place & -PAGE) - GUARD - PAGE
        if _load(base) != _MAGIC:
            complain(unknown)
        return base

    @njit
    def release(place):
        base = base_of(place)
        size, room = _load(base + 8), _load(base + 16)
        data = base + PAGE + GUARD
        if compare(data, untouched, place - data) != 0:
            complain(before)
        if compare(place + size, untouched, data + room - place - size) != 0:
            complain(behind)
        unmap(base, room + around)
        _add(alive, -1)

    number = types.int64

    @cfunc(number(number, number))
    def malloc(context, size):
        return allocate(size, True)

    @cfunc(number(number, number, number))
    def calloc(context, count, size):
        return allocate(count * size, False)

    @cfunc(number(number, number, number))
    def realloc(context, old, size):
        place = allocate(size, True)
        if old != 0 and place != 0:
            copy(place, old, min(size, _load(base_of(old) + 8)))
            release(old)
        return place

    @cfunc(types.void(number, number, number))
    def free(context, place, size):
        if place != 0:
            release(place)

    @cfunc(types.void(number))
    def free_block(place):
        release(place)

    # NRT_get_api returns a table; `manage_memory` is its third entry.
    get_api = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p))(_nrt_python.c_helpers["get_api"])
    manage, release_block = int(get_api()[2] or 0), free_block.address

    @cfunc(number(number, types.uint32))
    def new_block(size, alignment):
        place = allocate(size, True)
        if place == 0:
            return 0
        _add(of_kernels, 1)
        return _manage(manage, place, release_block)

    functions = (malloc, calloc, realloc, free, new_block)
    _keep.extend([*functions, free_block])
    return _Functions(*(function.address for function in functions))


def _set_numpy_handler(functions: _Functions) -> Any:
    """Replace NumPy's allocator in this thread; return a function that does so in others."""
    allocator = _NumPyAllocator(None, functions.malloc, functions.calloc, functions.realloc, functions.free)
    handler = _NumPyHandler(b"guard pages", 1, allocator)
    name = ctypes.create_string_buffer(b"mem_handler")
    _keep.extend([handler, name])
    new_capsule = ctypes.pythonapi.PyCapsule_New
    new_capsule.argtypes, new_capsule.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p), ctypes.py_object
    capsule = new_capsule(ctypes.addressof(handler), ctypes.addressof(name), None)
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.argtypes, get_pointer.restype = (ctypes.py_object, ctypes.c_void_p), ctypes.c_void_p
    table = ctypes.cast(
        get_pointer(np._core._multiarray_umath._ARRAY_API, None),  # type: ignore[attr-defined]
        ctypes.POINTER(ctypes.c_void_p),
    )
    # PyDataMem_SetHandler, number 304 of NumPy's C API, whose numbers never change
    set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[304] or 0)

    def set_here() -> None:
        set_handler(capsule)

    set_here()
    return set_here


def install(mode: str) -> None:
    """Guard every array that this process makes from now on, at its "end" or "start". Lasts until the process ends.

    A fault ends the process by SIGSEGV (SIGBUS on macOS), an overwritten pattern by SIGABRT; both print Python's stack.
    Call it before importing modules that use `somknn_kernels.ir.layout.aligned`, and before kernels are compiled or
    loaded: their own arrays come from the functions that they were linked with.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {MODES}, got {mode!r}")
    if not faulthandler.is_enabled():
        faulthandler.enable()
    functions = _compile(mode == "end")

    rtsys.initialize(cpu_target.target_context)  # sets these symbols, once
    for name in ("NRT_MemInfo_alloc_aligned", "NRT_MemInfo_alloc_safe_aligned"):
        llvmlite.binding.add_symbol(name, functions.new_block)

    set_handler = _set_numpy_handler(functions)

    # The allocator belongs to a context, and a new thread has an empty one.
    run = threading.Thread.run

    def run_guarded(thread: threading.Thread) -> None:
        set_handler()
        run(thread)

    threading.Thread.run = run_guarded  # type: ignore[method-assign]

    # The padding that aligns an array to a cache line would be between it and its guard. Whole cache lines are aligned
    # anyway.
    layout.aligned = np.zeros


def report() -> str:
    """One line about the guarded arrays."""
    return (
        f"guard pages: {counts.guarded} arrays guarded, {counts.of_kernels} arrays made by compiled code, "
        f"{counts.unguarded} without guards (more than {MOST_AT_ONCE} at once)"
    )
