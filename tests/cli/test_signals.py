"""Ctrl-C, SIGTERM and SIGHUP: every command ends at once, with its exit code, one line and no partial files."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

from somknn import KNeighborsClassifier
from somknn.cli import main
from somknn.cli.commands import group

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
LINES = {signal.SIGINT: "", signal.SIGTERM: " by SIGTERM", signal.SIGHUP: " by SIGHUP"}
KEPT = "; finished parts are kept, --resume continues"

# Runs a command in which one step sends signals to all processes of its session, then continues.
PROGRAM = """
import builtins, os, sys
from somknn.cli import main, signals

numbers, step, nth = [int(n) for n in sys.argv[1].split(",")], sys.argv[2], int(sys.argv[3])
del sys.argv[1:4]
command, steps = os.getpid(), 0

def send():
    for number in numbers:
        os.killpg(0, number)

def strike():
    global steps
    if os.getpid() == command:
        steps += 1
        if steps == nth:
            send()

def before(function):
    def struck(*arguments, **options):
        strike()
        return function(*arguments, **options)
    return struck

def after(function):
    def struck(*arguments, **options):
        result = function(*arguments, **options)
        strike()
        return result
    return struck

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == step:
            strike()

if step == "publish":
    import somknn._files as files
    files.publish = before(files.publish)
elif step == "renamed":
    import somknn._files as files
    files.sync_folder = before(files.sync_folder)
elif step == "undoing":
    import somknn._files as files
    files.publish = before(files.publish)
    undo = signals.undo_everything
    signals.undo_everything = lambda: (send(), undo(), send())
elif step == "predict":
    from somknn.batch import engine
    engine.predict_columns = before(engine.predict_columns)
elif step == "writing":
    from somknn.batch import writers
    writers.write_output = after(writers.write_output)
elif step == "removing":
    from somknn.batch import manifest
    manifest.WorkFolder._sweep = after(manifest.WorkFolder._sweep)
elif step == "exit":
    import atexit
    atexit.register(strike)
else:
    sys.meta_path.insert(0, Finder())
main(prog_name="somknn")
"""


def start(step, nth, *arguments, numbers, **options):
    numbers = ",".join(str(int(number)) for number in numbers)
    program = [sys.executable, "-c", PROGRAM, numbers, step, str(nth), *map(str, arguments)]
    return subprocess.Popen(
        program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )


def struck(step, nth, *arguments, numbers, **options):
    """Exit code and stderr of a command; waits for all of its processes, since each holds stderr open."""
    process = start(step, nth, *arguments, numbers=numbers, **options)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model, rows, and the output of an uninterrupted command, in 8 parts."""
    folder = tmp_path_factory.mktemp("signals")
    rows = np.random.default_rng(0).integers(0, 256, (800, 12), dtype=np.uint8)
    KNeighborsClassifier(3).fit(rows[:200], rows[:200, 0] % 3).save(folder / "model")
    np.save(folder / "rows.npy", rows)
    assert CliRunner().invoke(main, [*classify_arguments(folder), "-o", str(folder / "whole.csv")]).exit_code == 0
    return folder


def classify_arguments(folder):
    return ["classify", str(folder / "model"), str(folder / "rows.npy"), "--chunk-bytes", "1200"]


