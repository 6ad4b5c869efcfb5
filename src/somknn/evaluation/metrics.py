"""Figures of merit of a classifier on a test set, computed by scikit-learn, each with a bootstrap interval."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from sklearn import metrics
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_consistent_length, column_or_1d

from somknn.evaluation.bootstrap import bootstrap_intervals
from somknn.threads import in_thread

METRIC_LABELS = {
    "accuracy": "Accuracy",
    "precision": "Precision (weighted)",
    "recall": "Recall (weighted)",
    "f1": "F1 (weighted)",
    "roc_auc": "ROC-AUC (one vs rest, macro)",
    "log_loss": "Log loss",
    "cohen_kappa": "Cohen's kappa",
    "matthews": "Matthews correlation",
    "top_3_accuracy": "Top-3 accuracy",
}
PER_CLASS = ("precision", "recall", "f1", "roc_auc")


@dataclass(frozen=True)
class Score:
    """A value and its confidence interval; `low` and `high` are NaN if no interval was requested."""

    value: float
    low: float = float("nan")
    high: float = float("nan")

    def to_dict(self) -> dict[str, float | None]:
        """Numbers for JSON; None for NaN."""
        values = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if np.isnan(value) else float(value) for name, value in values.items()}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of `evaluate_predictions`.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Every label of the model and of the test set, sorted.
    unseen : ndarray
        Labels of the test set that are not classes of the model.
    truth, predicted : ndarray of shape (n_rows,), int64
        Positions in `classes`.
    probabilities : ndarray of shape (n_rows, n_classes), float64, or None
    scores : dict of str to Score
        Keys are the names of `METRIC_LABELS`; the last ones exist only with probabilities.
    per_class : dict of str to list of Score
        "precision", "recall", "f1" and "roc_auc" of each class; NaN for the ROC-AUC of a class without rows.
    confusion : ndarray of shape (n_classes, n_classes), int64
        Rows are true classes, columns are predicted classes.
    confidence : float
        Coverage of the intervals.
    n_resamples : int
    """

    classes: np.ndarray
    unseen: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray | None
    scores: dict[str, Score]
    per_class: dict[str, list[Score]]
    confusion: np.ndarray
    confidence: float = 0.95
    n_resamples: int = 0
    support: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    labels: ClassVar[dict[str, str]] = {"cross_validation": "Cross-validated accuracy", **METRIC_LABELS}
    smaller_is_better: ClassVar[tuple[str, ...]] = ("log_loss",)
    unit: ClassVar[str] = "Percent, except for the log loss."

    @property
    def n_rows(self) -> int:
        """Rows of the test set."""
        return len(self.truth)

    @staticmethod
    def formatted(name: str, value: float) -> str:
        """A figure as text: percent, the log loss as it is."""
        if np.isnan(value):
            return "n/a"
        return f"{value:.4f}" if name == "log_loss" else f"{100 * value:.2f}"

    def to_dict(self) -> dict[str, Any]:
        """The same figures as plain lists and numbers, for JSON (NaN becomes None)."""
        return {
            "rows": self.n_rows,
            "classes": self.classes.tolist(),
            "unseen_classes": self.unseen.tolist(),
            "confidence": self.confidence,
            "bootstrap_resamples": self.n_resamples,
            "scores": {name: score.to_dict() for name, score in self.scores.items()},
            "per_class": {name: [score.to_dict() for score in row] for name, row in self.per_class.items()},
            "support": self.support.tolist(),
            "confusion_matrix": self.confusion.tolist(),
        }

    def classification_report(self) -> str:
        """scikit-learn's classification report as text."""
        return metrics.classification_report(
            self.truth,
            self.predicted,
            labels=np.arange(len(self.classes)),
            target_names=[str(c) for c in self.classes],
            digits=4,
            zero_division=0,
        )


