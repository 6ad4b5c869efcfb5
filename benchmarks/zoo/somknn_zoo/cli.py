"""`somknn-zoo`: the table of everyone's rows as a command."""

from pathlib import Path
from typing import Any

import click
from somknn_peers import provenance, turns

from somknn_kernels.parallel import available_threads
from somknn_zoo import report, works
from somknn_zoo.rows import ALL, Missing, Rows

_ALL_OF_THEM = 10**9
_QUICK = {"rows": 5_000, "queries": 200}


def _chosen(only: tuple[str, ...]) -> list[tuple[Rows, list[Any]]]:
    """Entries with their works: those that are named, by entry or by work, or all that are not optional."""
    known = {name for entry in ALL for name in (entry.name, *(work.name for work in works.works_of(entry)))}
    if unknown := [name for name in only if name not in known]:
        raise click.ClickException(f"no rows are called {', '.join(unknown)}: --list shows all names")
    found = []
    for entry in ALL:
        all_of_it = entry.name in only or (not only and not entry.optional)
        chosen = [work for work in works.works_of(entry) if all_of_it or work.name in only]
        if chosen:
            found.append((entry, chosen))
    return found


def _opened(out: Path, host: dict[str, Any]) -> dict[str, Any]:
    """The document in the folder, whose figures have to be from this processor."""
    document = report.read(out)
    before = document.get("host", host)["processor"]
    if before != host["processor"]:
        raise click.ClickException(f"{out} holds figures of {before}, this is {host['processor']}: name another --out")
    return document | {"host": host}


def _list_them(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        for entry in ALL:
            names = " ".join(work.name for work in works.works_of(entry))
            later = " (only if named)" if entry.optional else ""
            click.echo(f"{names}: {entry.title}, {entry.n:,} × {entry.columns} {entry.dtype}{later}")
        context.exit()


@click.command()
@click.option("--list", is_flag=True, is_eager=True, expose_value=False, callback=_list_them, help="Names of all rows.")
@click.option("--only", multiple=True, metavar="NAME", help="Rows, or one of their works; may be repeated.")
@click.option("--turns", "n_turns", default=5, show_default=True, type=click.IntRange(1))
@click.option("--quick", is_flag=True, help="At most 5,000 rows, 200 queries and one turn: to see that all works.")
@click.option("--resume", is_flag=True, help="Leave out works that --out has figures of, from this commit.")
@click.option("--out", default="somknn-zoo", show_default=True, type=click.Path(path_type=Path), help="Folder.")
def main(only: tuple[str, ...], n_turns: int, quick: bool, resume: bool, out: Path) -> None:
    """Search everyone's rows with somknn and with its peers, turn by turn, and write zoo.json and zoo.md.

    Rows that are not on this machine and peers that are not installed are listed. Works that are not requested keep
    their figures from an earlier run in --out. The exit code is 1 if an answer of somknn is wrong.
    """
    document, commit = _opened(out, provenance.host()), provenance.commit()
    options = {**({"rows": _ALL_OF_THEM, "queries": _ALL_OF_THEM} | (_QUICK if quick else {}))}
    options["threads"] = available_threads()
    wrong = []
    for entry, chosen in _chosen(only):
        for work in chosen:
            if resume and document["works"].get(work.name, {}).get("commit") == commit:
                continue
            click.echo(f"{work.name}: {work.title}")
            try:
                found = turns.compare(work, None, 1 if quick else n_turns, options, click.echo)
            except Missing as error:
                click.echo(f"  not here, {error}")
                document["absent"][entry.name] = str(error)
                break
            except turns.Failed as error:
                raise click.ClickException(f"{work.name}: {error}") from None
            document["absent"].pop(entry.name, None)
            said = {"commit": commit, "k": work.options["k"], "radius": entry.radius, "dtype": entry.dtype}
            document["works"][work.name] = found | said
            for row in found["rows"]:
                if not row["answer_equal"]:
                    click.echo(f"  WRONG: {row['contender']}: {row['answer']}")
                    wrong += [work.name] if row["contender"].startswith("somknn") else []
            report.write(document, out)
    report.write(document, out)
    click.echo(f"written: {out / 'zoo.md'} and zoo.json")
    if wrong:
        raise click.ClickException(f"wrong answers of somknn: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
