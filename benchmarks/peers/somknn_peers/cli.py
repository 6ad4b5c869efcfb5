"""`somknn-peers`: the comparison as a command."""

from pathlib import Path

import click

from somknn import datasets
from somknn_kernels.parallel import available_threads
from somknn_peers import provenance, report, turns
from somknn_peers.works import ALL, find


@click.command()
@click.option("--dataset", default="mnist", show_default=True, help="Name or file, as for `somknn run`.")
@click.option("--label", default=None, help="Where the labels are, as for `somknn run`; none if there are none.")
@click.option("--work", "works", multiple=True, type=click.Choice([work.name for work in ALL]), help="Only these.")
@click.option("--turns", "n_turns", default=5, show_default=True, type=click.IntRange(1))
@click.option("--queries", default=10_000, show_default=True, type=click.IntRange(100))
@click.option("--rows", default=None, type=click.IntRange(1_000), help="Training rows; all by default.")
@click.option("--out", default="somknn-peers", show_default=True, type=click.Path(path_type=Path), help="Folder.")
def main(
    dataset: str, label: str | None, works: tuple[str, ...], n_turns: int, queries: int, rows: int | None, out: Path
) -> None:
    """Time the same work by somknn and by its peers, turn by turn, and write peers.json and peers.md.

    Peers that are not installed are listed and left out. Works that are not requested keep their figures from an
    earlier run in --out. The exit code is 1 if an answer is not as good as somknn's.
    """
    try:
        data = datasets.load(dataset, train_size=rows, label=label)
    except (OSError, ValueError, ImportError) as error:
        raise click.ClickException(" ".join(str(error).split())) from None
    document = report.read(out)
    document |= {"host": provenance.host(), "data": f"{dataset}, {len(data.X_train):,} training rows"}
    unequal = []
    for name in works or [work.name for work in ALL]:
        click.echo(f"{name}: {find(name).title}")
        try:
            found = turns.compare(
                find(name), data, n_turns, {"queries": queries, "threads": available_threads()}, click.echo
            )
        except turns.Failed as error:
            click.echo(f"{name}: left out, somknn: {error}")
            continue
        document["works"][name] = found | {"commit": provenance.commit()}
        unequal += [f"{name}: {row['contender']}" for row in found["rows"] if not row["answer_equal"]]
        report.write(document, out)
    click.echo(f"written: {out / 'peers.md'} and peers.json")
    if unequal:
        raise click.ClickException(f"answers that are not equal: {', '.join(unequal)}")


if __name__ == "__main__":
    main()
