"""Invalid input is rejected with a one-line message that says what is wrong and where."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import sparse

from somknn import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors
from somknn.neighbors.weighting import class_shares, mean_targets, winning_codes

ROWS = np.arange(12.0).reshape(6, 2)
LABELS = [0, 1, 0, 1, 0, 1]


def with_value(value):
    rows = ROWS.copy()
    rows[3, 1] = value
    return rows


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_cell_that_is_not_finite_is_named(value, dtype):
    what = "NaN" if np.isnan(value) else "infinity"
    rows = with_value(value).astype(dtype)
    with pytest.raises(ValueError, match=rf"^X contains {what} at row 3, column 1: .*$"):
        KNeighborsClassifier().fit(rows, LABELS)
    with pytest.raises(ValueError, match=rf"^X contains {what} at row 3, column 1"):
        NearestNeighbors().fit(ROWS).kneighbors(rows)


def test_a_named_column_is_named():
    frame = pd.DataFrame(with_value(np.nan), columns=["left", "right"])
    with pytest.raises(ValueError, match=r"row 3, column 1 \('right'\)"):
        NearestNeighbors().fit(frame)


def test_huge_finite_values_are_not_taken_for_infinity():
    rows = np.full((4, 3), np.finfo(np.float64).max)
    NearestNeighbors(n_neighbors=1).fit(rows)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: NearestNeighbors().fit(ROWS).kneighbors(ROWS[:, :1]), ValueError, "has 1 features"),
        (lambda: NearestNeighbors(n_neighbors=7).fit(ROWS).kneighbors(ROWS), ValueError, "n_samples_fit = 6"),
        (
            lambda: NearestNeighbors(n_neighbors=6).fit(ROWS).kneighbors(),
            ValueError,
            "n_neighbors < n_samples_fit",
        ),
        (lambda: NearestNeighbors().fit(ROWS).kneighbors(ROWS, -2), ValueError, "n_neighbors > 0. Got -2"),
        (lambda: NearestNeighbors().fit(ROWS).kneighbors(ROWS, 0), ValueError, "n_neighbors > 0"),
        (
            lambda: NearestNeighbors().fit(ROWS).kneighbors(ROWS, 2.0),
            TypeError,
            "must be an integer, got 2.0",
        ),
        (lambda: NearestNeighbors(n_neighbors=-1).fit(ROWS), ValueError, "'n_neighbors' parameter"),
        (lambda: KNeighborsClassifier(0).fit(ROWS, LABELS), ValueError, "'n_neighbors' parameter"),
        (lambda: NearestNeighbors().fit(ROWS[:0]), ValueError, "0 sample"),
        (lambda: NearestNeighbors().fit(ROWS[:, :0]), ValueError, "0 feature"),
        (lambda: NearestNeighbors().fit(ROWS).kneighbors(ROWS[:0]), ValueError, "0 sample"),
        (lambda: NearestNeighbors().fit(ROWS[0]), ValueError, "2D array"),
        (
            lambda: NearestNeighbors().fit([["a", 1], ["b", 2]]),
            ValueError,
            "could not convert|not compatible",
        ),
        (lambda: NearestNeighbors().fit(np.array([[object(), 1]])), TypeError, "number"),
        (lambda: NearestNeighbors().fit(ROWS + 1j), ValueError, "Complex"),
        (lambda: NearestNeighbors().fit(sparse.csr_matrix(ROWS)), TypeError, "[Ss]parse"),
        (lambda: NearestNeighbors().fit(np.array([[2**53 + 1, 0]])), ValueError, "at row 0, column 0"),
        (lambda: KNeighborsClassifier().fit(ROWS, LABELS[:5]), ValueError, "inconsistent numbers of samples"),
        (lambda: KNeighborsClassifier().fit(ROWS, np.linspace(0, 1, 6)), ValueError, "Unknown label type"),
        (lambda: KNeighborsRegressor().fit(ROWS, [1, 2, 3, 4, 5, np.nan]), ValueError, "y contains NaN"),
        (lambda: KNeighborsClassifier(p=1).fit(ROWS, LABELS), ValueError, "the power p=2 only, got p=1"),
        (lambda: KNeighborsClassifier(metric="manhattan").fit(ROWS, LABELS), ValueError, "'metric' parameter"),
        (
            lambda: KNeighborsClassifier(tie_break="last").fit(ROWS, LABELS),
            ValueError,
            "'tie_break' parameter",
        ),
        (
            lambda: KNeighborsClassifier(n_jobs=0).fit(ROWS, LABELS).predict(ROWS),
            ValueError,
            "n_jobs must not be 0",
        ),
        (
            lambda: NearestNeighbors().fit(ROWS).radius_neighbors(ROWS, -1.0),
            ValueError,
            "radius must be 0 or greater",
        ),
        (lambda: NearestNeighbors().fit(ROWS).radius_neighbors(ROWS, np.nan), ValueError, "radius must be 0"),
        (lambda: NearestNeighbors().fit(ROWS).kneighbors_graph(ROWS, mode="x"), ValueError, "mode must be"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda d: d[:, :1], "shape"),
        (lambda d: -d - 1, "0 or greater"),
        (lambda d: d * np.nan, "nan for query 0, neighbour 0"),
        (np.zeros_like, "all neighbours of query 0 have weight zero"),
    ],
)
def test_weights_that_cannot_be_used(weights, message):
    with pytest.raises(ValueError, match=message):
        KNeighborsClassifier(weights=weights).fit(ROWS, LABELS).predict(ROWS)


def test_a_backend_that_is_not_there_says_what_to_do(monkeypatch):
    monkeypatch.setitem(
        __import__("somknn.neighbors.backends", fromlist=["BACKENDS"]).BACKENDS,
        "faiss",
        ("somknn.neighbors.no_such_backend", "Index", "faiss"),
    )
    with pytest.raises(ImportError, match=r"^backend='faiss' .*; use backend='numba'$"):
        NearestNeighbors(backend="faiss").fit(ROWS)


@pytest.mark.parametrize("vote", [winning_codes, class_shares, mean_targets])
@pytest.mark.parametrize("row", [-1, 6, np.iinfo(np.int64).max])
def test_neighbours_that_are_no_rows_do_not_vote(vote, row):
    """A kernel would read their class outside the array."""
    neighbours = np.array([[0, 1], [2, row]])
    arguments = {
        winning_codes: lambda: (np.zeros(6, np.int32), 2, (np.zeros((2, 2)), neighbours), None),
        class_shares: lambda: (np.zeros(6, np.int32), 2, neighbours, None, 1),
        mean_targets: lambda: (np.zeros((6, 1)), neighbours, None, 1),
    }
    settings = {"nearest_first": True, "n_jobs": 1} if vote is winning_codes else {}
    with pytest.raises(ValueError, match=f"^neighbour {row} of query 1 is none of the 6 rows"):
        vote(*arguments[vote](), **settings)


@pytest.mark.parametrize("algorithm", ["brute", "pruned"])
def test_a_query_of_nan_that_nobody_checked_is_an_error(algorithm):
    classifier = KNeighborsClassifier(algorithm=algorithm).fit(ROWS, LABELS)
    with sklearn.config_context(assume_finite=True), pytest.raises(ValueError, match="query 0 has fewer than k=5"):
        classifier.predict(ROWS * np.nan)