@pytest.mark.parametrize(
    ("step", "nth", "kept", "number"),
    [
        ("publish", 1, 0, signal.SIGTERM),  # the manifest has been written
        ("predict", 1, 0, signal.SIGHUP),
        # The data of the first part have been written, but not the file that makes it count.
        ("publish", 3, 0, signal.SIGINT),
        ("renamed", 3, 1, signal.SIGINT),  # from now on the first part counts
        ("renamed", 3, 1, signal.SIGTERM),
        ("renamed", 3, 1, signal.SIGHUP),
        ("predict", 4, None, signal.SIGINT),  # in another thread, while parts are written
        ("writing", 1, 8, signal.SIGTERM),
    ],
)
def test_a_run_keeps_its_parts_and_continues(tmp_path, files, step, nth, kept, number):
    out = tmp_path / "out.csv"
    code, said = struck(step, nth, *classify_arguments(files), "-o", out, numbers=[number])
    assert code == CODES[number]
    parts = list((tmp_path / "out.csv.parts").glob("part-*.json"))
    assert said == f"somknn: interrupted{LINES[number]}{KEPT if parts else ''}\n"
    assert kept is None or len(parts) == kept
    assert list(tmp_path.iterdir()) == ([tmp_path / "out.csv.parts"] if parts else [])
    assert not list((tmp_path / "out.csv.parts").glob(".*"))
    resumed = CliRunner().invoke(main, [*classify_arguments(files), "-o", str(out), "--resume"])
    assert resumed.exit_code == 0, resumed.output
    assert out.read_bytes() == (files / "whole.csv").read_bytes()
    assert list(tmp_path.iterdir()) == [out]


def test_an_interrupt_when_the_output_is_in_place(tmp_path, files):
    """The clean-up before the first part is the first call."""
    code, said = struck("removing", 2, *classify_arguments(files), "-o", tmp_path / "out.csv", numbers=[signal.SIGTERM])
    assert (code, said) == (143, "somknn: interrupted by SIGTERM\n")
    assert list(tmp_path.iterdir()) == [tmp_path / "out.csv"]
    assert (tmp_path / "out.csv").read_bytes() == (files / "whole.csv").read_bytes()


def test_an_interrupted_continuation_keeps_what_there_is(tmp_path, files):
    arguments = [*classify_arguments(files), "-o", tmp_path / "out.csv"]
    assert struck("renamed", 7, *arguments, numbers=[signal.SIGINT])[0] == 130
    for step in ("numpy", "predict"):
        code, said = struck(step, 1, *arguments, "--resume", numbers=[signal.SIGHUP])
        assert (code, said) == (129, f"somknn: interrupted by SIGHUP{KEPT}\n")
        assert len(list((tmp_path / "out.csv.parts").glob("part-*.json"))) == 3


def test_two_signals_are_as_one(tmp_path, files):
    several, out = [signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP], tmp_path / "out.csv"
    for step, nth in (("undoing", 5), ("undoing", 6)):
        code, said = struck(step, nth, *classify_arguments(files), "-o", out, numbers=several)
        assert code in CODES.values()
        assert said in [f"somknn: interrupted{line}{KEPT}\n" for line in LINES.values()]
        assert not list((tmp_path / "out.csv.parts").glob(".*"))
        resumed = CliRunner().invoke(main, [*classify_arguments(files), "-o", str(out), "--resume"])
        assert resumed.exit_code == 0, resumed.output
        assert out.read_bytes() == (files / "whole.csv").read_bytes()
        out.unlink()


