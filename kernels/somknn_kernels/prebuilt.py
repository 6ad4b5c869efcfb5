"""Kernels that came compiled with the installation, in the folder `prebuilt` beside this file.

    prebuilt/LEVEL/manifest.json                    what the kernels were compiled from, with what, and for what
    prebuilt/LEVEL/FOLDER/NAME.nbc                  the kernels: folders and files are named as in the user's cache

A level is used if this processor has all of its features, and Python, Numba and llvmlite have the versions that
compiled it. A file is used if the manifest lists it and its SHA-256 sum is the one listed there; it is read only then.
The name of a file holds digests of its sources, its signature and these versions, and its beginning one of that name.

The folder is trusted like the Python files beside it: whoever can write there can change those as well. So its owner
does not matter. Nothing here raises an error. What is damaged counts as absent, and one line on stderr says so.
"""

import functools
import hashlib
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import llvmlite.binding

from somknn_kernels import cache_files
from somknn_kernels.levels import LEVELS, Level

_PACKAGE = Path(__file__).parent
FOLDER = _PACKAGE / "prebuilt"
MANIFEST = "manifest.json"
LAYOUT = 1  # the version of the manifest's form
_LARGEST = 64 * 2**20  # bytes of a file
_AGAIN = "install somknn again"


class Prebuilt(NamedTuple):
    """The kernels of a level.

    target : triple, processor and features, as Numba tells them of its code
    sums : SHA-256 of each file, by its path below `folder`
    sources : digest of the package that they were compiled from
    """

    level: Level
    folder: Path
    target: tuple[str, str, str]
    sums: dict[str, str]
    sources: str

    def read(self, folder: str, name: str, holds: bytes) -> bytes | None:
        """As `cache_files.read`, from this level."""
        expected = self.sums.get(f"{folder}/{name}")
        if expected is None:
            return None
        path = self.folder / folder / name
        payload, why = None, "its sum is not the one in the manifest"
        try:
            contents = _contents(path)
        except OSError as error:
            why = error.strerror or str(error)
        else:
            if hashlib.sha256(contents).hexdigest() == expected:
                payload, why = cache_files.payload(contents, holds), "it holds another kernel"
        if payload is None:
            cache_files.say_once(f"a kernel is compiled anew, {path} is damaged ({why}); {_AGAIN}")
        return payload


def _contents(path: Path) -> bytes:
    """Of a plain file; OSError for anything else, also a pipe, which is not waited for."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            raise OSError(f"it is no file of up to {_LARGEST:,} bytes")
        return file.read()


def python_tag() -> str:
    """The Python whose kernels can be loaded here, such as "cpython-311"."""
    return f"{sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}"


def numba_version() -> str:
    """Without importing Numba, which takes longer than all that `somknn info` does."""
    import importlib.metadata

    numba = sys.modules.get("numba")
    return numba.__version__ if numba is not None else importlib.metadata.version("numba")


def versions() -> dict[str, str]:
    """What must be the same where kernels are compiled and where they are loaded."""
    return {"python": python_tag(), "numba": numba_version(), "llvmlite": llvmlite.__version__}


def sources_digest() -> str:
    """Of all files of this package: changed ones are compiled anew, and so are those that import them."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@functools.cache
def levels() -> tuple[Prebuilt, ...]:
    """The levels whose kernels may run in this process, best first."""
    return tuple(found for level in LEVELS if isinstance(found := _level(level), Prebuilt))


def state() -> dict[str, str]:
    """For every level of this installation: how many kernels it has, or why none of them is used."""
    found = {}
    for level in LEVELS:
        each = _level(level, tell=False)
        if isinstance(each, Prebuilt):
            stale = "" if each.sources == sources_digest() else ", of them those whose sources have not changed"
            found[level.name] = f"{len(each.sums)} kernels{stale}"
        elif each:
            found[level.name] = f"not used: {each}"
    return found


def _level(level: Level, tell: bool = True) -> Prebuilt | str:
    """The kernels of a level, or why they are not used; "" if the installation has none of them.

    tell : print a line if they are damaged
    """
    folder = FOLDER / level.name
    try:
        text = _contents(folder / MANIFEST)
    except FileNotFoundError:
        return ""
    except OSError as error:
        manifest: Any = None
        why = error.strerror or str(error)
    else:
        manifest, why = _parsed(text), "it is not what somknn writes"
    if manifest is None:
        if tell:
            cache_files.say_once(f"{folder / MANIFEST} is damaged ({why}), its kernels are not used; {_AGAIN}")
        return f"{folder / MANIFEST} is damaged"
    why = _unfit(level, manifest)
    if why:
        return why
    target = manifest["triple"], level.processor, level.target_features
    return Prebuilt(level, folder, target, manifest["kernels"], manifest["sources"])


def _parsed(text: bytes) -> dict[str, Any] | None:
    """A manifest whose parts have the right types; None for anything else."""
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(manifest, dict) or manifest.get("layout") != LAYOUT:
        return None
    words = [manifest.get(name) for name in ("triple", "processor", "features", "sources", *versions())]
    kernels = manifest.get("kernels")
    if not all(isinstance(word, str) for word in words) or not isinstance(kernels, dict):
        return None
    plain = all(isinstance(each, str) for each in kernels.values())
    return manifest if plain else None


def _unfit(level: Level, manifest: dict[str, Any]) -> str:
    """Why kernels with this manifest cannot run here; "" if they can."""
    if os.environ.get("SOMKNN_PREBUILT") == "off":
        return "SOMKNN_PREBUILT is off"
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        if os.environ.get(name):
            return f"{name} is set"
    for name, here in versions().items():
        if manifest[name] != here:
            return f"compiled with {name} {manifest[name]}, this is {here}"
    if manifest["triple"] != llvmlite.binding.get_process_triple():
        return f"compiled for {manifest['triple']}, this is {llvmlite.binding.get_process_triple()}"
    if lacking := level.lacking():
        return f"this processor lacks {', '.join(lacking)}"
    if (manifest["processor"], manifest["features"]) != (level.processor, level.target_features):
        return "compiled for another form of this level"
    return ""
