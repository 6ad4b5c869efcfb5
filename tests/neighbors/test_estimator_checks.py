"""scikit-learn's own checks of an estimator, all of them."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from somknn import KNeighborsClassifier, KNeighborsRegressor, KNeighborsTransformer, NearestNeighbors

# Check name: reason. Strict (`xfail_strict` in pyproject.toml): a check that passes unexpectedly fails the run.
NEAREST_WINS_TIES = {
    "check_classifiers_train": "it wants predict to be the first maximum of predict_proba; with "
    "tie_break='nearest' a tied vote goes to the class of the nearest neighbour (tie_break='first' passes)"
}


def expected_failures(estimator):
    uniform = getattr(estimator, "weights", None) == "uniform"
    return NEAREST_WINS_TIES if uniform and getattr(estimator, "tie_break", None) == "nearest" else {}


ESTIMATORS = [
    KNeighborsClassifier(),
    KNeighborsClassifier(tie_break="first"),
    KNeighborsClassifier(n_neighbors=4, weights="distance", tie_break="first"),
    KNeighborsClassifier(metric="cosine", tie_break="first"),
    KNeighborsRegressor(),
    KNeighborsTransformer(),
    NearestNeighbors(),
    NearestNeighbors(metric="cosine"),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures)
def test_estimator_check(estimator, check):
    check(estimator)
