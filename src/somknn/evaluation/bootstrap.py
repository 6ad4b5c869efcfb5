"""Percentile bootstrap of classification figures: a thousand resamples in a fraction of a second.

Calling scikit-learn a thousand times for ten figures would take a minute. Instead, rows with the same truth, prediction
and probabilities form one kind. (Of 10,000 test digits, nine in ten are unanimous votes, so there are about a thousand
kinds.) Drawing rows with replacement is the same as drawing the number of rows of each kind from a multinomial
distribution. Each figure is then a few array operations on these counts. The tests compare every figure of every
resample with scikit-learn's, computed with `sample_weight`.
"""

import numpy as np
from scipy.sparse import csr_array

COUNTS_AT_ONCE = 8_000_000  # counts held at a time (64 MB)

Interval = tuple[float, float]


def bootstrap_intervals(
    truth: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray | None,
    n_classes: int,
    n_resamples: int,
    confidence: float,
    random_state: int | np.random.Generator | None,
) -> tuple[dict[str, Interval], dict[str, list[Interval]]]:
    """Percentile intervals of the overall figures and of the figures of each class.

    `truth` and `predicted` are class positions of shape (n_rows,), `probabilities` (n_rows, n_classes) or None. A
    figure that is undefined in a resample (the ROC-AUC of a class without rows) is left out of its distribution.
    """
    kinds, occurrences = _kinds(truth, predicted, probabilities)
    generator = np.random.default_rng(random_state)
    share = occurrences / occurrences.sum()
    step = max(1, COUNTS_AT_ONCE // len(kinds))
    parts = []
    for start in range(0, n_resamples, step):
        counts = generator.multinomial(len(truth), share, size=min(step, n_resamples - start))
        kind_probabilities = None if probabilities is None else probabilities[kinds]
        parts.append(replicates(counts, truth[kinds], predicted[kinds], kind_probabilities, n_classes))
    overall = {name: interval_of(np.concatenate([p[0][name] for p in parts]), confidence) for name in parts[0][0]}
    per_class = {}
    for name in parts[0][1]:
        columns = np.concatenate([p[1][name] for p in parts])
        per_class[name] = [interval_of(column, confidence) for column in columns.T]
    return overall, per_class


def _kinds(truth: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """One row of every kind, and the number of rows of that kind."""
    columns = [truth[:, None], predicted[:, None]]
    if probabilities is not None:
        columns.append(probabilities)
    table = np.ascontiguousarray(np.hstack(columns).astype(np.float64)) + 0.0  # no negative zeros: bytes are compared
    as_bytes = table.view(np.dtype((np.void, table.dtype.itemsize * table.shape[1]))).ravel()
    _, first, occurrences = np.unique(as_bytes, return_index=True, return_counts=True)
    return first, occurrences


def interval_of(values: np.ndarray, confidence: float) -> Interval:
    """The percentile interval of a figure's values in the resamples; NaN are left out."""
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def replicates(
    counts: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray | None,
    n_classes: int,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Compute every figure of every resample.

    `counts` (n_resamples, n_kinds) is the number of rows of each kind; the kinds are described by `truth` and
    `predicted` (n_kinds,) and `probabilities` (n_kinds, n_classes). Returns arrays of shape (n_resamples,) and
    (n_resamples, n_classes). Definitions are scikit-learn's, with 0 for 0/0 in precision, recall and F1.
    """
    n = counts.sum(axis=1).astype(np.float64)
    cell = truth * n_classes + predicted
    order = np.argsort(cell, kind="stable")
    filled, start = np.unique(cell[order], return_index=True)
    cells = np.zeros((len(counts), n_classes * n_classes))
    cells[:, filled] = np.add.reduceat(counts[:, order], start, axis=1)
    confusion = cells.reshape(-1, n_classes, n_classes)

    hits = np.einsum("bii->bi", confusion)
    rows, columns = confusion.sum(axis=2), confusion.sum(axis=1)
    precision, recall = _ratio(hits, columns), _ratio(hits, rows)
    f1 = _ratio(2 * hits, rows + columns)
    share = rows / n[:, None]
    accuracy = hits.sum(axis=1) / n
    by_chance = (rows * columns).sum(axis=1) / n**2
    spread = np.sqrt((1 - ((columns / n[:, None]) ** 2).sum(axis=1)) * (1 - (share**2).sum(axis=1)))
    with np.errstate(divide="ignore", invalid="ignore"):
        kappa = np.where(by_chance < 1, (accuracy - by_chance) / (1 - by_chance), np.nan)
    overall = {
        "accuracy": accuracy,
        "precision": (precision * share).sum(axis=1),
        "recall": (recall * share).sum(axis=1),
        "f1": (f1 * share).sum(axis=1),
        "cohen_kappa": kappa,
        "matthews": _ratio(accuracy - by_chance, spread),
    }
    per_class = {"precision": precision, "recall": recall, "f1": f1}
    if probabilities is not None and n_classes > 1:
        kinds = np.ascontiguousarray(counts.T)
        aucs = np.column_stack([_roc_auc(kinds, truth == c, probabilities[:, c]) for c in range(n_classes)])
        present = ~np.isnan(aucs)
        per_class["roc_auc"] = aucs
        overall["roc_auc"] = np.where(
            present.any(axis=1), np.nansum(aucs, axis=1) / np.maximum(present.sum(axis=1), 1), np.nan
        )
        tiny = np.finfo(np.float64).eps  # scikit-learn's lower limit for a probability
        own = np.clip(probabilities, tiny, 1 - tiny)[np.arange(len(truth)), truth]
        overall["log_loss"] = counts @ -np.log(own) / n
        if n_classes > 3:
            # Ties go to the later class, as in scikit-learn.
            best = np.argsort(probabilities, axis=1, kind="stable")[:, -3:]
            overall["top_3_accuracy"] = counts @ (best == truth[:, None]).any(axis=1) / n
    return overall, per_class


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _roc_auc(columns: np.ndarray, positive: np.ndarray, score: np.ndarray) -> np.ndarray:
    """ROC-AUC of every resample: the share of correctly ordered pairs; a tie counts half.

    columns : (n_kinds, n_resamples) counts. They are summed by score first: the votes of k neighbours have few values.
    """
    levels, level = np.unique(score, return_inverse=True)

    def by_level(chosen: np.ndarray) -> np.ndarray:
        kinds = np.flatnonzero(chosen)
        shape = len(levels), len(score)
        return csr_array((np.ones(len(kinds), columns.dtype), (level[kinds], kinds)), shape) @ columns

    positives, negatives = by_level(positive), by_level(~positive)
    below = np.cumsum(negatives, axis=0) - negatives
    pairs = positives.sum(axis=0) * negatives.sum(axis=0)
    right = (positives * (2 * below + negatives)).sum(axis=0) / 2
    return np.divide(right, pairs, out=np.full(columns.shape[1], np.nan), where=pairs > 0)
