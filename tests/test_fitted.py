"""A fit changes the estimator completely or not at all, and every public method works on one fit."""

import importlib
import inspect
import sys
import threading

import numpy as np
import pytest

import somknn
from somknn import SOM, KMeans, KNeighborsClassifier
from two_fits import CASES, DIGITS, FEW, LABELS, MANY, outcome, same


def classes():
    """All public classes with a `fit`, those of extras too if installed."""
    found = set()
    for name in sorted(somknn._SUBPACKAGES):
        try:
            package = importlib.import_module(f"somknn.{name}")
            members = [getattr(package, member) for member in package.__all__]
        except ImportError:
            continue
        found |= {member for member in members if inspect.isclass(member) and hasattr(member, "fit")}
    indexes = {getattr(somknn.neighbors, name) for name in ("ExactIndex", "CosineIndex", "FaissIndex")}
    return sorted(found - indexes, key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", classes())
def test_every_public_method_works_on_one_fit(cls):
    """Public methods have the name of one of the two wrappers; so does a method that a new class adds."""
    of_parameters = {"get_params", "set_params", "set_callbacks", "get_metadata_routing"}
    for name in dir(cls):
        member = inspect.getattr_static(cls, name)
        function = member.fget if isinstance(member, property) else member
        if name.startswith("_") or name in of_parameters or not inspect.isfunction(function):
            continue
        changing = name.startswith("fit") or name in ("partial_fit", "refine")
        assert function.__code__.co_name == ("on_a_draft" if changing else "on_a_snapshot"), name


class Interrupt:
    """Ctrl-C at the n-th line of somknn's own code that a call runs."""

    def __init__(self, n=None):
        self.n, self.lines = n, 0

    def __call__(self, frame, event, argument):
        if "/somknn/" not in frame.f_code.co_filename:
            return None
        self.lines += event == "line"
        if self.lines == self.n:
            raise KeyboardInterrupt
        return self

    def run(self, work):
        before = sys.gettrace()
        sys.settrace(self)
        try:
            work()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False


@pytest.mark.parametrize("name", [name for name in CASES if "pruned" not in name])
def test_an_interrupted_fit_leaves_what_was_there(name, tmp_path):
    case = CASES[name]
    of_one, of_other = (
        {ask: outcome(work, case.make().fit(*given), tmp_path / "model") for ask, work in case.answers.items()}
        for given in case.fits
    )
    model = case.make().fit(*case.fits[0])
    before = dict(vars(model))
    everything = Interrupt()
    everything.run(lambda: case.make().fit(*case.fits[1]))
    places = np.unique(np.linspace(1, everything.lines, 25).astype(int))
    for place in places.tolist():
        finished = not Interrupt(place).run(lambda model=model: model.fit(*case.fits[1]))
        if vars(model).keys() == before.keys() and all(vars(model)[key] is before[key] for key in before):
            assert not finished
            continue
        # In the last lines the new fit was there already, complete. The number of lines of a fit depends on the
        # duration of its steps.
        assert place > 0.75 * everything.lines
        assert all(same(outcome(work, model, tmp_path / "model"), of_other[ask]) for ask, work in case.answers.items())
        model = case.make().fit(*case.fits[0])
        before = dict(vars(model))
    assert all(same(outcome(work, model, tmp_path / "model"), of_one[ask]) for ask, work in case.answers.items())


@pytest.mark.parametrize("training", ["batch", "online"])
def test_the_old_map_and_its_old_history_stay_together(training):
    def stop(told):
        if told["epoch"] == 2:
            raise RuntimeError("stop here")

    som = SOM(4, 4, epochs=3, training=training, random_state=0).fit(*MANY)
    before, codebook = {**som.history_}, som.codebook_.copy()
    with pytest.raises(RuntimeError, match="stop here"):
        som.set_params(callback=stop).fit(FEW[0])
    assert som.history_ == before
    np.testing.assert_array_equal(som.codebook_, codebook)
    assert len(som.labels_) == len(MANY[0])
    assert som.n_iter_ == len(som.history_["radius"]) == 3


def test_a_chunk_that_fails_leaves_the_stream_as_it_was(monkeypatch):
    som = SOM(3, 3, random_state=0).partial_fit(MANY[0][:100])
    codebook, sums, history = som.codebook_.copy(), som.sums_.copy(), {k: list(v) for k, v in som.history_.items()}
    monkeypatch.setattr("somknn.som.quality.topographic_error_of", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        som.partial_fit(MANY[0][100:200])
    np.testing.assert_array_equal(som.codebook_, codebook)
    np.testing.assert_array_equal(som.sums_, sums)
    assert som.history_ == history
    assert som.n_iter_ == 1


def test_a_first_fit_that_fails_leaves_nothing():
    model = KNeighborsClassifier()
    before = dict(vars(model))
    with pytest.raises(ValueError, match="inconsistent numbers"):
        model.fit(DIGITS[:9], LABELS[:8])
    assert vars(model) == before


def test_what_a_fit_no_longer_has_goes_with_it():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(MANY[0], columns=[f"pixel {i}" for i in range(64)])
    model = KMeans(2, random_state=0).fit(table)
    assert model.feature_names_in_[1] == "pixel 1"
    assert not hasattr(model.fit(MANY[0]), "feature_names_in_")
    som = SOM(2, 2).partial_fit(MANY[0])
    assert hasattr(som, "sums_")
    assert not hasattr(som.fit(MANY[0]), "sums_")


def test_parameters_that_are_set_during_a_fit_stay_set():
    model = KMeans(3, random_state=0, callback=lambda told: model.set_params(max_iter=7, n_jobs=1) is None)
    assert model.fit(MANY[0]) is model
    assert (model.max_iter, model.n_jobs) == (7, 1)
    assert model.cluster_centers_.shape == (3, 64)


def test_a_subclass_keeps_what_its_own_methods_set():
    class Counting(KNeighborsClassifier):
        def fit(self, X, y):
            super().fit(X, y)
            self.calls_ = 0
            return self

        def predict(self, X):
            self.calls_ += 1
            return super().predict(X)

    model = Counting(1).fit(*MANY)
    model.predict(MANY[0])
    assert model.calls_ == 1


def test_warnings_name_the_callers_line():
    with pytest.warns(match="distinct clusters") as caught:
        KMeans(3, random_state=0).fit(np.zeros((5, 2)))
    with pytest.warns(match="column-vector") as also_caught:
        KNeighborsClassifier(1).fit(DIGITS[:9], LABELS[:9, None])
    assert {warning.filename for warning in [*caught, *also_caught]} == {__file__}


def test_a_fit_waits_for_the_fit_before_it_and_an_answer_for_none():
    entered, leave = threading.Event(), threading.Event()

    def wait(told):
        entered.set()
        assert leave.wait(60)

    model = KMeans(3, max_iter=1, random_state=0).fit(FEW[0])
    few = model.predict(DIGITS)
    slow = threading.Thread(target=lambda: model.set_params(callback=wait).fit(MANY[0]))
    slow.start()
    assert entered.wait(60)
    model.set_params(callback=None)
    next_one = threading.Thread(target=lambda: model.fit(FEW[0]))
    next_one.start()
    np.testing.assert_array_equal(model.predict(DIGITS), few)
    assert next_one.is_alive()
    leave.set()
    slow.join(60)
    next_one.join(60)
    np.testing.assert_array_equal(model.predict(DIGITS), few)