@pytest.mark.parametrize(("i", "command"), list(enumerate(group.list_commands(None))))
def test_every_command_ends_while_it_imports(tmp_path, files, i, command):
    number, module = list(CODES)[i % 3], ("click", "numpy", "numba")[i // 3 % 3]
    if command == "info":  # it imports no more than that
        module = "click"
    arguments = [command, *classify_arguments(files)[1:]] if command in ("classify", "predict") else [command]
    file = ["-o", tmp_path / "out.csv"]
    place = {"info": [], "warmup": [], "classify": file, "predict": file}.get(command, ["--out", tmp_path / "out"])
    answer = struck(module, 1, *arguments, *place, numbers=[number])
    assert answer == (CODES[number], f"somknn: interrupted{LINES[number]}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_writes_several_files(tmp_path):
    """Interrupted in the middle of the second file: the first is complete, of the second there is nothing."""
    number = signal.SIGTERM
    arguments = ["som", "--grid", "3x3", "--epochs", 1, "--no-pictures", "--out", tmp_path]
    assert struck("publish", 2, *arguments, numbers=[number]) == (
        CODES[number],
        f"somknn: interrupted{LINES[number]}\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["map.safetensors"]


SECOND_PROCESS = """
import os, signal, sys, threading, time
from somknn.cli import beside, signals
how, method = sys.argv[1:]
if method == "spawn":
    import numpy
    assert beside._start_method() == "spawn"
beside.processors = lambda: 2
signals.answer()
with beside.second_process("somknn.plots.markup") as executor:
    if how.endswith("soon"):
        os.killpg(0, int(how.removesuffix("soon")))
    executor.submit(os.getpid).result()
    executor.submit(time.sleep, 600)
    os.kill(os.getpid(), int(how)) if int(how) == signal.SIGKILL else os.killpg(0, int(how))
    time.sleep(600)
"""


@pytest.mark.parametrize("method", ["fork" if sys.platform == "linux" else "spawn", "spawn"])
@pytest.mark.parametrize("how", [f"{int(number)}{soon}" for number in CODES for soon in ("", "soon")] + ["9"])
def test_the_second_process_ends_with_the_command(how, method):
    """It ends with the command, and writes nothing to stderr, whenever the signal comes."""
    done = subprocess.run(
        [sys.executable, "-c", SECOND_PROCESS, how, method],
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )
    number = signal.Signals(int(how.removesuffix("soon")))
    assert done.returncode == CODES.get(number, -9)
    assert done.stderr == (f"somknn: interrupted{LINES[number]}\n" if number in CODES else "")


THREAD = """
import os, signal, sys, threading
from somknn._files import replacing
from somknn.cli import signals

begun = threading.Event()

def save():
    with replacing(sys.argv[1]) as temporary:
        temporary.write_text("half")
        begun.set()
        threading.Event().wait()

signals.answer()
threading.Thread(target=save, daemon=True).start()
begun.wait()
os.kill(os.getpid(), signal.SIGTERM)
threading.Event().wait()
"""


def test_what_another_thread_is_writing_is_undone(tmp_path):
    path = tmp_path / "kept"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", THREAD, path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (143, "somknn: interrupted by SIGTERM\n")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


DOWNLOAD = """
import os, pathlib, signal, sys
from somknn.cli import signals
from somknn.datasets import sources

class Pooch:
    HTTPDownloader = staticmethod(lambda **options: None)

    class get_logger:
        setLevel = staticmethod(lambda level: None)

    @staticmethod
    def retrieve(url, known_hash, fname, path, downloader):
        (pathlib.Path(path) / fname).write_text("half")
        os.kill(os.getpid(), signal.SIGHUP)

signals.answer()
sources._download(Pooch, "mnist", "test_labels", pathlib.Path(sys.argv[1]))
"""


def test_an_interrupted_download_leaves_nothing(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", DOWNLOAD, tmp_path], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (129, "somknn: interrupted by SIGHUP\n")
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_is_ignored_stays_ignored(tmp_path, files):
    """`nohup`, and background jobs of a script."""
    for number in (signal.SIGHUP, signal.SIGINT):
        out = tmp_path / f"{number}.csv"

        def ignore(number=number):
            signal.signal(number, signal.SIG_IGN)

        code, _ = struck("predict", 3, *classify_arguments(files), "-o", out, numbers=[number], preexec_fn=ignore)
        assert code == 0
        assert out.read_bytes() == (files / "whole.csv").read_bytes()


@pytest.mark.parametrize("number", CODES)
def test_a_command_that_is_done_is_done(number):
    assert struck("exit", 1, "info", numbers=[number]) == (0, "")


def test_a_terminal_gets_its_cursor_back(files, tmp_path):
    """The line replaces the progress bar."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    arguments = [*classify_arguments(files), "-o", tmp_path / "out.csv"]
    program = [sys.executable, "-c", PROGRAM, str(int(signal.SIGINT)), "predict", "4", *map(str, arguments)]
    process = subprocess.Popen(program, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    while True:
        try:
            some = os.read(ours, 1 << 16)
        except OSError:  # Linux raises this when the last writer is gone
            some = b""
        if not some:
            break
        shown += some
    os.close(ours)
    assert process.wait(60) == 130
    text = shown.decode()
    assert "classifying" in text
    assert "\x1b[?25h" in text[text.rindex("\x1b[?25l") :]
    assert "Traceback" not in text
    assert text.endswith(f"\r\x1b[K\x1b[?25hsomknn: interrupted{KEPT}\r\n")


def test_no_handler_in_a_process_that_is_not_the_command():
    before = [signal.getsignal(number) for number in CODES]
    assert CliRunner().invoke(main, ["info"]).exit_code == 0
    assert [signal.getsignal(number) for number in CODES] == before
    code = (
        "import signal; numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP; get = signal.getsignal\n"
        "before = [get(n) for n in numbers]\n"
        "import somknn.batch, somknn.cli.commands, somknn.cli.classify, somknn.cli.run, "
        "somknn.cli.beside, somknn.cli.signals\n"
        "assert [get(n) for n in numbers] == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def at_random(tmp_path, files, arguments, n, check):
    """`n` signals at random moments, every second one to all processes, some twice; then `check(code, stderr)`."""
    program = [sys.executable, "-c", "from somknn.cli import main; main(prog_name='somknn')", *map(str, arguments)]
    subprocess.run(program, check=True, capture_output=True)
    begun = time.monotonic()
    subprocess.run(program, check=True, capture_output=True)
    seconds, rng, interrupted = time.monotonic() - begun, random.Random(0), 0
    check(0, "")
    for turn in range(n):
        number = list(CODES)[turn % 3]
        send = os.killpg if turn % 2 else os.kill
        process = subprocess.Popen(
            program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        time.sleep(0.1 + rng.uniform(0, seconds))
        for _ in range(rng.choice([1, 1, 2])):
            if process.poll() is None:
                send(process.pid, number)
        _, said = process.communicate(timeout=120)
        assert process.returncode in (0, CODES[number]), said
        assert "Traceback" not in said
        assert "Exception" not in said
        interrupted += process.returncode != 0
        check(process.returncode, said)
    assert interrupted > n // 3


@pytest.mark.slow
def test_classify_at_random_moments(tmp_path, files):
    rows, out, whole = tmp_path / "rows.npy", tmp_path / "out.csv", []
    np.save(rows, np.tile(np.load(files / "rows.npy"), (60, 1)))
    arguments = ["classify", files / "model", rows, "-o", out, "--chunk-bytes", 4800]

    def check(code, said):
        parts = tmp_path / "out.csv.parts"
        assert (KEPT in said) == any(parts.glob("part-*.json"))
        assert not any(parts.glob(".*"))
        assert {path.name for path in tmp_path.iterdir()} <= {"rows.npy", "out.csv", "out.csv.parts"}
        if code:
            assert CliRunner().invoke(main, [*map(str, arguments), "--resume"]).exit_code == 0
        assert not parts.exists()
        whole.append(out.read_bytes())
        assert whole[0] == whole[-1]
        out.unlink()

    at_random(tmp_path, files, arguments, 40, check)


@pytest.mark.slow
def test_run_at_random_moments(tmp_path, files):
    """Files are complete or absent, and are written in a fixed order."""
    names = ["model.safetensors", "predictions.csv", "metrics.json", "report.html"]

    def check(code, said):
        there = {path.name for path in (tmp_path / "out").glob("*")} | {
            path.name for path in (tmp_path / "out").glob(".*")
        }
        assert there == set(names[: len(there)])
        assert code or len(there) == 4
        for path in (tmp_path / "out").glob("*"):
            path.unlink()

    at_random(tmp_path, files, ["run", "--out", tmp_path / "out"], 40, check)
