"""Kernels that came with the installation: taken if everything matches, otherwise absent, in one line or less."""

import json
import os
import pickle
import platform
import shutil
from pathlib import Path

import numba
import numpy as np
import pytest

from damages import DAMAGES
from processes import python
from somknn_kernels import cache_files, levels, numba_cache, origins, policy, prebuild, prebuilt

NOBODY = 65534
HERE = [level for level in levels.LEVELS if not level.lacking()]
LEVEL = HERE[-1] if HERE else None
pytestmark = pytest.mark.skipif(not HERE, reason="this processor has the features of no level")
WORKLOAD = "-c", "from test_prebuilt import total, use; use(total)"


@policy.kernel
def total(values, out):
    out[0] = 0
    for value in values:
        out[0] += value


def use(dispatcher, dtypes=(np.int64, np.float64)):
    for dtype in dtypes:
        out = np.empty(1)
        dispatcher(np.arange(7, dtype=dtype), out)
        assert out[0] == 21


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder that `prebuild` makes of two signatures of `total`."""
    folder = tmp_path_factory.mktemp("levels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prebuild, "WORKLOAD", WORKLOAD)
        patch.syspath_prepend(str(Path(__file__).parent))
        (line,) = prebuild.build([LEVEL], folder)
    assert line.startswith(f"{LEVEL.name}: 2 kernels, 0.0 MB")
    return folder


@pytest.fixture
def installed(built, tmp_path, monkeypatch):
    """A copy of that folder in the place where kernels are looked for; the user's cache is empty."""
    monkeypatch.setenv("SOMKNN_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "SOMKNN_PREBUILT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cache_files, "_told", False)
    monkeypatch.setattr(cache_files, "_announced", True)
    monkeypatch.setattr(prebuilt, "FOLDER", tmp_path / "prebuilt")
    shutil.copytree(built, tmp_path / "prebuilt")
    prebuilt.levels.cache_clear()
    yield tmp_path / "prebuilt" / LEVEL.name
    prebuilt.levels.cache_clear()


def origins_of_two_kernels():
    """Use both kernels as a new process would; how many came from where."""
    prebuilt.levels.cache_clear()
    before = origins.counts()
    use(policy.kernel(total.py_func))
    return {origin: n - before[origin] for origin, n in origins.counts().items() if n > before[origin]}


def kernels(folder):
    return sorted(folder.rglob("*.nbc"))


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def change_manifest(folder, **changes):
    (folder / "manifest.json").write_text(json.dumps(manifest(folder) | changes))


def test_kernels_are_taken_from_the_installation(installed, tmp_path, capfd):
    assert origins_of_two_kernels() == {"prebuilt": 2}
    assert not kernels(tmp_path / "cache")
    assert capfd.readouterr() == ("", "")
    assert prebuilt.state()[LEVEL.name] == "2 kernels"


def test_what_did_not_come_along_is_compiled_and_kept(installed, tmp_path):
    for expected in ("compiled", "cache"):
        before = origins.counts()
        use(policy.kernel(total.py_func), [np.int64, np.float32])
        after = origins.counts()
        assert after["prebuilt"] == before["prebuilt"] + 1
        assert after[expected] == before[expected] + 1
    assert len(kernels(tmp_path / "cache")) == 1


def test_the_manifest_says_what_the_kernels_are_of(installed):
    told = manifest(installed)
    assert told["level"] == LEVEL.name
    assert (told["processor"], told["features"]) == (LEVEL.processor, LEVEL.target_features)
    assert told["numba"] == numba.__version__
    assert told["python"].startswith(f"{platform.python_implementation().lower()}-")
    assert set(told["kernels"]) == {path.relative_to(installed).as_posix() for path in kernels(installed)}


def test_kernels_name_no_folder_of_the_machine_that_compiled_them(installed):
    for path in kernels(installed):
        assert str(Path(__file__).parent).encode() not in path.read_bytes()
        assert str(policy.PACKAGE_FOLDER).encode() not in path.read_bytes()


OTHERS = {
    "python": "cpython-39",
    "numba": "0.1",
    "llvmlite": "0.1",
    "triple": "sparc-sun-solaris",
    "processor": "pentium",
    "features": "+x87",
}


@pytest.mark.parametrize("name", OTHERS)
def test_kernels_of_another_version_or_processor_are_not_used(name, installed, capfd):
    change_manifest(installed, **{name: OTHERS[name]})
    assert origins_of_two_kernels() == {"compiled": 2}
    assert prebuilt.state()[LEVEL.name].startswith("not used: compiled ")
    assert capfd.readouterr() == ("", "")  # no fault: `somknn info` says why


