"""One search gives GridSearchCV's scores to the last digit, for all kinds of splits, scorers and searches."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, RepeatedStratifiedKFold, ShuffleSplit, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier as SklearnKNeighborsClassifier

from somknn.evaluation import KNeighborsClassifierCV
from somknn.evaluation.folds import FoldNeighbors, make_splits
from somknn.neighbors import ExactIndex


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


def same_as_grid_search(X, y, ks, *, cv=10, scoring="accuracy", weights=("uniform", "distance"), dtype=None):
    ours = KNeighborsClassifierCV(ks, weights, cv=cv, scoring=scoring, tie_break="first", refit=False).fit(
        X if dtype is None else X.astype(dtype), y
    )
    grid = GridSearchCV(
        SklearnKNeighborsClassifier(algorithm="brute"),
        {"n_neighbors": list(ks), "weights": list(weights)},
        cv=cv,
        scoring=scoring,
        refit=False,
    ).fit(X, y)
    assert ours.cv_results_["params"] == grid.cv_results_["params"]
    for name, column in ours.cv_results_.items():
        if name.endswith("test_score"):
            np.testing.assert_array_equal(column, grid.cv_results_[name], err_msg=name)
    assert ours.best_params_ == grid.best_params_
    assert ours.best_score_ == grid.best_score_
    assert ours.n_splits_ == grid.n_splits_
    return ours


def without_ties(X):
    """The digits with a little noise: no two distances are equal, so scikit-learn's neighbours are determined."""
    return X + np.random.default_rng(0).normal(scale=1e-3, size=X.shape)


def test_every_k_and_weighting_of_the_digits(digits):
    X, y = digits
    assert same_as_grid_search(without_ties(X), y, range(1, 31)).shared_search_


def test_names_as_labels(digits):
    X, y = digits
    names = np.array([f"digit {label}" for label in y])
    same_as_grid_search(without_ties(X[:400]), names[:400], range(1, 31, 3))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_digits_as_they_are(digits, dtype):
    """Scores differ from scikit-learn's by at most the number of rows with tied distances.

    There are few grey levels, so distances tie. Of equally distant rows, the lowest is the k-th neighbour here; in
    scikit-learn the order is unspecified.
    """
    X, y = digits
    ks = range(1, 31, 3)
    ours = KNeighborsClassifierCV(ks, tie_break="first", refit=False).fit(X.astype(dtype), y)
    grid = GridSearchCV(
        SklearnKNeighborsClassifier(algorithm="brute"),
        {"n_neighbors": list(ks), "weights": ["uniform", "distance"]},
        cv=10,
    ).fit(X, y)
    splits = make_splits(y, 10)
    determined = 0
    for s, (codes, squared) in enumerate(FoldNeighbors(ExactIndex().fit(X.astype(dtype)), y, splits, 40)):
        for i, candidate in enumerate(ours.cv_results_["params"]):
            k = candidate["n_neighbors"]
            last = squared == squared[:, [k - 1]]
            others = last & (codes != codes[:, [k - 1]])
            tied = int((last[:, k] & others.any(axis=1)).sum())
            determined += tied == 0
            theirs = grid.cv_results_[f"split{s}_test_score"][i]
            assert abs(ours.cv_results_[f"split{s}_test_score"][i] - theirs) * len(squared) <= tied + 1e-9
    assert determined > 50


@pytest.mark.parametrize(
    ("cv", "shared"),
    [
        (2, False),
        (5, True),
        (StratifiedKFold(7, shuffle=True, random_state=1), True),
        (RepeatedStratifiedKFold(n_splits=3, n_repeats=3, random_state=0), True),
        (ShuffleSplit(4, train_size=0.1, random_state=2), False),
    ],
)
def test_splitters(digits, cv, shared):
    X, y = digits
    assert same_as_grid_search(X[:500], y[:500], [1, 4, 12], cv=cv).shared_search_ == shared


