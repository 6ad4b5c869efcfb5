"""Keeps BLAS from starting threads of its own beside ours."""

import functools
from contextlib import AbstractContextManager

from threadpoolctl import ThreadpoolController


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def single_threaded_blas() -> AbstractContextManager:
    """A context in which BLAS computes in the calling thread.

    The matrices that we hand to BLAS are small. Its threads gain little on them, and where another process or
    another of our threads holds a core they spin and wait for each other: a fit of 0.5 s then took 5.
    """
    return _controller().limit(limits=1, user_api="blas")
