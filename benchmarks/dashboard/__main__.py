"""`python -m benchmarks.dashboard`: publish asv's results with a front page, optionally filling their history first."""

import json
import subprocess
import sys
from pathlib import Path

import click
from benchmarks.dashboard import details, history
from benchmarks.dashboard.page import front_page

ROOT = Path(__file__).parents[2]
RESULTS, HTML = ROOT / ".asv" / "results", ROOT / ".asv" / "html"


def _asv(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "asv", *arguments], cwd=ROOT, check=False).returncode


def fill(commits: int) -> None:
    """Run the benchmarks of the front page for the last commits that have no results."""
    _asv("machine", "--yes")
    chosen = [part for pattern in history.patterns() for part in ("--bench", pattern)]
    available = len(history.git_order(ROOT))
    span = f"HEAD~{commits}..HEAD" if commits < available else "HEAD"
    code = _asv("run", "--skip-existing-successful", "--attribute", "rounds=1", *chosen, span)
    if code:
        click.echo("some benchmarks failed (see above): their commits have gaps", err=True)


@click.command()
@click.option("--fill", "commits", type=click.IntRange(1), help="First measure what the last N commits lack.")
@click.option(
    "--peers",
    type=click.Path(path_type=Path),
    default=ROOT / "docs" / "lab-notes" / "peers.json",
    help="Of somknn-peers.",
)
@click.option("--machine", help="Whose results; by default the one that has most.")
@click.option("--last", default=12, show_default=True, type=click.IntRange(2), help="Commits in the charts.")
@click.option(
    "--scripts", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Local copies of asv's scripts."
)
@click.option("--page", type=click.Path(dir_okay=False, path_type=Path), help="Also write the front page here, alone.")
def main(
    commits: int | None, peers: Path, machine: str | None, last: int, scripts: Path | None, page: Path | None
) -> None:
    """Write the dashboard, static files, under .asv/html: index.html is the front page, asv/ holds every benchmark."""
    if commits:
        fill(commits)
    known = history.machines(RESULTS)
    if not known:
        raise click.ClickException(f"no asv results under {RESULTS}; run with --fill N first")
    if machine and machine not in known:
        raise click.ClickException(f"no results of {machine}; there are those of {', '.join(known)}")
    source, points = history.read(RESULTS, machine or known[0], history.git_order(ROOT))
    if not points:
        raise click.ClickException("no commit of HEAD has the benchmarks of the front page; run with --fill N first")
    if _asv("publish"):
        raise click.ClickException("asv publish failed (see above)")
    details.drop_unmeasured(HTML / "asv")
    document = json.loads(peers.read_text(encoding="utf-8")) if peers.exists() else {}
    points = points[-last:]
    (HTML / "index.html").write_text(front_page(document, source, points, "asv/index.html"), encoding="utf-8")
    if page:
        page.write_text(front_page(document, source, points, None), encoding="utf-8")
    if scripts:
        for address in details.localise(HTML / "asv", scripts):
            click.echo(f"still loaded from the network: {address}", err=True)
    click.echo(f"written: {HTML / 'index.html'}, {len(points)} commits; open it, or serve the folder by any web server")


if __name__ == "__main__":
    main()
