"""The front page: correct figures by commit, warnings about regressions, no errors in a browser."""

import importlib
import json
import re
from pathlib import Path

import pytest

from browser import AVAILABLE, Browser

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def module(name):
    return importlib.import_module(f"benchmarks.dashboard.{name}")


def points(*changes):
    """One point per dict of changes to typical figures."""
    history = module("history")
    usual = {
        "FAISS": 1.0,
        "search": 0.05,
        "one query": 1e-3,
        "neighbours missed": 0.0,
        "memory": 4e8,
        "k-NN, k = 4": 0.0286,
        "fast": 0.0148,
        "balanced": 0.0088,
        "accurate": 0.0053,
        "map, three epochs": 0.4,
        "map, label errors": 0.1,
        "map, quantization error": 1300.0,
        "K-Means, ten iterations": 0.7,
        "1,000 centres": 0.042,
        "100 LVQ prototypes": 0.05,
        "import": 0.01,
    }
    assert set(usual) == {series.name for series in (history.YARDSTICK, *history.SERIES)}
    return [history.Point(f"{i:040x}", usual | change) for i, change in enumerate(changes)]


def peers():
    row = {"settings": "", "share_of_limit": 1.0, "peak_bytes": 1, "answer": "equal", "answer_equal": True}
    own = row | {"contender": "somknn", "median_seconds": 0.17, "ratio": 1.0}
    faiss = row | {"contender": "FAISS", "median_seconds": 3.4, "ratio": 20.4}
    slow = row | {"contender": "scikit-learn", "median_seconds": 12.0, "ratio": 70.6}
    work = {
        "subject": "Nearest neighbours",
        "title": "5 nearest neighbours",
        "date": "2026-11-21",
        "rows": [own, slow, faiss],
    }
    host = {"processor": "A <fast> one", "processors": 2, "instruction_set": "avx2"}
    return {"host": host, "data": "mnist, 60,000 training rows", "works": {"neighbours": work}}


def test_patterns_choose_the_series_and_nothing_else():
    history = module("history")
    expressions = [re.compile(pattern) for pattern in history.patterns()]
    for series in (history.YARDSTICK, *history.SERIES):
        inside = ", ".join(series.parameters).format(source="mnist")
        name = f"{series.benchmark}({inside})" if inside else series.benchmark
        assert sum(bool(expression.search(name)) for expression in expressions) == 1
    for other in (
        "search.Search.time_search('mnist', 'brute', 'uint8', 5)",
        "startup.Startup.timeraw_import_estimator",
    ):
        assert not any(expression.search(other) for expression in expressions)


def test_every_series_is_a_benchmark_of_the_suites():
    for series in (module("history").YARDSTICK, *module("history").SERIES):
        home, suite, method = series.benchmark.split(".")
        found = getattr(importlib.import_module(f"benchmarks.suites.{home}"), suite)
        assert hasattr(found, method)
        for text, values in zip(series.parameters, getattr(found, "params", ()), strict=True):
            assert text.format(source="mnist") in [repr(value) for value in values]


def test_a_slow_hour_does_not_show():
    one, two = module("history").at_one_pace(points({}, {"FAISS": 2.0, "search": 0.1, "map, three epochs": 0.8}))
    assert module("history").speed_up(one) == module("history").speed_up(two) == 20
    assert one.values["map, three epochs"] * 2 == pytest.approx(two.values["map, three epochs"] * 2)
    assert module("history").worse([one, two]) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"search": 0.07}, "search against FAISS: 40% worse"),
        ({"accurate": 0.0060}, "accurate: 13% worse"),
        ({"neighbours missed": 0.25}, "neighbours missed: from 0 to 0.25"),
        ({"memory": 8e8}, "memory: 100% worse"),
        ({"search": 0.055, "accurate": 0.0050, "fast": None}, None),
    ],
)
def test_what_got_worse_is_said(change, said):
    found = module("history").worse(points({}, change))
    assert found == ([said] if said else [])


