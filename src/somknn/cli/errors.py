"""Report expected failures as one line on stderr with exit code 1; others are bugs and keep their traceback."""

import contextlib
from collections.abc import Iterator

import click

_EXPECTED = (ValueError, OSError, ImportError, MemoryError)
_EXTRAS = {
    "matplotlib": "plots",
    "pyarrow": "files",
    "PIL": "files",
    "h5py": "hdf5",
    "faiss": "faiss",
    "dask": "dask",
    "distributed": "dask",
    "pooch": "download",
    "tqdm": "download",
}


def one_line(error: BaseException) -> str:
    """The message of an error on one line.

    For a missing package it adds how to install it; for a MemoryError it says that memory was not enough.
    """
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"not enough memory{f': {text}' if text else ''}"
    extra = _EXTRAS.get((error.name or "").partition(".")[0]) if isinstance(error, ImportError) else None
    if extra is not None and "pip install" not in text:
        return f'{text}; run: pip install "somknn[{extra}]"'
    return text or type(error).__name__


@contextlib.contextmanager
def one_line_errors(*expected: type[BaseException]) -> Iterator[None]:
    """Turn an expected error into a `click.ClickException` with its message on one line.

    By default these are errors of files, values, memory and imports.
    """
    kinds = expected or _EXPECTED
    try:
        yield
    except kinds as error:
        raise click.ClickException(one_line(error)) from None
