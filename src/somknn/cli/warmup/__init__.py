"""`somknn warmup`: compile ahead what a job needs."""

import time

import click

from somknn.machine import cache_folder

GROUPS = (
    "all",
    "classify",
    "evaluate",
    "explore",
    "images",
    "kmeans",
    "lvq",
    "neighbors",
    "predict",
    "prototypes",
    "run",
    "som",
    "tune",
)


@click.command("warmup")
@click.argument("what", nargs=-1, type=click.Choice(GROUPS), metavar="[WHAT]...")
@click.option(
    "--processes", type=click.IntRange(min=1), help="Processes that compile.  [default: one for each processor]"
)
def command(what: tuple[str, ...], processes: int | None) -> None:
    """Compile the kernels that a job needs, so that its first run takes no longer than later ones.

    WHAT: commands (run, explore, evaluate, tune, som, prototypes, classify, predict) or estimators (neighbors, kmeans,
    lvq, som, images); all, if nothing is given. Kernels are kept in the cache that `somknn info` shows, for this
    processor. What is there already, or came with the installation, is not compiled again.
    """
    from somknn.cli.warmup import work

    start = time.perf_counter()
    result = work.run(what or ("all",), processes)
    compiled, cached, prebuilt = result.kernels
    for line in result.said:
        click.echo(line, err=True)
    came = f", {prebuilt} of them with the installation" if prebuilt else ""
    seconds = time.perf_counter() - start
    click.echo(f"{compiled} kernels compiled, {cached + prebuilt} were there{came}; {seconds:.0f} s")
    if result.lost:
        raise click.ClickException(f"{result.lost} compiled kernels could not be kept in {cache_folder()}")
    if result.failed:
        more = f" (and {len(result.failed) - 1} more jobs failed)" if result.failed[1:] else ""
        raise click.ClickException(f"{result.failed[0]}{more}")
