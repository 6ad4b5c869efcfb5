"""The front page: one static HTML file without scripts, with charts drawn by matplotlib."""

import io
import re
from html import escape
from typing import Any

from benchmarks.dashboard.history import Point, compared, speed_up, worse
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_BLUE, _GREEN, _AMBER, _GREY = "#1f5fa8", "#2e7d4f", "#b3600d", "#5c6670"
_PRESETS = (
    ("fast", "deskewed pixels"),
    ("balanced", "gradient directions"),
    ("accurate", "the nearest of these ranked again by deformation matching"),
)
_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.45 system-ui, "Segoe UI", Helvetica, Arial, sans-serif;
  color: #1c2329; background: #f5f6f8; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 40px; }
h1 { margin: 0; font-size: 30px; } h2 { margin: 34px 0 12px; font-size: 19px; }
.lead { margin: 4px 0 0; color: #4a545d; }
.grid { display: grid; gap: 14px; grid-template-columns: repeat(auto-fit, minmax(196px, 1fr)); }
.charts { grid-template-columns: repeat(auto-fit, minmax(460px, 1fr)); }
.card { background: #fff; border: 1px solid #dde1e6; border-radius: 8px; padding: 16px 18px; }
.big { font-size: 42px; font-weight: 650; line-height: 1.1; color: #1f5fa8; }
.slower { color: #b3600d; }
.what { font-weight: 600; } .small { color: #5c6670; font-size: 14px; margin-top: 6px; }
.state { margin-top: 18px; padding: 10px 16px; border-radius: 8px; font-weight: 600; }
.good { background: #e2f2e8; color: #1e5b38; } .bad { background: #fbe9d7; color: #7d430a; }
svg { width: 100%; height: auto; display: block; }
footer { margin-top: 30px; color: #4a545d; font-size: 14px; } a { color: #1f5fa8; }
@media (max-width: 560px) { .charts { grid-template-columns: 1fr; } }
"""


def _seconds(value: float) -> str:
    return f"{value * 1000:.3g} ms" if value < 0.1 else f"{value:.3g} s"


def _times(ratio: float) -> str:
    return f"{ratio:.{1 if ratio < 10 else 0}f}"


def _tile(work: dict[str, Any]) -> str:
    """The ratio of somknn to the fastest of the other libraries, and to the slowest."""
    own = work["rows"][0]
    others = [row for row in work["rows"][1:] if not row["contender"].startswith("somknn")]
    if not others:
        return ""
    others.sort(key=lambda row: row["ratio"])
    best, last = others[0], others[-1]
    ratio = best["ratio"]
    among = f", the fastest of {len(others)} peers" if len(others) > 1 else ""
    rest = f" {_times(last['ratio'])} times {last['contender']}." if len(others) > 1 else ""
    return (
        f'<div class="card"><div class="what">{escape(work["subject"])}</div>'
        f'<div class="big{" slower" if ratio < 1 else ""}">{_times(ratio)}×</div>'
        f"<div>as fast as <b>{escape(best['contender'])}</b>{among}</div>"
        f'<div class="small">{escape(work["title"][0].upper() + work["title"][1:])}: '
        f"{_seconds(own['median_seconds'])} against "
        f"{_seconds(best['median_seconds'])}.{escape(rest)}</div></div>"
    )


def _accuracy(point: Point) -> list[str]:
    cards = []
    for name, how in _PRESETS:
        error = point.values[name]
        if error is None:
            continue
        cards.append(
            f'<div class="card"><div class="big">{100 - 100 * error:.2f}%</div><div class="what">preset “{name}”</div>'
            f'<div class="small">{how}; {error * 10_000:.0f} of 10,000 test images wrong</div></div>'
        )
    return cards


def _chart(title: str, commits: list[str], lines: dict[str, list[float | None]], unit: str) -> str:
    """An SVG with one line per entry, direct labels instead of a legend, the axis from 0; "" without figures."""
    if all(value is None for values in lines.values() for value in values):
        return ""
    figure = Figure(figsize=(5.6, 2.75))
    axes = figure.add_axes((0.09, 0.25, 0.7 if len(lines) > 1 else 0.82, 0.62))
    top = 0.0
    for colour, (name, values) in zip((_BLUE, _GREEN, _AMBER, _GREY), lines.items(), strict=False):
        known = [(i, value) for i, value in enumerate(values) if value is not None]
        if not known:
            continue
        axes.plot(*zip(*known, strict=True), marker="o", markersize=4, linewidth=1.8, color=colour)
        place, last = known[-1]
        label = f"{last:.3g}" + (f" {name}" if len(lines) > 1 else "")
        axes.annotate(
            label, (place, last), (7, -3), textcoords="offset points", color=colour, fontsize=9, weight="bold"
        )
        top = max(top, *(value for _, value in known))
    axes.set_ylim(0, top * 1.15 or 1)
    axes.set_xlim(-0.3, len(commits) - 0.7)
    every = -(-len(commits) // 14)
    axes.set_xticks(range(0, len(commits), every), commits[::every], rotation=50, ha="right", fontsize=7.5)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_title(f"{title} ({unit})", loc="left", fontsize=10.5)
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = out.getvalue()[out.getvalue().index("<svg") :]
    mark = re.sub(r"\W+", "-", title.lower())
    for kind in ('id="', 'href="#', "url(#"):  # several drawings share one page, and each id must be unique in it
        drawing = drawing.replace(kind, f"{kind}{mark}-")
    return f'<div class="card" role="img" aria-label="{escape(title)}">{drawing}</div>'


def _charts(points: list[Point]) -> list[str]:
    commits = [point.commit[:7] for point in points]

    def of(name: str, factor: float = 1.0) -> list[float | None]:
        return [None if point.values[name] is None else factor * point.values[name] for point in points]

    errors = {name: of(name, 100) for name in ("k-NN, k = 4", "fast", "balanced", "accurate")}
    labels = {"k-NN, k = 4": "k-NN"}
    prototypes = {"1,000 centres": "1,000 centres", "100 LVQ prototypes": "100 LVQ", "map, label errors": "map"}
    training = {"map, three epochs": "map 20×20", "K-Means, ten iterations": "K-Means"}
    return [
        _chart("Search: times as fast as FAISS", commits, {"": [speed_up(point) for point in points]}, "same run"),
        _chart("One query", commits, {"": of("one query", 1000)}, "ms, at one pace of the host"),
        _chart("Test images wrong", commits, {labels.get(name, name): values for name, values in errors.items()}, "%"),
        _chart(
            "Prototypes: test images wrong", commits, {label: of(name, 100) for name, label in prototypes.items()}, "%"
        ),
        _chart(
            "Training", commits, {label: of(name) for name, label in training.items()}, "s, at one pace of the host"
        ),
        _chart("Memory of fit and search", commits, {"": of("memory", 1e-6)}, "MB at most"),
    ]


def _state(points: list[Point]) -> str:
    if len(points) < 2:
        return ""
    said = worse(points)
    pair = f"{points[-2].commit[:7]} → {points[-1].commit[:7]}"
    if said:
        return f'<div class="state bad">Worse in the last step ({pair}): {escape("; ".join(said))}</div>'
    names = compared(points)
    if not names:
        return ""
    return (
        f'<div class="state good">Nothing got worse in the last step ({pair}). '
        f"Compared: {escape(', '.join(names))}</div>"
    )


def front_page(peers: dict[str, Any], source: str, points: list[Point], details: str | None) -> str:
    """The page.

    peers : the document written by `somknn-peers`; details : address of asv's pages, if they are next to it
    """
    host = peers.get("host", {})
    parts = ['<!doctype html><html lang="en"><head><meta charset="utf-8">']
    parts.append('<meta name="viewport" content="width=device-width, initial-scale=1">')
    parts.append(
        f'<title>somknn: speed and accuracy</title><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head><body><main>"
    )
    parts.append("<h1>somknn: how fast, how accurate</h1>")
    if host:
        dates = sorted({work["date"] for work in peers["works"].values()})
        parts.append(
            f'<p class="lead">Measured turn by turn, equal answers required, on {escape(host["processor"])} with '
            f"{host['processors']} processors ({escape(host['instruction_set'])}), "
            f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}; "
            f"data: {escape(peers['data'])}.</p>"
        )
    parts.append(_state(points))
    if host:
        parts.append('<h2>Against other libraries</h2><div class="grid">')
        parts += [_tile(work) for work in peers["works"].values()]
        parts.append("</div>")
    if points:
        accuracy = _accuracy(points[-1])
        if accuracy:
            rows = "MNIST's test images" if source == "mnist" else "generated rows"
            parts.append(f'<h2>Accuracy of the presets on {rows}</h2><div class="grid">{"".join(accuracy)}</div>')
        parts.append(f"<h2>{f'The last {len(points)} measured commits' if len(points) > 1 else 'The last commit'}</h2>")
        parts.append(f'<div class="grid charts">{"".join(_charts(points))}</div>')
    links = [f'<a href="{details}">every benchmark, every commit</a>'] if details else []
    parts.append(
        "<footer><p>Ratios are medians of turns within one run: on a shared host single times move by half and more. "
        "docs/lab-notes/peers.md has versions, settings and the range of every ratio, "
        "docs/how-to/benchmarks.md how all this is measured. "
        f"{'See also ' + ', '.join(links) + '.' if links else ''}</p></footer>"
    )
    parts.append("</main></body></html>\n")
    return "".join(parts)
