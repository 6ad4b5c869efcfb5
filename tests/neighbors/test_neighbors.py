"""The k-NN estimators against an oracle and scikit-learn: inputs of every kind, threads, pipelines."""

import importlib.util
import multiprocessing
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn import neighbors as sk
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import somknn
from somknn import KNeighborsClassifier, KNeighborsRegressor, KNeighborsTransformer, NearestNeighbors
from somknn.neighbors import ExactIndex


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.uint8)
    return X[:900], y[:900], X[900:1300], y[900:1300]


def oracle(rows, queries, k):
    """Squared distances and rows in order of (distance, row), in exact integers."""
    squared = ((queries[:, None, :].astype(np.int64) - rows[None].astype(np.int64)) ** 2).sum(axis=2)
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(squared, order, axis=1), order


@pytest.mark.parametrize(
    ("algorithm", "n_jobs"), [("auto", None), ("brute", 1), ("brute", 2), ("pruned", 1), ("pruned", 2), ("tree", 2)]
)
@pytest.mark.parametrize("k", [1, 3, 900])
def test_kneighbors_equals_the_oracle(digits, k, algorithm, n_jobs):
    X, _, Q, _ = digits
    model = NearestNeighbors(n_neighbors=k, algorithm=algorithm, n_jobs=n_jobs).fit(X)
    squared, indices = oracle(X, Q, k)
    got, got_indices = model.kneighbors(Q, squared=True)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, squared)
    np.testing.assert_array_equal(got_indices, indices)
    distances = model.kneighbors(Q)[0]
    assert distances.dtype == np.float64
    np.testing.assert_array_equal(distances, np.sqrt(squared))
    np.testing.assert_array_equal(model.kneighbors(Q, return_distance=False), indices)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int64, np.float16, np.float32, ">f4", np.float64])
def test_number_types_give_the_same_neighbours(digits, dtype):
    X, _, Q, _ = digits
    X, Q = X > 7 if dtype is bool else X, Q > 7 if dtype is bool else Q
    squared, indices = oracle(X, Q, 5)
    got, got_indices = NearestNeighbors().fit(X.astype(dtype)).kneighbors(Q.astype(dtype), squared=True)
    np.testing.assert_array_equal(got, squared)
    np.testing.assert_array_equal(got_indices, indices)


@pytest.mark.parametrize(
    ("values", "held"),
    [
        (np.array([[0, 255]], np.int64), np.uint8),
        (np.array([[-1, 255]], np.int64), np.float64),
        (np.array([[0, 256]], np.int64), np.float64),
        (np.array([[0, 2**53]], np.uint64), np.float64),
        (np.array([[-300, 2]], np.int16), np.int16),
        (np.array([[0, 255]], np.int16), np.uint8),
        (np.array([[-128, 2]], np.int8), np.int8),
        (np.array([[0, 2]], np.int8), np.uint8),
        (np.array([[0, 300]], np.uint16), np.float32),
        (np.array([[0.5, 2]], np.float16), np.float16),
        (np.array([[True, False]]), np.uint8),
    ],
)
def test_other_number_types_are_held_exactly(values, held):
    fitted = NearestNeighbors(n_neighbors=1).fit(values)._fit_X
    assert fitted.dtype == held
    np.testing.assert_array_equal(fitted, values)


def test_compact_rows_are_not_copied(digits):
    X = digits[0]
    for rows in (X, X.astype(np.int8) - np.int8(8), X.astype(np.int16) - np.int16(900), X.astype(np.float16)):
        assert np.shares_memory(NearestNeighbors().fit(rows)._fit_X, rows)


