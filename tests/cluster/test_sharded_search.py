"""Search over shards equals one index, bit for bit, for any block boundaries and any lost worker."""

import threading

import dask.array
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusters import nannies
from somknn import KNeighborsClassifier, datasets
from somknn.distributed import ShardedIndex, ShardedKNeighborsClassifier
from somknn.distributed.neighbors import Shard, merge_nearest
from somknn.neighbors import CosineIndex, ExactIndex

pytestmark = pytest.mark.dask


def equal(a, b):
    return all(
        x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True)
    )


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=10),
    k=st.integers(1, 12),
    dtype=st.sampled_from([np.uint8, np.int8, np.float32, np.float64]),
    fan=st.integers(2, 4),
    metric=st.sampled_from(["euclidean", "cosine"]),
)
def test_merged_shards_equal_one_index(seed, sizes, k, dtype, fan, metric):
    random = np.random.default_rng(seed)
    X = random.integers(0, 3, (sum(sizes), 2)).astype(dtype)  # mostly ties
    Q = random.integers(0, 3, (7, 2)).astype(dtype)
    k = min(k, len(X))
    firsts = np.cumsum([0, *sizes])
    found = [
        (k, Shard(X[first : first + n], int(first), "brute", metric=metric).search(Q, k))
        for first, n in zip(firsts, sizes, strict=False)
    ]
    while len(found) > 1:
        found = [merge_nearest(found[at : at + fan]) for at in range(0, len(found), fan)]
    one = CosineIndex("brute") if metric == "cosine" else ExactIndex("brute")
    assert equal(found[0][1], one.fit(X).search(Q, k))


CASES = {
    "bytes": lambda random: random.integers(0, 256, (3000, 60), dtype=np.uint8),
    "signed bytes": lambda random: random.integers(-128, 128, (3000, 60), dtype=np.int8),
    "few values": lambda random: random.integers(0, 2, (3000, 12), dtype=np.uint8),
    "float32": lambda random: random.normal(size=(3000, 60)).astype(np.float32),
    "far from the origin": lambda random: random.normal(size=(3000, 50)) + 1e7,
}


@pytest.mark.parametrize("chunks", [(3000,), (1, 2, 1500, 0, 1497), (700,) * 4 + (200,)])
@pytest.mark.parametrize("name", CASES)
def test_equal_to_one_index(client, name, chunks):
    X = CASES[name](np.random.default_rng(0))
    Q = np.concatenate([X[::97], X[5:25] + X.dtype.type(1)])
    index = ShardedIndex(client=client).fit(dask.array.from_array(X, chunks=(chunks, -1)))
    assert (index.n_rows_, index.n_features_, index.dtype_) == (*X.shape, X.dtype)
    assert index.n_shards_ == sum(n > 0 for n in chunks)
    for k in (1, 7):
        assert equal(index.search(Q, k), ExactIndex("brute").fit(X).search(Q, k))


def test_more_neighbours_than_a_shard_has_rows(client):
    X = np.random.default_rng(1).integers(0, 4, (40, 3), dtype=np.uint8)
    index = ShardedIndex(client=client).fit(dask.array.from_array(X, chunks=(7, -1)))
    assert equal(index.search(X, 40), ExactIndex("brute").fit(X).search(X, 40))


def test_queries_go_in_blocks(client, monkeypatch):
    monkeypatch.setattr("somknn.distributed.neighbors._QUERIES", 30)
    X = CASES["bytes"](np.random.default_rng(2))
    index = ShardedIndex(client=client).fit(dask.array.from_array(X, chunks=(1000, -1)))
    assert equal(index.search(X[:250], 4), ExactIndex("brute").fit(X).search(X[:250], 4))


@pytest.mark.parametrize("weights", ["uniform", "distance", lambda distances: 1 / (1 + distances)])
@pytest.mark.parametrize(
    ("tie_break", "metric"), [("nearest", "minkowski"), ("first", "minkowski"), ("nearest", "cosine")]
)
def test_classifier_equals_one_machine(client, weights, tie_break, metric):
    random = np.random.default_rng(3)
    X, y = random.integers(0, 4, (900, 5), dtype=np.uint8), np.array(["a", "b", "c"])[random.integers(0, 3, 900)]
    Q = random.integers(0, 4, (200, 5), dtype=np.uint8)
    options = {"n_neighbors": 4, "weights": weights, "tie_break": tie_break, "metric": metric}
    one = KNeighborsClassifier(**options).fit(X, y)
    rows = dask.array.from_array(X, chunks=(250, -1))
    many = ShardedKNeighborsClassifier(**options, client=client).fit(rows, dask.array.from_array(y, chunks=300))
    assert np.array_equal(many.classes_, one.classes_)
    assert np.array_equal(many.predict(Q), one.predict(Q))
    assert equal([many.predict_proba(Q)], [one.predict_proba(Q)])
    assert equal(many.kneighbors(Q, 9), one.kneighbors(Q, 9))


