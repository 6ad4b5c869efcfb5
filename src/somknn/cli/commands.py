"""The group of all subcommands."""

import atexit
import gc
import importlib
from typing import Any, NamedTuple

import click

from somknn.cli.errors import one_line_errors


class _Lazy(NamedTuple):
    """A command that is imported when it is used. `short` is what the list of commands says: its first sentence."""

    module: str
    short: str


_COMMANDS = {
    "run": _Lazy(
        "somknn.cli.run",
        "Classify a data set of digits, or another one, with exact nearest neighbours; "
        "or predict numbers for its rows.",
    ),
    "explore": _Lazy(
        "somknn.cli.explore",
        "Show shapes, value ranges, class counts, constant and repeated rows, and each column of a table; "
        "draw the data.",
    ),
    "evaluate": _Lazy(
        "somknn.cli.evaluate", "Train k-NN on the training rows (or load a model) and judge it on the test rows."
    ),
    "tune": _Lazy(
        "somknn.cli.tune",
        "Choose k, weighting and features by cross-validation on the training rows; then judge on the test rows.",
    ),
    "som": _Lazy("somknn.cli.som", "Train a self-organizing map and label its neurons."),
    "prototypes": _Lazy(
        "somknn.cli.prototypes", "Classify by a few prototypes of each class, and compare with k-NN on all rows."
    ),
    "info": _Lazy(
        "somknn.cli.info", "Show versions, processor, instruction set, threads, and where compiled kernels come from."
    ),
    "classify": _Lazy(
        "somknn.cli.classify", "Classify the rows of INPUT files with MODEL, a file written by a model's save method."
    ),
    "predict": _Lazy("somknn.cli.predict", "Answer the rows of INPUT files with MODEL, whatever kind of model it is."),
    "warmup": _Lazy(
        "somknn.cli.warmup",
        "Compile the kernels that a job needs, so that its first run takes no longer than later ones.",
    ),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        _collect_rarely()
        return importlib.import_module(_COMMANDS[cmd_name].module).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does, but without importing the commands, which takes ten times as long."""
        room = formatter.width - 6 - max(map(len, _COMMANDS))
        rows = [
            (name, click.Command(name, help=lazy.short).get_short_help_str(room)) for name, lazy in _COMMANDS.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        # From any command; commands handle their other expected errors themselves.
        with one_line_errors(ImportError, MemoryError):
            try:
                return super().invoke(ctx)
            except click.UsageError as error:
                given = error.ctx.command.params if error.ctx is not None else []
                if "unexpected extra argument" in error.message and any(each.name == "dataset" for each in given):
                    message = f"{error.message}; the data set is named by --dataset"
                    raise click.UsageError(message, error.ctx) from None
                raise


def _collect_rarely() -> None:
    """Delay Python's garbage collection of imported objects.

    One collection, at 200,000 objects, took 0.09 s of the 2.5 s of `somknn tune`.
    """
    gc.set_threshold(1_000_000, 20, 100)
    atexit.register(gc.freeze)


@click.group("somknn", cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="somknn")
def group() -> None:
    """Exact nearest neighbours, self-organizing maps and prototype classifiers."""
