"""Figures of predicted values and the tuning of a regressor, against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics
from sklearn.datasets import load_diabetes
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KNeighborsRegressor as TheirRegressor

from somknn.evaluation import KNeighborsRegressorCV, bootstrap, evaluate_regression, regression


@pytest.fixture(scope="module")
def diabetes():
    return load_diabetes(return_X_y=True)


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    truth = rng.normal(100, 20, 37)
    return truth, truth + rng.normal(0, 5, 37)


def test_the_figures_are_scikit_learn_s(values):
    found = evaluate_regression(*values, n_resamples=0)
    expected = {
        "rmse": metrics.root_mean_squared_error(*values),
        "mae": metrics.mean_absolute_error(*values),
        "r2": metrics.r2_score(*values),
        "median_absolute_error": metrics.median_absolute_error(*values),
        "max_error": metrics.max_error(*values),
    }
    assert {name: score.value for name, score in found.scores.items()} == expected
    assert all(np.isnan(score.low) for score in found.scores.values())
    assert found.n_rows == 37


@pytest.mark.parametrize(("scale", "offset"), [(1, 0), (1e-150, 0), (1e150, 0), (1, 1e7)])
@pytest.mark.parametrize("at_once", [10_000_000, 1])
def test_intervals_are_those_of_resampled_rows(values, monkeypatch, scale, offset, at_once):
    """Every resample, drawn anew here row by row and judged by scikit-learn."""
    monkeypatch.setattr(regression, "COUNTS_AT_ONCE", at_once)
    truth, predicted = (scale * column + offset for column in values)
    found = evaluate_regression(truth, predicted, n_resamples=60, confidence=0.9, random_state=3)
    rng, n = np.random.default_rng(3), len(truth)
    resamples = [np.repeat(np.arange(n), counts) for counts in rng.multinomial(n, np.full(n, 1 / n), size=60)]
    figures = {
        "rmse": lambda t, p: scale * metrics.root_mean_squared_error(t / scale, p / scale),
        "mae": metrics.mean_absolute_error,
        "r2": lambda t, p: metrics.r2_score(t / scale, p / scale),
    }
    for name, figure in figures.items():
        expected = bootstrap.interval_of(np.array([figure(truth[rows], predicted[rows]) for rows in resamples]), 0.9)
        np.testing.assert_allclose((found.scores[name].low, found.scores[name].high), expected, rtol=1e-6)
        assert found.scores[name].low < found.scores[name].value < found.scores[name].high
    assert np.isnan(found.scores["max_error"].low)


def test_where_r2_is_undefined():
    for truth in ([5.0], [5.0, 5.0, 5.0]):
        found = evaluate_regression(truth, np.array(truth) + 1, n_resamples=20)
        assert np.isnan(found.scores["r2"].value)
        assert np.isnan(found.scores["r2"].low)
        assert found.scores["rmse"].value == 1
        assert found.to_dict()["scores"]["r2"] == {"value": None, "low": None, "high": None}
    assert found.formatted("r2", float("nan")) == "n/a"


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        ([], [], "y_true is empty"),
        ([1.0, np.nan], [1, 2], "y_true has no value in row 1"),
        ([1.0, 2], [1, np.inf], "y_pred has no value in row 1"),
        ([1.0, 2], [1], "inconsistent numbers of samples"),
    ],
)
def test_bad_values_are_refused(truth, predicted, message):
    with pytest.raises(ValueError, match=message):
        evaluate_regression(truth, predicted)


@pytest.mark.parametrize("scoring", ["neg_root_mean_squared_error", "neg_mean_absolute_error", "r2"])
def test_tuning_gives_the_scores_of_a_grid_search(diabetes, scoring):
    X, y = diabetes
    grid = {"n_neighbors": [1, 2, 7, 20], "weights": ["uniform", "distance"]}
    ours = KNeighborsRegressorCV(**grid, cv=4, scoring=scoring).fit(X, y)
    folds = KFold(4, shuffle=True, random_state=0)
    theirs = GridSearchCV(TheirRegressor(algorithm="kd_tree"), grid, cv=folds, scoring=scoring).fit(X, y)
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    for name in ("split0_test_score", "split3_test_score", "mean_test_score", "std_test_score"):
        np.testing.assert_allclose(ours.cv_results_[name], theirs.cv_results_[name], rtol=1e-9)
    assert ours.best_params_ == theirs.best_params_
    np.testing.assert_allclose(ours.predict(X[:9]), theirs.predict(X[:9]), rtol=1e-9)


def test_tuning_on_splits_of_one_s_own_and_on_an_index(diabetes):
    from somknn.neighbors import ExactIndex

    X, y = diabetes
    half = [(np.arange(200), np.arange(200, 300)), (np.arange(100, 442), np.arange(50))]
    ours = KNeighborsRegressorCV([3, 5], ["distance"], cv=half).fit(ExactIndex().fit(X), y)
    theirs = GridSearchCV(
        TheirRegressor(weights="distance"), {"n_neighbors": [3, 5]}, cv=half, scoring="neg_root_mean_squared_error"
    )
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], theirs.fit(X, y).cv_results_["mean_test_score"], rtol=1e-9
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scoring": "accuracy"}, "scoring must be one of"),
        ({"cv": 1}, "cv must be from 2 folds"),
        ({"cv": 1000}, "cv must be from 2 folds to the number of rows, 442"),
        ({"n_neighbors": [0]}, "at least 1"),
        ({"n_neighbors": [400]}, "more than the"),
        ({"weights": ["none"]}, "weights must hold"),
    ],
)
def test_bad_candidates_are_refused(diabetes, arguments, message):
    with pytest.raises(ValueError, match=message):
        KNeighborsRegressorCV(**arguments).fit(*diabetes)
