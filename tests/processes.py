"""Fresh Python processes, for what a process does once in its life."""

import os
import subprocess
import sys


def python(code: str, *, unset: tuple[str, ...] = (), **settings) -> subprocess.CompletedProcess:
    """Run `code` with the modules of this process in reach. settings : environment variables in capitals, else for `subprocess.run`."""
    variables = {name: value for name, value in os.environ.items() if name not in unset}
    variables |= {name: settings.pop(name) for name in [*settings] if name.isupper()}
    variables["PYTHONPATH"] = os.pathsep.join(os.path.abspath(folder) for folder in sys.path)
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, **settings)
