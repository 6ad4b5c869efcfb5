"""The table: JSON for programs, Markdown for people."""

import json
import math
from pathlib import Path
from typing import Any

_HEAD = """\
# somknn beside its peers

Made by `somknn-peers`, written from `{file}`; `docs/how-to/benchmarks.md` says how, and what noise to expect.
"""

_NOTES = """\
**times**: seconds by this contender over seconds by somknn, turn by turn: median, and the least and greatest turn.
**share of the limit**: the time that the plain arithmetic of the work (every row with every query, neuron or centre,
all columns) would take at the peak this host showed in the same run, for the contender's number type, over the time
measured. Above 100%, arithmetic was avoided. **memory**: greatest resident memory of the contender's process.
**answer**: judged by exact search; a contender whose answer is not as good fails the run.
"""


def seconds_text(value: float) -> str:
    """Three significant digits with a unit."""
    unit, scale = ("ms", 1000.0) if value < 0.1 else ("s", 1.0)
    value *= scale
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{digits}f} {unit}"


def _times(row: dict[str, Any]) -> str:
    if row["ratio_range"] == [1.0, 1.0]:
        return "1"
    low, high = row["ratio_range"]
    return f"**{row['ratio']:.1f}** ({low:.1f} to {high:.1f})"


def _name(row: dict[str, Any]) -> str:
    """The contender with its version, as "FAISS 1.15.1" or "fastersom (fastersom 0.5.0, torch 2.13.0)"."""
    parts = row["version"].split(" ")
    if len(parts) == 2 and parts[0] != "somknn":
        return f"{row['contender']} {parts[1]}"
    return f"{row['contender']} ({row['version']})" if len(parts) > 2 else row["contender"]


def markdown(document: dict[str, Any], file: str = "peers.json") -> str:
    """The whole page."""
    host = document["host"]
    parts = [_HEAD.format(file=file)]
    packages = ", ".join(f"{name} {version}" for name, version in host["packages"].items())
    parts.append(
        f"{host['processor']}, {host['processors']} processors, instruction set {host['instruction_set']}; "
        f"{host['platform']}; Python {host['python']}, {packages}. Data: {document['data']}.\n"
    )
    for work in document["works"].values():
        shapes = ", ".join(f"{name} {' × '.join(f'{n:,}' for n in shape)}" for name, shape in work["shapes"].items())
        peaks = work["peaks"]
        parts.append(
            f"## {work['title'][0].upper()}{work['title'][1:]}\n\n"
            f"{work['date']}, somknn at {work['commit']}; {shapes}; medians of {work['turns']} turns. "
            f"Peaks in this run: sgemm {peaks['sgemm']:.0f}, bytes {peaks['integers']:.0f} thousand million "
            "multiply-adds a second.\n"
        )
        lines = ["| | settings | time | times | share of the limit | memory | answer |", "|" + " --- |" * 7]
        for row in work["rows"]:
            answer = row["answer"] if row["answer_equal"] else f"**NOT EQUAL**: {row['answer']}"
            lines.append(
                f"| {_name(row)} | {row['settings']} | {seconds_text(row['median_seconds'])} | {_times(row)} | "
                f"{row['share_of_limit']:.0%} | {row['peak_bytes'] / 1e6:,.0f} MB | {answer} |"
            )
        parts.append("\n".join(lines) + "\n")
        if work["skipped"]:
            reasons = "; ".join(f"{name} ({reason})" for name, reason in work["skipped"].items())
            parts.append(f"Skipped: {reasons}.\n")
    parts.append(_NOTES)
    return "\n".join(parts)


def write(document: dict[str, Any], folder: Path) -> None:
    """peers.json and peers.md in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "peers.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "peers.md").write_text(markdown(document), encoding="utf-8")


def read(folder: Path, name: str = "peers.json") -> dict[str, Any]:
    """The document that `write` left in `folder`, or an empty one."""
    path = folder / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"works": {}}
