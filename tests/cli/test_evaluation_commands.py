"""`explore`, `evaluate` and `tune` as a user types them."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from somknn.cli import main


def somknn(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def few_rows(tmp_path):
    """A CSV of 60 rows with the label first; class "rare" has three of them."""
    rng = np.random.default_rng(0)
    path = tmp_path / "rows.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "a", "b"])
        for i in range(60):
            label = "rare" if i % 20 == 0 else "even" if i % 2 == 0 else "odd"
            writer.writerow([label, *rng.integers(0, 9, 2) + 20 * (i % 2)])
    return path


def test_explore_digits(tmp_path):
    result = somknn("explore", "--out", tmp_path / "x")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "x" / "explore.json").read_text())
    assert found["train"]["rows"] == 1438
    assert sum(found["test"]["class_counts"].values()) == 359
    pictures = {p.name for p in (tmp_path / "x").glob("*.png")}
    assert pictures == {"class-frequencies.png", "one-image.png", "first-images.png", "class-means.png"}
    assert "1,438" in result.output


def test_explore_counts_what_is_odd(tmp_path):
    from somknn import datasets
    from somknn.evaluation import explore

    X = np.array([[1.0, 0, 5], [1, 0, 5], [1, 1, 1], [1, -0.0, 5], [1, 2, np.nan]])
    y = np.array([0, 0, 1, 1, 1])
    data = datasets.Dataset(X, y, X[[0, 2]], y[[0, 2]], None, ["a", "b", "c"], ["0", "1"], "odd")
    found = explore(data)
    assert found.train.duplicate_rows == 2
    assert found.train.constant_rows == 1
    assert found.train.constant_features == 1
    assert found.train.not_finite_values == 1
    assert found.train.largest == 5
    assert found.shared_rows == 2
    assert found.train.class_counts == {"0": 2, "1": 3}


def test_explore_rows_that_are_no_images(tmp_path, few_rows):
    result = somknn("explore", "--dataset", few_rows, "--out", tmp_path / "x")
    assert result.exit_code == 0, result.output
    assert [p.name for p in (tmp_path / "x").glob("*.png")] == ["class-frequencies.png"]


@pytest.fixture
def digits_csv(tmp_path):
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    for name, rows in (("train", slice(0, 600)), ("test", slice(600, 900))):
        table = np.column_stack([y[rows], X[rows]]).astype(int)
        header = ",".join(["label", *(f"pixel{i}" for i in range(64))])
        np.savetxt(tmp_path / f"{name}.csv", table, fmt="%d", delimiter=",", header=header, comments="")
    return tmp_path / "train.csv"


def test_from_csv_files_of_images_to_example_predictions(tmp_path, digits_csv):
    shown = "--dataset", digits_csv, "--train-size", 500, "--test-size", 200, "--image-shape", "8x8"
    result = somknn("explore", *shown, "--out", tmp_path / "x")
    assert result.exit_code == 0, result.output
    assert "8×8" in result.output
    assert (tmp_path / "x" / "first-images.png").exists()

    result = somknn("tune", *shown, "--k", "1-5", "--features", "raw,deskewed", "--cv", 3, "--out", tmp_path / "t")
    assert result.exit_code == 0, result.output
    features = {row["features"] for row in csv.DictReader((tmp_path / "t" / "tuning.csv").read_text().splitlines())}
    assert features == {"raw", "deskewed"}
    assert '<img class="query"' in (tmp_path / "t" / "report.html").read_text()

    out = tmp_path / "d"
    result = somknn("tune", *shown, "--k", "1-3", "--features", "deskewed", "--cv", 3, "--out", out)
    assert result.exit_code == 0, result.output
    after = json.loads((out / "metrics.json").read_text())["methods"][1]
    result = somknn("evaluate", *shown, "--model", out / "model.safetensors", "--out", tmp_path / "e")
    assert result.exit_code == 0, result.output
    (of_saved,) = json.loads((tmp_path / "e" / "metrics.json").read_text())["methods"]
    assert of_saved["scores"] == after["scores"]

    result = somknn("run", *shown, "--preset", "balanced", "--out", tmp_path / "r")
    assert result.exit_code == 0, result.output
    assert "Examples" in result.output
    assert "says" in result.output
    record = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert (record["train_rows"], record["test_rows"]) == (500, 200)


def test_evaluate_with_cross_validation(tmp_path):
    result = somknn("evaluate", "--cv", 5, "--k", 3, "--bootstrap", 50, "--out", tmp_path / "e")
    assert result.exit_code == 0, result.output
    (method,) = json.loads((tmp_path / "e" / "metrics.json").read_text())["methods"]
    assert len(method["cross_validation"]) == 5
    assert f"{100 * method['scores']['accuracy']['value']:.2f}" in result.output
    assert "weighted avg" in result.output
    assert (tmp_path / "e" / "report.html").stat().st_size > 50_000


def test_evaluate_a_saved_model(tmp_path):
    from somknn import KNeighborsClassifier, datasets

    data = datasets.load("digits")
    KNeighborsClassifier(1).fit(data.X_train, data.y_train).save(tmp_path / "m.safetensors")
    arguments = "evaluate", "--bootstrap", 0, "--out", tmp_path / "e"
    saved = somknn(*arguments, "--model", tmp_path / "m.safetensors")
    assert saved.exit_code == 0, saved.output
    of_saved = json.loads((tmp_path / "e" / "metrics.json").read_text())["methods"][0]
    assert somknn(*arguments, "--k", 1).exit_code == 0
    of_trained = json.loads((tmp_path / "e" / "metrics.json").read_text())["methods"][0]
    assert of_saved["scores"] == of_trained["scores"]


def test_tune_digits(tmp_path):
    result = somknn(
        *("tune", "--k", "1,3-6", "--features", "raw,normalised", "--cv", 5),
        *("--bootstrap", 20, "--out", tmp_path / "t"),
    )
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "t" / "metrics.json").read_text())
    before, after = record["methods"]
    assert before["parameters"] == {"n_neighbors": 5, "weights": "uniform"}
    assert after["cross_validation_mean"] >= before["cross_validation_mean"]
    with open(tmp_path / "t" / "tuning.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 5 * 2
    assert float(rows[0]["mean_test_score"]) == after["cross_validation_mean"]
    assert rows[0]["features"] == record["best"]["features"]


def test_tune_without_the_default_among_the_candidates(tmp_path):
    result = somknn("tune", "--k", "1", "--weights", "distance", "--bootstrap", 0, "--out", tmp_path / "t")
    assert result.exit_code == 0, result.output
    assert "n/a" in (tmp_path / "t" / "report.html").read_text()


def test_a_class_that_only_the_test_rows_have(tmp_path):
    X, y = np.random.default_rng(0).random((40, 3)), np.repeat([0, 1], 20)
    np.savez(tmp_path / "d.npz", X_train=X, y_train=y, X_test=X[:12], y_test=np.r_[y[:10], 7, 7])
    result = somknn("evaluate", "--dataset", tmp_path / "d.npz", "--bootstrap", 20, "--out", tmp_path / "e")
    assert result.exit_code == 0, result.output
    assert "counted as errors: 7" in (tmp_path / "e" / "report.html").read_text()
    tuned = somknn("tune", "--dataset", tmp_path / "d.npz", "--k", "1-3", "--bootstrap", 0, "--out", tmp_path / "t")
    run = somknn("run", "--dataset", tmp_path / "d.npz", "--out", tmp_path / "r")
    for said in (result, tuned, run):
        assert said.exit_code == 0, said.output
        message = (
            "Warning: 2 of 12 test rows are of classes that the model was not trained on (7); they count as errors"
        )
        assert said.stderr.splitlines().count(message) == 1, said.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tune", "--dataset", "{rows}"], "class rare has 2 rows, fewer than the 10 folds"),
        (["tune", "--dataset", "{rows}", "--cv", "2", "--k", "1-100"], "n_neighbors=100 is more than the 24"),
        (["tune", "--k", "0-3"], "at least 1"),
        (["tune", "--k", "a"], "is not like 1-30"),
        (["tune", "--weights", "square"], "'square' is not one of uniform, distance"),
        (["tune", "--dataset", "{rows}", "--features", "deskewed"], "need images"),
        (["tune", "--dataset", "absent.csv"], "no such file"),
        (["tune", "--image-shape", "8"], "'8' is not a number of rows and columns"),
        (["explore", "--image-shape", "7x8"], "images of 7×8 have 56 pixels, its rows 64"),
        (["evaluate", "--dataset", "{unlabelled}"], "label"),
        (["evaluate", "--k", "5000"], "5000"),
        (["evaluate", "--model", "{rows}"], "rows.csv"),
        (["evaluate", "--model", "{rows}", "--cv", "3"], "leave one of them out"),
        (["explore", "--dataset", "absent.npz"], "no such file"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(tmp_path, few_rows, arguments, message):
    out = tmp_path / "out"
    unlabelled = tmp_path / "unlabelled.csv"
    unlabelled.write_text("label,a,b\n" + "".join(f",{i},{i + 1}\n" for i in range(20)))
    result = somknn(*(a.format(rows=few_rows, unlabelled=unlabelled) for a in arguments), "--out", out)
    assert result.exit_code != 0
    assert message in result.output, result.output
    assert "Traceback" not in result.output
    assert not out.exists()


def test_the_metric_of_neighbours(tmp_path):
    from somknn import KNeighborsClassifier, datasets

    data = datasets.load("digits")
    model = KNeighborsClassifier(3, metric="cosine").fit(data.X_train, data.y_train)
    accuracy = model.score(data.X_test, data.y_test)
    assert accuracy != KNeighborsClassifier(3).fit(data.X_train, data.y_train).score(data.X_test, data.y_test)

    few = "--bootstrap", 0
    result = somknn("evaluate", "--metric", "cosine", "--k", 3, "--cv", 3, *few, "--out", tmp_path / "e")
    assert result.exit_code == 0, result.output
    (method,) = json.loads((tmp_path / "e" / "metrics.json").read_text())["methods"]
    assert method["method"] == "k-NN, k = 3, uniform, cosine"
    assert method["scores"]["accuracy"]["value"] == accuracy
    assert len(method["cross_validation"]) == 3

    result = somknn("tune", "--metric", "cosine", "--k", "1,3", "--cv", 3, *few, "--out", tmp_path / "t")
    assert result.exit_code == 0, result.output
    after = json.loads((tmp_path / "t" / "metrics.json").read_text())["methods"][1]
    assert after["method"].endswith(", cosine")
    loaded = KNeighborsClassifier(metric="cosine", **after["parameters"]).fit(data.X_train, data.y_train)
    assert after["scores"]["accuracy"]["value"] == loaded.score(data.X_test, data.y_test)
    saved = "--model", tmp_path / "t" / "model.safetensors"
    result = somknn("evaluate", *saved, *few, "--out", tmp_path / "s")
    assert result.exit_code == 0, result.output
    (method,) = json.loads((tmp_path / "s" / "metrics.json").read_text())["methods"]
    assert method["scores"] == after["scores"]

    rows = tmp_path / "rows.npy"
    np.save(rows, data.X_test)
    result = somknn("classify", saved[1], rows, "--neighbors", "-o", tmp_path / "labels.csv")
    assert result.exit_code == 0, result.output
    with open(tmp_path / "labels.csv", newline="") as file:
        written = list(csv.DictReader(file))
    column = next(name for name in written[0] if name.startswith("distance"))
    expected = loaded.kneighbors(data.X_test)[0][:, 0]
    np.testing.assert_allclose([float(row[column]) for row in written], expected, rtol=1e-6)

    result = somknn("evaluate", *saved, "--metric", "cosine")
    assert result.exit_code == 2
    assert "--metric is for training" in result.output
    for command in ("run", "evaluate", "tune"):
        result = somknn(command, "--metric", "manhattan")
        assert result.exit_code == 2
        assert "'manhattan' is not one of 'euclidean', 'cosine'" in result.output
