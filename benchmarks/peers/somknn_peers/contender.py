"""What a contender and a piece of work are."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Run = Callable[[], Any]


@dataclass(frozen=True)
class Contender:
    """A library, or one of its ways, that can do a work.

    prepare(inputs, options) imports the library, fits or copies what the work takes for granted, warms up and returns a function
    that does the work once; what that returns goes through `answer` after the last turn. It may write its choice of settings
    into options["settings"].
    """

    name: str
    needs: tuple[str, ...]  # modules that must be there
    distributions: tuple[str, ...]  # whose versions are reported
    prepare: Callable[[Arrays, dict[str, Any]], Run]
    answer: Callable[[Any], Arrays]
    settings: str
    floats: bool = True  # arithmetic of the limit: float32, or bytes
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """One row of the comparison: what is done, by whom, and how answers are judged.

    judge(ours, theirs, inputs) gives how far an answer is from being as good as the first contender's, at most `tolerance`, and
    words for the table. multiply_adds(inputs, options): of the plain computation, for the column "share of the limit".
    """

    name: str
    subject: str
    title: str
    inputs: Callable[[Any, dict[str, Any]], Arrays]
    contenders: tuple[Contender, ...]
    judge: Callable[[Arrays, Arrays, Arrays], tuple[float, str]]
    tolerance: float
    multiply_adds: Callable[[Arrays, dict[str, Any]], float]
    repeats: int = 1  # times that a run does the work; seconds are divided by it
    options: dict[str, Any] = field(default_factory=dict)  # beside those of the command line
