"""Exploration, metrics with intervals, cross-validation and tuning from one search, and the report."""

import importlib
from typing import Any

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'somknn.evaluation' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"somknn.evaluation.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
