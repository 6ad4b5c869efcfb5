"""Resident memory of this process, in bytes."""

import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")


def _of_status(field: str) -> int | None:
    """A field of Linux's status file, given there in kB."""
    if not _STATUS.exists():
        return None
    return next(int(line.split()[1]) * 1024 for line in _STATUS.read_text().splitlines() if line.startswith(field))


def peak_bytes() -> int:
    """The greatest so far. On Linux ru_maxrss includes the parent's memory before `exec`; VmHWM does not."""
    found = _of_status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if found is None else found


def resident_bytes() -> int | None:
    """Now; None where the system does not say."""
    return _of_status("VmRSS")
