"""Every asv suite imports and runs once on a few rows, and skips features that a commit lacks."""

import importlib
import inspect
import itertools
import math
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = ("time_", "timeraw_", "peakmem_", "track_")
# Instead of estimators, whose kernels take minutes from an empty cache.
ONE_KERNEL = (
    "float64",
    "from somknn_kernels.votes.voting import inverse_distance_weights; inverse_distance_weights(X[:2], X[:2].copy())",
)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.delenv("SOMKNN_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    data = importlib.import_module("benchmarks.suites.data")
    monkeypatch.setattr(data, "TRAIN_ROWS", 600)
    monkeypatch.setattr(data, "TEST_ROWS", 120)
    monkeypatch.setattr(data, "ZOO_ROWS", 400)
    compiling = importlib.import_module("benchmarks.suites.compiling")
    monkeypatch.setattr(compiling, "WORK", dict.fromkeys(compiling.WORK, ONE_KERNEL))


def modules():
    return sorted(path.stem for path in (ROOT / "benchmarks" / "suites").glob("[!_]*.py") if path.stem != "data")


def suites_of(module):
    home = importlib.import_module(f"benchmarks.suites.{module}")
    return [value for _, value in inspect.getmembers(home, inspect.isclass) if value.__module__ == home.__name__]


def benchmarks_of(suite):
    return [name for name in dir(suite) if name.startswith(KINDS)]


def combinations(suite):
    chosen = [[value for value in values if value != "mnist"] for values in getattr(suite, "params", ())]
    return list(itertools.product(*chosen))


def run_all(module):
    """Names of the benchmarks that ran and of those that were skipped."""
    ran, skipped = set(), set()
    for suite in suites_of(module):
        cached = (suite().setup_cache(),) if hasattr(suite, "setup_cache") else ()
        for values in combinations(suite):
            benchmark = suite()
            names = {f"{suite.__name__}.{name}" for name in benchmarks_of(suite)}
            try:
                benchmark.setup(*cached, *values)
            except NotImplementedError:
                skipped |= names
                continue
            for name in benchmarks_of(suite):
                result = getattr(benchmark, name)(*cached, *values)
                if name.startswith("track_"):
                    assert math.isfinite(result), f"{suite.__name__}.{name}{values}"
                elif name.startswith("timeraw_"):
                    compile(result, name, "exec")
            if hasattr(benchmark, "teardown"):
                benchmark.teardown(*cached, *values)
            ran |= names
    return ran, skipped


@pytest.mark.parametrize("module", modules())
def test_every_benchmark_runs(module):
    ran, skipped = run_all(module)
    assert ran
    assert not skipped - ran


@pytest.mark.parametrize("module", modules())
def test_every_benchmark_has_a_version_and_every_figure_a_unit(module):
    for suite in suites_of(module):
        names = benchmarks_of(suite)
        assert names or suite.__subclasses__(), suite
        assert isinstance(suite.version, str)
        for name in names:
            if name.startswith("track_"):
                function = getattr(suite, name)
                assert function.unit
                assert isinstance(function.version, str)


@pytest.mark.parametrize(("module", "missing"), [("images", "somknn.images"), ("som", "somknn.som")])
def test_a_commit_without_the_feature_is_skipped(module, missing, monkeypatch):
    somknn = importlib.import_module("somknn")
    for name in [key for key in sys.modules if key == missing or key.startswith(f"{missing}.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in list(vars(somknn)):
        if name in somknn._HOMES or name in somknn._SUBPACKAGES:
            monkeypatch.delitem(vars(somknn), name)
    monkeypatch.setitem(sys.modules, missing, None)
    ran, skipped = run_all(module)
    assert not ran
    assert skipped


def test_real_rows_never_go_under_the_generated_name(monkeypatch):
    search = importlib.import_module("benchmarks.suites.search")
    suite = search.Index()
    assert suite.setup_cache() == "generated"
    with pytest.raises(NotImplementedError):
        suite.setup("generated", "mnist", "brute")


def test_what_compiling_costs_is_reported_with_its_budget():
    compiling = importlib.import_module("benchmarks.suites.compiling")
    assert set(compiling.BUDGET) == set(compiling.WORK)
    found = compiling.cost("K-Means")
    ((seconds, kernel),) = found.kernels
    assert kernel == "votes.voting.inverse_distance_weights"
    assert 0 < seconds < found.seconds
    costs = {
        "K-Means": found._replace(seconds=1.0),
        "LVQ": compiling.Cost(5.5, [(4.5, "a.dear"), (0.5, "a.cheap")]),
        "SOM, batch": None,
    }
    assert compiling.report(costs) == [
        "K-Means: 1.0 s, 1 kernels compiled",
        "LVQ: 5.5 s, 2 kernels compiled",
        "    over its budget of 4.0 s by 1.5: a.dear 4.5, a.cheap 0.5",
        "    a.dear: 4.5 s, over a kernel's budget of 4.0",
        "SOM, batch: cannot be done",
    ]
    suite = compiling.FirstAnswer()
    assert [suite.track_over_budget(costs, work) for work in ("K-Means", "LVQ")] == [0.0, 1.5]
    with pytest.raises(NotImplementedError):
        suite.setup(costs, "SOM, batch")
