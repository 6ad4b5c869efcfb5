"""Pictures drawn in another process equal those drawn here, even if the other process dies."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from somknn.cli import beside
from somknn.evaluation.drawing import Drawing
from somknn.plots import evaluation
from somknn.threads import in_thread

CURVES = [(0, np.array([0.0, 0.2, 1.0]), np.array([0.0, 0.9, 1.0]))]


def page(drawing):
    marks = [
        drawing.ask("drawn", "roc_curves", CURVES, 3, alt="ROC <1>"),
        drawing.ask("class_legend", ["a", "<b>", "c"]),
        drawing.ask("drawn", "calibration", [("a", CURVES[0][1], CURVES[0][2])], alt="calibration"),
    ]
    return drawing.put_into(f"<p>{marks[0]}{marks[1]}</p><p>{marks[1]}{marks[2]}</p>")


@pytest.fixture(scope="module")
def drawn_here():
    return page(Drawing())


@pytest.fixture
def two_processors(monkeypatch):
    monkeypatch.setattr(beside, "processors", lambda: 2)


def test_every_mark_becomes_its_picture(drawn_here):
    assert "<!--" not in drawn_here
    assert drawn_here.count("<img ") == 2
    assert drawn_here.count('<ul class="legend"') == 2  # asked for once, shown twice
    assert "&lt;b&gt;" in drawn_here
    assert 'alt="ROC &lt;1&gt;"' in drawn_here


def test_another_process_draws_the_same(drawn_here, two_processors):
    with beside.second_process("somknn.plots.markup", "no.such.module") as executor:
        assert page(Drawing(executor)) == drawn_here
        there = executor.submit(os.getpid).result()
        assert there != os.getpid()
    _wait_for_the_end_of(there)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems start a new Python")
def test_a_fork_draws_the_same(drawn_here):
    """As the commands have it: in a process where nothing else has begun."""
    code = (
        "import os; from somknn.cli import beside; beside.processors = lambda: 2; "
        "assert beside._start_method() == 'fork'\n"
        "with beside.second_process('somknn.plots.markup') as executor:\n"
        "    import test_drawing; print(test_drawing.page(test_drawing.Drawing(executor)), end='')\n"
        "    assert executor.submit(os.getpid).result() != os.getpid()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout == drawn_here, done.stderr


def test_a_killed_process_is_replaced_by_this_one(drawn_here, two_processors):
    with beside.second_process() as executor:
        there = executor.submit(os.getpid).result()
        os.kill(there, signal.SIGKILL)
        _wait_for_the_end_of(there)
        assert page(Drawing(executor)) == drawn_here


def test_the_second_process_ends_with_an_error_of_the_first(two_processors):
    processes = []

    def fail():
        with beside.second_process() as executor:
            processes.append(executor.submit(os.getpid).result())
            executor.submit(time.sleep, 60)
            raise ValueError("bad input")

    with pytest.raises(ValueError, match="bad input"):
        fail()
    _wait_for_the_end_of(processes[0])


def test_one_processor_gets_no_second_process(monkeypatch):
    monkeypatch.setattr(beside, "processors", lambda: 1)
    with beside.second_process("somknn.plots.markup") as executor:
        assert executor is None


def test_what_a_thread_found_or_what_went_wrong_in_it():
    assert in_thread(divmod, 7, 2).result() == (3, 1)
    with pytest.raises(ZeroDivisionError):
        in_thread(divmod, 7, 0).result()


def _wait_for_the_end_of(pid):
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")


def test_labels_of_the_tuning_curve_lie_within_the_picture():
    """Scores that differ in the fourth digit have the widest ticks, and the label stands beside them."""
    scores = 0.955 + np.linspace(0, 0.018, 30)
    results = {
        "param_n_neighbors": np.arange(1, 31),
        "param_weights": np.array(["uniform"] * 30),
        "mean_test_score": scores,
        "std_test_score": np.full(30, 0.0035),
        "rank_test_score": np.arange(30, 0, -1),
        **{f"split{s}_test_score": scores for s in range(10)},
    }
    figure = evaluation.tuning_curve(results)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    ticks = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert max(map(len, ticks)) == 6
    label = figure.axes[0].yaxis.label.get_window_extent(canvas.get_renderer())
    assert label.x0 >= 2
    assert label.x1 < figure.axes[0].yaxis.get_tightbbox(canvas.get_renderer()).x1
