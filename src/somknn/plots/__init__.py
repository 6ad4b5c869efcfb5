"""Pictures, drawn with matplotlib (the extra `somknn[plots]`); each function returns a `matplotlib.figure.Figure`.

No function uses pyplot or its global state, so they work in threads, servers and notebooks alike.
"""

import importlib.util
from typing import Any


def require_matplotlib(otherwise: str = "") -> None:
    """Raise ImportError if matplotlib is missing, with the command to install it and the alternative `otherwise`."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError(f'pictures need matplotlib; run: pip install "somknn[plots]"{otherwise}', name="matplotlib")


def make_markup(function: str, *arguments: Any, **options: Any) -> str:
    """The result of a function of `somknn.plots.markup`; matplotlib is imported only when this is called."""
    from somknn.plots import markup

    return getattr(markup, function)(*arguments, **options)
