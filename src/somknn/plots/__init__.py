"""Pictures, drawn with matplotlib (the extra `somknn[plots]`); each function returns a `matplotlib.figure.Figure`.

No function touches pyplot or its global state, so they work in threads, servers and notebooks alike.
"""

import importlib.util
from typing import Any


def require_matplotlib(otherwise: str = "") -> None:
    """Raise an ImportError that says what to install where matplotlib is missing, and what one may do `otherwise`."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError(f'pictures need matplotlib; run: pip install "somknn[plots]"{otherwise}', name="matplotlib")


def make_markup(function: str, *arguments: Any, **options: Any) -> str:
    """What a function of `somknn.plots.markup` returns; until it is called, matplotlib is not imported."""
    from somknn.plots import markup

    return getattr(markup, function)(*arguments, **options)
