"""Pictures, drawn with matplotlib (the extra `somknn[plots]`); each function returns a `matplotlib.figure.Figure`.

No function touches pyplot or its global state, so they work in threads, servers and notebooks alike.
"""

from typing import Any


def make_markup(function: str, *arguments: Any, **options: Any) -> str:
    """What a function of `somknn.plots.markup` returns; until it is called, matplotlib is not imported."""
    from somknn.plots import markup

    return getattr(markup, function)(*arguments, **options)
