"""Wheels: pure Python by default; with SOMKNN_PREBUILD one for a platform, from which nothing is compiled."""

import csv
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from somknn_kernels import levels, origins, prebuild, prebuilt

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "hatch_build.py").exists(), reason="runs in a checkout")


def build_wheel(folder, **settings):
    """The wheel that hatchling builds of this checkout, in this environment."""
    pytest.importorskip("hatchling")
    variables = {name: value for name, value in os.environ.items() if name != "SOMKNN_PREBUILD"} | settings
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_a_wheel_is_pure_python_unless_kernels_are_asked_for(tmp_path):
    wheel = build_wheel(tmp_path)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "somknn_kernels/prebuilt.py" in names(wheel)
    assert not [name for name in names(wheel) if name.startswith("somknn_kernels/prebuilt/")]


def test_a_platform_wheel_carries_a_folder_of_kernels(tmp_path):
    (tmp_path / "levels" / "some-level").mkdir(parents=True)
    (tmp_path / "levels" / "some-level" / "manifest.json").write_text("{}")
    (tmp_path / "wheels").mkdir()
    wheel = build_wheel(tmp_path / "wheels", SOMKNN_PREBUILD=str(tmp_path / "levels"))
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name.endswith(f"-{python}-{python}{getattr(sys, 'abiflags', '')}-{platform}.whl")
    assert "somknn_kernels/prebuilt/some-level/manifest.json" in names(wheel)
    with zipfile.ZipFile(wheel) as archive:
        (told,) = [name for name in archive.namelist() if name.endswith(".dist-info/WHEEL")]
        assert "Root-Is-Purelib: false" in archive.read(told).decode()


def test_a_folder_without_kernels_is_an_error(tmp_path):
    with pytest.raises(AssertionError, match="there are no kernels for the wheel"):
        build_wheel(tmp_path, SOMKNN_PREBUILD=str(tmp_path))


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """The packages as a platform wheel for the level of this processor installs them: ten minutes of compilation."""
    here = [level for level in levels.LEVELS if not level.lacking()]
    if not here:
        pytest.skip("this processor has the features of no level")
    folder = tmp_path_factory.mktemp("installation")
    prebuild.build(here[:1], folder / "levels")
    (folder / "wheels").mkdir()
    wheel = build_wheel(folder / "wheels", SOMKNN_PREBUILD=str(folder / "levels"))
    assert wheel.stat().st_size < 40e6
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Digits as CSV of whole numbers and of fractions, and as Parquet."""
    from sklearn.datasets import load_digits

    parquet, pyarrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    folder, bunch = tmp_path_factory.mktemp("tables"), load_digits()
    header = ["label", *bunch.feature_names]
    for name, scale, kind in (("whole", 1, np.uint8), ("fractions", 0.3, np.float64)):
        values = (bunch.data * scale).astype(kind)
        with open(folder / f"{name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows([label, *row] for label, row in zip(bunch.target, values, strict=True))
    columns = dict(zip(header[1:], (bunch.data.T * 0.3).astype(np.float32), strict=True))
    parquet.write_table(pyarrow.table({"label": bunch.target, **columns}), folder / "floats.parquet")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("table", ["whole.csv", "fractions.csv", "floats.parquet"])
def test_nothing_is_compiled_from_a_platform_wheel(table, installation, tables, tmp_path):
    log = tmp_path / "log"

    def somknn(*arguments):
        code = "from somknn.cli import main; main()"
        settings = {
            "PYTHONPATH": str(installation),
            "SOMKNN_CACHE_DIR": str(tmp_path / "cache"),
            "SOMKNN_KERNEL_LOG": str(log),
        }
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=os.environ | settings,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "compiling" not in done.stderr
        return time.perf_counter() - start

    data = "--dataset", tables / table
    seconds = [somknn("run", *data, "--out", tmp_path / f"run{i}") for i in range(2)]
    somknn("tune", *data, "--out", tmp_path / "tune")
    somknn("som", *data, "--out", tmp_path / "som")
    rows = tmp_path / f"rows{Path(table).suffix}"
    shutil.copy(tables / table, rows)
    somknn("classify", tmp_path / "run0" / "model.safetensors", rows, "--drop", "label", "-o", tmp_path / "labels.csv")
    found = [line.split("\t")[0] for line in log.read_text().splitlines()]
    assert found.count(origins.PREBUILT) > 50, seconds
    assert set(found) == {origins.PREBUILT}
    assert not list((tmp_path / "cache").rglob("*.nbc"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_kernel_of_the_library_is_in_the_wheel(installation):
    """A kernel that no job of `somknn warmup` reaches would be compiled by its users."""
    import importlib
    import pkgutil

    from numba.core.dispatcher import Dispatcher

    from somknn_kernels import policy

    modules = [each.name for each in pkgutil.walk_packages([str(policy.PACKAGE_FOLDER)], f"{policy.PACKAGE}.")]
    every = {
        function._cache._name.rpartition(".py")[0]
        for module in map(importlib.import_module, modules)
        for function in vars(module).values()
        if isinstance(function, Dispatcher) and hasattr(function._cache, "_name")
    }
    (level,) = (installation / "somknn_kernels" / "prebuilt").iterdir()
    there = {path.name.rpartition(".py")[0] for path in level.rglob("*.nbc")}
    avx2_only = {name for name in every if name.startswith("screened_bytes-")} if "v3" not in level.name else set()
    assert len(every) > 70
    assert every - there == avx2_only
    assert prebuilt.LAYOUT == 1
