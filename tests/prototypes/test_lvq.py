"""LVQ: its gradient, its winners, its gain, and scikit-learn's checks."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_blobs
from sklearn.utils.estimator_checks import parametrize_with_checks

import somknn
from reference import lvq as plain
from somknn import LVQ, PrototypeClassifier
from somknn.prototypes import glvq


@parametrize_with_checks(
    [LVQ(20, max_iter=10), LVQ(10, algorithm="lvq1", max_iter=5), LVQ(10, algorithm="lvq2.1", max_iter=5)]
)
def test_estimator_checks(estimator, check):
    check(estimator)


def _digits(dtype=np.uint8):
    X, y = load_digits(return_X_y=True)
    return (X * 15).astype(dtype), y


def _sorted(n=400, d=5, classes=3, seed=0):
    random = np.random.default_rng(seed)
    codes = np.sort(random.integers(0, classes, n))
    rows = random.normal(size=(n, d)) + codes[:, None]
    return rows, codes, random


@pytest.mark.parametrize("shape", [(400, 5, 12), (9000, 60, 210)])
def test_winners_are_exact_again_and_again(shape):
    n, d, k = shape
    rows, codes, random = _sorted(n, d)
    rows[:, 3:] *= 0.05  # wide rows, for which the bounds are made
    prototypes, classes = random.normal(size=(k, d)) + 1.0, np.sort(np.arange(k) % 3)
    prototypes[:, 3:] *= 0.05
    search = glvq.ClassSearch(rows, codes, 3, None)
    for _ in range(3):
        found = search.find(prototypes, classes)
        wanted = plain.winners(rows, codes, prototypes, classes)
        np.testing.assert_array_equal(found.own, wanted[0])
        np.testing.assert_array_equal(found.other, wanted[2])
        np.testing.assert_allclose(found.own_squares, wanted[1])
        np.testing.assert_allclose(found.other_squares, wanted[3])
        prototypes = prototypes + 0.05 * random.normal(size=prototypes.shape)


def test_gradient_is_that_of_the_cost():
    rows, codes, random = _sorted(60, 4)
    prototypes, classes = random.normal(size=(9, 4)) + 1.0, np.repeat([0, 1, 2], 3)
    weights = random.uniform(0.5, 2, len(rows))
    search = glvq.ClassSearch(rows, codes, 3, None)

    def cost(moved):
        winners = search.find(moved, classes)
        return glvq.cost_and_gradient(rows, weights, moved, winners, 3.0, 1)

    gradient = cost(prototypes)[1]
    for p, c in [(0, 0), (4, 2), (8, 3), (5, 1)]:
        step = np.zeros_like(prototypes)
        step[p, c] = 1e-6
        numeric = (cost(prototypes + step)[0] - cost(prototypes - step)[0]) / 2e-6
        assert gradient[p, c] == pytest.approx(numeric, rel=1e-4, abs=1e-9)


def test_rows_on_prototypes_of_two_classes_pull_at_neither():
    rows, codes = np.zeros((4, 2)), np.array([0, 0, 1, 1])
    winners = glvq.ClassSearch(rows, codes, 2, None).find(np.zeros((2, 2)), np.array([0, 1]))
    value, gradient = glvq.cost_and_gradient(rows, np.ones(4), np.zeros((2, 2)), winners, 20.0, 1)
    assert value == 0.5
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_better_than_the_centres_it_starts_from(dtype):
    X, y = _digits(dtype)
    centres = PrototypeClassifier("kmeans", 40, random_state=0).fit(X[:1200], y[:1200])
    trained = LVQ(40, random_state=0).fit(X[:1200], y[:1200])
    assert trained.prototypes_.dtype == dtype
    assert trained.score(X[1200:], y[1200:]) > centres.score(X[1200:], y[1200:])
    history = trained.history_
    assert history["cost"][-1] < history["cost"][0]
    assert history["error_rate"][-1] < 0.5 * history["error_rate"][0]
    assert len(history["seconds"]) == trained.n_iter_ == 30


@pytest.mark.parametrize("algorithm", ["lvq1", "lvq2.1"])
def test_kohonens_rules_learn(algorithm):
    X, y = _digits()
    order = np.argsort(y[:1200], kind="stable")
    rows, codes = X[:1200][order], y[:1200][order]
    start = np.concatenate([rows[codes == c][:2] for c in range(10)])
    classes = np.repeat(np.arange(10), 2)
    model = LVQ(algorithm=algorithm, max_iter=10, random_state=0)
    trained, _ = model.refine(start, classes, rows, codes, np.ones(len(rows)))

    def errors(prototypes):
        own, other = np.array(plain.winners(rows, codes, prototypes, classes))[[1, 3]]
        return (other <= own).mean()

    assert errors(trained) < 0.7 * errors(start)
    assert model.history_["error_rate"][-1] < model.history_["error_rate"][0]


@pytest.mark.parametrize("algorithm", ["glvq", "lvq1", "lvq2.1"])
def test_threads_and_saving_never_change_the_result(algorithm, tmp_path):
    X, y = _digits()
    first, second = (LVQ(30, algorithm=algorithm, max_iter=5, random_state=1, n_jobs=n).fit(X, y) for n in (1, 2))
    np.testing.assert_array_equal(first.prototypes_, second.prototypes_)
    first.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(somknn.load(tmp_path / "model.safetensors").predict(X), second.predict(X))


def test_weights_repeat_rows():
    X, y = make_blobs(300, 4, centers=3, cluster_std=3.0, random_state=0)
    times = np.random.default_rng(0).integers(1, 4, len(X))
    order = np.argsort(y, kind="stable")
    X, y, times = X[order], y[order], times[order]
    prototypes, classes = X[::25].copy(), y[::25]
    model = LVQ(max_iter=8)
    weighted, _ = model.refine(prototypes, classes, X, y, times.astype(float))
    repeated, _ = model.refine(
        prototypes, classes, np.repeat(X, times, axis=0), np.repeat(y, times), np.ones(times.sum())
    )
    # The spread, which is the unit of a step, differs.
    np.testing.assert_allclose(weighted, repeated, rtol=0.05, atol=0.05)


def test_callback_sees_and_stops():
    X, y = _digits()
    seen = []
    model = LVQ(10, callback=lambda entry: seen.append(entry["epoch"]) or len(seen) == 3, random_state=0).fit(X, y)
    assert seen == [1, 2, 3]
    assert model.n_iter_ == 3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"algorithm": "lvq3"}, "algorithm"),
        ({"window": 1.5}, "window"),
        ({"slope": 0}, "slope"),
        ({"max_iter": 0}, "max_iter"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        LVQ(**parameters).fit(np.eye(4), [0, 0, 1, 1])


@pytest.mark.parametrize("metric_rank", [None, 3])
def test_rows_whose_squared_distances_overflow_are_refused(metric_rank):
    rows, codes, _ = _sorted(60)
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(ValueError, match=r"beyond|infinity|NaN"):
        LVQ(9, metric_rank=metric_rank, random_state=0).fit(rows * 1e300, codes)
