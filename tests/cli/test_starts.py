"""What a start imports: `import somknn`, the list of commands and `somknn info` wait for nothing heavy."""

import pytest

from processes import python
from somknn.cli import commands

HEAVY = {
    "import somknn": ["numpy", "numba", "llvmlite", "sklearn", "scipy", "click", "rich", "importlib.metadata"],
    "--help": ["numpy", "numba", "llvmlite", "sklearn", "scipy", "rich", "importlib.metadata", "somknn.machine"],
    "info": ["numpy", "numba", "sklearn", "scipy", "matplotlib", "pyarrow", "pandas"],
    "run --help": ["numba", "sklearn", "scipy", "matplotlib", "pyarrow", "pandas"],
    "warmup --help": ["numba", "sklearn", "scipy", "matplotlib", "pyarrow", "pandas"],
}


@pytest.mark.parametrize("start", HEAVY)
def test_a_start_imports_nothing_heavy(start):
    call = start if start.startswith("import") else f"from somknn.cli import main; main.main({start.split()!r})"
    code = f"""
import sys
try:
    {call}
except SystemExit as done:
    assert not done.code
print([name for name in {HEAVY[start]!r} if name in sys.modules])
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", commands._COMMANDS)
def test_the_list_says_what_the_command_says(name):
    command = commands.group.get_command(None, name)
    assert commands._COMMANDS[name].short == command.get_short_help_str(limit=1000)
