"""`somknn predict`: what a saved model of any kind says about the rows of files."""

from typing import Any

import click

from somknn.cli.classify import OPTIONS, work
from somknn.cli.parameters import with_options


@click.command()
@with_options(OPTIONS)
def command(model: str, inputs: tuple[str, ...], output: str, **options: Any) -> None:
    """Answer the rows of INPUT files with MODEL, whatever kind of model it is.

    A classifier gives a label and its confidence, as in `somknn classify`; a regressor a value; a map the row and
    column of the nearest neuron and the distance to it; a K-Means the cluster and the distance to its centre;
    NearestNeighbors the rows found and their distances; a transformer its columns. INPUT, OUTPUT and exit codes are
    those of `somknn classify`.
    """
    work(model, inputs, output, any_kind=True, **options)
