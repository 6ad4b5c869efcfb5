"""Draw pictures while the rest of a page is written."""

import contextlib
import itertools
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from somknn import plots


class Drawing:
    """Pictures that are requested while a page is written, and inserted when it is complete.

    Parameters
    ----------
    executor : Executor or None
        Draws the pictures, for example in another process. By default they are drawn in this process at the end.
    """

    def __init__(self, executor: Executor | None = None):
        self._executor = executor
        self._numbers = itertools.count()  # two threads may call `ask` at once
        self._asked: list[tuple[str, tuple, dict[str, Any], Future | None]] = []

    def ask(self, function: str, *arguments: Any, **options: Any) -> str:
        """A placeholder for the result of this function of `somknn.plots.markup`; escaped text cannot contain one."""
        mark = f"<!--picture {next(self._numbers)}-->"
        arguments = (function, *arguments)
        future = None
        if self._executor is not None:
            with contextlib.suppress(BrokenProcessPool):
                future = self._executor.submit(plots.make_markup, *arguments, **options)
        self._asked.append((mark, arguments, options, future))
        return mark

    def put_into(self, page: str) -> str:
        """The page with its placeholders replaced by pictures."""
        for mark, arguments, options, future in self._asked:
            page = page.replace(mark, self._made(future, arguments, options))
        return page

    def _made(self, future: Future | None, arguments: tuple, options: dict[str, Any]) -> str:
        if future is not None:
            with contextlib.suppress(BrokenProcessPool):  # the other process was killed
                return future.result()
        return plots.make_markup(*arguments, **options)
