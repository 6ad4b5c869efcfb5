"""The lowest versions that pyproject.toml allows, one requirement a line: for `pip install -r`.

Of what users install (dependencies and extras), and of the tools that the tests take besides. Where both name a
package, the users' bound counts: click for tests is newer than click for users.
"""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
TOOLS = ("test", "benchmark", "dev")
BOUND = re.compile(r"(?P<name>[\w.-]+)(?P<extras>\[[\w,]+\])?>=(?P<version>[\w.]+)")


def lowest() -> dict[str, str]:
    """Requirements of one version each, by name of the distribution."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    groups = [
        project["dependencies"],
        *(extras[name] for name in extras if name not in (*TOOLS, "all")),
        extras["test"],
    ]
    found: dict[str, str] = {}
    for requirement in (each for group in groups for each in group if not each.startswith(f"{project['name']}[")):
        bound = BOUND.fullmatch(requirement)
        if bound is None:
            raise ValueError(f"{PROJECT.name}: {requirement!r} is not of the form name>=version")
        found.setdefault(bound["name"], f"{bound['name']}{bound['extras'] or ''}=={bound['version']}")
    return found


if __name__ == "__main__":
    print("\n".join(lowest().values()))