def evaluate_predictions(
    y_true: Sequence | np.ndarray,
    y_pred: Sequence | np.ndarray,
    probabilities: np.ndarray | None = None,
    *,
    classes: Sequence | np.ndarray | None = None,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    random_state: int | np.random.Generator | None = 0,
) -> Evaluation:
    """Compute every figure of merit of predictions against the truth, with confidence intervals.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_rows,)
        Labels of one kind: numbers or strings.
    probabilities : array-like of shape (n_rows, len(classes)), optional
        The output of `predict_proba`. Without it there is no ROC-AUC, log loss or top-3 accuracy.
    classes : array-like, optional
        The model's classes in the order of the columns of `probabilities` (`classes_`); sorted and unique.
    n_resamples : int, default=1000
        Bootstrap resamples of the test rows for the percentile intervals; 0 for none.
    confidence : float, default=0.95
        Coverage of the intervals.
    random_state : int, Generator or None, default=0

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        For labels that are missing or of different kinds or lengths, or probabilities that do not match the classes.

    Warns
    -----
    UserWarning
        If the truth contains classes that the model does not know. Their rows count as errors, with probability 0.

    Notes
    -----
    The values are scikit-learn's: precision, recall and F1 weighted by the number of rows of the true class (0 if
    undefined), Cohen's kappa without weights, and the ROC-AUC of each class against the rest, averaged over the classes
    that have test rows. Intervals are percentile bootstrap (Efron and Tibshirani 1993, section 13.3): the test rows are
    resampled with replacement, the model is not refitted.

    Examples
    --------
    >>> from somknn.evaluation import evaluate_predictions
    >>> found = evaluate_predictions(["cat", "dog", "dog", "cat"], ["cat", "dog", "cat", "cat"])
    >>> found.scores["accuracy"].value
    0.75
    >>> found.confusion
    array([[2, 0],
           [1, 1]])
    """
    _, complete = begin_evaluation(y_true, y_pred, probabilities, classes, n_resamples, confidence, random_state)
    return complete()


