"""The figures of asv's results that the front page shows, by commit."""

import itertools
import json
import math
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SOURCES = ("mnist", "generated")


@dataclass(frozen=True)
class Series:
    """One line of the page: a benchmark with its parameters, as asv writes them; {source} stands for the data set."""

    name: str
    benchmark: str
    parameters: tuple[str, ...] = ()
    # A time: scaled to the hour in which FAISS takes its median time, so that a slow hour does not show.
    pace: bool = False


YARDSTICK = Series("FAISS", "search.Yardstick.time_faiss", ("'{source}'",))
SEARCH = Series("search", "search.Search.time_search", ("'{source}'", "'pruned'", "'uint8'", "5"))
SERIES = (
    SEARCH,
    Series("one query", "search.OneQuery.time_search", ("'{source}'", "'pruned'"), pace=True),
    Series("neighbours missed", "search.Index.track_missed", ("'{source}'", "'pruned'")),
    Series("memory", "search.Index.peakmem_fit_and_search", ("'{source}'", "'pruned'")),
    Series("k-NN, k = 4", "classifier.Classifier.track_error_rate", ("'{source}'", "'k=4, distance'")),
    Series("fast", "images.Presets.track_error_rate", ("'{source}'", "'fast'")),
    Series("balanced", "images.Presets.track_error_rate", ("'{source}'", "'balanced'")),
    Series("accurate", "images.Presets.track_error_rate", ("'{source}'", "'accurate'")),
    Series("map, three epochs", "som.BatchMap.time_three_epochs", ("'{source}'", "20"), pace=True),
    Series("map, label errors", "som.TrainedMap.track_error_rate", ("'{source}'",)),
    Series("map, quantization error", "som.TrainedMap.track_quantization_error", ("'{source}'",)),
    Series("K-Means, ten iterations", "prototypes.Lloyd.time_ten_iterations", ("'{source}'",), pace=True),
    Series("1,000 centres", "prototypes.Prototypes.track_error_rate", ("'{source}'", "'kmeans'", "1000")),
    Series("100 LVQ prototypes", "prototypes.Prototypes.track_error_rate", ("'{source}'", "'lvq'", "100")),
    Series("import", "startup.Startup.timeraw_import"),
)


def patterns() -> list[str]:
    """Regular expressions for `asv run --bench` that select exactly the series."""
    sources = f"({'|'.join(SOURCES)})"
    found = []
    for series in (YARDSTICK, *SERIES):
        name = series.benchmark.replace(".", r"\.")
        inside = ", ".join(series.parameters).format(source=sources)
        found.append(rf"^{name}\({inside}\)$" if inside else f"^{name}$")
    return found


@dataclass(frozen=True)
class Point:
    """The figures of one commit; None for missing ones."""

    commit: str
    values: dict[str, float | None]


def _value(result, series: Series, source: str) -> float | None:
    if series.benchmark not in result.get_all_result_keys():
        return None
    parameters = result.get_result_params(series.benchmark)
    values = result.get_result_value(series.benchmark, parameters)
    wanted = tuple(text.format(source=source) for text in series.parameters)
    for combination, value in zip(itertools.product(*parameters), values, strict=True):
        if combination == wanted:
            return None if value is None or math.isnan(value) else float(value)
    return None


def machines(results: Path) -> list[str]:
    """Machines that have results, the one with the most first."""
    counts = {path.parent.name: 0 for path in results.glob("*/machine.json")}
    for name in counts:
        counts[name] = len(list((results / name).glob("*.json")))
    return sorted(counts, key=lambda name: (-counts[name], name))


def read(results: Path, machine: str, order: list[str]) -> tuple[str, list[Point]]:
    """The data set of the figures, and the points of the commits in `order` (oldest first).

    Figures of an older `version` of a benchmark are left out. Raises FileNotFoundError if there are no results of asv.
    """
    from asv.results import iter_results_for_machine

    path = results / "benchmarks.json"
    if not path.exists():
        raise FileNotFoundError(f"no asv results under {results}; run with --fill N first")
    versions = {name: one["version"] for name, one in json.loads(path.read_text()).items() if isinstance(one, dict)}
    found = {}
    for result in iter_results_for_machine(str(results), machine):
        for name in list(result.get_all_result_keys()):
            if result.benchmark_version.get(name) != versions.get(name):
                result.remove_result(name)
        found.setdefault(result.commit_hash, []).append(result)
    commits = [commit for commit in order if commit in found]

    def point(commit: str, source: str) -> Point:
        values: dict[str, float | None] = {}
        for series in (YARDSTICK, *SERIES):
            known = (_value(result, series, source) for result in found[commit])
            values[series.name] = next((value for value in known if value is not None), None)
        return Point(commit, values)

    for source in SOURCES:
        points = [point(commit, source) for commit in commits]
        points = [one for one in points if any(value is not None for value in one.values.values())]
        if points:
            break
    return source, at_one_pace(points)


def at_one_pace(points: list[Point]) -> list[Point]:
    """Scale the times of the series with `pace` to the median time of the yardstick."""
    paces = sorted(value for one in points if (value := one.values[YARDSTICK.name]))
    usual = paces[len(paces) // 2] if paces else None
    moved = []
    for one in points:
        values, pace = dict(one.values), one.values[YARDSTICK.name]
        for series in SERIES:
            value = values[series.name]
            if series.pace and value is not None:
                values[series.name] = value * usual / pace if pace and usual else None
        moved.append(Point(one.commit, values))
    return moved


def speed_up(point: Point) -> float | None:
    """The ratio of FAISS's time to that of the search in the same run."""
    ours, theirs = point.values[SEARCH.name], point.values[YARDSTICK.name]
    return theirs / ours if ours and theirs else None


def git_order(folder: Path) -> list[str]:
    """Commits of HEAD, oldest first."""
    command = ["git", "-C", str(folder), "rev-list", "--first-parent", "--reverse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


# Figures that the page warns about: a name, a function that reads the figure from a point, and the largest factor of
# change for the worse that is tolerated.
WATCHED: tuple[tuple[str, Callable[[Point], float | None], float], ...] = (
    ("search against FAISS", lambda point: 1 / speed_up(point) if speed_up(point) else None, 1.2),
    *(
        (series.name, lambda point, name=series.name: point.values[name], 1.2 if series.pace else 1.02)
        for series in SERIES
        if series is not SEARCH and series.name != "import"
    ),
)


def worse(points: list[Point]) -> list[str]:
    """Descriptions of what got worse from the previous commit to the last one; higher is worse."""
    if len(points) < 2:
        return []
    said = []
    for name, figure, factor in WATCHED:
        before, after = figure(points[-2]), figure(points[-1])
        if before is not None and after is not None and after > before * factor + 1e-12:
            said.append(f"{name}: {(after / before - 1):.0%} worse" if before else f"{name}: from 0 to {after:.3g}")
    return said


def compared(points: list[Point]) -> list[str]:
    """The figures that both of the last two commits have."""
    return [name for name, figure, _ in WATCHED if figure(points[-2]) is not None and figure(points[-1]) is not None]
