"""The zoo: all rows can be made, all peers that are installed answer, wrong answers are caught, the page is written."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from reference.search import nearest as plain_nearest
from reference.search import within as plain_within

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIZES = {"rows": 300, "queries": 20, "threads": 2}
GENERATED = ("uniform-3-10k", "clusters-8", "digits", "copies", "noise", "manifold")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    for name in ("peers", "zoo"):
        monkeypatch.syspath_prepend(str(BENCHMARKS / name))
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))


def zoo(name):
    return importlib.import_module(f"somknn_zoo.{name}")


def peers(name):
    return importlib.import_module(f"somknn_peers.{name}")


def run(*arguments):
    return CliRunner().invoke(zoo("cli").main, [*map(str, arguments)])


def names():
    sys.path.insert(0, str(BENCHMARKS / "zoo"))
    try:
        return [entry.name for entry in zoo("rows").ALL]
    finally:
        sys.path.remove(str(BENCHMARKS / "zoo"))


@pytest.mark.parametrize("name", names())
def test_rows_are_what_the_table_says(name):
    entry = zoo("rows").find(name)
    try:
        rows, queries = entry.make(300, 20)
    except NotImplementedError as reason:  # what needs a package or the shared data, where they are not
        assert name not in GENERATED
        pytest.skip(str(reason))
    for array, most in ((rows, 300), (queries, 20)):
        assert array.shape == (most, entry.columns)
        assert array.dtype == entry.dtype
        assert array.flags.c_contiguous
        assert np.isfinite(array).all()
    assert len(np.unique(rows, axis=0)) >= 5
    again = entry.make(300, 20)
    assert np.array_equal(again[0], rows)
    assert np.array_equal(again[1], queries)


def test_copies_are_copies():
    rows, queries = zoo("rows").find("copies").make(500, 10)
    different, counts = np.unique(rows, axis=0, return_counts=True)
    assert counts.tolist() == [50] * 10
    assert [bool((different == query).all(1).any()) for query in queries] == [True, False] * 5


@pytest.mark.parametrize(
    ("values", "scale", "offset"), [("uint8", 1, 0), ("float64", 1, 0), ("float32", 1, 1e4), ("float64", 1e-3, 1e6)]
)
@pytest.mark.parametrize("columns", [1, 3, 8, 21])
def test_the_oracle_is_the_plain_computation(values, scale, offset, columns):
    random = np.random.default_rng(columns)
    # Few different values: ties, also at the k-th place.
    rows, queries = (
        (random.integers(0, 4, (n, columns)) * scale + (offset if values != "uint8" else 0)).astype(values)
        for n in (400, 15)
    )
    for k in (1, 7, 400):
        found = peers("judging").nearest(queries, rows, k)
        for one, other in zip(found, plain_nearest(queries, rows, k), strict=True):
            assert np.array_equal(one, other)


def case(dtype="float64"):
    """Rows, queries, and the right answer with the oracle's part of it."""
    random = np.random.default_rng(1)
    rows, queries = (random.integers(0, 9, (n, 4)).astype(dtype) for n in (200, 30))
    squared, neighbours = plain_nearest(queries, rows, 5)
    inputs = {"rows": rows, "queries": queries, "oracle_distances": squared[:10], "oracle_neighbours": neighbours[:10]}
    return inputs, {"neighbours": neighbours, "squared_distances": squared, "precision": np.array(0.0)}


@pytest.mark.parametrize("query", [3, 29])  # checked by the oracle, and beside somknn's first contender
@pytest.mark.parametrize("what", ["neighbours", "squared_distances"])
def test_one_wrong_value_of_somknn_is_caught(query, what):
    inputs, right = case()
    judge = peers("judging").judge
    assert judge(right, right, inputs) == (0.0, "exact (10 queries bit for bit)")
    wrong = {**right, what: right[what].copy()}
    if what == "neighbours":
        wrong[what][query, :2] = wrong[what][query, 1::-1]  # only the order
    else:
        wrong[what][query, 0] = np.nextafter(wrong[what][query, 0], np.inf)
    assert judge(right, wrong, inputs) == (1 / 30, "3.33% of the queries differ")
    if query < 10:
        assert judge(wrong, wrong, inputs)[0] > 0


def test_the_oracle_judges_peers_also_where_somknn_is_wrong():
    inputs, right = case()
    wrong = {**right, "neighbours": right["neighbours"].copy()}
    wrong["neighbours"][0, 4] = int(np.argmax(((inputs["rows"] - inputs["queries"][0]) ** 2).sum(1)))
    peer = {**right, "precision": np.array(1e-16)}
    assert peers("judging").judge(wrong, peer, inputs)[0] == 0
    assert peers("judging").judge(wrong, {**wrong, "precision": np.array(1e-16)}, inputs)[0] > 0


