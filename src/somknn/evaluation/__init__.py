"""Exploration, metrics with intervals, cross-validation and tuning from one search, and the report."""

from somknn._lazy import lazily

_HOMES = {
    "Evaluation": "metrics",
    "KNeighborsClassifierCV": "tuning",
    "MethodResult": "results",
    "Score": "metrics",
    "evaluate_predictions": "metrics",
    "explore": "exploration",
    "write_report": "report",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazily(__name__, _HOMES)
