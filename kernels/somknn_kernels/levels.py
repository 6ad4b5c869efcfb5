"""Levels: the kinds of processors for which kernels can be compiled ahead, on another machine.

A level is less than the very processor: what is compiled for it runs on every processor that has the level's features.
The names are those of the x86-64 ABI, with what a level adds to them.
"""

from typing import NamedTuple

from somknn_kernels.isa import host_features


class Level(NamedTuple):
    """What a level may use.

    isa : the instruction set of its tiles, a name of `isa.NAMES`
    processor : the name by which LLVM knows it
    features : all features that its code may use, by LLVM's names
    tuning : how LLVM is to use them; no processor needs to have it
    """

    name: str
    isa: str
    processor: str
    features: frozenset[str]
    tuning: tuple[str, ...] = ()

    @property
    def target_features(self) -> str:
        """What LLVM is told in addition to the processor's name."""
        return ",".join([*(f"+{feature}" for feature in sorted(self.features)), *self.tuning])

    def lacking(self) -> list[str]:
        """Those of its features that this processor and operating system do not have."""
        return sorted(self.features - host_features())


_V2 = {
    "cmov",
    "crc32",
    "cx16",
    "cx8",
    "fxsr",
    "mmx",
    "popcnt",
    "sahf",
    "sse",
    "sse2",
    "sse3",
    "sse4.1",
    "sse4.2",
    "ssse3",
}
_V3 = frozenset(_V2 | {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"})
_V4 = _V3 | {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}

# The best first: the first that runs here and has a kernel is taken.
LEVELS = (
    Level("x86-64-v4-vnni", "vnni", "x86-64-v4", _V4 | {"avx512vnni"}, ("-prefer-256-bit",)),
    Level("x86-64-v3-vnni", "avxvnni", "x86-64-v3", _V3 | {"avxvnni"}),
    Level("x86-64-v3", "avx2", "x86-64-v3", _V3),
)
BY_NAME = {level.name: level for level in LEVELS}
