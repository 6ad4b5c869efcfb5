"""scikit-learn's callbacks, and `verbose`, in everything that trains in passes."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import somknn
from somknn import LVQ, SOM, KMeans

sklearn_callback = pytest.importorskip("sklearn.callback", reason="callbacks came with scikit-learn 1.9")

X = np.random.default_rng(0).normal(size=(300, 4)) + 3 * np.arange(300)[:, None] % 4
Y = np.arange(300) % 4
TRAINED = {
    "K-Means": (
        lambda: KMeans(3, init="random", n_init=2, max_iter=4, tol=0, random_state=0),
        ["fit", "start", "pass"],
    ),
    "map": (lambda: SOM(3, 4, epochs=4, random_state=0), ["fit", "pass"]),
    "map, online": (lambda: SOM(3, 4, epochs=4, training="online", random_state=0), ["fit", "pass"]),
    "GLVQ": (lambda: LVQ(8, max_iter=4, random_state=0), ["fit", "pass"]),
    "LiRAM": (lambda: LVQ(8, metric_rank=2, max_iter=4, random_state=0), ["fit", "pass"]),
    "LVQ1": (lambda: LVQ(8, algorithm="lvq1", max_iter=4, random_state=0), ["fit", "pass"]),
}


class Recorder:
    """Keeps what it is told; asks to stop after pass `last` of a task."""

    def __init__(self, last=None):
        self.last, self.told, self.predictions, self.asked = last, [], [], None

    def setup(self, estimator, context):
        self.told.append(("setup", context.task_name, context.task_id))

    def teardown(self, estimator, context):
        self.told.append(("teardown", context.task_name, context.task_id))

    def on_fit_task_begin(self, estimator, context, *, X=None):
        self.told.append(("begin", context.task_name, context.task_id))
        assert X is not None

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self.told.append(("end", context.task_name, context.task_id))
        self.asked = metadata
        if fitted_estimator is not None:
            self.predictions.append((context.task_name, fitted_estimator.predict(X)))
        return self.last is not None and context.task_name == "pass" and context.task_id == self.last


@pytest.mark.parametrize("name", TRAINED)
def test_callbacks_follow_every_pass(name):
    make, names = TRAINED[name]
    recorder, plain = Recorder(), make().fit(X, Y)
    model = make().set_callbacks(recorder).fit(X, Y, sample_weight=np.ones(300))
    assert recorder.told[0] == ("setup", "fit", 0)
    assert recorder.told[-1] == ("teardown", "fit", 0)
    open_tasks = []
    for event, task, number in recorder.told[1:-1]:
        if event == "begin":
            open_tasks.append((task, number))
            assert [each for each, _ in open_tasks] == names[: len(open_tasks)]
        else:
            assert open_tasks.pop() == (task, number)
    assert not open_tasks
    passes = [number for event, task, number in recorder.told if (event, task) == ("end", "pass")]
    assert passes[:4] == [0, 1, 2, 3]
    assert len(recorder.asked["sample_weight"]) == 300
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    task, predicted = recorder.predictions[-1]
    assert task == "fit"
    np.testing.assert_array_equal(predicted, model.predict(X))
    if not isinstance(model, LVQ):  # LVQ has prototypes to predict with at the end only
        assert [task for task, _ in recorder.predictions].count("pass") == len(passes)
    assert not any("_callback" in attribute for attribute in vars(model) if attribute != "_skl_callbacks")


@pytest.mark.parametrize("name", TRAINED)
def test_a_callback_ends_the_passes(name):
    make, _ = TRAINED[name]
    model = make().set_callbacks(Recorder(last=1)).fit(X, Y)
    assert model.n_iter_ == 2
    assert make().set_callbacks(Recorder(last=1)).set_callbacks().fit(X, Y).n_iter_ == 4


@pytest.mark.parametrize("name", TRAINED)
def test_callbacks_of_scikit_learn(name, tmp_path):
    make, _ = TRAINED[name]
    scoring = {"labels": lambda model, X, y: float(len(set(model.predict(X).tolist())))}
    monitor = sklearn_callback.ScoringMonitor(scoring=scoring)
    model = make_pipeline(StandardScaler(), clone(make()).set_callbacks(monitor))
    model.set_callbacks(sklearn_callback.ProgressBar()).fit(X, Y)
    assert type(pickle.loads(pickle.dumps(make().fit(X, Y)))) is type(make())
    own = make().set_callbacks(Recorder()).fit(X, Y)
    own.save(tmp_path / "model.safetensors")  # callbacks are not saved
    assert not hasattr(somknn.load(tmp_path / "model.safetensors"), "_skl_callbacks")


def test_errors_end_callbacks():
    recorder = Recorder()
    with pytest.raises(ValueError, match="unit 0 only zeros"):
        SOM(2, 2, metric="cosine", initialization=np.zeros((2, 2, 4))).set_callbacks(recorder).fit(X)
    told = recorder.told
    model = SOM(2, 2, callback=lambda entry: 1 / 0).set_callbacks(recorder)
    with pytest.raises(ZeroDivisionError):
        model.fit(X)
    assert recorder.told[-1] == ("teardown", "fit", 0)
    assert told is recorder.told
    with pytest.raises(TypeError, match="FitCallback protocol"):
        model.set_callbacks(3)


@pytest.mark.parametrize("training", ["batch", "online"])
def test_verbose_maps_print_a_line_per_epoch(training, capsys):
    som = SOM(3, 3, epochs=3, verbose=1, training=training, random_state=0).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["Epoch 1", "Epoch 2", "Epoch 3"]
    assert f"quantization_error {som.history_['quantization_error'][2]:.6g}" in lines[2]
    assert "label_accuracy" in lines[2]
