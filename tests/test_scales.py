"""Rows in any unit: the nearest units equal float64's for the original values, and scaling by 2^n scales the map."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

from reference import search as reference
from somknn import LVQ, SOM, KMeans, SOMFeatureSelector
from somknn.neighbors import CodebookSearch, ExactIndex
from somknn.scaling import exponent_of
from somknn.search.best_units import BMUSearch

KINDS = (
    "normal", "grid", "few directions", "duplicates", "constant columns", "columns of all units", "outliers",
    "one row again and again",
)  # fmt: skip


def rows_of(kind, random, n, d):
    X = random.normal(size=(n, d))
    if kind == "grid":
        X = random.integers(0, 3, (n, d)).astype(np.float64)
    elif kind == "few directions":
        X = random.normal(size=(n, 2)) @ random.normal(size=(2, d))
    elif kind == "duplicates":
        X = X[random.integers(0, max(1, n // 8), n)]
    elif kind == "constant columns":
        X[:, random.random(d) < 0.7] = 1.0
    elif kind == "columns of all units":
        X *= 10.0 ** random.uniform(-9, 2, d)
    elif kind == "outliers":
        X[::17] *= 1e6
    elif kind == "one row again and again":
        X[:] = X[0]
    return X


@st.composite
def rows_of_any_unit(draw, exponents=(-498, -300, -40, 0, 30, 300, 470)):
    """Also fewer rows than axes, and offsets up to where adjacent numbers differ by a tenth of the deviation."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d = draw(st.integers(4, 90)), draw(st.integers(1, 140))
    X = rows_of(draw(st.sampled_from(KINDS)), random, n, d) + draw(st.sampled_from([0.0, 1.0, 1e5, 1e10, 1e15]))
    if draw(st.booleans()):
        return np.ldexp(X, draw(st.sampled_from(exponents)))
    return np.ldexp(X.astype(np.float32), draw(st.sampled_from([-120, -60, 0, 30, 70])))


MAPS = {
    "batch": SOM(4, 5, epochs=2, random_state=0),
    "hexagonal": SOM(
        4, 5, epochs=2, topology="hexagonal", neighborhood="bubble", initialization="random", random_state=0
    ),
    "online": SOM(4, 5, epochs=1, training="online", random_state=0),
}  # fmt: skip


def assert_nearest(X, W, units):
    np.testing.assert_array_equal(units, reference.nearest(X, W, 1)[1][:, 0])


@pytest.mark.parametrize("name", MAPS)
@given(X=rows_of_any_unit())
@settings(max_examples=25)
def test_best_units_are_those_of_float64(name, X):
    som = clone(MAPS[name]).fit(X)
    W = som.codebook_.reshape(20, -1)
    assert_nearest(X, W, som.labels_)
    assert_nearest(X, W, som.predict(X))
    assert np.isfinite(som.quantization_error_)


