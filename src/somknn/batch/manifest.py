"""The work folder of a run: finished parts, and a manifest that says which input, model and options they belong to.

A part is an .npz file plus a small JSON file that is renamed into place after it; the part counts once the JSON file
exists. A process that dies at any moment therefore leaves whole parts, and leftovers that the next run overwrites. Any
other state means that something else damaged the folder: the digests detect it, and the run refuses to resume.
"""

import contextlib
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np

from somknn._files import replacing, work_folder
from somknn.batch.checks import ResumeError
from somknn.datasets import readers

_ENDS = 1 << 20
VERSION = 3


def file_digest(path: Path) -> str:
    """SHA-256 of a whole file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(path: Path) -> dict[str, Any]:
    """Size, modification time and digest of both ends of a file; for a folder, of its list of images."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        files = [(each, each.stat()) for each in path.rglob("*")]
        entries = sorted((each.relative_to(path).as_posix(), s.st_size, s.st_mtime_ns) for each, s in files)
        return {"path": str(path.resolve()), "entries": hashlib.sha256(repr(entries).encode()).hexdigest()}
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        digest.update(file.read(_ENDS))
        file.seek(max(0, status.st_size - _ENDS))
        digest.update(file.read(_ENDS))
    return {
        "path": str(path.resolve()),
        "size": status.st_size,
        "changed_ns": status.st_mtime_ns,
        "ends_sha256": digest.hexdigest(),
    }


def _sealed(record: dict[str, Any]) -> str:
    """A record as JSON together with its digest."""
    return json.dumps({"record": record, "sha256": _record_digest(record)})


def _unsealed(text: bytes) -> dict[str, Any] | None:
    """The record written by `_sealed`; None if `text` is not a valid sealed record."""
    try:
        envelope = json.loads(text)
        record = envelope["record"]
        return record if isinstance(record, dict) and envelope["sha256"] == _record_digest(record) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _record_digest(record: Any) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


class WorkFolder:
    """The parts of one run, in `<output>.parts` next to the output."""

    def __init__(self, output: Path, identity: dict[str, Any]):
        self.path = work_folder(output)
        self._identity = json.loads(json.dumps({"version": VERSION, **identity}))
        self._lock: int | None = None
        self._ours = self._done = False

    @property
    def _manifest(self) -> Path:
        return self.path / "manifest.json"

    def open(self, resume: bool) -> list[dict[str, Any]]:
        """Create the folder or resume it; return the records of the finished parts, in order."""
        self._take_lock()
        begun = self._manifest.exists()
        if begun and not resume and self._any_finished():
            raise ResumeError(
                f"{self.path} holds the parts of an interrupted run: continue it with --resume, or delete that folder"
            )
        if not begun or not resume:
            self._ours = True
            self._sweep()
            with replacing(self._manifest) as temporary:
                temporary.write_text(json.dumps(self._identity, indent=1))
            return []
        self._compare()
        self._ours = True
        return self._finished()

    def _take_lock(self) -> None:
        self.path.mkdir(exist_ok=True)
        try:
            import fcntl
        except ImportError:  # this platform has no such locks
            return
        place = self.path / "lock"
        self._lock = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ResumeError(f"{self.path} is in use by another run") from None
        if not place.exists() or not os.path.samestat(os.fstat(self._lock), place.stat()):
            # The run that held the lock has since removed the folder: this lock protects nothing.
            raise ResumeError(f"{self.path} was in use by another run; try again")

    def _compare(self) -> None:
        try:
            old = dict(json.loads(self._manifest.read_text()))
            names = sorted({*old, *self._identity})
        except (ValueError, TypeError, RecursionError):
            raise ResumeError(f"{self._manifest} is damaged; delete {self.path} to start again") from None
        for name in names:
            before, now = old.get(name), self._identity.get(name)
            if before == now:
                continue
            if name == "options" and isinstance(before, dict):
                name = f"option {next(k for k in {**before, **now} if before.get(k) != now.get(k))}"
            raise ResumeError(
                f"cannot resume: {name} differs from the interrupted run; repeat the same command with the same "
                f"files, or delete {self.path} to start again"
            )

    def _place(self, number: int, ending: str) -> Path:
        return self.path / f"part-{number:07d}.{ending}"

    def _any_finished(self) -> bool:
        return self._place(0, "json").exists()

    def _damaged(self, path: Path) -> ResumeError:
        return ResumeError(
            f"{path} is damaged; delete it and the parts after it, then use --resume "
            f"(or delete {self.path} to start again)"
        )

    def _finished(self) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = []
        while True:
            place, data = self._place(len(records), "json"), self._place(len(records), "npz")
            try:
                content, size = place.read_bytes(), data.stat().st_size
            except FileNotFoundError:
                return records
            record = _unsealed(content)
            if record is None:
                raise self._damaged(place)
            if size != record["size"]:
                raise self._damaged(data)
            records.append(record)

    def add(self, number: int, columns: dict[str, np.ndarray], record: dict[str, Any]) -> dict[str, Any]:
        """Write part `number`; it counts as finished when this returns."""
        data = self._place(number, "npz")
        with replacing(data) as temporary:
            with open(temporary, "wb") as file:
                np.savez(file, **columns)  # type: ignore[arg-type]
            digest, size = file_digest(temporary), temporary.stat().st_size
        record = {**record, "size": size, "sha256": digest}
        with replacing(self._place(number, "json")) as temporary:
            temporary.write_text(_sealed(record))
        return record

    def read(self, number: int, record: dict[str, Any]) -> dict[str, np.ndarray]:
        """The columns of a finished part, checked against its digest."""
        path = self._place(number, "npz")
        content = path.read_bytes()  # read once, and not by zipfile, which reports an I/O error as a damaged archive
        if hashlib.sha256(content).hexdigest() != record["sha256"]:
            raise self._damaged(path)
        return readers.read_npz(path, content)

    def discard(self) -> None:
        """Remove the folder of a run that has nothing to resume from, or whose output is complete."""
        if self._ours and (self._done or not self._any_finished()):
            self.remove()

    def remove(self) -> None:
        """Remove the folder once the output is in place.

        The manifest is deleted first, so an interrupted removal leaves only files that the next run ignores.
        """
        self._done = True
        self._manifest.unlink(missing_ok=True)
        self._sweep()
        (self.path / "lock").unlink(missing_ok=True)
        self.close()
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def _sweep(self) -> None:
        for pattern in ("part-*", ".part-*", ".manifest*"):
            for path in self.path.glob(pattern):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
