"""PrototypeClassifier and the distribution of prototypes over its classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

import somknn
from somknn import PrototypeClassifier
from somknn.prototypes.budget import split_budget
from somknn.search.few_vectors import FewVectorsSearch

SOURCES = ["kmeans", "lvq", "som", "sample"]


@parametrize_with_checks(
    [PrototypeClassifier(source, 20, max_iter=5) for source in SOURCES],
    expected_failed_checks=lambda estimator: (
        {"check_sample_weight_equivalence_on_dense_data": "maps start on rows drawn at random"}
        if estimator.prototypes == "som"
        else {}
    ),
)
def test_estimator_checks(estimator, check):
    check(estimator)


def _digits(dtype=np.uint8):
    X, y = load_digits(return_X_y=True)
    return (X * 15).astype(dtype), np.array(list("abcdefghij"))[y]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_answers_are_those_of_neighbours_among_the_prototypes(source, dtype):
    X, y = _digits(dtype)
    model = PrototypeClassifier(source, 120, n_neighbors=3, weights="distance", random_state=0).fit(X[:1200], y[:1200])
    assert model.prototypes_.dtype == dtype
    assert 100 <= len(model.prototypes_) <= 120
    assert model.score(X[1200:], y[1200:]) > 0.88
    plain = KNeighborsClassifier(3, weights="distance").fit(model.prototypes_.astype(float), model.prototype_labels_)
    np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(X.astype(float)), atol=1e-9)
    np.testing.assert_array_equal(model.predict(X[:300]), plain.predict(X[:300].astype(float)))


def test_all_rows_as_prototypes_are_nearest_neighbours():
    X, y = _digits()
    for source in ("kmeans", "sample"):
        model = PrototypeClassifier(source, 10**6).fit(X[:500], y[:500])
        wanted = KNeighborsClassifier(1).fit(X[:500].astype(float), y[:500]).predict(X[500:].astype(float))
        assert (model.predict(X[500:]) == wanted).mean() > 0.999  # ties: the order of the rows differs


@pytest.mark.parametrize("source", ["kmeans", "lvq", "som", "sample"])
def test_threads_and_saving_never_change_the_result(source, tmp_path):
    X, y = _digits()
    first, second = (PrototypeClassifier(source, 60, max_iter=4, random_state=3, n_jobs=n).fit(X, y) for n in (1, 2))
    np.testing.assert_array_equal(first.prototypes_, second.prototypes_)
    first.save(tmp_path / "model.safetensors")
    loaded = somknn.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict_proba(X), second.predict_proba(X))
    assert loaded.model_bytes_ == 60 * 68 or source == "som"


def test_difficult_classes_get_more():
    X, y = _digits()
    model = PrototypeClassifier("kmeans", 200, budget="difficulty", random_state=0).fit(X, y)
    counts = np.bincount(model.prototype_codes_)
    assert counts.sum() == 200
    assert counts[1] > counts[0] >= 1  # few centres misclassify ones and eights most often


def test_rows_without_weight_have_no_say():
    X, y = _digits()
    weights = (np.arange(len(X)) % 2).astype(float)
    with_weights = PrototypeClassifier("sample", 50, random_state=0).fit(X, y, sample_weight=weights)
    without = PrototypeClassifier("sample", 50, random_state=0).fit(X[1::2], y[1::2])
    np.testing.assert_array_equal(with_weights.prototypes_, without.prototypes_)
    with pytest.raises(ValueError, match="zero for every row of class"):
        PrototypeClassifier("sample", 50).fit(X, y, sample_weight=(y != "c").astype(float))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 200), st.integers(0, 99))
def test_the_budget_is_spent(counts, n_prototypes, seed):
    shares = np.random.default_rng(seed).uniform(1e-3, 1, len(counts))
    for budget in (split_budget(counts, n_prototypes), split_budget(counts, n_prototypes, shares)):
        assert budget.sum() == min(max(n_prototypes, len(counts)), sum(counts))
        assert (budget >= 1).all() and (budget <= counts).all()  # noqa: PT018
    even = split_budget(counts, n_prototypes)
    short = even < counts
    assert not short.any() or even.max() - even[short].min() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_lookup_is_exact(dtype):
    random = np.random.default_rng(0)
    low = random.normal(size=(1500, 9)) @ random.normal(size=(9, 60))
    rows = np.clip(128 + 15 * low, 0, 255).astype(dtype)
    prototypes = rows[:300]
    squares = ((rows[:, None].astype(float) - prototypes[None].astype(float)) ** 2).sum(axis=2)
    found, nearest = FewVectorsSearch(prototypes).search(rows, 2, n_threads=2)
    np.testing.assert_array_equal(nearest, np.argsort(squares, axis=1, kind="stable")[:, :2])
    np.testing.assert_allclose(found, np.sort(squares, axis=1)[:, :2])