def test_errors_name_what_is_wrong(client):
    X = np.random.default_rng(4).normal(size=(100, 3))
    rows = dask.array.from_array(X, chunks=(40, -1))
    with pytest.raises(TypeError, match=r"must be a Dask array, got ndarray: make one with .*open_rows"):
        ShardedIndex(client=client).fit(X)
    with pytest.raises(TypeError, match="got int64: convert it"):
        ShardedIndex(client=client).fit(rows.astype(int))
    with pytest.raises(ValueError, match="algorithm must be one of"):
        ShardedIndex("fast", client=client).fit(rows)
    with pytest.raises(ValueError, match=r"metric must be one of 'cosine', .*; got 'manhattan'"):
        ShardedIndex(client=client, metric="manhattan").fit(rows)
    with pytest.raises(ValueError, match=r"metric must be one of 'cosine', .*; got 'manhattan'"):
        ShardedKNeighborsClassifier(client=client, metric="manhattan").fit(rows, np.zeros(100))
    with pytest.raises(ValueError, match="call fit first"):
        ShardedIndex(client=client).search(X, 1)
    index = ShardedIndex(client=client).fit(rows)
    with pytest.raises(ValueError, match="k must be between 1 and the number of rows, 100; got 101"):
        index.search(X, 101)
    with pytest.raises(ValueError, match="features"):
        index.search(X[:, :2], 1)
    X[81, 2] = np.nan
    with pytest.raises(ValueError, match=r"block that begins at row 80 .* NaN at row 1, column 2"):
        ShardedIndex(client=client).fit(dask.array.from_array(X, chunks=(40, -1)))
    with pytest.raises(ValueError, match="one label for each of the 100 rows"):
        ShardedKNeighborsClassifier(client=client).fit(rows, np.zeros(99))
    with pytest.raises(ValueError, match="n_neighbors must be between 1 and the number of rows, 100; got 200"):
        ShardedKNeighborsClassifier(200, client=client).fit(rows, np.zeros(100))


@pytest.mark.parametrize("name", CASES)
def test_cosine_equals_one_index(client, name):
    X = CASES[name](np.random.default_rng(7))
    X[::50] = 0
    Q = np.concatenate([X[::97], X[5:25]])
    index = ShardedIndex(client=client, metric="cosine").fit(dask.array.from_array(X, chunks=(700, -1)))
    assert equal(index.search(Q, 7), CosineIndex("brute").fit(X).search(Q, 7))


def test_a_killed_worker_changes_nothing(client, kill):
    X = CASES["bytes"](np.random.default_rng(5))
    index = ShardedIndex(client=client).fit(dask.array.from_array(X, chunks=(250, -1)))
    expected = ExactIndex("brute").fit(X).search(X, 5)
    kill()  # its shards are gone before the first search
    assert equal(index.search(X, 5), expected)


def test_a_worker_killed_while_it_searches_changes_nothing(client, kill, monkeypatch):
    monkeypatch.setattr("somknn.distributed.neighbors._QUERIES", 100)
    X = CASES["bytes"](np.random.default_rng(6))
    index = ShardedIndex(client=client).fit(dask.array.from_array(X, chunks=(250, -1)))
    answers = index._found(X, 5)
    first = [next(answers) for _ in range(3)]
    killer = threading.Thread(target=kill)  # while this thread waits for the next blocks
    killer.start()
    found = [np.concatenate(column) for column in zip(*first, *answers, strict=True)]
    killer.join()
    assert equal(found, ExactIndex("brute").fit(X).search(X, 5))


@pytest.mark.slow
@pytest.mark.mnist
def test_mnist_over_four_workers_equals_one_machine():
    data = datasets.load("mnist")
    with nannies(4, 1) as client:
        rows = dask.array.from_array(data.X_train, chunks=(15_000, -1))
        for k in (1, 5):
            index = ShardedIndex(client=client).fit(rows)
            assert equal(index.search(data.X_test, k), ExactIndex("brute").fit(data.X_train).search(data.X_test, k))
