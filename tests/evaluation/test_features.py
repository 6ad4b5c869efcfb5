"""Scaling is chosen on training rows and saved with the model."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import StratifiedKFold

import somknn
from somknn import datasets
from somknn.batch import classify
from somknn.cli import main
from somknn.evaluation import features

LEAST = {"wine": 0.95, "breast cancer": 0.96, "iris": 0.93, "digits": 0.97}
LOADERS = {"wine": load_wine, "breast cancer": load_breast_cancer, "iris": load_iris, "digits": load_digits}


def run(*arguments):
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(params=sorted(LEAST))
def table(request, tmp_path):
    """A CSV file of training rows with the label last, one of held-out rows without it, and their labels."""
    frame = LOADERS[request.param](as_frame=True).frame.sample(frac=1, random_state=1)
    held_out = frame[: len(frame) // 4]
    frame[len(held_out) :].to_csv(tmp_path / "train.csv", index=False)
    held_out.drop(columns="target").to_csv(tmp_path / "new.csv", index=False)
    return request.param, tmp_path, held_out["target"].to_numpy()


def test_three_commands_from_a_file_to_answers(table):
    name, folder, labels = table
    for command in ("run", "tune"):
        run(command, "--dataset", folder / "train.csv", "--out", folder / command)
        run("classify", folder / command / "model.safetensors", folder / "new.csv", "-o", folder / "out.npy")
        assert (np.load(folder / "out.npy")["label"] == labels).mean() >= LEAST[name] - 0.02  # of some 40 to 140 rows
        (folder / "out.npy").unlink()


@pytest.mark.parametrize("name", sorted(LEAST))
def test_accuracy_on_held_out_rows(name):
    """Every row is held out once: scaling and 5-NN know only the other nine tenths."""
    X, y = LOADERS[name](return_X_y=True)
    right = []
    for train, test in StratifiedKFold(10, shuffle=True, random_state=0).split(X, y):
        data = datasets.Dataset(X[train], y[train], X[test], y[test], None, [], [], name)
        scaling, _ = features.choose_scaling(data)
        transformer = features.fitted_transformer(scaling, data)
        rows = [part if transformer is None else transformer.transform(part) for part in (X[train], X[test])]
        right += list(somknn.KNeighborsClassifier(5).fit(rows[0], y[train]).predict(rows[1]) == y[test])
    assert np.mean(right) >= LEAST[name]


def test_the_choice_is_told_and_can_be_made(tmp_path):
    load_wine(as_frame=True).frame.to_csv(tmp_path / "wine.csv", index=False)
    text = run("run", "--dataset", tmp_path / "wine.csv", "--out", tmp_path / "out")
    assert "Scaling of the columns: standard (5-NN" in " ".join(text.split())
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(found["scaling"]["cross_validated_accuracy"]) == set(features.SCALINGS)
    assert [name for name, _ in somknn.load(tmp_path / "out" / "model.safetensors").steps] == ["standard", "model"]
    run("run", "--dataset", tmp_path / "wine.csv", "--out", tmp_path / "out", "--scaling", "raw")
    assert not hasattr(somknn.load(tmp_path / "out" / "model.safetensors"), "steps")


def test_images_and_rare_classes_stay_as_they_are():
    digits = datasets.load("digits")
    assert features.choose_scaling(digits) == ("raw", {})
    table = datasets.Dataset(np.eye(4), np.array([0, 0, 1, 2]), np.eye(4), np.zeros(4), None, [], [], "")
    assert features.choose_scaling(table) == ("raw", {})


@pytest.mark.parametrize("name", ["standard", "minmax", "normalised", "deskewed"])
def test_a_tuned_model_takes_raw_rows(tmp_path, name):
    digits = datasets.load("digits")
    run("tune", "--features", name, "--k", "3", "--cv", 3, "--out", tmp_path)
    np.save(tmp_path / "rows.npy", digits.X_test)
    classify(tmp_path / "model.safetensors", tmp_path / "rows.npy", tmp_path / "out.npy")
    right = (np.load(tmp_path / "out.npy")["label"] == digits.y_test).mean()
    told = json.loads((tmp_path / "metrics.json").read_text())["methods"][1]["scores"]["accuracy"]["value"]
    assert right == pytest.approx(told)
    with pytest.raises(ValueError, match="unknown features 'other'"):
        features.fitted_transformer("other", digits)
