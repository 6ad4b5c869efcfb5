"""Describe this machine and installation: for `somknn info`, and stored with every measured figure."""

import importlib.metadata
import platform
import sys
from pathlib import Path
from typing import Any

_PACKAGES = ("numpy", "scipy", "scikit-learn", "numba", "llvmlite", "safetensors")


def _processor() -> str:
    """The processor's usual name; `platform.processor()` is empty on most Linux systems."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith(("model name", "cpu model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe() -> dict[str, Any]:
    """Versions, processor, instruction set, threads, kernels that came compiled and their cache, ready for JSON.

    Raises ValueError if `$SOMKNN_ISA` names an instruction set that this machine does not have.
    """
    import somknn
    from somknn import machine

    return {
        "somknn": somknn.__version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "processors": machine.processors(),
        "instruction_set": machine.name_of(machine.select()),
        "instruction_sets": machine.supported(),
        "threads": machine.available_threads(),
        "threading_layer": "Python threads; kernels release the GIL"
        + ("" if getattr(sys, "_is_gil_enabled", lambda: True)() else " (this Python has none)"),
        "prebuilt_kernels": machine.prebuilt_kernels(),
        "cache_folder": str(machine.cache_folder() or "none: every process compiles anew"),
    }
