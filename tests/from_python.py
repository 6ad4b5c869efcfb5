"""Helpers that are compiled into kernels, made callable for tests of their own."""

from collections.abc import Callable
from typing import Any

import numba


def from_python(helper: Any) -> Callable[..., Any]:
    """A function that calls the `@inlined` helper."""

    @numba.njit(error_model="numpy")
    def call(*arguments):
        return helper(*arguments)

    return call
