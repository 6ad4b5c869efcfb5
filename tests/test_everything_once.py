"""Every public estimator and subpackage once, on small digits, beside scikit-learn or plain NumPy: the quick pass.

`.ci/run` runs it on each Python there is, `.ci/lowest` with the lowest versions of everything. So it keeps to bytes,
whose kernels are compiled in a minute, and to what those versions offer. What each part does at its limits is tested in
its own files.
"""

import csv
import json

import numpy as np
import pytest
import sklearn.cluster
from click.testing import CliRunner
from scipy import ndimage
from sklearn import metrics
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier as TheirClassifier

import somknn
from reference import deformation, digit_centering, image_filters, voting
from reference.search import nearest, within
from somknn import datasets
from somknn.batch import classify
from somknn.cli import beside, main
from somknn.evaluation import evaluate_predictions, explore
from somknn.images import Blur, CenterDigit, Deskew, GradientOrientation, preset
from somknn.neighbors import CodebookSearch, ExactIndex, FaissIndex
from somknn.persistence import save

K = 4


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits", train_size=300, test_size=60)


@pytest.fixture(scope="module")
def neighbours(digits):
    """Squared distances and rows of the K nearest training rows of every test row."""
    return nearest(digits.X_test, digits.X_train, K)


@pytest.fixture
def again(tmp_path):
    """A function that saves a fitted estimator and loads it."""

    def saved_and_loaded(estimator):
        save(estimator, tmp_path / "model.safetensors")
        return somknn.load(tmp_path / "model.safetensors")

    return saved_and_loaded


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("algorithm", ["brute", "pruned", "tree"])
def test_exact_index(digits, neighbours, algorithm):
    index = ExactIndex(algorithm).fit(digits.X_train)
    assert_same(index.search(digits.X_test, K), neighbours)


def test_codebook_search(digits):
    assert_same(CodebookSearch(digits.X_test).nearest(digits.X_train, 1), nearest(digits.X_test, digits.X_train, 1))


@pytest.mark.faiss
def test_faiss_index(digits, neighbours):
    pytest.importorskip("faiss")
    assert_same(FaissIndex("flat").fit(digits.X_train).search(digits.X_test, K), neighbours)
    approximate = FaissIndex("ivf", target_recall=0.9, n_neighbors=K).fit(digits.X_train)
    found = approximate.search(digits.X_test, K)[1]
    assert np.mean([len(set(a) & set(b)) / K for a, b in zip(found, neighbours[1], strict=True)]) > 0.8


def test_nearest_neighbors(digits, neighbours, again):
    model = again(somknn.NearestNeighbors(n_neighbors=K).fit(digits.X_train))
    assert_same(model.kneighbors(digits.X_test), (np.sqrt(neighbours[0]), neighbours[1]))
    rows = model.radius_neighbors(digits.X_test, 20.0, return_distance=False)
    starts, _, found = within(digits.X_test, digits.X_train, 400)
    assert_same(rows, np.split(found, starts[1:-1]))


def test_transformer(digits, neighbours, again):
    model = again(somknn.KNeighborsTransformer(mode="connectivity", n_neighbors=K).fit(digits.X_train))
    expected = np.zeros((len(digits.X_test), len(digits.X_train)))
    np.put_along_axis(expected, neighbours[1], 1.0, axis=1)
    np.testing.assert_array_equal(model.transform(digits.X_test).toarray(), expected)


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_classifier(digits, neighbours, again, weights):
    model = again(somknn.KNeighborsClassifier(K, weights=weights).fit(digits.X_train, digits.y_train))
    squared, rows = neighbours
    own = None if weights == "uniform" else voting.inverse_distance_weights(np.sqrt(squared))
    np.testing.assert_array_equal(
        model.predict(digits.X_test), voting.vote(digits.y_train, rows, squared, own, nearest_first=True)
    )
    shares = voting.vote_shares(digits.y_train, rows, own, 10)
    np.testing.assert_allclose(model.predict_proba(digits.X_test), shares)
    theirs = TheirClassifier(K, weights=weights).fit(digits.X_train, digits.y_train)
    assert abs(model.score(digits.X_test, digits.y_test) - theirs.score(digits.X_test, digits.y_test)) < 0.05


def test_regressor(digits, neighbours, again):
    model = again(somknn.KNeighborsRegressor(K).fit(digits.X_train, digits.y_train))
    means = voting.weighted_means(digits.y_train[:, None], neighbours[1], None)
    np.testing.assert_allclose(model.predict(digits.X_test), means[:, 0])