@pytest.mark.parametrize("scoring", ["f1_macro", "balanced_accuracy", "matthews_corrcoef"])
def test_scorers_of_predictions(digits, scoring):
    X, y = digits
    same_as_grid_search(X[:400], y[:400], [1, 3, 8], scoring=scoring)


@pytest.mark.parametrize("scoring", ["neg_log_loss", "roc_auc_ovr"])
def test_scorers_of_probabilities(digits, scoring):
    X, y = digits
    ours = KNeighborsClassifierCV([3, 8], cv=5, scoring=scoring, refit=False).fit(X[:400], y[:400])
    grid = GridSearchCV(
        SklearnKNeighborsClassifier(), {"n_neighbors": [3, 8], "weights": ["uniform", "distance"]}, scoring=scoring
    ).fit(X[:400], y[:400])
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], grid.cv_results_["mean_test_score"], rtol=1e-13)


def test_callable_weights(digits):
    X, y = digits
    same_as_grid_search(X[:400], y[:400], [1, 5, 9], weights=[lambda d: 1 / (1 + d) ** 2])


def test_duplicates_are_neighbours_and_a_row_is_not_its_own(digits):
    X, y = digits
    X = np.repeat(X[:150], 3, axis=0).astype(np.uint8)
    y = np.repeat(y[:150], 3)
    cv = StratifiedKFold(5, shuffle=True, random_state=0)
    ours = KNeighborsClassifierCV([1], cv=cv, tie_break="first", refit=False).fit(X, y)
    grid = GridSearchCV(SklearnKNeighborsClassifier(algorithm="brute"), {"n_neighbors": [1]}, cv=cv).fit(X, y)
    assert ours.cv_results_["mean_test_score"][0] == grid.cv_results_["mean_test_score"][0]


def test_short_lists_are_searched_again():
    """All near neighbours of a row are in its own fold, so that every first list is too short."""
    rng = np.random.default_rng(0)
    place = np.repeat(np.arange(10), 60)
    X = 100.0 * place[:, None] + rng.random((600, 3))
    splits = [(np.flatnonzero(place != f), np.flatnonzero(place == f)) for f in range(10)]
    codes = np.arange(600, dtype=np.int32)
    neighbors = FoldNeighbors(ExactIndex().fit(X), codes, splits, 7)
    for (train, test), (found, squared) in zip(splits, neighbors, strict=True):
        exact = ((X[test][:, None] - X[train]) ** 2).sum(axis=2)
        order = np.argsort(exact, axis=1, kind="stable")[:, :7]
        np.testing.assert_array_equal(found, train[order])
        np.testing.assert_allclose(squared, np.take_along_axis(exact, order, axis=1))
    assert neighbors.shared
    assert neighbors.searched_again == 600


def test_bad_input(digits):
    X, y = digits
    search = KNeighborsClassifierCV([1, 3], cv=10)
    few = np.r_[y[:100], [77] * 4]
    for make, message in [
        (lambda: search.fit(X, None), "y cannot be None|requires y"),
        (lambda: search.fit(X, y[:5]), "inconsistent numbers of samples"),
        (lambda: search.fit(X[:104], few), "class 77 has 4 rows, fewer than the 10 folds"),
        (lambda: clone(search).set_params(n_neighbors=[500], cv=3).fit(X[:300], y[:300]), "n_neighbors=500 is more"),
        (lambda: clone(search).set_params(n_neighbors=[0]).fit(X, y), "at least 1, got 0"),
        (lambda: clone(search).set_params(n_neighbors=[]).fit(X, y), "at least one candidate"),
        (lambda: clone(search).set_params(weights=["square"]).fit(X, y), "'square'"),
        (lambda: clone(search).set_params(tie_break="last").fit(X, y), "tie_break"),
        (lambda: clone(search).set_params(cv=1).fit(X, y), "at least 2"),
        (lambda: make_splits(np.linspace(0, 1, 20), 3), "continuous"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