@given(X=rows_of_any_unit())
@settings(max_examples=25)
def test_clusters_are_those_of_float64(X):
    kmeans = KMeans(4, max_iter=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # about duplicates
        kmeans.fit(X)
    assert_nearest(X, kmeans.cluster_centers_, kmeans.labels_)
    assert_nearest(X, kmeans.cluster_centers_, kmeans.predict(X))
    centres = kmeans.cluster_centers_
    assert_nearest(X, kmeans.partial_fit(X[:2]).cluster_centers_, kmeans.predict(X))
    assert_nearest(X[:2], centres, kmeans.labels_)  # of the chunk, before the centres moved


@pytest.mark.parametrize("seed", range(6))
def test_plain_rows_of_large_numbers(seed):
    """The allowance for a centre far from zero left the axes no digits: singular in two of three fits."""
    normal = np.random.default_rng(seed).normal(size=(100, 24))
    for X in ((normal * 1e9).astype(np.float32), normal * 1e7 + 1e8, np.full((100, 24), 1e9), normal + 1e12):
        som = SOM(5, 5, epochs=2, random_state=0).fit(X)
        assert_nearest(X, som.codebook_.reshape(25, -1), som.labels_)


def test_values_that_are_not_there_far_from_zero():
    """Whole numbers, whose sums are exact in any order."""
    random = np.random.default_rng(0)
    X = random.integers(0, 50, (80, 9)) * 2.0**440 + 2.0**450
    X[random.random(X.shape) < 0.2] = np.nan
    for training in ("batch", "online"):
        som = SOM(3, 3, epochs=2, training=training, missing_values="ignore", random_state=0).fit(X)
        differences = X[:, None] - som.codebook_.reshape(9, -1)
        squares = np.add.accumulate(np.nan_to_num(differences**2), axis=2)[..., -1]  # in column order
        np.testing.assert_array_equal(som.labels_, squares.argmin(axis=1))


SCALED = {
    **{f"map, {name}": (som, ("codebook_",), ("labels_",)) for name, som in MAPS.items()},
    "map, Mexican hat": (SOM(4, 4, epochs=2, neighborhood="mexican_hat", random_state=0), ("codebook_",), ("labels_",)),
    "map, missing": (SOM(4, 4, epochs=2, missing_values="ignore", random_state=0), ("codebook_",), ("labels_",)),
    # Some units are nearly equal to rows: at 2^-498 the squares of the differences underflow in float64.
    "map far from its rows": (SOM(40, 1, epochs=1, initial_radius=0.5, random_state=0), ("codebook_",), ()),
    **{
        f"K-Means, {init}": (
            KMeans(5, init=init, max_iter=6, random_state=0), ("cluster_centers_",), ("labels_", "n_iter_")
        )
        for init in ("k-means++", "k-means||", "random")
    },
    **{
        name: (LVQ(9, max_iter=3, random_state=0, **given), ("prototype_rows_",), ())
        for name, given in {
            "glvq": {},
            "lvq1": {"algorithm": "lvq1"},
            "lvq2.1": {"algorithm": "lvq2.1"},
            "liram": {"metric_rank": 3},
        }.items()
    },
    "features": (SOMFeatureSelector(MAPS["batch"], n_features=3), (), ("selected_",)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("name", SCALED)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["normal", "grid", "few directions", "constant columns"]),
    n=st.integers(20, 80),
    d=st.integers(3, 60),
    offset=st.sampled_from([0.0, 1e6]),
    exponent=st.sampled_from([-498, -250, -30, 25, 250, 490]),
)
@settings(max_examples=8)
def test_a_power_of_two_changes_nothing_else(name, seed, kind, n, d, offset, exponent):
    template, of_the_rows, numbers = SCALED[name]
    X = rows_of(kind, np.random.default_rng(seed), n, d) + offset
    y = np.arange(n) % 3
    one, other = (clone(template).fit(rows, y) for rows in (X, np.ldexp(X, exponent)))
    for attribute in of_the_rows:
        np.testing.assert_array_equal(getattr(other, attribute), np.ldexp(getattr(one, attribute), exponent))
    for attribute in numbers:
        np.testing.assert_array_equal(getattr(other, attribute), getattr(one, attribute))


@pytest.mark.parametrize("exponent", [-498, 498])
def test_seeds_among_many_wide_rows_do_not_depend_on_their_unit(exponent):
    """Enough rows to be sieved by short vectors, which float32 cannot hold here."""
    random = np.random.default_rng(1)
    X = random.normal(size=(2100, 60))
    X[:, ::2] = 1.0
    one, other = (KMeans(12, max_iter=2, random_state=0).fit(rows) for rows in (X, np.ldexp(X, exponent)))
    np.testing.assert_array_equal(other.cluster_centers_, np.ldexp(one.cluster_centers_, exponent))


def test_streams_in_other_units():
    X = np.random.default_rng(2).normal(size=(80, 7)) + 3
    for make in (lambda: SOM(3, 3, random_state=0), lambda: KMeans(3, random_state=0)):
        one, other = make(), make()
        for part in (slice(0, 40), slice(40, 80)):
            one.partial_fit(X[part])
            other.partial_fit(np.ldexp(X[part], 480))
        name = "codebook_" if isinstance(one, SOM) else "cluster_centers_"
        np.testing.assert_array_equal(getattr(other, name), np.ldexp(getattr(one, name), 480))
        np.testing.assert_allclose(other.transform(np.ldexp(X, 480)), np.ldexp(one.transform(X), 480), rtol=1e-12)


# At the limits of float32 and float64


@given(
    seed=st.integers(0, 2**32 - 1),
    exponent=st.sampled_from([-1060, -700, -540, -520, -160, *range(-150, -120, 4), 100, 126, 140]),
    d=st.integers(1, 140),
    k=st.integers(1, 4),
)
@settings(max_examples=60)
def test_short_vectors_below_and_beyond_float32_lose_no_neighbour(seed, exponent, d, k):
    """Steps between the smallest float32 numbers are 2^-149, however small the numbers are."""
    random = np.random.default_rng(seed)
    X = np.ldexp(random.normal(size=(120, d)), exponent)
    W = X[::3] + np.ldexp(random.normal(size=(40, d)), exponent - 4)
    expected = reference.nearest(X, W, k)
    index = ExactIndex("pruned").fit(W)
    with np.errstate(over="ignore", invalid="ignore"):
        found = index.search(X, k)
    for got in (found, CodebookSearch(X, algorithm="pruned").nearest(W, k)):
        np.testing.assert_array_equal(got[1], expected[1])
        np.testing.assert_array_equal(got[0], expected[0])


@pytest.mark.parametrize("exponent", [-1060, -640, -540, -520])
def test_squares_below_float64_are_equal(exponent):
    """All of them zero, or a few of the smallest numbers: ties go to the lowest unit, also in a scaled search."""
    random = np.random.default_rng(0)
    X, W = np.ldexp(random.normal(size=(90, 5)), exponent), np.ldexp(random.normal(size=(30, 5)), exponent)
    units, _ = BMUSearch(X).search(W)
    np.testing.assert_array_equal(units, reference.nearest(X, W, 2)[1])
    som = SOM(4, 4, epochs=2, random_state=0).fit(X)
    assert_nearest(X, som.codebook_.reshape(16, -1), som.labels_)


FAR = np.random.default_rng(3).normal(size=(60, 5)) * 1e170
BEYOND = "beyond float64; divide the data by a large constant first"


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize(
    "model",
    [
        *(
            SOM(3, 3, training=training, initialization=start)
            for training in ("batch", "online")
            for start in ("pca", "random")
        ),
        SOM(3, 3, missing_values="ignore"),
        *(KMeans(3, init=init, random_state=0) for init in ("k-means++", "k-means||", "random")),
        *(LVQ(6, algorithm=algorithm, random_state=0) for algorithm in ("glvq", "lvq1", "lvq2.1")),
        LVQ(60, metric_rank=2, random_state=0),
    ],
)  # fmt: skip
def test_squares_beyond_float64_are_refused(model):
    with pytest.raises(ValueError, match=BEYOND):
        model.fit(FAR, np.arange(60) % 2)
    if hasattr(model, "partial_fit"):
        with pytest.raises(ValueError, match=BEYOND):
            model.partial_fit(FAR)


def test_a_query_too_far_from_every_unit_is_refused():
    X = np.random.default_rng(4).normal(size=(60, 5))
    for model in (SOM(3, 3), SOM(3, 3, missing_values="ignore"), KMeans(3, random_state=0)):
        model.fit(X)
        with pytest.raises(ValueError, match=f"row 2 is too far from all others: .*{BEYOND}"):
            model.predict(np.array([[0.0] * 5, [1e150] * 5, [1e200] * 5]))
        assert model.predict(np.full((1, 5), 1e150)).shape == (1,)


@pytest.mark.parametrize("missing", ["error", "ignore"])
def test_a_hat_drives_no_unit_far_away(missing):
    """It once drove units beyond float32. A row pushes a unit only within the rows' own spread about their mean."""
    X = np.random.default_rng(0).normal(size=(2000, 40)).astype(np.float32)
    som = SOM(6, 7, epochs=3, training="online", neighborhood="mexican_hat", missing_values=missing, random_state=0)
    spread = np.sqrt(((X - X.mean(axis=0)) ** 2).sum(axis=1).mean())
    far = np.linalg.norm(som.fit(X).codebook_ - X.mean(axis=0), axis=2).max()
    assert far <= np.linalg.norm(X - X.mean(axis=0), axis=1).max() + 1.45 * spread


def test_a_hat_on_iris_for_a_hundred_epochs():
    """Weights of 1e153 were the end of it, and an error that named the rows."""
    X = load_iris().data
    som = SOM(10, 10, neighborhood="mexican_hat", training="online", epochs=100, random_state=0).fit(X)
    assert np.abs(som.codebook_ - X.mean(axis=0)).max() < 2 * np.ptp(X, axis=0).max()
    assert som.quantization_error_ < 1


@pytest.mark.parametrize("training", ["batch", "online"])
def test_an_error_about_weights_names_them(training):
    X = np.random.default_rng(1).normal(size=(50, 3))
    start = np.zeros((2, 2, 3))
    start[:] = 1e200
    start[1, 0] = 1e250
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match=r"unit 2 has weights of up to .*e\+2[45].*initialization"),
    ):
        SOM(2, 2, training=training, initialization=start, epochs=2, initial_rate=0.1).fit(X)
    with pytest.raises(ValueError, match=r"'initialization' gives unit 0 a weight of 1e\+200, beyond float32"):
        SOM(2, 2, training=training, initialization=start).fit(X.astype(np.float32))
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=r"unit 1 has weights of up to 1e\+250.*'init'"):
        KMeans(2, init=np.array([[1e200] * 3, [1e250] * 3])).fit(X)
    with pytest.raises(ValueError, match="rate_schedule gives 5 in epoch 0"):
        SOM(2, 2, training=training, rate_schedule=lambda t: 5.0).fit(X)


def test_exponents():
    X = np.random.default_rng(5).normal(size=(50, 3))
    assert abs(exponent_of(X) - 2) <= 1
    for e in (-900, -60, 7, 900):
        assert exponent_of(np.ldexp(X, e)) == exponent_of(X) + e
    assert exponent_of(X.astype(np.uint8)) == exponent_of(np.ones((4, 3))) == exponent_of(np.full((4, 3), np.nan)) == 0
    assert exponent_of(np.array([[1e308, 0.0], [1e308, 1e-310]])) == 24  # in this unit 1e308 is representable
    assert exponent_of(np.array([[1e308], [-1e308]])) == 1000
