"""Data exploration, metrics of classes and values with intervals, tuning from one search, and the report."""

from typing import TYPE_CHECKING

from somknn._lazy import lazily

if TYPE_CHECKING:
    from somknn.evaluation.exploration import explore as explore
    from somknn.evaluation.metrics import Evaluation as Evaluation
    from somknn.evaluation.metrics import Score as Score
    from somknn.evaluation.metrics import evaluate_predictions as evaluate_predictions
    from somknn.evaluation.regression import RegressionEvaluation as RegressionEvaluation
    from somknn.evaluation.regression import evaluate_regression as evaluate_regression
    from somknn.evaluation.regression_tuning import KNeighborsRegressorCV as KNeighborsRegressorCV
    from somknn.evaluation.report import write_report as write_report
    from somknn.evaluation.results import MethodResult as MethodResult
    from somknn.evaluation.tuning import KNeighborsClassifierCV as KNeighborsClassifierCV

_HOMES = {
    "Evaluation": "somknn.evaluation.metrics",
    "KNeighborsClassifierCV": "somknn.evaluation.tuning",
    "KNeighborsRegressorCV": "somknn.evaluation.regression_tuning",
    "MethodResult": "somknn.evaluation.results",
    "RegressionEvaluation": "somknn.evaluation.regression",
    "Score": "somknn.evaluation.metrics",
    "evaluate_predictions": "somknn.evaluation.metrics",
    "evaluate_regression": "somknn.evaluation.regression",
    "explore": "somknn.evaluation.exploration",
    "write_report": "somknn.evaluation.report",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazily(__name__, _HOMES)
