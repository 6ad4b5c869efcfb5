"""Fresh Python processes, for what a process does once in its life."""

import os
import subprocess
import sys


def start(code: str, *, unset: tuple[str, ...] = (), **settings) -> subprocess.Popen:
    """A process that runs `code` with the modules of this one in reach. settings : environment variables in capitals, else for `Popen`."""
    variables = {name: value for name, value in os.environ.items() if name not in unset}
    variables |= {name: settings.pop(name) for name in [*settings] if name.isupper()}
    variables["PYTHONPATH"] = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
    return subprocess.Popen([sys.executable, "-c", code], env=variables, text=True, **settings)


def python(code: str, **settings) -> subprocess.CompletedProcess:
    """Run such a process to its end."""
    process = start(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings)
    try:
        out, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)