@pytest.mark.parametrize("mistake", ["farther", "no row", "twice"])
@pytest.mark.parametrize("query", [3, 29])
def test_a_wrong_list_of_a_peer_is_caught(mistake, query):
    inputs, right = case("float32")
    peer = {**right, "neighbours": right["neighbours"].copy(), "precision": np.array(1e-7)}
    assert peers("judging").judge(right, peer, inputs) == (0.0, "equal")
    worst = int(np.argmax(((inputs["rows"] - inputs["queries"][query]) ** 2).sum(1)))
    said = {"farther": worst, "no row": -1, "twice": peer["neighbours"][query, 3]}
    peer["neighbours"][query, 4] = said[mistake]
    assert peers("judging").judge(right, peer, inputs) == (1 / 30, "3.33% of the queries differ")


def test_rounding_is_told_from_mistakes_and_negative_distances_are_named():
    inputs, right = case()
    inputs["rows"] = inputs["rows"] + 1e-9 * np.random.default_rng(0).standard_normal(inputs["rows"].shape)
    squared, neighbours = plain_nearest(inputs["queries"], inputs["rows"], 5)
    exact = {"neighbours": neighbours, "squared_distances": squared}
    inputs |= {"oracle_distances": squared[:10], "oracle_neighbours": neighbours[:10]}
    rounded = {**right, "precision": np.array(1e-7), "squared_distances": right["squared_distances"] - 1e-9}
    deviation, words = peers("judging").judge(exact, rounded, inputs)
    assert deviation == 0
    assert "by rounding" in words
    assert "negative distances" in words
    assert peers("judging").judge(exact, {**rounded, "precision": np.array(1e-16)}, inputs)[0] > 0


def within_case(precision):
    """Rows, queries, and the rows within 2. Each query has a row at 2 and one that is nearer."""
    radius = zoo("radius")
    inputs, _ = case()
    inputs["rows"] = np.concatenate([inputs["rows"], *(inputs["queries"] + [step, 0, 0, 0] for step in (1, 2))])
    starts, squared, neighbours = radius.oracle(inputs["queries"], inputs["rows"], 2.0)
    names = {"starts": starts, "squared_distances": squared, "neighbours": neighbours}
    first = radius.oracle(inputs["queries"][:10], inputs["rows"], 2.0)
    inputs = {name: inputs[name] for name in ("rows", "queries")}
    inputs |= {f"oracle_{name}": values for name, values in zip(names, first, strict=True)}
    return inputs, names, {**names, "precision": np.array(precision)}, radius.judge_within(2.0)


def test_the_oracle_of_a_radius_is_the_plain_computation():
    inputs, names, *_ = within_case(0.0)
    expected = plain_within(inputs["queries"], inputs["rows"], 4.0)
    for found, wanted in zip((names["starts"], names["squared_distances"], names["neighbours"]), expected, strict=True):
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("query", [3, 29])
@pytest.mark.parametrize("precision", [0.0, 1e-7])
def test_a_row_that_is_missing_within_a_radius_is_caught(query, precision):
    inputs, ours, right, judge = within_case(precision)
    words = "equal" if precision else "exact (10 queries bit for bit)"
    assert judge(ours, right, inputs) == (0.0, words)
    at, stop = right["starts"][query : query + 2]
    nearest = at + int(np.argmin(right["squared_distances"][at:stop]))
    wrong = {**right, "starts": right["starts"] - (np.arange(31) > query)}
    wrong |= {name: np.delete(right[name], nearest) for name in ("neighbours", "squared_distances")}
    assert judge(ours, wrong, inputs) == (1 / 30, "3.33% of the queries differ")
    farthest = at + int(np.argmax(right["squared_distances"][at:stop]))
    assert right["squared_distances"][farthest] == 4
    edge = {**right, "starts": right["starts"] - (np.arange(31) > query)}
    edge |= {name: np.delete(right[name], farthest) for name in ("neighbours", "squared_distances")}
    if precision:
        assert judge(ours, edge, inputs) == (0.0, "3.33% of the queries differ, by rounding")
    else:
        assert judge(ours, edge, inputs)[0] > 0


LIAR = """
import dataclasses
from somknn_peers.contender import Contender
from somknn_peers.searchers import answer
from somknn_zoo import works

def prepare(inputs, options):
    import numpy as np
    n, k = len(inputs["queries"]), options["k"]
    return lambda: [(np.zeros((n, k)), np.tile(np.arange(k), (n, 1)))]

def find(name):
    work = works.find(name)
    liar = Contender("liar", ("numpy",), ("numpy",), prepare, lambda found: answer(found, precision=1e-7), "lies")
    return dataclasses.replace(work, home="liars", contenders=(work.contenders[0], liar))
"""


