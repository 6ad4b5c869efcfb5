"""Models that are no classifiers answer files as they answer arrays; the engine is that of `classify`."""

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import somknn
from somknn.batch import BatchError, classify, predict
from somknn.cli import main
from somknn.persistence import save

X = np.random.default_rng(0).normal(size=(300, 5)) * [1, 10, 100, 1, 1]
NEW = np.random.default_rng(1).normal(size=(120, 5)) * [1, 10, 100, 1, 1]
VALUES = X[:, 0] * 3 + X[:, 3]


def answered(tmp_path, model, rows=NEW, ending="npy", **options):
    save(model, tmp_path / "m")
    pd.DataFrame(rows, columns=list("abcde")).assign(id=range(len(rows))).to_parquet(tmp_path / "rows.parquet")
    out = tmp_path / f"out.{ending}"
    predict(tmp_path / "m", tmp_path / "rows.parquet", out, id=["id"], columns="given", chunk_bytes=2000, **options)
    found = np.load(out) if ending == "npy" else pd.read_csv(out)
    np.testing.assert_array_equal(found["id"], np.arange(len(rows)))
    return found


@pytest.mark.parametrize("ending", ["npy", "csv"])
@pytest.mark.parametrize("scaled", [False, True])
def test_values_of_a_regressor(tmp_path, ending, scaled):
    steps = [StandardScaler()] if scaled else []
    model = make_pipeline(*steps, somknn.KNeighborsRegressor(3)).fit(X, VALUES)
    found = answered(tmp_path, model if scaled else model[-1], ending=ending)
    np.testing.assert_array_equal(found["value"], model.predict(NEW))


def test_several_values_and_their_neighbours(tmp_path):
    model = somknn.KNeighborsRegressor(2).fit(X, np.column_stack([VALUES, -VALUES]))
    found = answered(tmp_path, model, neighbors=True)
    np.testing.assert_array_equal(np.column_stack([found["value_1"], found["value_2"]]), model.predict(NEW))
    distances, indices = model.kneighbors(NEW)
    np.testing.assert_array_equal(np.column_stack([found["neighbor_1"], found["neighbor_2"]]), indices)
    np.testing.assert_array_equal(np.column_stack([found["distance_1"], found["distance_2"]]), distances)


def test_places_on_a_map(tmp_path):
    model = somknn.SOM(4, 6, epochs=3, random_state=0).fit(X)
    found = answered(tmp_path, model)
    np.testing.assert_array_equal(found["map_row"] * 6 + found["map_column"], model.predict(NEW))
    np.testing.assert_allclose(found["distance"], model.transform(NEW).min(axis=1), rtol=1e-6)


def test_a_map_takes_missing_values(tmp_path):
    model = somknn.SOM(4, 6, epochs=3, random_state=0, missing_values="ignore").fit(X)
    rows = NEW.copy()
    rows[::5, 2] = np.nan
    found = answered(tmp_path, model, rows)
    np.testing.assert_array_equal(found["map_row"] * 6 + found["map_column"], model.predict(rows))


@pytest.mark.parametrize("scaled", [False, True])
def test_clusters(tmp_path, scaled):
    steps = [StandardScaler()] if scaled else []
    model = make_pipeline(*steps, somknn.KMeans(7, random_state=0)).fit(X)
    found = answered(tmp_path, model if scaled else model[-1])
    np.testing.assert_array_equal(found["cluster"], model.predict(NEW))
    np.testing.assert_allclose(found["distance"], model.transform(NEW).min(axis=1), rtol=1e-6)


def test_neighbours(tmp_path):
    model = somknn.NearestNeighbors(n_neighbors=2).fit(X)
    found = answered(tmp_path, model)
    distances, indices = model.kneighbors(NEW)
    np.testing.assert_array_equal(np.column_stack([found["neighbor_1"], found["neighbor_2"]]), indices)
    np.testing.assert_array_equal(np.column_stack([found["distance_1"], found["distance_2"]]), distances)


