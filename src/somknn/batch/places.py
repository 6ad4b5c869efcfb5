"""The files that a run reads and writes: none of them is both."""

import os
from pathlib import Path
from typing import Any

from somknn._files import refuse_to_overwrite, work_folder
from somknn.batch.checks import UsageError
from somknn.batch.options import Options
from somknn.batch.sources import find_inputs, open_sources
from somknn.datasets.separators import TextOptions


def find_sources(inputs: Any, model_path: Any, output: Any, options: Options) -> list[Any]:
    """Open the sources for a path or several, after checking that the run will not overwrite any of its inputs."""
    items = [inputs] if isinstance(inputs, str) or not hasattr(inputs, "__iter__") else inputs
    found = find_inputs([str(item) for item in items])
    check_places(output, [model_path, *(item for item in found if item != "-")], options)
    return open_sources(found, TextOptions(options.header, options.separator, options.decimal))


def check_places(output: Any, inputs: list[Any], options: Options) -> None:
    """Raise UsageError if the output, or a file written next to it, is an input or lies in an input folder.

    New files in an input folder would change the input that `--resume` compares.
    """
    if str(output) == "-":
        return
    output, inputs = Path(output), [Path(path) for path in inputs]
    outputs = [output, rejects_path(output)] if options.on_bad_row == "quarantine" else [output]
    try:
        refuse_to_overwrite(outputs, inputs)
    except ValueError as error:
        raise UsageError(str(error)) from None
    folders = {Path(os.path.realpath(path)) for path in (output.parent, work_folder(output).parent)}
    parts = Path(os.path.realpath(work_folder(output)))
    for path in inputs:
        real = Path(os.path.realpath(path))
        if path.is_dir() and any(real in (folder, *folder.parents) for folder in folders):
            raise UsageError(f"the output {output} would lie in the input folder {path}; choose another place for it")
        if parts in (real, *real.parents):
            raise UsageError(
                f"the input {path} lies in {parts}, the work folder of this output; choose another place for the output"
            )


def rejects_path(output: Path) -> Path:
    """The file that rejected rows are written to."""
    return output.with_name(output.name + ".rejects.csv")
