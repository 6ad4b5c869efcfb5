"""The comparison with peers: it runs, lists missing peers, and detects wrong answers."""

import importlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(PEERS))
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))


def module(name):
    return importlib.import_module(f"somknn_peers.{name}")


def run(*arguments):
    return CliRunner().invoke(module("cli").main, ["--dataset", "digits", "--turns", "2", *map(str, arguments)])


def test_a_work_on_digits(tmp_path):
    report = module("report")
    kept = {"host": {}, "data": "", "works": {"som": example_work(True)}}
    (tmp_path / "peers.json").write_text(json.dumps(kept))
    result = run("--work", "one-query", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    works = report.read(tmp_path)["works"]
    assert set(works) == {"som", "one-query"}  # works that are not requested are kept
    work = works["one-query"]
    assert {"somknn", "scikit-learn"} <= {row["contender"] for row in work["rows"]}
    for row in work["rows"]:
        assert row["answer_equal"]
        assert len(row["seconds"]) == 2
        assert row["ratio_range"][0] <= row["ratio"] <= row["ratio_range"][1]
        assert row["share_of_limit"] > 0
        assert row["peak_bytes"] > 1e7
    assert all(reason.startswith("not installed") for reason in work["skipped"].values())
    assert work["peaks"]["sgemm"] > 0
    assert work["peaks"]["integers"] > 0
    assert "share of the limit" in (tmp_path / "peers.md").read_text()


@pytest.mark.slow
@pytest.mark.mnist
@pytest.mark.skipif(not os.environ.get("SOMKNN_DATA"), reason="needs MNIST under $SOMKNN_DATA")
def test_every_work(tmp_path):
    # With six rows per centre FAISS's single draws are correctly reported as worse, by 4%; with 24 by 1.2%.
    result = run("--dataset", "mnist", "--rows", 12_000, "--queries", 300, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert list(json.loads((tmp_path / "peers.json").read_text())["works"]) == [
        work.name for work in module("works").ALL
    ]


def test_a_wrong_neighbour_is_seen_and_a_tie_is_not():
    judge = module("neighbours").judge
    rows = np.array([[0], [2], [2], [9]], np.uint8)
    inputs = {"rows": rows, "queries": np.array([[1], [8]], np.uint8)}
    ours = {"neighbours": np.array([[0, 1], [3, 1]])}
    assert judge(ours, {"neighbours": np.array([[2, 1], [3, 2]])}, inputs)[0] == 0
    assert judge(ours, {"neighbours": np.array([[0, 1], [3, 0]])}, inputs) == (0.5, "50.00% of the queries differ")


def test_a_worse_map_and_worse_centres_are_seen():
    random = np.random.default_rng(0)
    rows = random.integers(0, 255, (500, 9)).astype(np.uint8)
    good, bad = rows[:400].astype(float), np.zeros((400, 9))
    maps, clusters = module("maps"), module("clusters")
    deviation, words = maps.judge({"codebook": good}, {"codebook": bad}, {"rows": rows})
    assert deviation > maps.BATCH.tolerance
    assert words.startswith("QE ")
    assert maps.judge({"codebook": good}, {"codebook": good[::-1]}, {"rows": rows})[0] == 0
    assert clusters.judge({"centres": good}, {"centres": bad}, {"rows": rows})[0] > clusters.KMEANS.tolerance


def example_work(equal):
    row = {
        "contender": "FAISS",
        "version": "faiss-cpu 1.9",
        "settings": "flat",
        "median_seconds": 0.0123,
        "ratio": 2.04,
        "ratio_range": [1.9, 2.2],
        "share_of_limit": 0.5,
        "peak_bytes": 10**8,
        "answer": "3.00% of the queries differ",
        "answer_equal": equal,
    }
    peaks = {"sgemm": 40.0, "integers": 80.0}
    rest = {"title": "a work", "date": "2026-01-01", "commit": "abc", "turns": 5, "shapes": {"rows": [6000, 784]}}
    return {**rest, "peaks": peaks, "rows": [row], "skipped": {"PyTorch": "not installed: torch"}}


def test_the_page_names_unequal_answers_and_missing_peers():
    host = dict.fromkeys(("processor", "processors", "instruction_set", "platform", "python"), "x") | {"packages": {}}
    page = module("report").markdown({"host": host, "data": "mnist", "works": {"a": example_work(False)}})
    line = (
        "| FAISS 1.9 | flat | 12.3 ms | **2.0** (1.9 to 2.2) | 50% | 100 MB "
        "| **NOT EQUAL**: 3.00% of the queries differ |"
    )
    assert line in page
    assert "Skipped: PyTorch (not installed: torch)." in page
    assert "**NOT EQUAL**" not in module("report").markdown(
        {"host": host, "data": "", "works": {"a": example_work(True)}}
    )


def test_a_contender_that_fails_says_why(tmp_path):
    turns, contender, works = module("turns"), module("contender"), module("works")
    nobody = contender.Contender("nobody", (), (), None, None, "")
    with pytest.raises(turns.Failed, match="StopIteration"):
        turns.Worker(works.find("neighbours"), nobody, tmp_path, {})


def test_missing_modules_are_named():
    contender = module("contender").Contender("x", ("numpy", "no_such_thing.at_all"), (), None, None, "")
    assert module("turns").missing(contender) == ["no_such_thing.at_all"]
