"""scikit-learn's estimator checks, and saved maps."""

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import somknn
from somknn import SOM, SOMClassifier, SOMFeatureSelector

# The check has 50 rows in three clusters, and expects about as many labels as clusters, without gaps. Labels of a map
# are its neurons; the default has 100 of them for these 50 rows. `SOM(1, 3)` shows that a map of three neurons passes.
NEURONS = "labels are neurons: more of them than clusters, and a neuron may win no row"


def expected_failures(estimator):
    if isinstance(estimator, SOM) and estimator.n_rows * estimator.n_columns > 50:
        return {"check_clustering": NEURONS}
    return {}


@parametrize_with_checks(
    [
        SOM(),
        SOM(1, 3, epochs=5, final_radius=0.3),
        SOMClassifier(),
        SOMClassifier(SOM(6, 6)),
        SOMFeatureSelector(),
        SOMFeatureSelector(SOM(3, 3), n_features=2),
    ],
    expected_failed_checks=expected_failures,
)
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    "estimator", [SOM(3, 4), SOMClassifier(SOM(3, 4)), SOMFeatureSelector(SOM(3, 4), n_features=2)]
)
def test_saved_and_loaded(estimator, tmp_path):
    X = np.random.default_rng(0).normal(size=(90, 5))
    estimator.fit(X, np.repeat([0, 1, 2], 30)).save(tmp_path / "map.safetensors")
    loaded = somknn.load(tmp_path / "map.safetensors")
    method = "predict" if hasattr(estimator, "predict") else "transform"
    np.testing.assert_array_equal(getattr(loaded, method)(X), getattr(estimator, method)(X))


def test_streaming_goes_on_after_loading(tmp_path):
    X = np.random.default_rng(0).normal(size=(90, 5))
    som = SOM(3, 3).partial_fit(X[:40])
    som.save(tmp_path / "map.safetensors")
    loaded = somknn.load(tmp_path / "map.safetensors")
    np.testing.assert_array_equal(loaded.partial_fit(X[40:]).codebook_, som.partial_fit(X[40:]).codebook_)
