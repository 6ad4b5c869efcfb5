"""The kernels' own tests with guarded arrays, and faulty kernels to prove that the guards work."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from guard_pages import MODES
from somknn_kernels.isa import supported

TESTS = Path(__file__).parent.parent
# Tests that call kernels on their own arrays: no command, no other process, no other engine.
FOLDERS = ("kernels", "search", "neighbors", "som", "prototypes", "images")
FAULT = {signal.SIGSEGV, signal.SIGBUS}
WRITTEN_OVER = {signal.SIGABRT}
FAR = {"within": {0}, "read far behind": FAULT, "read far before": FAULT, "read of nothing": FAULT}


def _run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess:
    env = os.environ | environment
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=TESTS.parent, env=env)


@pytest.mark.parametrize("mode", MODES)
def test_wrong_kernels_die(mode):
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    done = _run(TESTS / "guarded" / "wrong_kernels.py", mode, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    ends = {name: int(end) for name, end in (line.rsplit(": ", 1) for line in done.stdout.splitlines())}
    guarded, other = ("behind", "before") if mode == "end" else ("before", "behind")
    expected = dict(FAR)
    for suffix in ("", ", own array"):
        expected |= {f"read {guarded}{suffix}": FAULT, f"write {guarded}{suffix}": FAULT}
        # The other side is up to a page away. A write before it is found when the array is freed; a read, in the other
        # mode.
        expected |= {f"read {other}{suffix}": {0}, f"write {other}{suffix}": WRITTEN_OVER}
    for suffix in (" in a thread", ", aligned"):
        expected |= {f"read {guarded}{suffix}": FAULT, f"read {other}{suffix}": {0}}
    assert ends.keys() == expected.keys()
    assert not {name: end for name, end in ends.items() if end not in expected[name]}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("isa", [*supported(), "vnni-emulated"])
@pytest.mark.parametrize("mode", MODES)
def test_the_kernels_own_tests_stay_within_their_arrays(mode, isa, capsys):
    folders = [TESTS / folder for folder in FOLDERS]
    done = _run(
        *("-m", "pytest", "-v", "-p", "no:cacheprovider", "-m", "not mnist and not faiss and not dask"),
        *(f"--guard-pages={mode}", *folders),
        SOMKNN_ISA=isa,
    )
    report = re.search(r"guard pages: (\d+) arrays guarded, (\d+) .* compiled code, (\d+) without", done.stdout)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-20_000:]
    assert report is not None
    guarded, of_kernels, unguarded = map(int, report.groups())
    assert guarded > 1_000_000
    assert of_kernels > 10_000
    assert unguarded < guarded / 1000
    with capsys.disabled():
        print(f"\n{mode}, {isa}: {done.stdout.splitlines()[-1]}\n{report[0]}")
