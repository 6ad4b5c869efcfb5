"""Figures of merit of predicted values on a test set, computed by scikit-learn, each with a bootstrap interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn import metrics
from sklearn.utils.validation import check_consistent_length, column_or_1d

from somknn.evaluation.bootstrap import COUNTS_AT_ONCE, interval_of
from somknn.evaluation.metrics import Score

REGRESSION_LABELS = {
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "median_absolute_error": "Median absolute error",
    "max_error": "Largest error",
}


@dataclass(frozen=True, eq=False)
class RegressionEvaluation:
    """The result of `evaluate_regression`.

    Attributes
    ----------
    truth, predicted : ndarray of shape (n_rows,), float64
    scores : dict of str to Score
        "rmse", "mae", "r2", "median_absolute_error", "max_error"; the first three with intervals. Errors are in units
        of the target.
    confidence : float
        Coverage of the intervals.
    n_resamples : int
    """

    truth: np.ndarray
    predicted: np.ndarray
    scores: dict[str, Score]
    confidence: float = 0.95
    n_resamples: int = 0

    labels: ClassVar[dict[str, str]] = {"cross_validation": "Cross-validated RMSE", **REGRESSION_LABELS}
    smaller_is_better: ClassVar[tuple[str, ...]] = tuple(name for name in labels if name != "r2")
    unit: ClassVar[str] = "Errors are in units of the target; R² has none, 1 is best, and the mean of the target has 0."

    @property
    def n_rows(self) -> int:
        """Rows of the test set."""
        return len(self.truth)

    @staticmethod
    def formatted(name: str, value: float) -> str:
        """A figure as text: errors with five significant digits, R² with four decimals."""
        if np.isnan(value):
            return "n/a"
        return f"{value:.4f}" if name == "r2" else f"{value:.5g}"

    def to_dict(self) -> dict[str, Any]:
        """The same figures as plain lists and numbers, for JSON (NaN becomes None)."""
        return {
            "rows": self.n_rows,
            "confidence": self.confidence,
            "bootstrap_resamples": self.n_resamples,
            "scores": {name: score.to_dict() for name, score in self.scores.items()},
        }


def evaluate_regression(
    y_true: Sequence | np.ndarray,
    y_pred: Sequence | np.ndarray,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    random_state: int | np.random.Generator | None = 0,
) -> RegressionEvaluation:
    """Compare predicted values with the true ones: RMSE, MAE, R², the median and the largest absolute error.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_rows,)
        Finite numbers.
    n_resamples : int, default=1000
        Bootstrap resamples of the test rows for the percentile intervals of RMSE, MAE and R²; 0 for none.
    confidence : float, default=0.95
        Coverage of the intervals.
    random_state : int, Generator or None, default=0

    Returns
    -------
    RegressionEvaluation

    Raises
    ------
    ValueError
        For values that are missing, not finite or of different lengths.

    Notes
    -----
    The values are scikit-learn's. R² is NaN where it is undefined: one row, or a truth without any spread. Intervals
    are percentile bootstrap (Efron and Tibshirani 1993, section 13.3): the test rows are resampled with replacement,
    the model is not refitted.

    Examples
    --------
    >>> from somknn.evaluation import evaluate_regression
    >>> found = evaluate_regression([1.0, 2.0, 4.0], [1.0, 3.0, 4.0], n_resamples=0)
    >>> round(found.scores["rmse"].value, 4), round(found.scores["r2"].value, 4)
    (0.5774, 0.7857)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}")
    if n_resamples < 0:
        raise ValueError(f"n_resamples must not be negative, got {n_resamples}")
    truth, predicted = _values(y_true, "y_true"), _values(y_pred, "y_pred")
    check_consistent_length(truth, predicted)
    spread = len(truth) > 1 and (truth != truth[0]).any()
    values = {
        "rmse": metrics.root_mean_squared_error(truth, predicted),
        "mae": metrics.mean_absolute_error(truth, predicted),
        "r2": metrics.r2_score(truth, predicted) if spread else float("nan"),
        "median_absolute_error": metrics.median_absolute_error(truth, predicted),
        "max_error": metrics.max_error(truth, predicted),
    }
    intervals = _intervals(truth, predicted, n_resamples, confidence, random_state) if n_resamples else {}
    scores = {name: Score(float(value), *intervals.get(name, ())) for name, value in values.items()}
    return RegressionEvaluation(truth, predicted, scores, confidence, n_resamples)


def _values(values: Any, name: str) -> np.ndarray:
    found = column_or_1d(np.asarray(values, dtype=np.float64))
    if not len(found):
        raise ValueError(f"{name} is empty")
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise ValueError(f"{name} has no value in row {bad[0]} ({found[bad[0]]})")
    return found


def _intervals(
    truth: np.ndarray,
    predicted: np.ndarray,
    n_resamples: int,
    confidence: float,
    random_state: int | np.random.Generator | None,
) -> dict[str, tuple[float, float]]:
    """Intervals of RMSE, MAE and R².

    A resample is how often each row was drawn, so its sums are products of these counts with columns of squares.
    """
    n, generator = len(truth), np.random.default_rng(random_state)
    # In units of the largest value, and about the mean: neither squares nor their differences lose digits.
    scale = float(max(abs(truth).max(), abs(predicted).max())) or 1.0
    error, centred = predicted / scale - truth / scale, truth / scale - np.mean(truth / scale)
    columns = np.column_stack([error**2, abs(error), centred, centred**2])
    parts, step = [], max(1, COUNTS_AT_ONCE // n)
    for start in range(0, n_resamples, step):
        counts = generator.multinomial(n, np.full(n, 1 / n), size=min(step, n_resamples - start))
        parts.append(counts @ columns / n)
    squares, absolute, mean, centred_squares = np.concatenate(parts).T
    variance = centred_squares - mean**2
    known = variance > np.finfo(np.float64).eps * centred_squares  # a resample of one row again and again has none
    r2 = np.where(known, 1 - squares / np.where(known, variance, 1), np.nan)
    found = {"rmse": scale * np.sqrt(squares), "mae": scale * absolute, "r2": r2}
    return {name: interval_of(values, confidence) for name, values in found.items()}
