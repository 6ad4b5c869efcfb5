"""Data sets known by name: where their files may be, where to download them, how to verify them.

MNIST files are verified by the SHA-256 of their decompressed bytes, which is the same for every mirror. For
Fashion-MNIST the published digests are the MD5 of the .gz files, so the archive is verified.
"""

import functools
import gzip
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from somknn._ending import undone_unless_finished
from somknn._files import replacing

FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
MIRRORS = {
    "mnist": [
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ],
    "fashion-mnist": [
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ],
}
CONTENT_SHA256 = {
    "mnist": {
        "train_images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train_labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "test_images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "test_labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
}
ARCHIVE_MD5 = {
    "fashion-mnist": {
        "train_images": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train_labels": "25c81989df183df01b3e8a0aad5dffbe",
        "test_images": "bef4ecab320f06d8554ea6380940ec79",
        "test_labels": "bb300cfdad3c16e7a12a480ee83cd310",
    }
}
_LARGEST = 64 << 20  # larger than any of these files, decompressed


def cache_folder() -> Path:
    """The folder for downloaded data sets."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("somknn", appauthor=False)) / "data"


def idx_in(folder: Path, stem: str) -> Path | None:
    """The IDX file `stem` in `folder`, compressed or not, also with a dot before "idx" in its name."""
    for name in (stem, stem.replace("-idx", ".idx")):
        for ending in ("", ".gz"):
            if (folder / (name + ending)).is_file():
                return folder / (name + ending)
    return None


def _all_in(folder: Path) -> dict[str, Path] | None:
    found = {part: idx_in(folder, stem) for part, stem in FILES.items()}
    return None if None in found.values() else found  # type: ignore[return-value]


def _folders(name: str) -> list[Path]:
    folders = [cache_folder() / name]
    if os.environ.get("SOMKNN_DATA"):
        folders.insert(0, Path(os.environ["SOMKNN_DATA"]) / name)
    return folders


def on_this_machine(name: str) -> dict[str, Path] | None:
    """The four files of "mnist" or "fashion-mnist" that are on this machine, or None.

    Looks in $SOMKNN_DATA/<name>/, then in the user's cache folder.
    """
    return next(filter(None, map(_all_in, _folders(name))), None)


def locate(name: str) -> dict[str, Path]:
    """The four files of "mnist" or "fashion-mnist", downloaded if they are not on this machine."""
    found = on_this_machine(name)
    if found is not None:
        return found
    folders = _folders(name)
    places = " or ".join(str(folder) for folder in folders)
    advice = f"put its four IDX files ({', '.join(FILES.values())}; .gz too) into {places}"
    try:
        import pooch
    except ImportError:
        raise FileNotFoundError(
            f"data set {name!r} is not on this machine: {advice}, or pip install 'somknn[download]'"
        ) from None
    folders[-1].mkdir(parents=True, exist_ok=True)
    try:
        return {part: _download(pooch, name, part, folders[-1]) for part in FILES}
    except OSError as error:
        raise FileNotFoundError(
            f"data set {name!r} is not on this machine and cannot be downloaded ({error}): {advice}"
        ) from None


def _download(pooch: Any, name: str, part: str, folder: Path) -> Path:
    file = FILES[part] + ".gz"
    if (folder / file).is_file():
        return folder / file
    failures = []
    shown = sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
    downloader = pooch.HTTPDownloader(progressbar=shown, timeout=30)
    pooch.get_logger().setLevel("WARNING")
    for mirror in MIRRORS[name]:
        with (
            tempfile.TemporaryDirectory() as scratch,
            undone_unless_finished(functools.partial(shutil.rmtree, scratch, ignore_errors=True)),
        ):
            try:
                got = pooch.retrieve(mirror + file, None, fname=file, path=scratch, downloader=downloader)
                check(Path(got), name, part)
            except (OSError, ValueError, EOFError) as error:
                failures.append(f"{mirror}: {' '.join(str(error).split())[:120]}")
                continue
            with replacing(folder / file) as temporary:
                temporary.write_bytes(Path(got).read_bytes())
            return folder / file
    raise OSError("; ".join(failures))


def check(archive: Path, name: str, part: str) -> None:
    """Raise ValueError unless the downloaded .gz file matches the data set's digest."""
    if name in CONTENT_SHA256:
        digest = hashlib.sha256()
        n_bytes = 0
        with gzip.open(archive, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
                n_bytes += len(block)
                if n_bytes > _LARGEST:
                    raise ValueError("far larger than the data set's file")
        if digest.hexdigest() != CONTENT_SHA256[name][part]:
            raise ValueError("the decompressed bytes have another SHA-256 digest")
    elif hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest() != ARCHIVE_MD5[name][part]:
        raise ValueError("the archive has another MD5 digest")
