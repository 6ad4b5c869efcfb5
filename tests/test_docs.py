"""Documents lead somewhere: links and anchors, paths named in code, and the list of kernel files."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
KERNELS = ROOT / "kernels" / "somknn_kernels"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(DOCS.rglob("*.md"))
CODE = [path for folder in ("src", "kernels", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]

_FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\[[^\]]*\]\(\s*([^)\s]+)\s*\)")
_HEADING = re.compile(r"^#{1,6} +(.*?) *#*$", re.MULTILINE)
_NAMED = re.compile(r"(?<![\w/.])docs(?:/[\w.-]+)*/[\w.-]*\w")


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Path and anchor of every link to a file, or to a heading of the page itself."""
    for target in _LINK.findall(_SPAN.sub("", prose(page))):
        if not re.match(r"[a-z][a-z0-9+.-]*:", target):
            path, _, anchor = target.partition("#")
            yield unquote(path), unquote(anchor)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in _HEADING.findall(prose(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number = 0
        while (name := f"{anchor}-{number}" if number else anchor) in found:
            number += 1
        found.add(name)
    return found


def faults(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        if not target.is_relative_to(ROOT.resolve()) or not target.exists():
            found.append(f"no file {path}")
        elif anchor and (target.suffix != ".md" or anchor not in anchors(target)):
            found.append(f"no heading {path}#{anchor}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    assert faults(page) == []


def test_what_leads_nowhere_is_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    other.write_text(
        "# One, two\n\n## k-means++ (`start`)\n\n## One two\n\n```\n# no heading\n[no link](nowhere.md)\n```\n"
    )
    page.write_text(
        "[a](other.md) [b](other.md#one-two) [c](other.md#k-means-start) [d](other.md#one-two-1) [e](#here) "
        "`[f](g.md)`\n[g](https://example.org/x#y)\n\n# Here\n\n"
        "![h](h.svg) [i](other.md#no-heading) [j](../elsewhere.md) [k](#there)\n"
    )
    assert faults(page) == [
        "no file h.svg",
        "no heading other.md#no-heading",
        "no file ../elsewhere.md",
        "no heading #there",
    ]
    assert faults(other) == []


def test_every_page_and_picture_can_be_reached():
    """From the index of the documents, link by link. Pages that say where an old address has moved do not count."""
    reached, left = set(), [DOCS / "README.md"]
    while left:
        page = left.pop()
        reached.add(page)
        for path, _ in links(page):
            target = (page.parent / path).resolve() if path else page
            if target.is_relative_to(DOCS.resolve()) and target not in reached:
                (left.append if target.suffix == ".md" else reached.add)(target)
    moved = {page for page in DOCS.glob("*.md") if page.read_text(encoding="utf-8").startswith("# Moved: ")}
    made = {path for path in DOCS.rglob("*") if path.suffix in (".md", ".svg")}
    assert {path.relative_to(DOCS).as_posix() for path in made - moved - reached} == set()


def test_every_kernel_file_is_listed():
    page = DOCS / "concepts" / "kernels.md"
    listed = [(page.parent / path).resolve() for path, _ in links(page) if path.endswith(".py")]
    assert len(listed) == len(set(listed))
    assert set(listed) == {path.resolve() for path in KERNELS.rglob("*.py")}


def test_documents_named_in_code_exist():
    named = [
        (path.relative_to(ROOT).as_posix(), name)
        for path in CODE
        for name in _NAMED.findall(path.read_text(encoding="utf-8"))
    ]
    assert len(named) > 10
    assert [(path, name) for path, name in named if not (ROOT / name).exists()] == []
