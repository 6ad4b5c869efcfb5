"""Every figure equals scikit-learn's, and so does every bootstrap replicate."""

import warnings

import numpy as np
import pytest
from sklearn import metrics
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from somknn.evaluation import evaluate_predictions
from somknn.evaluation.bootstrap import bootstrap_intervals, replicates


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    model = KNeighborsClassifier(4, weights="distance").fit(X[:500], y[:500])
    return y[500:1500], model.predict(X[500:1500]), model.predict_proba(X[500:1500]), model.classes_


def test_values_are_scikit_learns(digits):
    y, p, proba, classes = digits
    found = evaluate_predictions(y, p, proba, classes=classes, n_resamples=0)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(y, p, average="weighted")
    expected = {
        "accuracy": metrics.accuracy_score(y, p),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "log_loss": metrics.log_loss(y, proba),
        "cohen_kappa": metrics.cohen_kappa_score(y, p),
        "matthews": metrics.matthews_corrcoef(y, p),
        "top_3_accuracy": metrics.top_k_accuracy_score(y, proba, k=3),
    }
    assert {name: score.value for name, score in found.scores.items() if name != "roc_auc"} == expected
    assert found.scores["roc_auc"].value == pytest.approx(metrics.roc_auc_score(y, proba, multi_class="ovr"), rel=1e-14)
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(y, p))
    assert [s.value for s in found.per_class["f1"]] == metrics.f1_score(y, p, average=None).tolist()
    assert np.isnan(found.scores["accuracy"].low)


def test_every_replicate_is_what_scikit_learn_says(digits):
    y, p, proba, _ = digits
    rng = np.random.default_rng(3)
    y, p, proba = y[:200], p[:200].copy(), proba[:200]
    p[::7] = rng.integers(0, 9, len(p[::7]))
    counts = rng.multinomial(200, np.full(200, 1 / 200), size=20)
    overall, per_class = replicates(counts, y, p, proba, 10)
    for b, w in enumerate(counts):
        kept = {"sample_weight": w, "labels": np.arange(10), "zero_division": 0}
        averaged = metrics.precision_recall_fscore_support(y, p, average="weighted", **kept)
        each = metrics.precision_recall_fscore_support(y, p, average=None, **kept)
        aucs = [metrics.roc_auc_score(y == c, proba[:, c], sample_weight=w) for c in range(10)]
        expected = {
            "accuracy": metrics.accuracy_score(y, p, sample_weight=w),
            "precision": averaged[0],
            "recall": averaged[1],
            "f1": averaged[2],
            "roc_auc": np.mean(aucs),
            "log_loss": metrics.log_loss(y, proba, sample_weight=w, labels=np.arange(10)),
            "cohen_kappa": metrics.cohen_kappa_score(y, p, sample_weight=w),
            "matthews": metrics.matthews_corrcoef(y, p, sample_weight=w),
            "top_3_accuracy": metrics.top_k_accuracy_score(y, proba, k=3, sample_weight=w, labels=np.arange(10)),
        }
        assert {name: overall[name][b] for name in overall} == pytest.approx(expected, rel=1e-12)
        for name, row in zip(("precision", "recall", "f1"), each[:3], strict=True):
            np.testing.assert_allclose(per_class[name][b], row, rtol=1e-12)
        np.testing.assert_allclose(per_class["roc_auc"][b], aucs, rtol=1e-12)


def test_interval_of_a_proportion_has_the_binomial_width():
    rng = np.random.default_rng(0)
    y = np.zeros(2000, int)
    p = (rng.random(2000) < 0.1).astype(int)
    overall, _ = bootstrap_intervals(y, p, None, 2, 4000, 0.95, 1)
    accuracy = 1 - p.mean()
    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / 2000)
    assert overall["accuracy"] == pytest.approx((accuracy - half, accuracy + half), abs=0.1 * half)


def test_intervals_repeat_and_hold_the_value(digits):
    y, p, proba, classes = digits
    first = evaluate_predictions(y, p, proba, classes=classes)
    again = evaluate_predictions(y, p, proba, classes=classes)
    assert first.to_dict() == again.to_dict()
    for name, score in first.scores.items():
        assert score.low <= score.value <= score.high, name


def test_intervals_do_not_depend_on_how_many_resamples_are_held_at_once(digits, monkeypatch):
    from somknn.evaluation import bootstrap

    y, p, proba, classes = digits
    whole = evaluate_predictions(y, p, proba, classes=classes, n_resamples=50).to_dict()
    monkeypatch.setattr(bootstrap, "COUNTS_AT_ONCE", 1)
    parts = evaluate_predictions(y, p, proba, classes=classes, n_resamples=50).to_dict()
    for name, score in whole["scores"].items():
        assert parts["scores"][name] == pytest.approx(score, rel=1e-12)


def test_unseen_classes_count_as_errors_and_are_named():
    proba = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    with pytest.warns(UserWarning, match=r"1 of 3 test rows .* not trained on \(c\)"):
        found = evaluate_predictions(["a", "b", "c"], ["a", "b", "a"], proba, classes=["a", "b"], n_resamples=20)
    assert found.classes.tolist() == ["a", "b", "c"]
    assert found.unseen.tolist() == ["c"]
    assert found.scores["accuracy"].value == pytest.approx(2 / 3)
    assert found.probabilities[:, 2].tolist() == [0, 0, 0]
    assert found.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_a_class_missing_from_the_test_set_is_left_out_of_the_average(digits):
    y, p, proba, classes = digits
    keep = y != 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = evaluate_predictions(y[keep], p[keep], proba[keep], classes=classes, n_resamples=20)
    assert np.isnan(found.per_class["roc_auc"][3].value)
    aucs = [metrics.roc_auc_score(y[keep] == c, proba[keep, c]) for c in range(10) if c != 3]
    assert found.scores["roc_auc"].value == pytest.approx(np.mean(aucs))
    assert found.to_dict()["per_class"]["roc_auc"][3]["value"] is None


def test_one_class_only():
    found = evaluate_predictions([1, 1], [1, 1], np.ones((2, 1)), classes=[1], n_resamples=10)
    assert found.scores["accuracy"].value == 1
    assert np.isnan(found.scores["cohen_kappa"].value)
    assert "roc_auc" not in found.scores


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, [1]), "y_true is missing"),
        (([], []), "y_true is empty"),
        (([0, 1, float("nan")], [0, 1, 1]), "y_true has no label in row 2"),
        ((np.array(["a", None], object), ["a", "a"]), "y_true has no label in row 1"),
        (([0, 1], [0, 1, 1]), "inconsistent numbers of samples"),
        ((["a", "b"], [0, 1]), "mix strings and numbers"),
        (([0.5, 1.0], [0, 1]), "fractions"),
        (([0, 1], [0, 1], [[1, 0], [0, 1]]), "probabilities need classes"),
    ],
)
def test_bad_labels_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate_predictions(*arguments)


@pytest.mark.parametrize(
    ("proba", "classes", "message"),
    [
        ([[1.0], [0.0]], [0, 1], r"shape \(2, 1\)"),
        ([[1, 0], [0, 1]], [1, 0], "sorted"),
        ([[1, 0], [np.nan, 1]], [0, 1], "not finite in row 1"),
    ],
)
def test_bad_probabilities_are_refused(proba, classes, message):
    with pytest.raises(ValueError, match=message):
        evaluate_predictions([0, 1], [0, 1], proba, classes=classes)
