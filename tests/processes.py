"""Fresh Python processes, for behaviour that occurs once in a process."""

import os
import subprocess
import sys


def start(code: str, *, unset: tuple[str, ...] = (), **settings) -> subprocess.Popen:
    """Start a process that runs `code` and can import this process's modules.

    settings : environment variables if in capitals, otherwise arguments of `Popen`
    """
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
