"""The run: one thread reads and checks, this one computes, one writes. Memory holds two or three chunks of rows."""

import contextlib
import dataclasses
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from somknn import persistence
from somknn._ending import undone_unless_finished
from somknn._files import any_parts, replacing
from somknn.batch import writers
from somknn.batch.checks import UsageError, set_apart
from somknn.batch.coding import coded, coding_of
from somknn.batch.columns import choose_columns
from somknn.batch.manifest import WorkFolder, file_digest, fingerprint
from somknn.batch.options import CHANGEABLE, Options, Summary
from somknn.batch.places import find_sources, rejects_path
from somknn.batch.prediction import (
    Wanted,
    check_model,
    forget_names,
    kind_of,
    names_of_columns,
    predict_columns,
    set_threads,
    takes_missing,
)
from somknn.datasets.chunks import BatchError, Chunk, Reject
from somknn.datasets.separators import comma_advice

_MARK = "mark_"  # before the number of a column of --id, in a part


Progress = Callable[[int, int | None], None]


def classify(
    model: Any,
    inputs: Any,
    output: Any,
    *,
    resume: bool = False,
    overwrite: bool = True,
    n_jobs: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Summary:
    """Classify the rows of files with a saved model, in bounded memory; an interrupted run can be resumed.

    Parameters
    ----------
    model : path-like
        A file that `save` wrote.
    inputs : path-like, or a list of them
        .npy, .npz, IDX, CSV (features only), Parquet, Arrow, folders of images, glob patterns, "-" for CSV on standard
        input.
    output : path-like
        .parquet, .csv or .npy; "-" for CSV on standard output (which cannot be resumed). If it is a symbolic link, its
        target is replaced and the link stays.
    resume : bool, default=False
        Continue an interrupted run of the same command; start from the beginning if there is none. Only `on_bad_row`,
        `max_rejects` and `n_jobs` may differ.
    overwrite : bool, default=True
        Replace an output that is there already. The commands do so with --overwrite only.
    n_jobs : int, default=None
        Threads of the classifier; None keeps the model's setting.
    progress : callable, default=None
        Called with the number of rows done and the total number of rows (None if unknown).
    proba : bool, default=False
        Write the probability of every class.
    top : int, default=1
        Write this many labels with their probabilities, the most probable first.
    neighbors : bool, default=False
        Write the nearest neighbours (row of the training data, distance under the model's metric).
    chunk_bytes : int, default=64_000_000
        Bytes of input rows that each of the three stages holds at a time.
    on_bad_row : {"fail", "skip", "quarantine"}, default="fail"
        What to do with a row that has NaN, text, a wrong width or a value out of range. "quarantine" writes it to
        `<output>.rejects.csv`.
    max_rejects : int, default=10_000
        The run fails when it finds more bad rows than this.
    cast : bool, default=False
        Accept integer input for a model that was fitted on floating-point rows.
    header : bool, default=None
        Whether the first line of a CSV input names its columns. By default text does, and numbers that count up do;
        where it may be either, an error asks.
    columns : {"names", "given"}, default="names"
        How the columns of CSV and table files are found. "names": by the names that the model was fitted with, in
        whatever order the file has them; a model without names takes them in the file's order, with a ColumnsWarning.
        "given": the file has them in the model's order, and names are not compared.
    separator : str, default=None
        What separates the cells of a CSV input: one character, or "comma", "semicolon", "tab", "bar", "space". By
        default its first lines tell, and an error asks where they do not.
    decimal : {"point", "comma"}, default=None
        The sign before fractions in a CSV input; None is the point.
    any_kind : bool, default=False
        Take models that are no classifiers too; see `predict`.
    drop : list of str, default=()
        Names of columns that are no features (an id, a label) and are left out; they may hold text.
    unknown_categories : {"ignore"}, default=None
        What to do with a text that is none of the categories that training saw. By default it is a bad row; "ignore"
        counts it as none of them.
    id : list of str, default=()
        Names of columns that are no features and go to the output as they are, before the predictions.

    Returns
    -------
    Summary
        With `rows`, `rejects` and `resumed_rows`.

    Raises
    ------
    BatchError
        A ValueError: input that does not fit the model, or a bad row. Subclasses: `UsageError` for an output that is
        one of the inputs or the model, `ResumeError` for a run that cannot be resumed.
    ModelFileError
        A damaged model file.
    OSError
        A file cannot be read or written. Finished parts are kept; `resume=True` continues.
    """
    checked = Options(**options)
    sources = find_sources(inputs, model, output, checked)
    if not overwrite and Path(output).is_file() and not (resume and any_parts(output)):
        raise UsageError(f"the output {output} is there already; choose another place, or say --overwrite")
    run = Run(model, sources, output, checked, progress)
    set_threads(run.model, n_jobs)
    return run.run(resume)


def predict(model: Any, inputs: Any, output: Any, **more: Any) -> Summary:
    """The same as `classify`, for every kind of model.

    A regressor's output has `value` (`value_1`, … for several), a map's `map_row`, `map_column` and the `distance` to
    that neuron, a K-Means' `cluster` and the `distance` to its centre, an index's `neighbor_1`, `distance_1` and so on,
    a transformer's its columns, under their names or as `feature_1` and so on.
    A classifier's is that of `classify`. `proba` and `top` are for classifiers, `neighbors` for what has neighbours.
    """
    return classify(model, inputs, output, any_kind=True, **more)


def whole_part(chunk: Chunk, predictions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns of a part: the numbers of the rows, the columns of --id, the predictions."""
    return {
        "row": chunk.numbers,
        **{f"{_MARK}{i}": mark for i, mark in enumerate(chunk.marks.values())},
        **predictions,
    }


def text_width(mark: np.ndarray) -> int:
    """The number of characters that a column of text has room for; 0 for numbers."""
    return mark.dtype.itemsize // 4 if mark.dtype.kind == "U" else 0


class Run:
    """One run in this process.

    Another engine overrides `_results`, and `_input_identity` for inputs that are not files.
    """

    def __init__(
        self, model_path: Any, sources: list[Any], output: Any, options: Options, progress: Progress | None
    ) -> None:
        self.options, self.progress = options, progress
        self.wanted = Wanted(options.proba, options.top, options.neighbors)
        self.output = str(output)
        self.ending = writers.check_output(self.output)
        self.model_path = Path(model_path)
        self.model = persistence.load(self.model_path)
        check_model(self.model, self.wanted, any_kind=options.any_kind)
        for name in options.id:
            if writers.is_taken(name):
                raise BatchError(f"--id {name}: the output has a column of this name itself; rename it in the file")
        is_classifier = kind_of(self.model) == "classes"
        self.classes = writers.plain_classes(np.asarray(self.model.classes_)) if is_classifier else None
        self.schema = persistence.input_schema(self.model)
        forget_names(self.model)
        self.target = None if self.schema.dtype is None else np.dtype(self.schema.dtype)
        self.missing = takes_missing(self.model)
        self.sources = sources
        for source in sources:
            source.missing = self.missing
        self.coding = coding_of(self.model)
        by_name = options.columns == "names"
        choose_columns(
            sources, self.schema.feature_names, options.drop, options.id, by_name=by_name, coding=self.coding
        )
        for source in self.sources:
            self._check_schema(source)
        self.stopping = threading.Event()
        self.summary = Summary()

    def _check_schema(self, source: Any) -> None:
        expected = self.schema.n_features
        if expected is not None and self.coding is not None:
            expected = len(self.coding.numbers)
        if expected is not None and source.width != expected:
            drop = "; --drop NAME leaves a column out" if source.feature_names and source.width > expected else ""
            raise BatchError(f"{source.path}: rows of {source.width} values, the model expects {expected}{drop}")
        floating = self.target is not None and self.target.kind == "f"
        if floating and source.dtype is not None and source.dtype.kind in "biu" and not self.options.cast:
            raise BatchError(
                f"{source.path}: {source.dtype} values, but the model was fitted on {self.target}; if they have "
                "the same scale, allow it with --cast"
            )

    def _rows_per_chunk(self, source: Any) -> int:
        itemsize = 8 if source.dtype is None else source.dtype.itemsize
        width = source.width if self.coding is None else self.coding.n_features
        return max(1, self.options.chunk_bytes // (width * itemsize))

    def _identity(self) -> dict[str, Any]:
        options = {name: value for name, value in dataclasses.asdict(self.options).items() if value not in (None, ())}
        return {
            "input": self._input_identity(),
            "model": file_digest(self.model_path),
            "options": {k: v for k, v in options.items() if k not in CHANGEABLE},
            "kind of output": self.ending,
        }

    def _input_identity(self) -> Any:
        if any(str(source.path) == "<standard input>" for source in self.sources):
            return "standard input"
        return [self._fingerprint(source) for source in self.sources]

    @staticmethod
    def _fingerprint(source: Any) -> dict[str, Any]:
        some = {"names": source.names} if getattr(source, "some", False) else {}
        return {**fingerprint(source.path), **some}

    def run(self, resume: bool) -> Summary:
        identity = self._identity()
        if self.ending == "-":
            if resume:
                raise BatchError("standard output cannot be resumed; write to a file")
            self._stream()
            return self.summary
        if resume and identity["input"] == "standard input":
            raise BatchError("standard input cannot be resumed; put the rows into a file")
        folder = WorkFolder(Path(self.output), identity)
        with contextlib.closing(folder), undone_unless_finished(folder.discard):
            records = folder.open(resume)
            self._take_over(records)
            for number, chunk, columns in self._computed(records):
                record = {
                    "file": chunk.file,
                    "seen": chunk.seen,
                    "rows": len(chunk.numbers),
                    "cursor": chunk.cursor,
                    "rejects": [dataclasses.astuple(reject) for reject in chunk.rejects],
                    "widths": [text_width(mark) for mark in chunk.marks.values()],
                }
                records.append(folder.add(number, columns, record))
            self._finish(folder, records)
        return self.summary

    def _take_over(self, records: list[dict[str, Any]]) -> None:
        for record in records:
            self.summary.rows += record["rows"]
            self._count_rejects([Reject(*values) for values in record["rejects"]])
        self.summary.resumed_rows = self.summary.rows

    def _chunks(self, records: list[dict[str, Any]]) -> Iterator[Chunk]:
        first, cursor = (records[-1]["file"], records[-1]["cursor"]) if records else (0, None)
        for file in range(first, len(self.sources)):
            source = self.sources[file]
            for chunk in source.chunks(self._rows_per_chunk(source), cursor):
                chunk.file = file
                yield self.checked(chunk, str(source.path))
            cursor = None

    def checked(self, chunk: Chunk, file: str) -> Chunk:
        """The chunk without the rows that the model cannot take."""
        chunk = set_apart(chunk, self.target, file, self.missing)
        if self.coding is None:
            return chunk
        return coded(chunk, self.coding, file, ignore_unknown=self.options.unknown_categories == "ignore")

    def _count_rejects(self, rejects: list[Reject]) -> None:
        if not rejects:
            return
        if self.options.on_bad_row == "fail":
            resume = "" if self.ending == "-" else "--resume "
            if advice := comma_advice(rejects[0].value):
                raise BatchError(f"{rejects[0]}; {advice}")
            raise BatchError(f"{rejects[0]}; to go on without such rows: {resume}--on-bad-row skip (or quarantine)")
        self.summary.rejects += len(rejects)
        if self.summary.rejects > self.options.max_rejects:
            raise BatchError(f"more than {self.options.max_rejects} bad rows (--max-rejects); the last: {rejects[-1]}")

    def _total(self) -> int | None:
        counts = [source.n_rows for source in self.sources]
        return None if None in counts else sum(counts)

    def _computed(self, records: list[dict[str, Any]]) -> Iterator[tuple[int, Chunk, dict[str, np.ndarray]]]:
        """The results of `_results`; updates the summary and the progress as they pass."""
        total, done = self._total(), sum(record["seen"] for record in records)
        if self.progress:
            self.progress(done, total)
        try:
            for number, chunk, columns in self._results(records):
                yield number, chunk, columns
                self.summary.rows += len(chunk.numbers)
                done += chunk.seen
                if self.progress:
                    self.progress(done, total)
        finally:
            self.stopping.set()

    def _results(self, records: list[dict[str, Any]]) -> Iterator[tuple[int, Chunk, dict[str, np.ndarray]]]:
        """Chunks with their predictions, in order: the next is being read, one computed, the previous one written."""
        ready = _in_thread(self._chunks(records), self.stopping)
        yield from _in_thread(self._predictions(ready, len(records)), self.stopping)

    def _predictions(self, chunks: Iterator[Chunk], number: int) -> Iterator[Any]:
        for chunk in chunks:
            self._count_rejects(chunk.rejects)
            columns = whole_part(chunk, predict_columns(self.model, chunk.values, self.wanted))
            chunk.values = np.empty((0, 0))  # the rows are no longer needed (a slice would keep them alive)
            yield number, chunk, columns
            number += 1

    def _table(self, columns: dict[str, np.ndarray], file: int, widths: list[int]) -> dict[str, np.ndarray]:
        files = None
        names = getattr(self.sources[file], "names", None)
        if names is not None:
            files = np.array(names)[columns["row"]]
        elif len(self.sources) > 1:
            files = np.full(len(columns["row"]), str(self.sources[file].path))
            files = files.astype(f"U{max(len(str(source.path)) for source in self.sources)}")
        marks = {}
        for i, name in enumerate(self.options.id):
            mark = columns[f"{_MARK}{i}"]
            width = max(text_width(mark), widths[i]) if widths else 0
            marks[name] = mark.astype(f"U{width}") if width else mark
        transformed = columns.get("transformed")
        given = self.schema.feature_names
        names = [] if transformed is None else names_of_columns(self.model, given, transformed.shape[1])
        return writers.named_columns(columns, files, self.classes, marks, names)

    def _stream(self) -> None:
        header = True
        for _, chunk, columns in self._computed([]):
            if len(chunk.numbers):
                sys.stdout.buffer.write(writers.csv_text(self._table(columns, chunk.file, []), header))
                sys.stdout.buffer.flush()
                header = False

    def _finish(self, folder: WorkFolder, records: list[dict[str, Any]]) -> None:
        if not self.summary.rows:
            raise BatchError("no row could be classified: nothing was written")
        # Text of several widths in one array takes the widest; numbers among text (of other files) become text.
        widths = [max(each) for each in zip(*(record["widths"] for record in records), strict=True)]
        tables = (
            self._table(folder.read(number, record), record["file"], widths)
            for number, record in enumerate(records)
            if record["rows"]
        )
        if self.options.on_bad_row == "quarantine":
            with (
                replacing(rejects_path(Path(self.output))) as temporary,
                open(temporary, "w", encoding="utf-8", newline="") as file,
            ):
                writers.write_rejects(file, (reject for record in records for reject in record["rejects"]))
        with replacing(self.output) as temporary:
            writers.write_output(self.ending, temporary, tables, self.summary.rows)
        folder.remove()


def _in_thread(items: Iterator[Any], stopping: threading.Event) -> Iterator[Any]:
    """Yield the same items, produced by a separate thread; an error in that thread is raised here.

    Production of the next item starts when the previous one is taken, so one item is ready or in progress at any time.
    """
    handover: queue.SimpleQueue = queue.SimpleQueue()
    taken = threading.Semaphore(1)

    def work() -> None:
        try:
            while True:
                while not taken.acquire(timeout=0.1):
                    if stopping.is_set():
                        return
                if stopping.is_set():
                    return
                handover.put((next(items, handover), None))
        except BaseException as error:
            handover.put((None, error))

    threading.Thread(target=work, name="somknn-batch", daemon=True).start()
    while True:
        try:
            item, error = handover.get(timeout=0.5)
        except queue.Empty:
            if stopping.is_set():
                return
            continue
        if error is not None:
            raise error
        if item is handover:
            return
        taken.release()
        yield item
        del item
