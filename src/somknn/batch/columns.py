"""Which columns of a file go to the model, and in which order: by their names, or as they are given."""

import csv
import io
import shlex
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from somknn.batch.checks import ColumnsWarning
from somknn.batch.coding import Coding, marks_for
from somknn.datasets.chunks import BatchError

_SHOWN = 10  # names in one error line


def listed(names: Iterable[str]) -> str:
    """Names for an error line, each in quotes; the first ten and the number of the others."""
    every = [repr(name) for name in names]
    more = f" and {len(every) - _SHOWN:,} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more


def _joined(names: Iterable[str]) -> str:
    """The names as an argument that a shell passes on and `somknn.cli.parameters.split_names` reads."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return shlex.quote(text.getvalue())


def match(
    where: Any, names: Sequence[str], expected: Sequence[str], drop: Sequence[str] = (), *, flags: bool = True
) -> list[int]:
    """For each of the model's columns (`expected`) its position among a file's columns (`names`).

    Columns in `drop` are left out. `flags` says whether the caller's user has --drop and --columns. Raises BatchError
    that names columns which are missing, left over, or there twice.
    """
    kept = [i for i, name in enumerate(names) if name not in drop]
    if [names[i] for i in kept] == list(expected):
        return kept
    same_order = "; if they are in the model's order under other names, say --columns given" if flags else ""
    needed = [name for name in drop if name in expected]
    if needed:
        raise BatchError(f"{where}: the model needs the column {listed(needed)}; take it out of --drop")
    place: dict[str, int] = {}
    for i in kept:
        if names[i] in place:
            raise BatchError(
                f"{where}: columns {place[names[i]] + 1} and {i + 1} are both named {names[i]!r}; rename one of them"
            )
        place[names[i]] = i
    twice = [name for i, name in enumerate(expected) if name in expected[:i]]
    if twice:
        raise BatchError(
            f"{where}: the model has two columns named {twice[0]!r}, so the file must have the model's columns in its "
            f"order: {listed(expected)}{same_order}"
        )
    missing = [name for name in expected if name not in place]
    surplus = [name for name in place if name not in set(expected)]
    if missing:
        others = f" (it has {listed(surplus)}, which the model does not know)" if surplus else ""
        same = same_order if len(surplus) == len(missing) else ""
        raise BatchError(f"{where}: no column {listed(missing)}, which the model needs{others}{same}")
    if surplus:
        how = f"--id takes it to the output, or --drop {_joined(surplus)}" if flags else "take it out of the file"
        raise BatchError(f"{where}: the model does not know the column {listed(surplus)}; if it is no feature: {how}")
    return [place[name] for name in expected]


def choose_columns(
    sources: Sequence[Any],
    names: list[str] | None,
    drop: Sequence[str],
    ids: Sequence[str] = (),
    *,
    by_name: bool,
    coding: Coding | None = None,
) -> None:
    """Tell each source (see `somknn.batch.sources`) which of its columns a model takes.

    `names` are the model's, None if it knows none. Columns are found by name if `by_name` and both sides have names;
    otherwise they are those that are not in `drop` or `ids`, in the file's order. The columns `ids` go to the output,
    those that `coding` takes as texts are handed over as such. A ColumnsWarning says where that is a guess. Raises
    BatchError where it would be one although the model has names.
    """
    for source in sources:
        if names and source.feature_names is None and hasattr(source, "expect_names"):
            source.expect_names(names)
    known = {name for source in sources for name in source.feature_names or ()}
    for option, said in (("--drop", drop), ("--id", ids)):
        unknown = [name for name in said if name not in known]
        if unknown:
            use = "leave out" if option == "--drop" else "take to the output"
            raise BatchError(f"{sources[0].path}: no column {listed(unknown)} to {use} ({option})")
    guessed = []
    for source in sources:
        if source.feature_names is None:
            if ids:
                raise BatchError(f"{source.path}: no column names, which --id needs")
            if names and by_name and source.has_names:
                raise BatchError(
                    f"{source.path}: no column names in its first line, and the model knows its columns by name "
                    f"({listed(names)}); add that line, or say --columns given if the columns are in this order"
                )
            if coding is not None:
                _select(source, list(range(source.width)), {}, coding)
            continue
        marks = _places(source, ids)
        aside = [*drop, *ids]
        kept = [i for i, name in enumerate(source.feature_names) if name not in aside]
        vectors = source.vectors(kept) if hasattr(source, "vectors") else []
        if vectors and len(kept) > 1 and not (names and by_name):
            others = [source.feature_names[i] for i in kept if i != vectors[0]]
            raise BatchError(
                f"{source.path}: the column {listed([source.feature_names[vectors[0]]])} holds whole rows, and beside "
                f"it are {listed(others)}: --drop {_joined(others)} leaves them out, --id takes them to the output"
            )
        if names and by_name and (not vectors or len(kept) > 1):
            chosen = match(source.path, source.feature_names, names, aside)
        else:
            chosen = kept
            guessed += [source] if by_name and not vectors else []
        if coding is not None or marks or chosen != list(range(source.width)):
            _select(source, chosen, marks, coding)
    if guessed:
        more = f" and {len(guessed) - 1:,} more" if len(guessed) > 1 else ""
        warnings.warn(
            f"{guessed[0].path}{more}: the model knows no column names, so columns are taken in the file's order and "
            f"its names ({listed(guessed[0].feature_names)}) are not compared; --columns given says that this is right",
            ColumnsWarning,
            stacklevel=4,
        )


def _select(source: Any, chosen: list[int], marks: dict[str, int], coding: Coding | None) -> None:
    if coding is None:
        source.select(chosen, marks)
        return
    texts = listed(map(str, next(iter(coding.categories.values()))))
    if not hasattr(source, "select"):
        raise BatchError(f"{source.path}: numbers only, and the model has columns of categories ({texts})")
    if len(chosen) != coding.n_features:
        drop = "; --drop NAME leaves a column out" if len(chosen) > coding.n_features else ""
        raise BatchError(f"{source.path}: {len(chosen)} columns, the model expects {coding.n_features}{drop}")
    source.select([chosen[column] for column in coding.numbers], {**marks, **marks_for(coding, chosen)})


def _places(source: Any, ids: Sequence[str]) -> dict[str, int]:
    """The positions of the columns that go to the output."""
    names, places = source.feature_names, {}
    for name in ids:
        if names.count(name) != 1:
            what = "no column" if name not in names else "several columns"
            raise BatchError(f"{source.path}: {what} {name!r} to take to the output (--id)")
        places[name] = names.index(name)
    return places
