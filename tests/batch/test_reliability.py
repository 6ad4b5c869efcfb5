"""Behaviour when the machine fails: killed processes, full disks, damaged files, threads and forks."""

import builtins
import errno
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from test_classify import FOLDERS, NEW_KINDS, with_key, write_input

from mutations import MUTATIONS, mutate
from somknn.batch import BatchError, classify
from somknn.batch.sources import open_sources

# A process that has everything imported and forks one child per run, so that a run is killed during its work and not
# during its imports.
SERVER = """
import json, os, sys, traceback
from somknn.batch import classify

def run(model, path, out, resume, options):
    try:
        classify(model, path, out, resume=resume == "True", **json.loads(options))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0

for line in sys.stdin:
    if line != "wait\\n":
        pid = os.fork()
        if not pid:
            os._exit(run(*line[:-1].split("\\t")))
        print(pid, flush=True)
    else:
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Runs:
    """Runs of `classify` in separate processes, one after the other."""

    def __init__(self):
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _ask(self, line):
        self.server.stdin.write(line + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def start(self, model_file, path, out, resume=False):
        options = {"chunk_bytes": 6000, **with_key(path)}
        return self._ask(f"{model_file}\t{path}\t{out}\t{resume}\t{json.dumps(options)}")

    def wait(self):
        return self._ask("wait")

    def kill_after(self, seconds, pid):
        """Whether the process was still running; its number is not reused before `wait`."""
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    def close(self):
        self.server.stdin.close()
        assert self.server.wait() == 0


def kill_at_random(tmp_path, model_file, rows, n_kills, ending, kind="npy", repeats=30):
    """Kill at least `n_kills` runs at random moments; the output must then be absent, complete or resumable."""
    path, whole = write_input(tmp_path, kind, np.tile(rows, (repeats, 1))), tmp_path / f"whole.{ending}"
    runs, rng, kills, seconds = Runs(), random.Random(0), 0, []
    for _ in range(3):  # the first run loads the kernels
        whole.unlink(missing_ok=True)
        begun = time.monotonic()
        runs.start(model_file, path, whole)
        assert runs.wait() == 0
        seconds.append(time.monotonic() - begun)
    expected = whole.read_bytes()
    for turn in range(10 * n_kills):
        if kills >= n_kills:
            break
        out = tmp_path / f"out{turn}.{ending}"
        kills += runs.kill_after(rng.uniform(0, min(seconds)), runs.start(model_file, path, out))
        assert not out.exists() or out.read_bytes() == expected
        if rng.random() < 0.5:  # kill the resumed run as well
            kills += runs.kill_after(rng.uniform(0, min(seconds)), runs.start(model_file, path, out, True))
            assert not out.exists() or out.read_bytes() == expected
        runs.start(model_file, path, out, True)
        assert runs.wait() == 0
        assert out.read_bytes() == expected
        assert not out.with_name(out.name + ".parts").exists()
        out.unlink()
    runs.close()
    return kills


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


@needs_fork
def test_kill_9(tmp_path, model_file, rows):
    assert kill_at_random(tmp_path, model_file, rows, 5, "npy") >= 5


@needs_fork
@pytest.mark.slow
@pytest.mark.parametrize("ending", ["npy", "parquet", "csv"])
def test_kill_9_long(tmp_path, model_file, rows, ending):
    assert kill_at_random(tmp_path, model_file, rows, 25, ending) >= 25


# Kinds of every reader: text, packed text, arrays, lists, images, a folder of images, parts, a column for the output.
EVERY_READER = ["tsv", "csv.zst", "csv.zip", "idx.gz", "npz", "list.parquet", "uneven.parquet", "nested.arrow"]
EVERY_READER += ["image.parquet", "stream.arrow", "key.parquet", "key.csv", *FOLDERS]


@needs_fork
@pytest.mark.parametrize("kind", ["csv.zst", "uneven.parquet", "key.parquet", "spark"])
def test_kill_9_while_other_kinds_are_read(tmp_path, model_file, rows, kind):
    assert kill_at_random(tmp_path, model_file, rows, 2, "csv", kind, 10) >= 2


@needs_fork
@pytest.mark.slow
@pytest.mark.parametrize("kind", [*EVERY_READER, "h5"])
def test_kill_9_long_of_every_reader(tmp_path, model_file, rows, kind):
    repeats = 2 if kind in ("folder", "image.parquet") else 20
    assert kill_at_random(tmp_path, model_file, rows, 10, "parquet", kind, repeats) >= 10


class Faults:
    """Counts calls of one kind on files in a folder and makes the n-th fail."""

    def __init__(self, folder, kind, n):
        self.folder, self.kind, self.n, self.count = str(folder), kind, n, 0

    def hit(self, kind):
        if kind == self.kind:
            self.count += 1
            if self.count == self.n:
                raise OSError(errno.ENOSPC if kind == "write" else errno.EIO, f"injected into {kind}")

    def install(self, monkeypatch):
        faults, real_open, real_fsync, real_replace = self, builtins.open, os.fsync, os.replace
        real_pread = os.pread

        class File(io.FileIO):
            def write(self, data):
                faults.hit("write")
                return super().write(data)

            def readinto(self, buffer):
                faults.hit("read")
                return super().readinto(buffer)

            def readall(self):
                faults.hit("read")
                return super().readall()

        def opened(file, mode="r", *args, **options):
            inside = isinstance(file, str | os.PathLike) and os.fspath(file).startswith(faults.folder)
            if not inside:
                return real_open(file, mode, *args, **options)
            raw = File(file, mode.replace("b", "").replace("t", ""))
            buffered = io.BufferedWriter(raw) if "w" in mode else io.BufferedReader(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding="utf-8", newline="")

        def fsync(descriptor):
            faults.hit("fsync")
            return real_fsync(descriptor)

        def replace(source, target):
            faults.hit("rename")
            return real_replace(source, target)

        def pread(*arguments):
            faults.hit("pread")
            return real_pread(*arguments)

        monkeypatch.setattr(os, "pread", pread)
        monkeypatch.setattr(builtins, "open", opened)
        monkeypatch.setattr(io, "open", opened)
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("kind", ["write", "fsync", "rename", "read"])
@pytest.mark.parametrize("ending", ["npy", "csv", "parquet"])
def test_every_nth_call_fails(tmp_path, model_file, rows, kind, ending):
    """For every n, the n-th call fails: a clear error, no partial output, and the run can be resumed."""
    (tmp_path / "work").mkdir()
    path = write_input(tmp_path / "work", "npy", rows)
    options = {"chunk_bytes": 12 * 180, "on_bad_row": "quarantine"}
    classify(model_file, path, tmp_path / f"whole.{ending}", **options)
    expected = (tmp_path / f"whole.{ending}").read_bytes()
    n = failures = 0
    while True:
        n += 1
        out = tmp_path / "work" / f"out{n}.{ending}"
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(tmp_path / "work", kind, n)
            faults.install(patch)
            failure = ""
            try:
                classify(model_file, path, out, **options)
            except (OSError, ValueError) as error:
                failure = str(error)
        failed = bool(failure)
        failures += failed
        assert not failed or "injected" in failure
        if out.exists():
            assert out.read_bytes() == expected
        assert not failed or not any(p.name.endswith(".part") for p in out.parent.iterdir())
        if not failed:
            break
        classify(model_file, path, out, resume=True, **options)
        assert out.read_bytes() == expected
        assert not out.with_name(out.name + ".parts").exists()
    assert faults.count < n
    assert failures >= (3 if kind == "read" or kind == "write" else 8)


@pytest.mark.parametrize("kind", EVERY_READER)
def test_every_nth_read_of_every_kind_fails(tmp_path, model_file, rows, kind):
    """Reads of Python; those inside Arrow's C++ code are not reached, but of the pages of Parquet files they are."""
    (tmp_path / "work").mkdir()
    path = write_input(tmp_path / "work", kind, rows[:120])
    options = {"chunk_bytes": 12 * 50, **with_key(path)}
    classify(model_file, path, tmp_path / "whole.npy", **options)
    expected = (tmp_path / "whole.npy").read_bytes()
    failures = {"read": 0, "pread": 0}
    for call in failures:
        n, reached = 0, True
        while reached:
            n += 1 if n < 8 else 9  # a folder of images has a hundred reads
            out, failure = tmp_path / "work" / "out.npy", ""
            with pytest.MonkeyPatch.context() as patch:
                faults = Faults(tmp_path / "work", call, n)
                faults.install(patch)
                try:
                    classify(model_file, path, out, **options)
                except (OSError, ValueError) as error:
                    failure = str(error)
            reached = faults.count >= n
            failures[call] += bool(failure)
            assert "\n" not in failure
            assert out.exists() == (not failure)
            if failure:
                classify(model_file, path, out, resume=True, **options)
            assert out.read_bytes() == expected  # also where the failure made no difference, as for a look at a name
            out.unlink()
    assert failures["read"] > 0
    assert (failures["pread"] > 0) == (kind.endswith("parquet") or kind == "spark")


