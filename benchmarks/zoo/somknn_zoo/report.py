"""The table of the zoo: JSON for programs, Markdown for people."""

import json
import math
from pathlib import Path
from typing import Any

from somknn_peers import report as peers_report

from somknn_zoo import growth, works
from somknn_zoo.rows import ALL

_HEAD = """\
# The zoo: everyone's rows

Exact search by somknn and by the best peers of each kind, on rows that are not only MNIST. Made by `somknn-zoo`,
written from `zoo.json`; `docs/how-to/benchmarks.md` says how, and what noise to expect. Lost rows stay in the table.
"""

_FIGURE = "zoo-growth.svg"
_NOTES = """\
**somknn**: time for one query with `algorithm="auto"`, and what it chose. **its others**: seconds by somknn's other
algorithms over those of `auto`, turn by turn, the median. The one that `auto` chose is the same search once more and
shows the noise. **best peer**: the one that took least, with its time for one query. **times**: seconds by that peer
over seconds by somknn: median, and the least and greatest turn. Below 1 somknn lost. **others**: the same ratio of the
other peers. All return distances and rows, but scipy's search within a radius rows alone. "batch" are all queries in
one call with all threads, "one" is one call for each.

Answers are checked. somknn's have to equal a float64 (for bytes, integer) oracle in NumPy bit for bit on 100 queries,
and its algorithms each other on all. A peer's neighbours are judged by their true distances. "by rounding" is the share
of queries with another row that is farther by no more than the peer's arithmetic explains. WRONG is more than that, and
such a peer is never the best.

What hurts users of the peers, seen here (scripts in `findings/`): sklearnex's kd_tree misses neighbours where values
repeat, without a warning. FAISS's Panorama returns squared distances below 0 for rows that are equal to the query, and
their roots are NaN. pykdtree marks a missing neighbour in two ways. FAISS and PyTorch work in float32: among many near
points they take another row than the nearest.

Peers that are not in a line are not asked there. Trees are asked up to 18 columns and where rows lie on few dimensions,
scans along principal axes from 32 columns on. scikit-learn's brute force is what its `auto` chooses above 15 columns.
"""


def time_text(seconds: float) -> str:
    """Three significant digits with a unit from µs on."""
    unit, scale = ("µs", 1e6) if seconds < 1e-3 else ("ms", 1e3) if seconds < 1 else ("s", 1.0)
    value = seconds * scale
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{digits}f} {unit}"


def ratio_text(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 20 else f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2g}"


def is_own(row: dict[str, Any]) -> bool:
    return row["contender"].startswith("somknn")


def best_peer(work: dict[str, Any]) -> dict[str, Any] | None:
    """The peer of least ratio among those whose answers are right."""
    right = [row for row in work["rows"] if not is_own(row) and row["answer_equal"]]
    return min(right, key=lambda row: row["ratio"], default=None)


def _other(row: dict[str, Any]) -> str:
    remark = ""
    if not row["answer_equal"]:
        remark = f" (**WRONG**: {row['answer']})"
    elif row["answer"] != "equal":
        remark = f" ({row['answer'].replace(' of the queries differ,', '').removeprefix('equal; ')})"
    return f"{row['contender']} {ratio_text(row['ratio'])}{remark}"


def _chose(row: dict[str, Any]) -> str:
    return row["settings"].rpartition(" ")[2]


def _line(name: str, work: dict[str, Any]) -> str:
    n_queries = work["shapes"]["queries"][0]
    n, d = work["shapes"]["rows"]
    ours = work["rows"][0]
    own = [
        f"{row['contender'].removeprefix('somknn ')} {ratio_text(row['ratio'])}"
        for row in work["rows"][1:]
        if is_own(row)
    ]
    best = best_peer(work)
    others = [_other(row) for row in work["rows"] if not is_own(row) and row is not best]
    words = times = ""
    if best:
        remark = _other(best).removeprefix(f"{best['contender']} {ratio_text(best['ratio'])}")
        words = f"{best['contender']} {time_text(best['median_seconds'] / n_queries)}{remark}"
        low, high = map(ratio_text, best["ratio_range"])
        times = f"**{ratio_text(best['ratio'])}** ({low} to {high})"
    wrong = "" if ours["answer_equal"] else f" **WRONG**: {ours['answer']}"
    asked = "one" if "/one" in name else f"batch of {n_queries:,}"
    wanted = work["k"] or f"radius {work['radius']}"
    return (
        f"| {work['subject']} | {n:,} × {d} {work['dtype']} | {asked} | {wanted} | "
        f"{time_text(ours['median_seconds'] / n_queries)} ({_chose(ours)}){wrong} | {', '.join(own)} | "
        f"{words} | {times} | {', '.join(others)} |"
    )


def _losses(document: dict[str, Any]) -> list[str]:
    """Works in which `auto` is not what it should be: the best of somknn's own, and faster than every peer.

    What `auto` chose is the same search once more, so that its ratio is noise.
    """
    found = []
    for name, work in document["works"].items():
        chosen = f"somknn {_chose(work['rows'][0])}"
        others = [row for row in work["rows"][1:] if row["answer_equal"] and row["contender"] != chosen]
        slower = [row for row in others if row["ratio"] < (0.9 if is_own(row) else 1.0)]
        if slower:
            found.append(f"- {name}: " + ", ".join(f"{row['contender']} {ratio_text(row['ratio'])}" for row in slower))
    return found