@pytest.mark.parametrize(("dtype", "offset"), [(np.int8, -8), (np.int16, -900)])
def test_signed_rows_and_queries_of_any_type(digits, tmp_path, dtype, offset):
    X, y, Q, _ = (part.astype(np.int64) + offset * (part.ndim == 2) for part in digits)
    squared, indices = oracle(X, Q, 5)
    model = NearestNeighbors().fit(X.astype(dtype))
    model.save(tmp_path / "model")
    for each in (model, somknn.load(tmp_path / "model")):
        assert each._fit_X.dtype == dtype
        for queries in (Q.astype(dtype), Q, Q.astype(np.float64), Q.astype(np.int16), Q.tolist()):
            got, got_indices = each.kneighbors(queries, squared=True)
            np.testing.assert_array_equal(got, squared)
            np.testing.assert_array_equal(got_indices, indices)
    assert model.kneighbors(Q, squared=True)[0].dtype == (np.int64 if dtype == np.int8 else np.float64)
    positive = np.abs(Q[:3])  # bytes as well, but for such rows int8
    np.testing.assert_array_equal(model.kneighbors(positive, squared=True)[0], oracle(X, positive, 5)[0])
    far = Q[:4] * 1000  # beyond the type of the rows
    np.testing.assert_array_equal(model.kneighbors(far, squared=True)[0], oracle(X, far, 5)[0])
    own = model.kneighbors(squared=True)[0]
    np.testing.assert_array_equal(own, oracle(X, X, 6)[0][:, 1:])
    for faiss in (False, True):
        backend = "faiss" if faiss else "numba"
        if faiss and importlib.util.find_spec("faiss") is None:
            continue
        classifier = KNeighborsClassifier(3, backend=backend).fit(X.astype(dtype), y)
        np.testing.assert_array_equal(classifier.predict(Q), KNeighborsClassifier(3).fit(X.astype(float), y).predict(Q))
        assert classifier._fit_X.dtype == (np.float32 if faiss else dtype)


def test_rows_of_float16(digits, tmp_path):
    X, y, Q, _ = digits
    rows, queries = (X / 7).astype(np.float16), (Q / 7).astype(np.float16)
    pytest.importorskip("faiss")
    for metric in ("euclidean", "cosine"):
        wide = KNeighborsClassifier(metric=metric).fit(rows.astype(np.float32), y)
        model = KNeighborsClassifier(metric=metric).fit(rows, y)
        model.save(tmp_path / "model")
        for each in (model, somknn.load(tmp_path / "model")):
            assert each._fit_X.dtype == np.float16
            for some in (queries, queries.astype(float), Q, None):
                np.testing.assert_array_equal(each.kneighbors(some), wide.kneighbors(some))
        assert KNeighborsClassifier(backend="faiss").fit(rows, y)._fit_X.dtype == np.float32


def test_mixed_number_types(digits):
    X, _, Q, _ = digits
    squared, indices = oracle(X, Q, 5)
    for fit_dtype, query_dtype in [(np.uint8, np.float32), (np.float64, np.uint8), (np.float32, np.float64)]:
        got, got_indices = NearestNeighbors().fit(X.astype(fit_dtype)).kneighbors(Q.astype(query_dtype), squared=True)
        assert got.dtype == np.float64
        np.testing.assert_array_equal(got, squared)
        np.testing.assert_array_equal(got_indices, indices)


def test_containers_and_memory_layouts(digits, tmp_path):
    X, y, Q, _ = digits
    expected = KNeighborsClassifier().fit(X, y).predict(Q)
    np.save(tmp_path / "x.npy", X)
    read_only = Q.copy()
    read_only.flags.writeable = False
    frame = pd.DataFrame(X, columns=[f"pixel{i}" for i in range(64)])
    for rows, queries in [
        (np.asfortranarray(X), np.asfortranarray(Q)),
        (np.load(tmp_path / "x.npy", mmap_mode="r"), read_only),
        (X.tolist(), Q.tolist()),
        (frame, pd.DataFrame(Q, columns=frame.columns)),
        (np.repeat(X, 2, axis=0)[::2], np.repeat(Q, 2, axis=1)[:, ::2]),
    ]:
        np.testing.assert_array_equal(KNeighborsClassifier().fit(rows, y).predict(queries), expected)


def test_column_names_are_compared():
    frame = pd.DataFrame({"a": [0.0, 1.0], "b": [0.0, 1.0]})
    model = KNeighborsClassifier(1).fit(frame, [0, 1])
    assert list(model.feature_names_in_) == ["a", "b"]
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a"]])