def test_cross_validation(digits):
    candidates = {"n_neighbors": [1, 3], "weights": ["uniform"]}
    ours = somknn.KNeighborsClassifierCV(**candidates, cv=3).fit(digits.X_train, digits.y_train)
    plain = GridSearchCV(somknn.KNeighborsClassifier(), candidates, cv=3).fit(digits.X_train, digits.y_train)
    np.testing.assert_array_equal(ours.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])
    assert ours.best_params_ == plain.best_params_
    np.testing.assert_array_equal(ours.predict(digits.X_test), plain.predict(digits.X_test))


def test_kmeans(digits, again):
    start = digits.X_train[:12].astype(float)
    model = again(somknn.KMeans(12, init=start).fit(digits.X_train))
    theirs = sklearn.cluster.KMeans(12, init=start, n_init=1, algorithm="lloyd").fit(digits.X_train)
    np.testing.assert_array_equal(model.labels_, theirs.labels_)
    np.testing.assert_allclose(model.cluster_centers_, theirs.cluster_centers_, atol=1e-12)
    np.testing.assert_allclose(model.inertia_, theirs.inertia_)
    np.testing.assert_array_equal(model.predict(digits.X_test), theirs.predict(digits.X_test.astype(float)))
    np.testing.assert_allclose(model.transform(digits.X_test), theirs.transform(digits.X_test.astype(float)))


@pytest.mark.parametrize(
    "model",
    [
        somknn.LVQ(30, random_state=0),
        somknn.LVQ(30, algorithm="lvq1", random_state=0),
        somknn.PrototypeClassifier("kmeans", 30, random_state=0),
    ],
    ids=["glvq", "lvq1", "kmeans"],
)
def test_prototypes(digits, again, model):
    model = again(model.fit(digits.X_train, digits.y_train))
    rows = nearest(digits.X_test, model.prototypes_, 1)[1][:, 0]
    np.testing.assert_array_equal(model.predict(digits.X_test), model.prototype_labels_[rows])
    assert model.score(digits.X_test, digits.y_test) > 0.8


@pytest.mark.parametrize("training", ["batch", "online"])
def test_map(digits, again, training):
    model = again(somknn.SOM(5, 6, training=training, epochs=4, random_state=0).fit(digits.X_train))
    distances = metrics.pairwise_distances(digits.X_train.astype(float), model.codebook_.reshape(30, -1).astype(float))
    np.testing.assert_array_equal(model.labels_, distances.argmin(axis=1))
    np.testing.assert_array_equal(model.predict(digits.X_train), model.labels_)
    np.testing.assert_allclose(model.transform(digits.X_train), distances, rtol=1e-4)
    np.testing.assert_allclose(model.quantization_error_, distances.min(axis=1).mean())
    np.testing.assert_array_equal(model.hit_map(digits.X_train).ravel(), np.bincount(model.labels_, minlength=30))
    steps = np.linalg.norm(model.codebook_[1:] - model.codebook_[:-1], axis=2)
    across = np.linalg.norm(model.codebook_[0, 0] - model.codebook_[1, 1])
    along = np.linalg.norm(model.codebook_[0, 0] - model.codebook_[0, 1])
    np.testing.assert_allclose(model.u_matrix()[0, 0], (steps[0, 0] + across + along) / 3, rtol=1e-5)


def test_map_that_classifies(digits, again):
    model = again(somknn.SOMClassifier(somknn.SOM(6, 6, random_state=0)).fit(digits.X_train, digits.y_train))
    codebook = model.som_.codebook_.reshape(36, -1)
    units = metrics.pairwise_distances(digits.X_test.astype(float), codebook.astype(float)).argmin(axis=1)
    np.testing.assert_array_equal(model.predict(digits.X_test), model.label_map_.ravel()[units])
    assert model.score(digits.X_test, digits.y_test) > 0.7


def test_features_that_matter_to_a_map(digits, again):
    selector = somknn.SOMFeatureSelector(somknn.SOM(5, 6, random_state=0), n_features=10, criterion="variance")
    selector = again(selector.fit(digits.X_train))
    codebook = selector.som_.codebook_.reshape(30, -1).astype(float)
    hits = np.bincount(selector.som_.labels_, minlength=30)
    variances = np.average((codebook - np.average(codebook, axis=0, weights=hits)) ** 2, axis=0, weights=hits)
    np.testing.assert_allclose(selector.importances_, variances)
    kept = np.sort(np.argsort(-variances)[:10])
    np.testing.assert_array_equal(selector.transform(digits.X_test), digits.X_test[:, kept])


