"""`somknn classify`: classify the rows of files with a saved model."""

import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import click

from somknn._files import any_parts
from somknn.cli import signals
from somknn.cli.errors import one_line
from somknn.cli.parameters import CELLS, HEADER, split_names, with_options


class _Size(click.ParamType):
    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        text = str(value).strip().upper().removesuffix("B")
        factor = {"K": 10**3, "M": 10**6, "G": 10**9}.get(text[-1:], 1)
        try:
            size = int(float(text.rstrip("KMG")) * factor)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no size; write for example 64MB", param, ctx)
        if size < 1:
            self.fail(f"{value!r} is too small", param, ctx)
        return size


def _names(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for value in values for name in split_names(value)))


OPTIONS = [
    click.argument("model", type=click.Path()),
    click.argument("inputs", metavar="INPUT...", nargs=-1, required=True),
    click.option(
        "-o", "--output", required=True, help="A .parquet, .csv or .npy file, or - for CSV on standard output."
    ),
    click.option("--proba", is_flag=True, help="Write the probability of every class."),
    click.option("--top", type=click.IntRange(1), default=1, help="Write that many labels, the best first."),
    click.option("--neighbors", is_flag=True, help="Write the nearest training rows and their distances."),
    click.option("--chunk-bytes", type=_Size(), default="64MB", show_default=True, help="Rows held by each stage."),
    click.option(
        "--on-bad-row",
        type=click.Choice(["fail", "skip", "quarantine"]),
        default="fail",
        show_default=True,
        help="A row with NaN, text, a wrong width or a value out of range; quarantine writes it to OUTPUT.rejects.csv.",
    ),
    click.option(
        "--max-rejects", type=click.IntRange(0), default=10_000, show_default=True, help="Give up beyond this."
    ),
    click.option(
        "--cast", is_flag=True, help="Accept integer rows for a model that was fitted on floating-point rows."
    ),
    HEADER,
    *CELLS,
    click.option(
        "--columns",
        type=click.Choice(["names", "given"]),
        default="names",
        show_default=True,
        help="Find the columns by the names that the model was fitted with, or take them in the order given.",
    ),
    click.option(
        "--drop",
        metavar="NAME[,NAME...]",
        multiple=True,
        callback=_names,
        help="Leave out columns that are no features, such as an id or a label.",
    ),
    click.option(
        "--id",
        metavar="NAME[,NAME...]",
        multiple=True,
        callback=_names,
        help="Columns that are no features and go to the output, before the predictions.",
    ),
    click.option(
        "--unknown-categories",
        type=click.Choice(["ignore"]),
        help="Take rows with texts that are none of the categories of training: they count as none of them.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace an OUTPUT that is there already."),
    click.option("--resume", is_flag=True, help="Continue an interrupted run of the same command."),
    click.option("--threads", "n_jobs", type=int, default=None, help="Threads of the classifier."),
]


@click.command()
@with_options(OPTIONS)
def command(model: str, inputs: tuple[str, ...], output: str, **options: Any) -> None:
    """Classify the rows of INPUT files with MODEL, a file written by a model's save method.

    INPUT: CSV and TSV, Parquet, Arrow and Feather, .npy, .npz, IDX, images, a folder of images or of the parts of a
    table, a glob pattern, or - for CSV on standard input. Memory stays bounded whatever the size. OUTPUT appears when
    it is complete; until then finished parts lie in OUTPUT.parts, and --resume continues from them.

    A model that was fitted on named columns finds them in a CSV or a table by name, in whatever order. --drop names
    columns that are no features; --columns given says that a file has the model's columns in the model's order.

    Exit codes: 0 done; 1 not enough memory; 2 wrong usage; 3 input or a row that does not fit the model, or a package
    that they need is missing; 4 damaged model file; 5 cannot resume; 6 a file cannot be read or written; 130, 143 or
    129 interrupted by Ctrl-C, SIGTERM or SIGHUP (resumable).
    """
    work(model, inputs, output, **options)


def work(model: str, inputs: tuple[str, ...], output: str, **options: Any) -> None:
    """Answer the rows of files, say how far it is, and end with the exit code of what went wrong."""

    def hint() -> str:  # may be called at any moment, also during an import
        return "; finished parts are kept, --resume continues" if output != "-" and any_parts(output) else ""

    signals.advise(hint)
    from somknn.batch import BatchError, ResumeError, UsageError, classify
    from somknn.persistence import ModelFileError

    try:
        with _said_at_once(), _Progress() as progress:
            summary = classify(model, list(inputs), output, progress=progress, **options)
    except ModelFileError as error:
        _stop(str(error), 4)
    except ResumeError as error:
        _stop(one_line(error), 5)
    except UsageError as error:
        _stop(one_line(error), 2)
    except MemoryError as error:
        _stop(f"{one_line(error)}; a smaller --chunk-bytes takes less{hint()}", 1)
    except (ImportError, BatchError, ValueError, TypeError) as error:
        _stop(one_line(error), 3)
    except OSError as error:
        text = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else one_line(error)
        _stop(f"{text}{'' if isinstance(error, FileNotFoundError) else hint()}", 6)
    except KeyboardInterrupt:  # when the process does not handle signals as `main` does
        _stop(f"interrupted{hint()}", 130)
    else:
        resumed = f", {summary.resumed_rows:,} of them by the interrupted run" if summary.resumed_rows else ""
        rejected = f"; {summary.rejects:,} bad rows set apart" if summary.rejects else ""
        done = "predicted" if options.get("any_kind") else "classified"
        click.echo(f"{summary.rows:,} rows {done}{resumed}{rejected}", err=True)


@contextlib.contextmanager
def _said_at_once() -> Iterator[None]:
    """Show a ColumnsWarning as a line on stderr, without its place in the code."""
    from somknn.batch import ColumnsWarning

    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, ColumnsWarning):
                click.echo(f"{_name()}: {message}", err=True)
            else:
                others(message, category, *where, **more)

        warnings.showwarning = show
        warnings.simplefilter("always", ColumnsWarning)
        yield


def _stop(message: str, code: int) -> None:
    click.echo(f"{_name()}: {message}", err=True)
    sys.exit(code)


def _name() -> str:
    return f"somknn {click.get_current_context().info_name}"


class _Progress:
    """A progress bar with rows per second and time left on stderr; nothing without a terminal."""

    def __enter__(self) -> Any:
        self._bar: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("classifying" if _name().endswith("classify") else "predicting"),
                BarColumn(),
                TextColumn("{task.fields[done]}"),
                TimeRemainingColumn(elapsed_when_finished=True),
                TextColumn("{task.fields[time]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task: Any = None
        return self._update

    def _update(self, done: int, total: int | None) -> None:
        if self._bar is None:
            return
        if self._task is None:
            self._task = self._bar.add_task("", total=total, completed=done, done="", time="")
        speed = self._bar.tasks[0].speed
        rate = f", {speed:,.0f} a second" if speed else ""
        of_all = "" if total is None else f" of {total:,}"
        self._bar.update(
            self._task, completed=done, done=f"{done:,}{of_all} rows{rate}", time="in all" if done == total else "left"
        )

    def __exit__(self, *error: Any) -> None:
        if self._bar is not None:
            self._bar.stop()
