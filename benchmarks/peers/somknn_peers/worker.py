"""The process of one contender: `python -m somknn_peers.worker WORK CONTENDER FOLDER OPTIONS`.

Reads "run" or "answer" from standard input, line by line, and writes one line of JSON for each. Output that the
libraries print goes to standard error.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np


def _peak_bytes() -> int:
    """Peak resident memory of this process.

    On Linux ru_maxrss includes the parent's memory before `exec`; VmHWM does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    work_name, contender_name, folder, options = sys.argv[1], sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4])

    from somknn_peers.works import find

    work = find(work_name)
    contender = next(c for c in work.contenders if c.name == contender_name)
    inputs = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    began = time.perf_counter()
    run = contender.prepare(inputs, options)
    print(json.dumps({"seconds": time.perf_counter() - began, "settings": options.get("settings")}), file=replies)
    result = None
    for line in sys.stdin:
        if line.strip() == "run":
            began = time.perf_counter()
            result = run()
            print(json.dumps({"seconds": time.perf_counter() - began}), file=replies)
        else:
            peak = _peak_bytes()
            path = folder / f"{os.getpid()}.npz"
            np.savez(path, **contender.answer(result))
            print(json.dumps({"path": str(path), "peak_bytes": peak}), file=replies)


if __name__ == "__main__":
    main()
