"""What a run may be asked for, and what it reports."""

import dataclasses

# These options apply to the remaining rows only, so a resumed run may change them.
CHANGEABLE = ("on_bad_row", "max_rejects")


@dataclasses.dataclass(frozen=True)
class Options:
    """Options that determine the contents of the output. See `classify`."""

    proba: bool = False
    top: int = 1
    neighbors: bool = False
    chunk_bytes: int = 64_000_000
    on_bad_row: str = "fail"
    max_rejects: int = 10_000
    cast: bool = False
    header: bool | None = None
    separator: str | None = None
    decimal: str | None = None
    columns: str = "names"
    drop: tuple[str, ...] = ()
    id: tuple[str, ...] = ()
    any_kind: bool = False
    unknown_categories: str | None = None

    def __post_init__(self) -> None:
        if self.columns not in ("names", "given"):
            raise ValueError(f"columns={self.columns!r} must be 'names' or 'given'")
        for option in ("drop", "id"):
            names = getattr(self, option)
            if isinstance(names, str) or not all(isinstance(name, str) for name in names):
                raise ValueError(f"{option}={names!r} must be a list of column names")
            object.__setattr__(self, option, tuple(dict.fromkeys(names)))
        both = [name for name in self.id if name in self.drop]
        if both:
            raise ValueError(f"the column {both[0]!r} is given to --id and to --drop; leave one of them out")
        if self.unknown_categories not in (None, "ignore"):
            raise ValueError(f"unknown_categories={self.unknown_categories!r} must be 'ignore' or None")
        if self.on_bad_row not in ("fail", "skip", "quarantine"):
            raise ValueError(f"on_bad_row={self.on_bad_row!r} must be 'fail', 'skip' or 'quarantine'")
        if self.chunk_bytes < 1 or self.max_rejects < 0:
            raise ValueError("chunk_bytes must be at least 1 and max_rejects at least 0")


@dataclasses.dataclass
class Summary:
    """Counts of a run: rows written, rows rejected, and rows reused from an interrupted run."""

    rows: int = 0
    rejects: int = 0
    resumed_rows: int = 0
