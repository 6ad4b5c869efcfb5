"""`python wrong_kernels.py end|start`: kernels that read or write outside arrays, each in a separate process.

Prints what ended each: the number of a signal, or 0.
"""

import faulthandler
import os
import sys
import threading
from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

import guard_pages
from somknn_kernels.ir import layout

N = 37  # bytes of each array: not a multiple of any alignment
LANES = 16  # bytes of a raw load
FAR = 100_000


@intrinsic
def _load(typing_context, array, place):
    """Bit mask of the zeros among the LANES bytes from array[place] on: one vector load."""

    def codegen(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        vector = ir.VectorType(ir.IntType(8), LANES)
        value = builder.load(builder.bitcast(builder.gep(data, [arguments[1]]), vector.as_pointer()))
        value.align = 1
        zeros = builder.icmp_signed("==", value, ir.Constant(vector, None))
        return builder.bitcast(zeros, ir.IntType(LANES))

    return types.uint16(array, types.int64), codegen


@intrinsic
def _store(typing_context, array, place):
    """array[place] = 1, also for a place before the first."""

    def codegen(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        builder.store(ir.IntType(8)(1), builder.gep(data, [arguments[1]]))
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@njit
def read(array, place):
    return _load(array, place)


@njit
def read_own(n, place):
    return _load(np.empty(n, np.uint8), place)


@njit
def write(array, place):
    _store(array, place)


@njit
def write_own(n, place):
    _store(np.empty(n, np.uint8), place)


def array() -> np.ndarray:
    return np.zeros(N, np.uint8)


def within() -> None:
    for place in (0, N - LANES):
        read(array(), place)
        read_own(N, place)
    for place in (0, N - 1):
        write(array(), place)
        write_own(N, place)
    array()[:0].copy()
    np.zeros(N).resize(2 * N, refcheck=False)


def read_in_thread(place: int) -> None:
    """From an array that another thread than the first has made."""
    thread = threading.Thread(target=lambda: read(array(), place))
    thread.start()
    thread.join()


BEHIND = N - LANES + 1  # the last byte of the load
CASES: dict[str, Callable[[], object]] = {
    "within": within,
    "read behind": lambda: read(array(), BEHIND),
    "read before": lambda: read(array(), -1),
    "read behind in a thread": lambda: read_in_thread(BEHIND),
    "read before in a thread": lambda: read_in_thread(-1),
    "read behind, own array": lambda: read_own(N, BEHIND),
    "read before, own array": lambda: read_own(N, -1),
    "read behind, aligned": lambda: read(layout.aligned((N,), np.uint8), BEHIND),
    "read before, aligned": lambda: read(layout.aligned((N,), np.uint8), -1),
    "write behind": lambda: write(array(), N),
    "write before": lambda: write(array(), -1),
    "write behind, own array": lambda: write_own(N, N),
    "write before, own array": lambda: write_own(N, -1),
    "read far behind": lambda: read(array(), FAR),
    "read far before": lambda: read(array(), -FAR),
    "read of nothing": lambda: read_own(0, 0),
}


def main(mode: str) -> None:
    guard_pages.install(mode)
    within()  # compiles the kernels, once for all processes
    faulthandler.disable()  # processes that are meant to crash need not print a stack
    for name, case in CASES.items():
        child = os.fork()
        if child == 0:
            case()
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        print(f"{name}: {os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
