"""The results of one method: its figures, parameters, times and model."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class MethodResult:
    """The results of one method, as shown in the report.

    Attributes
    ----------
    name : str
        Heading of its column.
    evaluation : Evaluation or RegressionEvaluation
        All methods of a report have the same kind.
    parameters : dict
        Shown unchanged.
    cross_validation : ndarray of shape (n_folds,), or None
        Score of each fold.
    seconds : dict of str to float
        Durations by name of the step, such as {"fit": 1.1, "predict": 0.5}.
    model : object or None
        A fitted estimator; if it has `kneighbors`, the mistakes are shown with their neighbours.
    transform : callable or None
        Computes the features that the model was fitted on from raw rows.
    """

    name: str
    evaluation: Any
    parameters: dict[str, Any] = field(default_factory=dict)
    cross_validation: np.ndarray | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    model: Any = None
    transform: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def cross_validation_mean(self) -> float:
        """The mean score of the folds; NaN if there are none."""
        return float("nan") if self.cross_validation is None else float(np.average(self.cross_validation))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers for JSON."""
        folds = None if self.cross_validation is None else [float(score) for score in self.cross_validation]
        return {
            "method": self.name,
            "parameters": {name: _plain(value) for name, value in self.parameters.items()},
            "seconds": self.seconds,
            "cross_validation": folds,
            "cross_validation_mean": None if folds is None else self.cross_validation_mean,
            **self.evaluation.to_dict(),
        }


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else str(value)
