"""The figure of the zoo: time per query against the number of rows, on uniform points of three columns."""

import importlib.util
from pathlib import Path
from typing import Any

_LINES = {
    "somknn": "C0",
    "somknn tree": "C2",
    "pykdtree": "C1",
    "scipy cKDTree": "C3",
    "scikit-learn kd_tree": "C4",
}
_ASKED = {"batch": "-", "one": "--"}


def points(document: dict[str, Any]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """For each contender and way of asking: numbers of rows and microseconds per query, by number of rows."""
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for name, work in document["works"].items():
        entry, _, asked = name.partition("/")
        if not entry.startswith("uniform-3-") or asked not in _ASKED:
            continue
        (n, _), (queries, _) = work["shapes"]["rows"], work["shapes"]["queries"]
        for row in work["rows"]:
            if row["contender"] in _LINES:
                at = n, row["median_seconds"] / queries * 1e6
                found.setdefault((row["contender"], asked), []).append(at)
    return {key: sorted(line) for key, line in found.items()}


def draw(document: dict[str, Any], path: Path) -> bool:
    """Write the figure. False if there are fewer than two sizes, or no matplotlib."""
    lines = points(document)
    if max(map(len, lines.values()), default=0) < 2 or importlib.util.find_spec("matplotlib") is None:
        return False
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "zoo"  # the same figures give the same file
    figure = Figure(figsize=(6.4, 5.0), layout="constrained")
    axes = figure.add_subplot()
    for contender, colour in _LINES.items():
        for asked, dashes in _ASKED.items():
            if line := lines.get((contender, asked)):
                label = f"{contender}, {'a batch' if asked == 'batch' else 'one query'}"
                axes.plot(*zip(*line, strict=True), dashes, color=colour, marker="o", label=label)
    sizes = sorted({n for line in lines.values() for n, _ in line})
    axes.set(xscale="log", yscale="log", xlabel="rows", ylabel="microseconds per query")
    axes.set_title("Uniform points of 3 columns, k = 5")
    axes.set_xticks(sizes, [f"{n:,}" for n in sizes], rotation=30)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    return True