@pytest.mark.parametrize("ending", ["npy", "csv", "parquet"])
def test_no_file_may_grow_past_a_limit(tmp_path, model_file, rows, ending):
    """Like a full disk; also reaches the writes inside Arrow, which the test above does not."""
    resource = pytest.importorskip("resource")
    path, out = write_input(tmp_path, "npy", np.tile(rows, (6, 1))), tmp_path / f"out.{ending}"
    options = {"chunk_bytes": 12 * 300, "proba": True}
    classify(model_file, path, tmp_path / f"whole.{ending}", **options)
    expected = (tmp_path / f"whole.{ending}").read_bytes()
    before, finished = resource.getrlimit(resource.RLIMIT_FSIZE), []
    for limit in np.linspace(1, len(expected) - 1, 9).astype(int).tolist():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(OSError, match=r"(?i)file too large") as failure:
                classify(model_file, path, out, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert "\n" not in str(failure.value)
        parts = out.with_name(out.name + ".parts")
        finished.append(len(list(parts.glob("*.json"))))
        left = {p.name for p in tmp_path.iterdir()} - {path.name, f"whole.{ending}", parts.name}
        assert left == set()
        classify(model_file, path, out, resume=True, **options)
        assert out.read_bytes() == expected
        out.unlink()
    assert finished[0] == 0  # the manifest itself did not fit
    assert finished[-1] == 11  # the manifest and ten parts did; only the output did not


KINDS = ["npy", "npz", "idx", "idx.gz", "csv", "csv.gz", "parquet", "list.parquet", "arrow", "stream.arrow"]
KINDS += [*NEW_KINDS, *FOLDERS]  # not HDF5, whose library does not promise to survive damage
FUZZ = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


def fuzz_source(tmp_path, rows, kind, mutations):
    """Read a damaged file or, of a folder, one damaged file beside whole ones."""
    seed = tmp_path / "seed"
    if not seed.exists():
        seed.mkdir()
        write_input(seed, kind, rows[:20])
    path, inner = tmp_path / f"in.{kind}", ""
    if kind in FOLDERS:
        inner = sorted(p.relative_to(seed / path.name) for p in (seed / path.name).rglob("*.p*"))[1]
        if not path.exists():
            shutil.copytree(seed / path.name, path)
    (path / inner).write_bytes(mutate((seed / path.name / inner).read_bytes(), mutations))
    message = ""
    try:
        for source in open_sources([str(path)]):
            width = source.width
            if "key" in (source.feature_names or ()):
                key = source.feature_names.index("key")
                source.select([j for j in range(width) if j != key], {"key": key})
            for chunk in source.chunks(7, None):
                assert chunk.values.shape == (len(chunk.numbers), source.width)
                assert chunk.values.nbytes <= 8 * 7 * source.width
                assert {len(mark) for mark in chunk.marks.values()} <= {len(chunk.numbers)}
    except (ValueError, OSError) as error:
        message = str(error)
    assert "\n" not in message


@pytest.mark.parametrize("kind", KINDS)
@given(mutations=MUTATIONS)
@settings(max_examples=60, **FUZZ)
def test_mutated_inputs(tmp_path, rows, kind, mutations):
    fuzz_source(tmp_path, rows, kind, mutations)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@given(mutations=MUTATIONS)
@settings(max_examples=3000, **FUZZ)
def test_mutated_inputs_long(tmp_path, rows, kind, mutations):
    fuzz_source(tmp_path, rows, kind, mutations)


def test_eight_threads_at_once(tmp_path, model, model_file, rows):
    paths = [write_input(tmp_path, kind, rows) for kind in ("npy", "list.parquet", "parquet", "csv")]
    expected = model.predict(rows)
    wrong = []

    def work(i):
        for turn in range(3):
            out = tmp_path / f"o{i}-{turn}.npy"
            classify(model_file, paths[(i + turn) % 4], out, chunk_bytes=2000)
            if (np.load(out)["label"] != expected).any():
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def classify_in_worker(arguments):
    model_file, path, out = arguments
    return classify(model_file, path, out, chunk_bytes=2000).rows


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_worker_processes(tmp_path, model_file, rows, method):
    paths = [write_input(tmp_path, kind, rows) for kind in ("npy", "list.parquet", "parquet", "csv")]
    classify(model_file, paths[1], tmp_path / "first.npy")  # the parent has threads by now, also Arrow's
    jobs = [(str(model_file), str(path), str(tmp_path / f"o{i}.npy")) for i, path in enumerate(paths)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(classify_in_worker, jobs).get(timeout=120) == [500] * 4
    first = (tmp_path / "first.npy").read_bytes()
    assert all((tmp_path / f"o{i}.npy").read_bytes() == first for i in range(4))


def test_two_runs_cannot_share_an_output(tmp_path, model_file, rows):
    from somknn.batch.checks import ResumeError
    from somknn.batch.manifest import WorkFolder

    folder = WorkFolder(tmp_path / "out.npy", {})
    folder.open(False)
    np.save(tmp_path / "in.npy", rows)
    with pytest.raises(ResumeError, match="in use by another run"):
        classify(model_file, tmp_path / "in.npy", tmp_path / "out.npy", resume=True)
    folder.close()


def test_no_rows_is_an_error(tmp_path, model_file):
    np.save(tmp_path / "in.npy", np.empty((0, 12), np.uint8))
    with pytest.raises(BatchError, match="no row could be classified"):
        classify(model_file, tmp_path / "in.npy", tmp_path / "out.csv")