@pytest.mark.parametrize("weights", ["uniform", "distance", lambda d: np.exp(-d / 10), None])
@pytest.mark.parametrize("k", [1, 4, 5, 12])
def test_classifier_equals_scikit_learn(digits, weights, k):
    X, y, Q, _ = digits
    ours = KNeighborsClassifier(k, weights=weights, tie_break="first").fit(X, y)
    theirs = sk.KNeighborsClassifier(k, weights=weights, algorithm="brute").fit(X.astype(float), y)
    # If equally distant rows compete for the last place, scikit-learn's choice is arbitrary.
    squared, _ = oracle(X, Q, k + 1)
    clear = squared[:, k - 1] < squared[:, k]
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(ours.predict(Q)[clear], theirs.predict(Q.astype(float))[clear])
    np.testing.assert_allclose(ours.predict_proba(Q)[clear], theirs.predict_proba(Q.astype(float))[clear], rtol=1e-12)


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("outputs", [0, 1, 3])
def test_regressor_equals_scikit_learn(weights, outputs):
    rng = np.random.default_rng(0)
    X, Q = rng.normal(size=(300, 4)), rng.normal(size=(50, 4))
    y = rng.normal(size=(300, outputs) if outputs else 300)
    ours = KNeighborsRegressor(7, weights=weights).fit(X, y).predict(Q)
    theirs = sk.KNeighborsRegressor(7, weights=weights).fit(X, y).predict(Q)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize(
    "labels",
    [
        lambda y: np.array(list("abcdefghij"))[y],
        lambda y: np.array(list("abcdefghij"), dtype=object)[y],
        lambda y: y.astype(float) - 4,
        lambda y: y > 4,
        lambda y: pd.Series(y).map(str).astype("category"),
        lambda y: list(y),
        lambda y: np.stack([y, y % 2], axis=1),
    ],
)
def test_labels_of_any_kind(digits, labels):
    X, y, Q, _ = digits
    ours = KNeighborsClassifier(1).fit(X, labels(y))
    got = ours.predict(Q)
    np.testing.assert_array_equal(got, np.asarray(labels(y))[oracle(X, Q, 1)[1][:, 0]])
    proba = ours.predict_proba(Q)
    assert isinstance(proba, list) == ours.outputs_2d_
    if not ours.outputs_2d_:  # scikit-learn has no accuracy for several outputs of many classes
        assert ours.score(Q, got) == 1


def test_tie_break_at_the_estimator():
    rows, labels = [[1], [2], [10]], ["z", "a", "a"]
    assert KNeighborsClassifier(2).fit(rows, labels).predict([[0]])[0] == "z"
    assert KNeighborsClassifier(2, tie_break="first").fit(rows, labels).predict([[0]])[0] == "a"


def test_weights_that_are_infinite_decide_alone():
    def inverse(distances):
        with np.errstate(divide="ignore"):
            return 1 / distances

    rows, labels = [[0], [1], [1]], [0, 1, 1]
    np.testing.assert_array_equal(
        KNeighborsClassifier(3, weights=inverse).fit(rows, labels).predict_proba([[0], [1]]), np.eye(2)
    )


@pytest.mark.parametrize("k", [1, 3, 6])
def test_a_row_is_not_its_own_neighbour_however_many_duplicates(k):
    rows = np.array([[0], [5], [0], [0], [0], [5], [0], [9]], dtype=np.uint8)
    squared, indices = NearestNeighbors(n_neighbors=k).fit(rows).kneighbors(squared=True)
    for i in range(len(rows)):
        others = np.delete(np.arange(len(rows)), i)
        expected_squared, expected = oracle(rows[others], rows[i : i + 1], k)
        np.testing.assert_array_equal(squared[i], expected_squared[0])
        np.testing.assert_array_equal(indices[i], others[expected[0]])


def test_leave_one_out(digits):
    X, y, _, _ = digits
    ours = KNeighborsClassifier(3, tie_break="first").fit(X, y)
    alone = [
        KNeighborsClassifier(3, tie_break="first").fit(np.delete(X, i, 0), np.delete(y, i)).predict(X[i : i + 1])[0]
        for i in range(30)
    ]
    np.testing.assert_array_equal(ours.predict(None)[:30], alone)
    assert ours.score(None, y) > 0.97


@pytest.mark.parametrize("mode", ["connectivity", "distance"])
def test_graphs_equal_scikit_learn(mode):
    rng = np.random.default_rng(1)
    X, Q = rng.normal(size=(80, 3)), rng.normal(size=(20, 3))
    ours, theirs = NearestNeighbors(n_neighbors=4).fit(X), sk.NearestNeighbors(n_neighbors=4).fit(X)
    for queries in (Q, None):
        for method in ("kneighbors_graph", "radius_neighbors_graph"):
            got = getattr(ours, method)(queries, mode=mode)
            assert got.format == "csr"
            np.testing.assert_allclose(got.toarray(), getattr(theirs, method)(queries, mode=mode).toarray(), atol=1e-12)
    np.testing.assert_allclose(
        KNeighborsTransformer(mode=mode, n_neighbors=4).fit(X).transform(Q).toarray(),
        sk.KNeighborsTransformer(mode=mode, n_neighbors=4).fit(X).transform(Q).toarray(),
        atol=1e-12,
    )


