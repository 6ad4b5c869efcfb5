"""Expected failures as one line on stderr and exit code 1; anything else keeps its traceback, for it is a bug."""

import contextlib
from collections.abc import Iterator

import click

_EXPECTED = (ValueError, OSError, ImportError, MemoryError)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an expected error into a `click.ClickException` with its message on one line."""
    try:
        yield
    except _EXPECTED as error:
        message = " ".join(str(error).split()) or type(error).__name__
        raise click.ClickException(message) from None
