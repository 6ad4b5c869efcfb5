"""Where figures come from: the commit and the host."""

import subprocess
from pathlib import Path
from typing import Any

import somknn
import somknn_kernels
from somknn.environment import describe


def commit() -> str:
    """The last commit that changed the library in the checkout it was imported from, or the library's version."""
    roots = [Path(package.__file__).parents[1] for package in (somknn, somknn_kernels)]

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(roots[0]), *arguments, "--", *map(str, roots)]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        return found.stdout.strip() if found.returncode == 0 else None

    last = git("log", "-1", "--format=%h")
    if not last:
        return somknn.__version__
    return f"{last}-dirty" if git("status", "--porcelain") else last


def host() -> dict[str, Any]:
    found = describe()
    return {
        name: found[name] for name in ("processor", "processors", "instruction_set", "platform", "python", "packages")
    }