def test_image_transformers(digits, again):
    images = digits.X_test[:20] * np.uint8(15)
    squares = images.reshape(-1, 8, 8)
    for transformer, twin, unit in [
        (Deskew(), lambda image: image_filters.deskew(image, True), 1.01),
        (Blur(0.7), lambda image: ndimage.gaussian_filter(image.astype(float), 0.7, mode="constant"), 0.51),
        (CenterDigit(14), lambda image: 255 * digit_centering.center_digit(image, 0, 10, 14), 0.53),
    ]:
        found = again(transformer.fit(images)).transform(images)
        assert found.dtype == np.uint8
        assert np.abs(found - [twin(image).ravel() for image in squares]).max() <= unit
    gradients = again(GradientOrientation(blur=0.7, smoothing=1.5, step=3).fit(images))
    places = range(2, 8, 3)
    expected = [12 * image_filters.gradient_orientation(image, 0.7, 1.5, places, places).ravel() for image in squares]
    assert np.abs(gradients.transform(images) - np.minimum(expected, 255)).max() <= 0.6


def test_deformation(digits, again):
    model = somknn.DeformationClassifier(1, warp_range=1, n_candidates=25, deskew=False, features="pixels")
    model = again(model.fit(digits.X_train, digits.y_train))
    costs, rows = model.kneighbors(digits.X_test[:3], 2)
    candidates = nearest(digits.X_test[:3], digits.X_train, 25)[1]
    _, levels = model._describe(digits.X_test[:3])
    assert_same((costs, rows), deformation.idm_rerank(levels, model._levels, candidates, 1, 1, 2))
    np.testing.assert_array_equal(model.predict(digits.X_test[:3]), digits.y_train[rows[:, 0]])


def test_preset(digits, again):
    model = again(preset("balanced", image_shape=(8, 8)).fit(digits.X_train, digits.y_train))
    assert model.score(digits.X_test, digits.y_test) > 0.9


def test_files_through_a_model(digits, neighbours, tmp_path):
    somknn.KNeighborsClassifier(1).fit(digits.X_train, digits.y_train).save(tmp_path / "model.safetensors")
    np.save(tmp_path / "rows.npy", digits.X_test)
    for ending in ("csv", "parquet"):
        if ending == "parquet":
            pytest.importorskip("pyarrow")
        output = tmp_path / f"labels.{ending}"
        assert classify(tmp_path / "model.safetensors", tmp_path / "rows.npy", output).rows == len(digits.X_test)
        if ending == "parquet":
            from pyarrow.parquet import read_table

            labels = read_table(output)["label"].to_numpy()
        else:
            with open(output, newline="", encoding="utf-8") as file:
                labels = [int(line["label"]) for line in csv.DictReader(file)]
        np.testing.assert_array_equal(labels, digits.y_train[neighbours[1][:, 0]])


@pytest.mark.dask
def test_cluster(digits, neighbours):
    distributed, array = pytest.importorskip("distributed"), pytest.importorskip("dask.array")
    from somknn.distributed import ShardedKNeighborsClassifier

    with distributed.Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        rows = array.from_array(digits.X_train, chunks=(130, -1))
        model = ShardedKNeighborsClassifier(K, client=client).fit(rows, digits.y_train)
        assert_same(model.kneighbors(digits.X_test), (np.sqrt(neighbours[0]), neighbours[1]))
        one = somknn.KNeighborsClassifier(K).fit(digits.X_train, digits.y_train)
        np.testing.assert_array_equal(model.predict(digits.X_test), one.predict(digits.X_test))


def test_evaluation(digits):
    model = somknn.KNeighborsClassifier(K).fit(digits.X_train, digits.y_train)
    predictions = model.predict(digits.X_test)
    found = evaluate_predictions(
        digits.y_test, predictions, model.predict_proba(digits.X_test), classes=model.classes_, n_resamples=50
    )
    scores = {name: score.value for name, score in found.scores.items()}
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(digits.y_test, predictions))
    assert scores["f1"] == pytest.approx(metrics.f1_score(digits.y_test, predictions, average="weighted"))
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(digits.y_test, predictions))
    seen = explore(digits)
    assert (seen.train.rows, seen.test.rows) == (300, 60)


def test_commands(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(beside, "processors", lambda: 1)  # draw in this process
    told = CliRunner().invoke(main, ["info"])
    assert told.exit_code == 0, told.output
    assert np.__version__ in told.output
    given = ["run", "--train-size", "300", "--test-size", "60", "--out", str(tmp_path)]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == 0, result.output
    recorded = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["methods"]
    with open(tmp_path / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = np.array([int(row["label"]) for row in rows])
    np.testing.assert_array_equal(labels, digits.y_test)
    assert len(recorded) == 6
    for method in recorded:
        predicted = np.array([int(row[method["method"]]) for row in rows])
        assert method["accuracy"] == np.mean(predicted == labels) > 0.7
    model = somknn.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(model.predict(digits.X_test), [int(row[recorded[0]["method"]]) for row in rows])
    pytest.importorskip("matplotlib")
    assert "data:image" in (tmp_path / "report.html").read_text(encoding="utf-8")