def test_a_classifier_answers_as_in_classify(tmp_path, rows, model_file):
    np.save(tmp_path / "rows.npy", rows)
    for answer, name in ((predict, "a.csv"), (classify, "b.csv")):
        answer(model_file, tmp_path / "rows.npy", tmp_path / name, proba=True, top=2)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_what_does_not_go_together(tmp_path):
    save(somknn.KNeighborsRegressor(3).fit(X, VALUES), tmp_path / "m")
    np.save(tmp_path / "rows.npy", NEW)
    with pytest.raises(BatchError, match="a KNeighborsRegressor is no classifier; somknn predict takes it"):
        classify(tmp_path / "m", tmp_path / "rows.npy", tmp_path / "out.npy")
    with pytest.raises(BatchError, match="a KNeighborsRegressor is no classifier, which --proba"):
        predict(tmp_path / "m", tmp_path / "rows.npy", tmp_path / "out.npy", proba=True)
    save(make_pipeline(StandardScaler()).fit(X), tmp_path / "m")
    with pytest.raises(BatchError, match="a Pipeline is no classifier; somknn predict takes it"):
        classify(tmp_path / "m", tmp_path / "rows.npy", tmp_path / "out.npy")


def test_command(tmp_path):
    save(somknn.KNeighborsRegressor(3).fit(X, VALUES), tmp_path / "m")
    np.save(tmp_path / "rows.npy", NEW)
    done = CliRunner().invoke(main, ["predict", *map(str, [tmp_path / "m", tmp_path / "rows.npy", "-o", "-"])])
    assert (done.exit_code, done.stderr) == (0, "120 rows predicted\n")
    assert done.stdout.splitlines()[0] == "row,value"
    done = CliRunner().invoke(main, ["predict", *map(str, [tmp_path / "m", tmp_path / "none.npy", "-o", "-"])])
    assert (done.exit_code, done.stderr.startswith("somknn predict: ")) == (6, True)


def test_columns_of_a_transformer(tmp_path):
    frame = pd.DataFrame(X, columns=list("abcde"))
    for model, names in (
        (make_pipeline(StandardScaler()), list("abcde")),
        (make_pipeline(StandardScaler(), PCA(2)), ["pca0", "pca1"]),
        (somknn.SOMFeatureSelector(n_features=3, som=somknn.SOM(3, 3, epochs=2, random_state=0)), None),
    ):
        model.fit(frame)
        expected = model.transform(pd.DataFrame(NEW, columns=list("abcde")))
        found = answered(tmp_path, model)
        assert list(found.dtype.names)[2:] == (names or list(model.get_feature_names_out()))
        for j, name in enumerate(found.dtype.names[2:]):
            np.testing.assert_allclose(found[name], expected[:, j], rtol=1e-12)


def test_columns_without_names_and_names_that_are_taken(tmp_path):
    model = make_pipeline(StandardScaler()).fit(X)
    save(model, tmp_path / "m")
    np.save(tmp_path / "rows.npy", NEW)
    predict(tmp_path / "m", tmp_path / "rows.npy", tmp_path / "o.csv")
    assert list(pd.read_csv(tmp_path / "o.csv")) == ["row", "x0", "x1", "x2", "x3", "x4"]
    taken = pd.DataFrame(NEW, columns=["row", *"bcde"])
    save(make_pipeline(StandardScaler()).fit(taken), tmp_path / "n")
    taken.to_parquet(tmp_path / "rows.parquet")
    predict(tmp_path / "n", tmp_path / "rows.parquet", tmp_path / "p.csv")
    found = pd.read_csv(tmp_path / "p.csv")
    assert list(found) == ["row", "row transformed", *"bcde"]
    assert list(found["row"]) == list(range(120))
    with pytest.raises(BatchError, match="is no classifier"):
        predict(tmp_path / "m", tmp_path / "rows.npy", tmp_path / "q.csv", proba=True)