@pytest.mark.parametrize("own", [False, True])
def test_radius_neighbours(digits, own):
    X, _, Q, _ = digits
    queries = X if own else Q
    squared = ((queries[:, None].astype(int) - X[None].astype(int)) ** 2).sum(axis=2)
    if own:
        np.fill_diagonal(squared, 10**9)
    distances, indices = NearestNeighbors(radius=25.0).fit(X).radius_neighbors(None if own else Q, sort_results=True)
    for i in range(len(queries)):
        expected = np.flatnonzero(squared[i] <= 625)
        expected = expected[np.argsort(squared[i][expected], kind="stable")]
        np.testing.assert_array_equal(indices[i], expected)
        np.testing.assert_array_equal(distances[i], np.sqrt(squared[i][expected]))


@pytest.mark.parametrize("square", [1, 2, 3, 5, 7, 10, 1000003])
def test_the_boundary_of_a_radius_is_included(square):
    rows = np.zeros((1, 1))
    query = np.array([[np.sqrt(square)]])
    model = NearestNeighbors(n_neighbors=1).fit(rows)
    distance = model.kneighbors(query)[0][0, 0]
    assert len(model.radius_neighbors(query, radius=distance, return_distance=False)[0]) == 1
    assert len(model.radius_neighbors(query, radius=np.nextafter(distance, 0), return_distance=False)[0]) == 0


def test_scikit_learn_tools(digits):
    X, y, Q, labels = digits
    search = GridSearchCV(
        make_pipeline(StandardScaler(), KNeighborsClassifier()),
        {
            "kneighborsclassifier__n_neighbors": [1, 3],
            "kneighborsclassifier__weights": ["uniform", "distance"],
        },
        cv=3,
    ).fit(X, y)
    assert search.score(Q, labels) > 0.9
    model = KNeighborsClassifier(4, weights="distance", tie_break="first", n_jobs=2)
    assert clone(model).get_params() == model.get_params()
    assert cross_val_score(model, X, y, cv=3).mean() > 0.9


def test_two_python_threads_at_once(digits):
    X, y, Q, _ = digits
    model = KNeighborsClassifier(weights="distance").fit(X, y)
    expected = model.predict_proba(Q)
    results = {}

    def work(name):
        for _ in range(5):
            results[name] = model.predict_proba(Q)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(results) == 4
    for result in results.values():
        np.testing.assert_array_equal(result, expected)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_works(digits):
    X, y, Q, _ = digits
    model = KNeighborsClassifier().fit(X, y)
    expected = model.predict(Q)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply_async(model.predict, (Q,)).get(timeout=60), expected)


def test_import_is_light():
    code = (
        "import sys, somknn; heavy = {'numba', 'sklearn', 'scipy', 'numpy', 'rich'} & set(sys.modules); "
        "assert not heavy, heavy; "
        "import somknn_kernels.votes.voting as v, somknn.neighbors; "
        "assert not any(getattr(f, 'signatures', None) for f in vars(v).values())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_assume_finite_skips_the_check_only(digits):
    X, y, Q, _ = digits
    expected = KNeighborsClassifier().fit(X / 16, y).predict(Q / 16)
    with sklearn.config_context(assume_finite=True):
        np.testing.assert_array_equal(KNeighborsClassifier().fit(X / 16, y).predict(Q / 16), expected)


@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_a_fitted_index_in_place_of_rows(kind):
    rng = np.random.default_rng(3)
    rows, queries = rng.integers(0, 9, (60, 5)).astype(kind), rng.integers(0, 9, (7, 5)).astype(kind)
    labels = rng.integers(0, 3, 60)
    index = ExactIndex(n_jobs=2).fit(rows)
    for estimator in (KNeighborsClassifier(3), KNeighborsRegressor(3)):
        expected = clone(estimator).fit(rows, labels)
        found = estimator.set_params(n_jobs=1).fit(index, labels)
        np.testing.assert_array_equal(found.predict(queries), expected.predict(queries))
        assert found.n_features_in_ == 5
        assert found.index_.rows_ is index.rows_
        assert (found.index_.n_jobs, index.n_jobs) == (1, 2)
    for unsupervised in (NearestNeighbors(), KNeighborsTransformer()):
        expected = clone(unsupervised).fit(rows)
        assert (unsupervised.fit(index).kneighbors_graph(queries) != expected.kneighbors_graph(queries)).nnz == 0
    with pytest.raises(ValueError, match="backend='numba', not 'faiss'"):
        KNeighborsClassifier(backend="faiss").fit(index, labels)
    with pytest.raises(ValueError, match="call fit first"):
        KNeighborsClassifier().fit(ExactIndex(), labels)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        KNeighborsClassifier().fit(index, labels[1:])