def test_figures_are_read_from_asv_results_by_commit(tmp_path):
    pytest.importorskip("asv")
    from asv.results import Results
    from asv.runner import BenchmarkResult

    history = module("history")
    series = history.SEARCH
    parameters = [["'mnist'", "'generated'"], ["'brute'", "'pruned'"], ["'uint8'"], ["1", "5"]]
    benchmark = {"name": series.benchmark, "version": "2", "params": parameters, "type": "time"}
    results = tmp_path / "results"
    (results / "m").mkdir(parents=True)
    (results / "m" / "machine.json").write_text(json.dumps({"machine": "m", "version": 1}))
    (results / "benchmarks.json").write_text(json.dumps({series.benchmark: benchmark, "version": 2}))
    for i, version in enumerate(("2", "2", "1")):
        result = Results({"machine": "m"}, {}, 40 * str(i), i, "3.11", "env", {})
        values = [float(10 * i + place) for place in range(8)]
        nothing = [None] * 8
        result.add_result(
            benchmark | {"version": version},
            BenchmarkResult(values, nothing, nothing, 0, "", None),
            record_samples=False,
        )
        result.save(str(results))
    order = [40 * str(i) for i in (1, 0, 2)]
    source, found = history.read(results, "m", order)
    assert source == "mnist"
    assert [(one.commit, one.values["search"]) for one in found] == [(order[0], 13.0), (order[1], 3.0)]
    assert found[0].values["accurate"] is None


def page(*changes):
    return module("page").front_page(peers(), "mnist", points(*changes), "asv/index.html")


def test_the_page_says_the_headlines():
    text = page({}, {"accurate": 0.0047})
    for said in (
        "20×",
        "as fast as <b>FAISS</b>, the fastest of 2 peers",
        "71 times scikit-learn",
        "99.53%",
        "A &lt;fast&gt; one",
    ):
        assert said in text
    assert "state good" in text
    assert "memory" in text.split("Compared: ")[1].split("</div>")[0]
    nothing = dict.fromkeys((series.name for series in module("history").SERIES), None)
    assert 'class="state' not in page({}, nothing)
    assert "state bad" in page({}, {"search": 0.5})
    assert "<script" not in text


def test_the_page_stands_without_peers_or_trend():
    assert "Accuracy of the presets" in module("page").front_page({}, "mnist", points({}), None)
    assert "Against other libraries" in module("page").front_page(peers(), "mnist", [], None)
    without = module("page").front_page({}, "mnist", points({"memory": None}), None)
    assert without.count("<svg") == 5


@pytest.mark.skipif(not AVAILABLE, reason="needs chromium and chromedriver")
@pytest.mark.parametrize("width", [1200, 390])
def test_a_browser_shows_the_page(tmp_path, width):
    path = tmp_path / "index.html"
    path.write_text(page(*[{}] * 9, {"fast": None}), encoding="utf-8")
    with Browser(width=width) as browser:
        browser.open(path)
        assert browser.console() == []
        assert browser.evaluate("return document.documentElement.scrollWidth") <= width
        assert browser.evaluate("return document.querySelectorAll('svg').length") == 6
        ids = "return [...document.querySelectorAll('[id]')].map(e => e.id)"
        assert len(browser.evaluate(ids)) == len(set(browser.evaluate(ids)))


def test_scripts_beside_the_pages(tmp_path):
    pages, scripts = tmp_path / "pages", tmp_path / "scripts"
    pages.mkdir()
    scripts.mkdir()
    (scripts / "flot.js").write_text("1")
    (pages / "index.html").write_text(
        '<script src="https://a.b/flot.min.js" integrity="sha512-x" crossorigin="anonymous"></script>'
        '<link href="https://a.b/boot.css" rel="x"><script src="own.js"></script>'
    )
    assert module("details").localise(pages, scripts) == ["https://a.b/boot.css"]
    text = (pages / "index.html").read_text()
    assert '<script src="vendor/flot.min.js"></script>' in text
    assert 'src="own.js"' in text
    assert (pages / "vendor" / "flot.min.js").read_text() == "1"


def test_benchmarks_that_were_never_run_are_not_listed(tmp_path):
    graphs = tmp_path / "graphs" / "summary"
    graphs.mkdir(parents=True)
    (graphs / "a.B.time_c.json").write_text("[]")
    (tmp_path / "index.json").write_text(
        json.dumps({"project": "x", "benchmarks": {"a.B.time_c": {}, "a.B.time_d": {}}})
    )
    module("details").drop_unmeasured(tmp_path)
    assert json.loads((tmp_path / "index.json").read_text()) == {"project": "x", "benchmarks": {"a.B.time_c": {}}}