def test_a_wrong_contender_is_caught_and_never_the_best(tmp_path, monkeypatch):
    (tmp_path / "liars.py").write_text(LIAR)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    work = importlib.import_module("liars").find("digits/batch")
    found = peers("turns").compare(work, None, 1, SIZES, lambda text: None)
    ours, liar = found["rows"]
    assert ours["answer_equal"]
    assert ours["answer"] == "exact (20 queries bit for bit)"
    assert not liar["answer_equal"]
    assert liar["answer"] == "100.00% of the queries differ"
    assert zoo("report").best_peer(found) is None


def check_figures(document, names):
    assert set(document["works"]) == set(names)
    for work in document["works"].values():
        for row in work["rows"]:
            if row["contender"] != "sklearnex kd_tree":  # known to miss neighbours
                assert row["answer_equal"], row
            assert row["fit_seconds"] >= 0
            assert row["settings"]
        reasons = " ".join(work["skipped"].values())
        assert reasons.count("not installed") + reasons.count("has no algorithm") == len(work["skipped"]), reasons


def test_every_peer_answers(tmp_path):
    result = run("--quick", "--only", "digits", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    document = zoo("report").read(tmp_path)
    check_figures(document, ["digits/batch", "digits/one"])
    said = {row["contender"] for row in document["works"]["digits/batch"]["rows"]}
    assert {"somknn", "somknn brute", "somknn pruned", "scipy cKDTree", "scikit-learn auto"} <= said
    page = (tmp_path / "zoo.md").read_text()
    assert "| digits | 1,438 × 64 float64 | batch of 200 | 5 |" in page
    assert "\n| digits | 1,438 × 64 float64 | one | 5 |" in page
    # Once more with the same commit: nothing is measured, and all figures stay.
    again = run("--quick", "--resume", "--only", "digits", "--out", tmp_path)
    assert "turn" not in again.output
    assert (tmp_path / "zoo.md").read_text() == page


@pytest.mark.slow
def test_searches_within_a_radius_are_answered(tmp_path):
    result = run("--quick", "--only", "uniform-3-1m/radius", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    document = zoo("report").read(tmp_path)
    check_figures(document, ["uniform-3-1m/radius"])
    assert document["works"]["uniform-3-1m/radius"]["shapes"]["rows"] == [5000, 3]
    page = (tmp_path / "zoo.md").read_text()
    assert "\n| uniform-3-1m | 5,000 × 3 float64 | batch of 200 | radius 0.0134 |" in page


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_every_row_is_answered(name, tmp_path):
    result = run("--quick", "--only", name, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    document = zoo("report").read(tmp_path)
    if document["absent"]:
        pytest.skip(document["absent"][name])
    check_figures(document, [work.name for work in zoo("works").ALL if work.subject == name])


def test_rows_that_are_not_here_are_listed(tmp_path, monkeypatch):
    monkeypatch.delenv("SOMKNN_DATA", raising=False)
    result = run("--quick", "--only", "sift-bytes", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert zoo("report").read(tmp_path)["absent"] == {"sift-bytes": "no folder descriptors under $SOMKNN_DATA"}
    assert "Not measured: sift-bytes (no folder descriptors under $SOMKNN_DATA);" in (tmp_path / "zoo.md").read_text()


def test_what_cannot_be_done_is_said_in_one_line(tmp_path):
    unknown = run("--only", "unicorns", "--out", tmp_path)
    assert unknown.exit_code == 1
    assert "no rows are called unicorns" in unknown.output
    (tmp_path / "zoo.json").write_text(json.dumps({"host": {"processor": "another"}, "works": {}}))
    other = run("--quick", "--only", "digits", "--out", tmp_path)
    assert other.exit_code == 1
    assert "holds figures of another" in other.output


def test_all_names_are_listed_and_all_algorithms_are_asked():
    listed = run("--list").output
    assert all(work.name in listed for work in zoo("works").ALL)
    assert set(peers("searchers").known_algorithms()) <= set(zoo("works").ALGORITHMS)
    found = [work.name for work in zoo("works").ALL]
    assert len(found) == len(set(found))


def example_work():
    def row(contender, seconds, ratio, answer="equal", equal=True, settings="x"):
        return {
            "contender": contender,
            "version": "p 1",
            "settings": settings,
            "median_seconds": seconds,
            "ratio": ratio,
            "ratio_range": [ratio * 0.9, ratio * 1.1],
            "fit_seconds": 0.5,
            "index_bytes": 10**7,
            "answer": answer,
            "answer_equal": equal,
        }

    rows = [
        row("somknn", 0.02, 1.0, "exact (10 queries bit for bit)", settings="float64, auto chose brute"),
        row("somknn pruned", 0.01, 0.5, "exact (10 queries bit for bit)"),
        row("scipy cKDTree", 0.001, 0.05),
        row("sklearnex kd_tree", 0.0001, 0.005, "7.00% of the queries differ", False),
        row("FAISS flat", 0.6, 30.4, "0.10% of the queries differ, by rounding"),
    ]
    rest = {
        "subject": "digits",
        "date": "2026-01-01",
        "commit": "abc",
        "turns": 5,
        "k": 5,
        "radius": None,
        "dtype": "float64",
    }
    shapes = {"rows": [6000, 8], "queries": [100, 8]}
    return rest | {"shapes": shapes, "rows": rows, "skipped": {"PyTorch": "not installed: torch"}}


def test_the_page_shows_lost_rows_wrong_peers_and_rounding():
    host = dict.fromkeys(("processor", "processors", "instruction_set", "platform", "python"), "x") | {"packages": {}}
    page = zoo("report").markdown({"host": host, "works": {"digits/batch": example_work()}, "absent": {}})
    assert (
        "| digits | 6,000 × 8 float64 | batch of 100 | 5 | 200 µs (brute) | pruned 0.5 | scipy cKDTree 10.0 µs | "
        "**0.05** (0.045 to 0.055) | sklearnex kd_tree 0.005 (**WRONG**: 7.00% of the queries differ), "
        "FAISS flat 30 (0.10% by rounding) |"
    ) in page
    assert "- digits/batch: somknn pruned 0.5, scipy cKDTree 0.05\n" in page
    assert "- PyTorch (not installed: torch): all" in page
    assert "| digits | 0.4 MB | 500 ms, 10 MB | pruned 500 ms, 10 MB | scipy cKDTree 500 ms, 10 MB;" in page
    best = {**example_work(), "rows": example_work()["rows"][:1]}
    assert "Nowhere." in zoo("report").markdown({"host": host, "works": {"digits/batch": best}, "absent": {}})


def test_the_figure_shows_growth(tmp_path):
    pytest.importorskip("matplotlib")
    works = {}
    for n, seconds in ((1000, 0.01), (100, 0.001)):
        work = example_work() | {"shapes": {"rows": [n, 3], "queries": [100, 3]}, "subject": "uniform-3-10k"}
        work["rows"] = [row | {"median_seconds": seconds} for row in work["rows"][:2]]
        works[f"uniform-3-{n}/batch"] = work
        works[f"uniform-3-{n}/batch/k=50"] = works[f"clusters-3-{n}/batch"] = work
    assert zoo("growth").points({"works": works}) == {("somknn", "batch"): [(100, 10.0), (1000, 100.0)]}
    assert zoo("growth").draw({"works": works}, tmp_path / "one.svg")
    assert "Uniform points" in (tmp_path / "one.svg").read_text()
    assert not zoo("growth").draw({"works": {"digits/batch": example_work()}}, tmp_path / "two.svg")


class FakeModel:
    calls = 0

    def encode(self, texts, **settings):
        FakeModel.calls += 1
        assert settings["normalize_embeddings"]
        return np.array([[len(text), 0.0] for text in texts])


def test_embeddings_are_made_in_parts(tmp_path, monkeypatch):
    embeddings = zoo("embeddings")
    package, place = tmp_path / "packages", tmp_path / "made"
    (package / "one").mkdir(parents=True)
    (package / "broken.py").write_text("def (")
    (package / "one" / "two.py").write_text(
        "'''The opening\n  of a module.\n\nMore.'''\n"
        + "\n".join(f"def f{i}():\n    '''Text number {i:03d} of a function.'''" for i in range(25))
        + "\ndef g():\n    '''Text number 003 of a function.'''\n    'short'\n"
    )
    found = embeddings.texts_of_docstrings(package)
    assert len(found) == 26
    assert "The opening of a module." in found
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join([*found, *found, "short"]))
    assert embeddings.texts_of_lines(lines) == found
    monkeypatch.setenv("SOMKNN_ZOO", str(place))
    monkeypatch.setattr(embeddings, "_load_model", FakeModel)
    monkeypatch.setattr(embeddings, "PART", 10)
    monkeypatch.setattr(embeddings.time, "monotonic", iter(range(0, 1000, 10)).__next__)
    arguments = ["--rows", "20", "--queries", "5", "--lines", str(lines), "--seconds", "15"]
    first = CliRunner().invoke(embeddings.main, arguments)
    assert "20 of 25 texts; call again for more" in first.output
    assert CliRunner().invoke(embeddings.main, arguments).exit_code == 0
    assert FakeModel.calls == 3
    rows, queries = zoo("rows").find("embeddings-made").make(100, 100)
    assert [len(text) for text in found[:25]] == [*queries[:, 0], *rows[:, 0]]
    assert rows.dtype == np.float32
    more = CliRunner().invoke(
        embeddings.main, ["--rows", "99", "--lines", str(lines)], env={"SOMKNN_ZOO": str(tmp_path)}
    )
    assert more.exit_code == 1
    assert "26 texts found, 3,099 wanted" in more.output