def test_a_processor_without_the_features_does_not_use_them(installed, monkeypatch):
    lacking = sorted(LEVEL.features)[0]
    features = levels.host_features() - {lacking}
    monkeypatch.setattr(levels, "host_features", lambda: features)
    assert origins_of_two_kernels() == {"compiled": 2}
    assert prebuilt.state()[LEVEL.name] == f"not used: this processor lacks {lacking}"
    assert prebuild.build([LEVEL], installed.parent) == [f"{LEVEL.name}: left out, this processor lacks {lacking}"]


def test_another_form_of_a_level_is_another_level(installed, monkeypatch):
    narrower = LEVEL._replace(features=LEVEL.features - {"fma"})
    monkeypatch.setattr(prebuilt, "LEVELS", (narrower,))
    assert origins_of_two_kernels() == {"compiled": 2}
    assert "another form" in prebuilt.state()[LEVEL.name]


@pytest.mark.parametrize(
    ("variable", "value"), [("SOMKNN_PREBUILT", "off"), ("NUMBA_CPU_NAME", "generic"), ("NUMBA_CPU_FEATURES", "+sse2")]
)
def test_the_environment_can_ask_for_other_kernels(variable, value, installed, monkeypatch):
    monkeypatch.setenv(variable, value)
    assert origins_of_two_kernels() == {"compiled": 2}
    assert variable in prebuilt.state()[LEVEL.name]


def test_changed_sources_make_kernels_stale(installed):
    change_manifest(installed, sources="of another day")
    assert prebuilt.state()[LEVEL.name] == "2 kernels, of them those whose sources have not changed"
    dispatcher = policy.kernel(total.py_func)
    numba_cache.cached(dispatcher, "another digest")
    before = origins.counts()
    use(dispatcher)
    assert origins.counts()["compiled"] == before["compiled"] + 2


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_kernel_is_compiled_anew(damage, installed, capfd):
    first = kernels(installed)[0]
    first.write_bytes(DAMAGES[damage](first.read_bytes()))
    assert origins_of_two_kernels() == {"prebuilt": 1, "compiled": 1}
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert f"{first} is damaged" in line
    assert "install somknn again" in line
    assert origins_of_two_kernels() == {"prebuilt": 1, "cache": 1}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_manifest_hides_the_kernels(damage, installed, capfd):
    path = installed / "manifest.json"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    found = origins_of_two_kernels()
    assert sum(found.values()) == 2
    told = capfd.readouterr().err
    assert told.count("\n") <= 1
    if "manifest.json is damaged" not in told:  # it can still be parsed: a bit of a sum, a name or a version
        assert json.loads(path.read_text())["layout"] == prebuilt.LAYOUT


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'"text"',
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b'{"layout": 1}',
        b'{"layout": 2, "kernels": {}}',
    ],
)
def test_what_is_no_manifest_is_said_in_one_line(text, installed, capfd):
    (installed / "manifest.json").write_bytes(text)
    assert origins_of_two_kernels() == {"compiled": 2}
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert f"{installed / 'manifest.json'} is damaged" in line
    assert prebuilt.state()[LEVEL.name] == f"not used: {installed / 'manifest.json'} is damaged"


@pytest.mark.parametrize("changes", [{"numba": 5}, {"triple": None}, {"kernels": []}, {"kernels": {"a": 1}}])
def test_parts_of_another_type_are_damage(changes, installed, capfd):
    change_manifest(installed, **changes)
    assert origins_of_two_kernels() == {"compiled": 2}
    assert "is damaged" in capfd.readouterr().err


