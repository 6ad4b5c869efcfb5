"""The data of the pictures of an `Evaluation`, computed by scikit-learn; `somknn.plots.evaluation` draws them."""

from collections.abc import Iterator

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve, roc_curve

from somknn.evaluation.metrics import PER_CLASS, Evaluation

_BINS = 10
_GOOD = 0.97  # if every class has at least this ROC-AUC, all curves run close to the corner

Curve = tuple[int, np.ndarray, np.ndarray]


def calibration(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Mean predicted probability and share of correct rows of each bin; each class against the rest, all pooled."""
    assert evaluation.probabilities is not None
    right = evaluation.truth[:, None] == np.arange(len(evaluation.classes))
    predicted = np.clip(evaluation.probabilities.ravel(), 0, 1)
    share, probability = calibration_curve(right.ravel(), predicted, n_bins=_BINS)
    return probability, share


def _against_the_rest(evaluation: Evaluation) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """For each class that has rows but not all: its number, whether each row is its own, and its probabilities."""
    assert evaluation.probabilities is not None
    for c in range(len(evaluation.classes)):
        right = evaluation.truth == c
        if right.any() and not right.all():
            yield c, right, evaluation.probabilities[:, c]


def roc(evaluation: Evaluation) -> list[Curve]:
    """(class, false positive rates, true positive rates), each class against the rest."""
    return [(c, *roc_curve(right, shares)[:2]) for c, right, shares in _against_the_rest(evaluation)]


def precision_recall(evaluation: Evaluation) -> list[Curve]:
    """(class, recall, precision), each class against the rest."""
    found = []
    for c, right, shares in _against_the_rest(evaluation):
        precision, recall, _ = precision_recall_curve(right, shares, drop_intermediate=True)
        found.append((c, recall, precision))
    return found


def are_in_the_corner(evaluation: Evaluation) -> bool:
    """Whether the curves differ visibly only in an enlarged corner."""
    known = [score.value for score in evaluation.per_class["roc_auc"] if not np.isnan(score.value)]
    return bool(known) and min(known) > _GOOD


def per_class_scores(evaluation: Evaluation) -> tuple[np.ndarray, list[str]]:
    """Scores (n_classes, n_scores), and their names."""
    shown = [name for name in PER_CLASS if name in evaluation.per_class]
    return np.array([[score.value for score in evaluation.per_class[name]] for name in shown]).T, shown
