"""Threads for what is no kernel: one beside the caller's, and none of BLAS's own beside ours."""

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any


@functools.cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController  # commands import this file before they know whether they compute

    return ThreadpoolController()


def single_threaded_blas() -> AbstractContextManager:
    """A context in which BLAS computes in the calling thread.

    The matrices that we hand to BLAS are small. Its threads gain little on them, and where another process or
    another of our threads holds a core they spin and wait for each other: a fit of 0.5 s then took 5.
    """
    return _controller().limit(limits=1, user_api="blas")


def in_thread(function: Callable[..., Any], *arguments: Any) -> Future:
    """The future of a call in a thread of its own, for which no exit waits."""
    future: Future = Future()

    def work() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future
