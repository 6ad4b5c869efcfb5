"""Threads outside the kernels: one more next to the caller's, and BLAS limited to the calling thread."""

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any


@functools.cache
def _controller() -> Any:
    # Commands import this file before they know whether they will compute.
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def single_threaded_blas() -> AbstractContextManager:
    """A context in which BLAS computes in the calling thread.

    The matrices passed to BLAS here are small. Its threads gain little on them, and if another process or another of
    our threads holds a core they spin and wait for each other: a fit of 0.5 s then took 5.
    """
    return _controller().limit(limits=1, user_api="blas")


def in_thread(function: Callable[..., Any], *arguments: Any) -> Future:
    """The future of a call in its own daemon thread; the process does not wait for it at exit."""
    future: Future = Future()

    def work() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future
