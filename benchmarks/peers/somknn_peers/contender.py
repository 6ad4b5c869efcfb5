"""The definitions of a contender and of a piece of work."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Run = Callable[[], Any]
REPORTED = ("settings", "fit_seconds", "index_bytes")


@dataclass(frozen=True)
class Contender:
    """A library, or one of its algorithms, that can do a work.

    prepare(inputs, options) imports the library, does the preparation that is not timed (fits, copies, warm-up) and
    returns a function that does the work once. The return value of that function goes through `answer` after the last
    turn. `prepare` may write into the options what it reports (`REPORTED`): its choice of settings, and what
    `searchers.measured` finds.
    """

    name: str
    needs: tuple[str, ...]  # modules that must be installed
    distributions: tuple[str, ...]  # packages whose versions are reported
    prepare: Callable[[Arrays, dict[str, Any]], Run]
    answer: Callable[[Any], Arrays]
    settings: str
    floats: bool = True  # arithmetic of the limit: float32, otherwise bytes
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """One row of the comparison: the work, its contenders, and how answers are judged.

    judge(ours, theirs, inputs) returns how much worse an answer is than the first contender's (acceptable up to
    `tolerance`), and text for the table. multiply_adds(inputs, options): number in the plain computation, for the
    column "share of the limit". `home` names the module whose `find` knows the work: contenders are separate processes.
    """

    name: str
    subject: str
    title: str
    inputs: Callable[[Any, dict[str, Any]], Arrays]
    contenders: tuple[Contender, ...]
    judge: Callable[[Arrays, Arrays, Arrays], tuple[float, str]]
    tolerance: float
    multiply_adds: Callable[[Arrays, dict[str, Any]], float]
    repeats: int = 1  # how often one run does the work; seconds are divided by it
    options: dict[str, Any] = field(default_factory=dict)  # in addition to those of the command line
    home: str = "somknn_peers.works"
