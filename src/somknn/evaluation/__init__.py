"""Data exploration, metrics with intervals, cross-validation and tuning from one search, and the report."""

from typing import TYPE_CHECKING

from somknn._lazy import lazily

if TYPE_CHECKING:
    from somknn.evaluation.exploration import explore as explore
    from somknn.evaluation.metrics import Evaluation as Evaluation
    from somknn.evaluation.metrics import Score as Score
    from somknn.evaluation.metrics import evaluate_predictions as evaluate_predictions
    from somknn.evaluation.report import write_report as write_report
    from somknn.evaluation.results import MethodResult as MethodResult
    from somknn.evaluation.tuning import KNeighborsClassifierCV as KNeighborsClassifierCV

_HOMES = {
    "Evaluation": "somknn.evaluation.metrics",
    "KNeighborsClassifierCV": "somknn.evaluation.tuning",
    "MethodResult": "somknn.evaluation.results",
    "Score": "somknn.evaluation.metrics",
    "evaluate_predictions": "somknn.evaluation.metrics",
    "explore": "somknn.evaluation.exploration",
    "write_report": "somknn.evaluation.report",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazily(__name__, _HOMES)
