"""The process of one contender: `python -m somknn_peers.worker HOME WORK CONTENDER FOLDER OPTIONS`.

Reads "run" or "answer" from standard input, line by line, and writes one line of JSON for each. Output that the
libraries print goes to standard error.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from somknn_peers.contender import REPORTED
from somknn_peers.memory import peak_bytes


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    home, work_name, contender_name = sys.argv[1:4]
    folder, options = Path(sys.argv[4]), json.loads(sys.argv[5])
    work = importlib.import_module(home).find(work_name)
    contender = next(c for c in work.contenders if c.name == contender_name)
    inputs = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    began = time.perf_counter()
    run = contender.prepare(inputs, options)
    reported = {name: options.get(name) for name in REPORTED}
    print(json.dumps({"seconds": time.perf_counter() - began, **reported}), file=replies)
    result = None
    for line in sys.stdin:
        if line.strip() == "run":
            began = time.perf_counter()
            result = run()
            print(json.dumps({"seconds": time.perf_counter() - began}), file=replies)
        else:
            peak = peak_bytes()
            path = folder / f"{os.getpid()}.npz"
            np.savez(path, **contender.answer(result))
            print(json.dumps({"path": str(path), "peak_bytes": peak}), file=replies)


if __name__ == "__main__":
    main()
