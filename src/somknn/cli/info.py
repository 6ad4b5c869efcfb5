"""`somknn info`: what is installed, and what the machine offers and the library uses."""

import click
from rich.console import Console
from rich.table import Table

from somknn.cli.errors import one_line_errors
from somknn.environment import describe


@click.command("info")
def command() -> None:
    """Show versions, processor, instruction set, threads, and where compiled kernels come from."""
    with one_line_errors():
        found = describe()
    others = [name for name in found["instruction_sets"] if name != found["instruction_set"]]
    rows = {
        "somknn": found["somknn"],
        "Python": found["python"],
        **found["packages"],
        "platform": found["platform"],
        "processor": f"{found['processor']} ({found['processors']} usable)",
        "instruction set": found["instruction_set"]
        + (f" (also here: {', '.join(others)}; choose with SOMKNN_ISA)" if others else ""),
        "threads": f"{found['threads']} (limit with n_jobs or NUMBA_NUM_THREADS)",
        "threading layer": found["threading_layer"],
        "prebuilt kernels": "\n".join(f"{level}: {each}" for level, each in found["prebuilt_kernels"].items())
        or "none came with this installation",
        "cache folder": f"{found['cache_folder']} (choose with SOMKNN_CACHE_DIR)",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, str(value))
    Console(highlight=False).print(table)