def begin_evaluation(
    y_true: Sequence | np.ndarray,
    y_pred: Sequence | np.ndarray,
    probabilities: np.ndarray | None,
    classes: Sequence | np.ndarray | None,
    n_resamples: int,
    confidence: float = 0.95,
    random_state: int | np.random.Generator | None = 0,
) -> tuple[Evaluation, Callable[[], Evaluation]]:
    """The figures without intervals, and a function that returns the full result of `evaluate_predictions`.

    A thread resamples in the meantime. Parameters, errors and warnings are those of `evaluate_predictions`.

    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}")
    if n_resamples < 0:
        raise ValueError(f"n_resamples must not be negative, got {n_resamples}")
    y_true, y_pred = _check_labels(y_true, "y_true"), _check_labels(y_pred, "y_pred")
    check_consistent_length(y_true, y_pred)
    known = np.unique(y_pred) if classes is None else np.asarray(classes)
    if probabilities is not None:
        probabilities = _check_probabilities(probabilities, len(y_true), classes)
    labels = [y_true, y_pred] if classes is None else [y_true, y_pred, known]
    if len({column.dtype.kind in "OUS" for column in labels}) > 1:
        raise ValueError("y_true, y_pred and classes mix strings and numbers; give labels of one kind")
    all_classes = np.unique(np.concatenate(labels))
    truth, predicted = np.searchsorted(all_classes, y_true), np.searchsorted(all_classes, y_pred)

    unseen = np.setdiff1d(y_true, known) if classes is not None else all_classes[:0]
    if len(unseen):
        rows = int(np.isin(y_true, unseen).sum())
        names = ", ".join(str(label) for label in unseen[:5]) + (" …" if len(unseen) > 5 else "")
        warnings.warn(
            f"{rows} of {len(y_true)} test rows are of classes that the model was not trained on ({names}); "
            "they count as errors",
            stacklevel=3,
        )
    if probabilities is not None and len(known) < len(all_classes):
        wider = np.zeros((len(y_true), len(all_classes)))
        wider[:, np.searchsorted(all_classes, known)] = probabilities
        probabilities = wider

    intervals = None
    if n_resamples:
        arguments = truth, predicted, probabilities, len(all_classes), n_resamples, confidence, random_state
        intervals = in_thread(bootstrap_intervals, *arguments)
    values, class_values = _values(truth, predicted, probabilities, len(all_classes))
    evaluation = Evaluation(
        classes=all_classes,
        unseen=unseen,
        truth=truth,
        predicted=predicted,
        probabilities=probabilities,
        scores={name: Score(value) for name, value in values.items()},
        per_class={name: [Score(float(value)) for value in row] for name, row in class_values.items()},
        confusion=metrics.confusion_matrix(truth, predicted, labels=np.arange(len(all_classes))),
        confidence=confidence,
        support=np.bincount(truth, minlength=len(all_classes)),
    )
    return (
        evaluation,
        lambda: evaluation if intervals is None else _with_intervals(evaluation, n_resamples, *intervals.result()),
    )


def _with_intervals(evaluation: Evaluation, n_resamples: int, intervals: dict, class_intervals: dict) -> Evaluation:
    return replace(
        evaluation,
        scores={name: Score(score.value, *intervals[name]) for name, score in evaluation.scores.items()},
        per_class={
            name: [Score(score.value, *interval) for score, interval in zip(row, class_intervals[name], strict=True)]
            for name, row in evaluation.per_class.items()
        },
        n_resamples=n_resamples,
    )


def _check_labels(labels: Any, name: str) -> np.ndarray:
    if labels is None:
        raise ValueError(f"{name} is missing: the figures need the true and the predicted labels")
    labels = column_or_1d(np.asarray(labels))
    if len(labels) == 0:
        raise ValueError(f"{name} is empty")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        row = int(np.flatnonzero(~np.isfinite(labels))[0])
        raise ValueError(f"{name} has no label in row {row} ({labels[row]})")
    if labels.dtype.kind == "O":
        for row, label in enumerate(labels):
            if label is None or label != label:
                raise ValueError(f"{name} has no label in row {row} ({label})")
        if type_of_target(labels) == "unknown":
            raise ValueError(f"{name} holds objects of several kinds; give numbers or strings")
    if labels.dtype.kind == "f" and (labels != np.floor(labels)).any():
        raise ValueError(f"{name} holds fractions: class labels are whole numbers or strings")
    return labels


def _check_probabilities(probabilities: Any, n_rows: int, classes: Any) -> np.ndarray:
    if classes is None:
        raise ValueError("probabilities need classes: the labels of their columns (classes_)")
    if not np.array_equal(np.unique(classes), np.asarray(classes)):
        raise ValueError("classes must be sorted and without repeats, as classes_ is")
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.shape != (n_rows, len(classes)):
        raise ValueError(
            f"probabilities have shape {probabilities.shape}, expected ({n_rows}, {len(classes)}): rows, classes"
        )
    if not np.isfinite(probabilities).all():
        raise ValueError(f"probabilities are not finite in row {int(np.argwhere(~np.isfinite(probabilities))[0, 0])}")
    return probabilities


def _values(
    truth: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray | None, n_classes: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """scikit-learn's figures: overall and per class."""
    every = np.arange(n_classes)
    kept: dict[str, Any] = {"labels": every, "zero_division": 0}
    precisions, recalls, f1s, rows = metrics.precision_recall_fscore_support(truth, predicted, **kept)
    per_class = {"precision": precisions, "recall": recalls, "f1": f1s}
    values = {"accuracy": float(metrics.accuracy_score(truth, predicted))}
    values |= {name: float(np.average(scores, weights=rows)) for name, scores in per_class.items()}
    if probabilities is not None and n_classes > 1:
        present = np.bincount(truth, minlength=n_classes)
        aucs = np.full(n_classes, np.nan)
        for c in every[(present > 0) & (present < len(truth))]:
            # The value of roc_auc_score; its checks would double the time.
            aucs[c] = metrics.auc(*metrics.roc_curve(truth == c, probabilities[:, c])[:2])
        if not np.isnan(aucs).all():
            values["roc_auc"] = float(np.nanmean(aucs))
        per_class["roc_auc"] = aucs
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The y_prob values do not sum to one")
            values["log_loss"] = float(metrics.log_loss(truth, probabilities, labels=every))
    if n_classes == 1:  # kappa compares the agreement with chance; both are complete here, so it is undefined
        values["cohen_kappa"] = values["matthews"] = float("nan")
    else:
        values["cohen_kappa"] = float(metrics.cohen_kappa_score(truth, predicted, labels=every))
        values["matthews"] = float(metrics.matthews_corrcoef(truth, predicted))
    if probabilities is not None and n_classes > 3:
        values["top_3_accuracy"] = float(metrics.top_k_accuracy_score(truth, probabilities, k=3, labels=every))
    return values, per_class
