"""Where the kernels of this process came from: counted, and on request written down.

A kernel is one compiled form, for one signature. It came with the installation ("prebuilt"), from the user's cache
("cache"), or was compiled here ("compiled").

`$SOMKNN_KERNEL_LOG` names a file to which every process appends a line for each of its kernels, separated by tabs:
where from, processor seconds of its thread to compile or load it, the kernel, and the name of its file. A command's
second process writes there too.
"""

import os
import sys
import threading
import time

PREBUILT, CACHE, COMPILED = "prebuilt", "cache", "compiled"
_lock = threading.Lock()
_counts = {PREBUILT: 0, CACHE: 0, COMPILED: 0}


def counts() -> dict[str, int]:
    """How many kernels of each origin this process has so far."""
    with _lock:
        return dict(_counts)


def clock() -> float:
    """Processor seconds of this thread: other threads and processes do not count."""
    return time.thread_time()


def note(origin: str, kernel: str, file: str, seconds: float) -> None:
    """Count a kernel, and write it down if the environment asks for that."""
    with _lock:
        _counts[origin] += 1
    path = os.environ.get("SOMKNN_KERNEL_LOG")
    if path:
        line = f"{origin}\t{seconds:.6f}\t{kernel}\t{file}\n"
        try:
            # One write to the end of the file: lines of several processes do not mix.
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            del os.environ["SOMKNN_KERNEL_LOG"]
            print(f"somknn: SOMKNN_KERNEL_LOG={path}: {error.strerror}; kernels are not listed", file=sys.stderr)