def _fit_line(work: dict[str, Any]) -> str:
    def one(row):
        size = "" if row["index_bytes"] is None else f", {row['index_bytes'] / 1e6:,.0f} MB"
        return f"{time_text(row['fit_seconds'])}{size}"

    n, d = work["shapes"]["rows"]
    size = n * d * {"uint8": 1, "float32": 4, "float64": 8}[work["dtype"]]
    rows = [row for row in work["rows"] if row["fit_seconds"] is not None]
    peers = "; ".join(f"{row['contender']} {one(row)}" for row in rows if not is_own(row))
    own = [f"{row['contender'].removeprefix('somknn ')} {one(row)}" for row in rows[1:] if is_own(row)]
    return f"| {work['subject']} | {size / 1e6:,.1f} MB | {one(rows[0])} | {'; '.join(own)} | {peers} |"


def _skipped(document: dict[str, Any]) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for name, work in document["works"].items():
        for contender, reason in work["skipped"].items():
            reasons.setdefault(f"{contender} ({reason})", []).append(name)
    total = len(document["works"])
    return [f"- {what}: {'all' if len(names) == total else ', '.join(names)}" for what, names in reasons.items()]


def _by_table(measured: dict[str, Any]) -> dict[str, Any]:
    """In the order of the table, whatever the order of the runs."""
    order = {work.name: place for place, work in enumerate(works.ALL)}
    return dict(sorted(measured.items(), key=lambda item: order.get(item[0], len(order))))


def _not_measured(document: dict[str, Any]) -> list[str]:
    """Works of which there are no figures, with the reason if their rows are not here."""
    absent, optional = document["absent"], {entry.name for entry in ALL if entry.optional}
    left = [work for work in works.ALL if work.name not in document["works"] and work.subject not in absent]
    names = [f"{work.name}{' (only if named)' if work.subject in optional else ''}" for work in left]
    return [f"{name} ({reason})" for name, reason in absent.items()] + names


def markdown(document: dict[str, Any], figure: str | None = None) -> str:
    """The whole page. figure : name of the figure's file, if there is one"""
    host, measured = document["host"], document["works"]
    packages = ", ".join(f"{name} {version}" for name, version in host["packages"].items())
    versions = sorted({row["version"] for work in measured.values() for row in work["rows"] if not is_own(row)})
    dates, commits, turns = (
        sorted({str(work[key]) for work in measured.values()}) for key in ("date", "commit", "turns")
    )
    parts = [
        _HEAD,
        f"{host['processor']}, {host['processors']} processors, instruction set {host['instruction_set']}; "
        f"{host['platform']}; Python {host['python']}, {packages}. Peers: {', '.join(versions)}. "
        f"{' to '.join(sorted({*dates[:1], *dates[-1:]}))}, somknn at {', '.join(commits)}; "
        f"medians of {' or '.join(turns)} turns.\n",
        "| rows | n × columns, type | asked | k or radius | somknn | its others | best peer | times | others |\n"
        + "|"
        + " --- |" * 9,
    ]
    parts[-1] += "".join(f"\n{_line(name, work)}" for name, work in measured.items()) + "\n"
    parts.append(_NOTES)
    if left := _not_measured(document):
        parts.append(f"Not measured: {'; '.join(left)}.\n")
    parts.append("## Where `auto` is not the best\n")
    parts.append("\n".join(_losses(document) or ["Nowhere."]) + "\n")
    if figure:
        parts.append(f"## Growth\n\n![Time per query against the number of rows]({figure})\n")
    parts.append(
        "## Fit and memory\n\nSeconds of one fit, and by how much the resident memory of the process grew with it. The "
        "second column is the size of the rows. somknn and the trees keep the rows themselves, which are not in the "
        "figure.\n\n| rows | size | somknn | its others | peers |\n" + "|" + " --- |" * 5
    )
    batches = [work for name, work in measured.items() if name.endswith("/batch")]
    parts[-1] += "".join(f"\n{_fit_line(work)}" for work in batches) + "\n"
    if skipped := _skipped(document):
        parts.append("## Not asked, and why\n\n" + "\n".join(skipped) + "\n")
    parts.append("## What the rows are\n")
    parts.append(
        "\n".join(f"- {entry.name}: {entry.title}, {entry.columns} columns, {entry.dtype}" for entry in ALL) + "\n"
    )
    return "\n".join(parts)


def _rounded(value: Any) -> Any:
    """Floats with five significant digits: more is noise, and the file is kept in the repository."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def write(document: dict[str, Any], folder: Path) -> None:
    """zoo.json, a line for each contender, zoo.md, and zoo-growth.svg in `folder`."""
    document["works"] = _by_table(document["works"])
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, work in document["works"].items():
        rows = ",\n".join(json.dumps(_rounded(row), ensure_ascii=False) for row in work["rows"])
        rest = json.dumps(_rounded({key: each for key, each in work.items() if key != "rows"}), ensure_ascii=False)
        lines.append(f'{json.dumps(name)}: {rest[:-1]}, "rows": [\n{rows}\n]}}')
    rest = json.dumps({key: each for key, each in document.items() if key != "works"}, ensure_ascii=False)
    text = f'{rest[:-1]}, "works": {{\n' + ",\n".join(lines) + "\n}}\n"
    (folder / "zoo.json").write_text(text, encoding="utf-8")
    figure = _FIGURE if growth.draw(document, folder / _FIGURE) else None
    (folder / "zoo.md").write_text(markdown(document, figure), encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """The document that `write` left in `folder`, or an empty one."""
    return {"absent": {}} | peers_report.read(folder, "zoo.json")
