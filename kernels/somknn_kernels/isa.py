"""Which instruction set the tiles use.

A kernel that uses a tile takes one of the markers below as its first argument. Numba compiles (and caches) one version
for each type of marker. So all of them can live side by side in one process, and a test can run each.
`docs/concepts/brute-force.md` says which instructions each of them issues.
"""

import functools
import os
from typing import Any, NamedTuple

import llvmlite.binding


class Vnni512(NamedTuple):
    """AVX-512-VNNI: `vpdpbusd` on 64-byte registers; 64 multiply-adds of bytes per instruction."""

    code: int = 3


class Vnni512Emulated(NamedTuple):
    """The data layout and arithmetic of `Vnni512` in plain vector operations: slow, for tests on other machines."""

    code: int = 4


class Vnni256(NamedTuple):
    """AVX-VNNI (client processors): `vpdpbusd` on 32-byte registers."""

    code: int = 2


class Avx2(NamedTuple):
    """AVX2: `vpmaddwd` on 32-byte registers, bytes widened to 16 bits when a panel is packed."""

    code: int = 1


class Portable(NamedTuple):
    """Plain vector arithmetic that LLVM can compile for every target; exact everywhere."""

    code: int = 0


Isa = Vnni512 | Vnni512Emulated | Vnni256 | Avx2 | Portable

NAMES: dict[str, Any] = {
    "vnni": Vnni512,
    "avxvnni": Vnni256,
    "avx2": Avx2,
    "portable": Portable,
    "vnni-emulated": Vnni512Emulated,
}


@functools.cache
def host_features() -> frozenset[str]:
    """LLVM's names of the features that this processor and operating system offer."""
    try:
        return frozenset(name for name, has in llvmlite.binding.get_host_cpu_features().items() if has)
    except RuntimeError:  # LLVM cannot tell on this platform
        return frozenset()


def supported() -> list[str]:
    """Names of the instruction sets that run on this machine, best first."""
    features = host_features()
    found = []
    if {"avx512vnni", "avx512bw", "avx512vl", "avx512f"} <= features:
        found.append("vnni")
    if {"avxvnni", "avx2"} <= features:
        found.append("avxvnni")
    if {"avx2", "fma"} <= features:
        found.append("avx2")
    return [*found, "portable"]


def select(name: str | None = None) -> Isa:
    """The marker for `name`; by default for `$SOMKNN_ISA`, else for the best set that this machine has.

    "vnni" accepts either kind of VNNI. Raises ValueError for an unknown name, or one that this machine cannot run.
    """
    name = name or os.environ.get("SOMKNN_ISA") or "auto"
    available = supported()
    if name == "vnni-emulated":
        return Vnni512Emulated()
    if name == "auto":
        return NAMES[available[0]]()
    if name == "vnni" and "vnni" not in available and "avxvnni" in available:
        name = "avxvnni"
    if name not in available:
        raise ValueError(
            f"instruction set {name!r} (argument or SOMKNN_ISA) is not available; "
            f"this machine has: {', '.join(available)}"
        )
    return NAMES[name]()


def name_of(isa: Isa) -> str:
    """The name under which `select` knows a marker."""
    return next(name for name, marker in NAMES.items() if isinstance(isa, marker))
