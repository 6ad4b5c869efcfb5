"""Threads that hand work to each other within one kernel, for steps that are shorter than a call through Python.

Every thread of a `parallel.run_tasks` calls the same kernel, which takes the next of a known number of tasks until
there is none. A task may wait for earlier ones. Those have been taken by threads that run, so one thread alone gets
through, and so do threads that start late. A waiting thread spins, then yields its processor. Sleeping and waking would
cost each step, of 0.3 ms, a tenth of a millisecond.
"""

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from somknn_kernels.ir.emit import I32, I64, Operands, call

_SPINS = 1000  # before a waiting thread yields: some 20 microseconds
# int64 for each counter, of which one is used: threads that write to different cache lines do not disturb each other.
_PAD = 8


def as_counters(numbers: np.ndarray) -> np.ndarray:
    """The int64 array that holds counters which begin with these numbers, int64."""
    padded = np.zeros((len(numbers), _PAD), np.int64)
    padded[:, 0] = numbers
    return padded.ravel()


def _place(given):
    """Pointer to the counter that the first two arguments, array and index, mean."""
    return given.pointer(0, I64, given.builder.mul(given[1], I64(_PAD)))


@intrinsic
def advance(typing_context, array, index):
    """Add 1 to counter `index` and return what it was. Who sees the new number sees all that was written before."""
    signature = types.int64(array, types.int64)

    def codegen(context, builder, signature, arguments):
        pointer = _place(Operands(context, builder, signature, arguments))
        return builder.atomic_rmw("add", pointer, I64(1), "seq_cst")

    return signature, codegen


@intrinsic
def wait_for(typing_context, array, index, number):
    """Return as soon as counter `index` is at least `number`, with all that was written before it was."""
    signature = types.void(array, types.int64, types.int64)
    x86 = llvmlite.binding.get_process_triple().startswith(("x86_64", "i386", "i686"))

    def codegen(context, builder, signature, arguments):
        pointer = _place(Operands(context, builder, signature, arguments))
        names = ("wait", "wait_spin", "wait_yield", "wait_again", "wait_done")
        look, spin, leave, again, done = (builder.append_basic_block(name) for name in names)
        before = builder.block
        builder.branch(look)
        builder.position_at_end(look)
        spins = builder.phi(I64)
        spins.add_incoming(I64(0), before)
        found = builder.load_atomic(pointer, "acquire", 8)
        builder.cbranch(builder.icmp_signed(">=", found, arguments[2]), done, spin)
        builder.position_at_end(spin)
        if x86:
            call(builder, "llvm.x86.sse2.pause", ir.VoidType())
        builder.cbranch(builder.icmp_signed(">=", spins, I64(_SPINS)), leave, again)
        builder.position_at_end(leave)
        call(builder, "sched_yield", I32)
        builder.branch(again)
        builder.position_at_end(again)
        spins.add_incoming(builder.add(spins, I64(1)), again)
        builder.branch(look)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen
