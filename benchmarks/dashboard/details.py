"""asv's own pages, behind the front page: without benchmarks that were never run, optionally with local scripts."""

import json
import re
import shutil
from pathlib import Path

_REMOTE = re.compile(r'(src|href)="(https://[^"]+\.(?:js|css))"(?: integrity="[^"]*")?(?: crossorigin="[^"]*")?')


def drop_unmeasured(pages: Path) -> None:
    """Remove benchmarks without any figure from asv's list: its grid would request graphs that do not exist."""
    index = pages / "index.json"
    content = json.loads(index.read_text(encoding="utf-8"))
    graphs = pages / "graphs" / "summary"
    content["benchmarks"] = {
        name: about for name, about in content["benchmarks"].items() if (graphs / f"{name}.json").exists()
    }
    index.write_text(json.dumps(content), encoding="utf-8")


def localise(pages: Path, scripts: Path) -> list[str]:
    """Copy the scripts and styles that asv's index.html loads from `scripts` to `pages`/vendor and point it there.

    A file is found by its name, a `.min.js` also by the name without `.min`. Returns the addresses that were not found.
    """
    index = pages / "index.html"
    missing = []

    def point(match: re.Match[str]) -> str:
        attribute, address = match.groups()
        name = address.rsplit("/", 1)[1]
        found = [path for path in (scripts / name, scripts / name.replace(".min.", ".")) if path.is_file()]
        if not found:
            missing.append(address)
            return match.group(0)
        (pages / "vendor").mkdir(exist_ok=True)
        shutil.copyfile(found[0], pages / "vendor" / name)
        return f'{attribute}="vendor/{name}"'

    index.write_text(_REMOTE.sub(point, index.read_text(encoding="utf-8")), encoding="utf-8")
    return missing
