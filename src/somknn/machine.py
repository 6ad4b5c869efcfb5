"""What computation runs on: threads, steps that Ctrl-C can end, the instruction set, the cache of kernels.

Everything in `somknn` that computes takes these from here. `somknn_kernels.parallel` and `somknn_kernels.isa` say what
they do.
"""

from somknn_kernels.cache_files import cache_folder
from somknn_kernels.isa import Isa, name_of, select, supported
from somknn_kernels.origins import counts as kernel_counts
from somknn_kernels.parallel import (
    Steps,
    available_threads,
    check_stopped,
    per_task,
    processors,
    resolve_n_threads,
    run_tasks,
)
from somknn_kernels.prebuilt import state as prebuilt_kernels

__all__ = [
    "Isa",
    "Steps",
    "available_threads",
    "cache_folder",
    "check_stopped",
    "kernel_counts",
    "name_of",
    "per_task",
    "prebuilt_kernels",
    "processors",
    "resolve_n_threads",
    "run_tasks",
    "select",
    "supported",
]