class Touch:
    """Creates a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_file_with_another_sum_is_not_unpickled(installed, tmp_path, capfd):
    for path in kernels(installed):
        path.write_bytes(path.read_bytes()[:48] + pickle.dumps(Touch(tmp_path / "marker")))
    assert origins_of_two_kernels() == {"compiled": 2}
    assert not (tmp_path / "marker").exists()
    assert "is damaged" in capfd.readouterr().err


def test_a_file_that_the_manifest_does_not_list_is_ignored(installed, capfd):
    listed = manifest(installed)["kernels"]
    name = next(iter(listed))
    change_manifest(installed, kernels={name: listed[name]})
    assert origins_of_two_kernels() == {"prebuilt": 1, "compiled": 1}
    assert capfd.readouterr() == ("", "")


def test_a_kernel_under_the_name_of_another_is_not_used(installed, capfd):
    first, second = kernels(installed)
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    listed = manifest(installed)["kernels"]
    change_manifest(installed, kernels=dict(zip(listed, reversed(listed.values()), strict=True)))
    assert origins_of_two_kernels() == {"compiled": 2}
    assert "it holds another kernel" in capfd.readouterr().err


@pytest.mark.parametrize("what", ["a kernel", "the manifest"])
@pytest.mark.parametrize("kind", ["missing", "a folder", "a pipe", "a link to nowhere"])
def test_what_is_no_file_is_not_waited_for(what, kind, installed, capfd):
    path = kernels(installed)[0] if what == "a kernel" else installed / "manifest.json"
    path.unlink()
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a link to nowhere":
        path.symlink_to(installed / "nowhere")
    found = origins_of_two_kernels()
    assert found == ({"prebuilt": 1, "compiled": 1} if what == "a kernel" else {"compiled": 2})
    absent = what == "the manifest" and kind in ("missing", "a link to nowhere")  # then there is no such level
    assert capfd.readouterr().err.count("\n") == (not absent)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_owner_is_trusted_as_for_the_python_files_beside_them(installed, capfd):
    for path in (installed, *installed.rglob("*")):
        os.chown(path, NOBODY, -1)
    assert origins_of_two_kernels() == {"prebuilt": 2}
    assert capfd.readouterr() == ("", "")


def test_a_read_only_installation_is_used(installed, capfd):
    for path in (*installed.rglob("*"), installed):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert origins_of_two_kernels() == {"prebuilt": 2}
    finally:
        for path in (installed, *installed.rglob("*")):
            path.chmod(0o755)
    assert capfd.readouterr() == ("", "")


FULL = """
import resource
from pathlib import Path
from somknn_kernels import origins, prebuilt
prebuilt.FOLDER = Path({folder!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
from test_prebuilt import total, use
use(total)
print(origins.counts())
"""


def test_without_room_or_a_cache_the_installation_s_kernels_run(installed, tmp_path):
    (tmp_path / "file").write_text("")
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    code = f"import sys; sys.path[:0] = {path.split(os.pathsep)!r}\n{FULL.format(folder=str(installed.parent))}"
    done = python(code, SOMKNN_CACHE_DIR=str(tmp_path / "file" / "below"))
    assert done.stdout == "{'prebuilt': 2, 'cache': 0, 'compiled': 0}\n", done.stderr
    assert done.stderr == ""


def test_a_numba_that_is_newer_compiles(installed, tmp_path):
    code = f"import numba, sys; numba.__version__ = '99.0'; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
    code += FULL.format(folder=str(installed.parent)).replace("resource.setrlimit", "#")
    done = python(code, SOMKNN_CACHE_DIR=str(tmp_path / "new"))
    assert done.stdout == "{'prebuilt': 0, 'cache': 0, 'compiled': 2}\n", done.stderr
    assert done.stderr == ""


def test_a_workload_that_fails_or_keeps_nothing_is_an_error(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(prebuild, "WORKLOAD", ("-c", "import sys; print('told'); sys.exit('why')"))
    with pytest.raises(SystemExit, match=f"the workload failed for {LEVEL.name}; told"):
        prebuild.main([LEVEL.name, "--folder", str(tmp_path)])
    assert "why" in capfd.readouterr().err
    monkeypatch.setattr(prebuild, "WORKLOAD", ("-c", ""))
    with pytest.raises(SystemExit, match="kept no kernel"):
        prebuild.main([LEVEL.name, "--folder", str(tmp_path)])


def test_an_unknown_level_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        prebuild.main(["x86-64-v9", "--folder", str(tmp_path)])
    assert "unknown level x86-64-v9; there are x86-64-v4-vnni" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_prebuild_s_workload_is_the_command_that_warms_up():
    done = python(f"import sys; sys.argv = {list(prebuild.WORKLOAD[1:])!r} + ['--help']; exec(sys.argv.pop(0))")
    assert "Usage: " in done.stdout
    assert "Compile the kernels" in done.stdout


@pytest.mark.parametrize("level", [each for each in levels.LEVELS if not each.lacking()], ids=lambda level: level.name)
def test_llvm_knows_the_processor_and_the_features(level, capfd):
    import llvmlite.binding as llvm

    target = llvm.Target.from_triple(llvm.get_process_triple())
    target.create_target_machine(cpu=level.processor, features=level.target_features)
    assert capfd.readouterr() == ("", "")


def test_levels_name_the_instruction_set_that_is_chosen_there(monkeypatch):
    from somknn_kernels import isa

    for level in levels.LEVELS:
        monkeypatch.setattr(isa, "host_features", lambda level=level: level.features)
        assert isa.supported()[0] == level.isa, level.name
