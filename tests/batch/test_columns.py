"""Columns go to the model by name, in whatever order a file has them; what cannot be known is asked with a flag."""

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from somknn import KNeighborsClassifier
from somknn.batch import BatchError, ColumnsWarning, ResumeError, classify
from somknn.batch import engine as engine_module
from somknn.cli import main

NAMES = ["alcohol", "ash", "hue, of glass", "od280/od315", "proline"]
ORDER = [3, 0, 4, 2, 1]
ENDINGS = ["csv", "csv.gz", "parquet", "arrow"]


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 5)) * [1, 10, 0.1, 3, 100] + [5, 0, 1, -9, 700]


@pytest.fixture(scope="module")
def frame(values):
    return pd.DataFrame(values, columns=NAMES)


@pytest.fixture(scope="module")
def fitted(frame):
    labels = np.array(["low", "high"])[(frame["ash"] > 0).to_numpy().astype(int)]
    return KNeighborsClassifier(1, algorithm="brute").fit(frame, labels)


@pytest.fixture(scope="module")
def named_file(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("named") / "model.safetensors"
    fitted.save(path)
    return path


@pytest.fixture(scope="module")
def nameless_file(fitted, values, tmp_path_factory):
    path = tmp_path_factory.mktemp("nameless") / "model.safetensors"
    KNeighborsClassifier(1, algorithm="brute").fit(values, fitted.predict(pd.DataFrame(values, columns=NAMES))).save(
        path
    )
    return path


def write(frame, folder, ending, name="in"):
    path = folder / f"{name}.{ending}"
    if ending.startswith("csv"):
        frame.to_csv(path, index=False)
    elif ending == "parquet":
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=70)
    else:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=90)
    return path


def labels(folder, model, path, **options):
    out = folder / "out.npy"
    out.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ColumnsWarning)
        classify(model, path, out, chunk_bytes=5 * 8 * 60, **options)
    return list(np.load(out)["label"])


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_order_of_columns_does_not_matter(tmp_path, frame, fitted, named_file, ending):
    expected = list(fitted.predict(frame))
    for order in (ORDER, range(5), [4, 3, 2, 1, 0]):
        path = write(frame.iloc[:, list(order)], tmp_path, ending)
        assert labels(tmp_path, named_file, path) == expected


@pytest.mark.parametrize("ending", ENDINGS)
def test_other_columns_are_left_out_by_name_only(tmp_path, frame, fitted, named_file, ending):
    more = frame.iloc[:, ORDER].copy()
    more.insert(2, "wine, name", [f"wine {i}, " + "very long " * 20 for i in range(300)])
    more["id"] = range(300)
    path = write(more, tmp_path, ending)
    with pytest.raises(BatchError, match=r"does not know the column 'wine, name', 'id'; .*--drop '\"wine, name\",id'$"):
        labels(tmp_path, named_file, path)
    assert labels(tmp_path, named_file, path, drop=["wine, name", "id"]) == list(fitted.predict(frame))
    with pytest.raises(BatchError, match=r"no column 'Id' to leave out"):
        labels(tmp_path, named_file, path, drop=["wine, name", "Id"])
    with pytest.raises(BatchError, match=r"needs the column 'ash'; take it out of --drop"):
        labels(tmp_path, named_file, path, drop=["wine, name", "id", "ash"])


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize("nested", [False, True])
def test_columns_left_out_may_be_of_any_type(tmp_path, frame, fitted, named_file, ending, nested):
    """Text that packs well is no damage, in compressed files as pandas writes them either."""
    more = pa.Table.from_pandas(frame.iloc[:, ORDER], preserve_index=False)
    more = more.add_column(0, "text", [["x" * (10 if nested else 5000)] * 300]).add_column(2, "none", pa.nulls(300))
    more = more.add_column(5, "kind", pa.array(["red", "white", None] * 100).dictionary_encode())
    more = more.append_column("time", pa.array(range(300), pa.timestamp("s")))
    if nested:
        more = more.add_column(1, "list", [[[1, 2], None, [3]] * 100])
        more = more.append_column("record", [[{"a": 1}] * 300])
    path = tmp_path / f"in.{ending}"
    if ending == "parquet":
        pq.write_table(more, path, row_group_size=70)
    else:
        with pa.ipc.new_file(path, more.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(more, max_chunksize=90)
    drop = [name for name in more.column_names if name not in NAMES]
    assert labels(tmp_path, named_file, path, drop=drop) == list(fitted.predict(frame))
    with pytest.raises(BatchError, match="does not know the column 'text'"):
        labels(tmp_path, named_file, path)
    with pytest.raises(BatchError, match="does not know the column 'time'"):
        labels(tmp_path, named_file, path, drop=[name for name in drop if name != "time"])


@pytest.mark.parametrize("ending", ENDINGS)
def test_missing_columns_are_named(tmp_path, frame, named_file, ending):
    with pytest.raises(BatchError, match=r"in.*: no column 'ash', 'proline', which the model needs$"):
        labels(tmp_path, named_file, write(frame[["alcohol", "hue, of glass", "od280/od315"]], tmp_path, ending))
    renamed = frame.rename(columns={"ash": "Ash"})
    with pytest.raises(BatchError, match=r"no column 'ash', .*it has 'Ash', which the model does not know\); .*given"):
        labels(tmp_path, named_file, write(renamed, tmp_path, ending))
    assert len(labels(tmp_path, named_file, write(renamed, tmp_path, ending), columns="given")) == 300


def test_many_names_make_a_short_line(tmp_path, frame, named_file):
    more = pd.concat([frame, pd.DataFrame(0, index=frame.index, columns=[f"x{i}" for i in range(500)])], axis=1)
    with pytest.raises(BatchError, match="'x9' and 490 more"):
        labels(tmp_path, named_file, write(more, tmp_path, "csv"))


def test_a_file_without_names(tmp_path, frame, values, fitted, named_file):
    frame.to_csv(tmp_path / "in.csv", index=False, header=False)
    with pytest.raises(BatchError, match=r"in\.csv: no column names .*'alcohol', 'ash'.*--columns given"):
        labels(tmp_path, named_file, tmp_path / "in.csv")
    expected = list(fitted.predict(frame))
    assert labels(tmp_path, named_file, tmp_path / "in.csv", columns="given") == expected
    np.save(tmp_path / "in.npy", values)  # kinds of files that never have names
    assert labels(tmp_path, named_file, tmp_path / "in.npy") == expected
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 5)
    pq.write_table(pa.table({"x": column}), tmp_path / "list.parquet")
    assert labels(tmp_path, named_file, tmp_path / "list.parquet") == expected


def test_names_that_are_there_twice(tmp_path, frame, named_file):
    twice = frame.iloc[:, [0, 1, 2, 3, 4, 1]]
    with pytest.raises(BatchError, match=r"columns 2 and 6 are both named 'ash'"):
        labels(tmp_path, named_file, write(twice, tmp_path, "csv"))
    model = KNeighborsClassifier(1).fit(frame, range(300))
    model.feature_names_in_ = np.array(["a", "b", "a", "c", "d"], dtype=object)
    model.save(tmp_path / "m")
    assert labels(tmp_path, tmp_path / "m", write(frame.set_axis(list("abacd"), axis=1), tmp_path, "csv"))
    with pytest.raises(BatchError, match=r"two columns named|both named 'a'"):
        labels(tmp_path, tmp_path / "m", write(frame.set_axis(list("aabcd"), axis=1), tmp_path, "csv"))


def test_names_that_are_numbers(tmp_path, frame, fitted):
    numbered = frame.set_axis(list("01234"), axis=1)
    KNeighborsClassifier(1, algorithm="brute").fit(numbered, fitted.predict(frame)).save(tmp_path / "m")
    path = write(numbered.iloc[:, ORDER], tmp_path, "csv")
    assert labels(tmp_path, tmp_path / "m", path) == list(fitted.predict(frame))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_model_without_names_says_so_once(tmp_path, frame, fitted, nameless_file, ending):
    write(frame, tmp_path, ending, "a"), write(frame, tmp_path, ending, "b")
    with pytest.warns(ColumnsWarning, match=r"a\..* and 1 more: the model knows no column names") as caught:
        classify(nameless_file, str(tmp_path / f"[ab].{ending}"), tmp_path / "out.npy")
    assert len(caught) == 1
    assert list(np.load(tmp_path / "out.npy")["label"]) == list(fitted.predict(frame)) * 2
    assert len(labels(tmp_path, nameless_file, tmp_path / f"a.{ending}", columns="given")) == 300
    more = frame.assign(kind="text")
    with pytest.raises(BatchError, match="rows of 6 values, the model expects 5; --drop NAME"):
        labels(tmp_path, nameless_file, write(more, tmp_path, ending), columns="given")
    assert len(labels(tmp_path, nameless_file, write(more, tmp_path, ending), columns="given", drop=["kind"])) == 300


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_bad_row_is_found_in_its_own_column(tmp_path, frame, fitted, named_file, ending):
    bad = frame.iloc[:, ORDER].copy()
    bad.insert(0, "kind", "text")
    bad.iloc[7, 5] = np.nan  # "ash": column 6 of the file, 2 of the model
    path = write(bad, tmp_path, ending)
    place = "line 9" if "csv" in ending else "row 7"
    with pytest.raises(BatchError, match=f"{place}, column 6: "):
        labels(tmp_path, named_file, path, drop=["kind"])
    kept = [label for i, label in enumerate(fitted.predict(frame)) if i != 7]
    assert labels(tmp_path, named_file, path, drop=["kind"], on_bad_row="skip") == kept


def test_bad_lines_of_a_csv_beside_columns_left_out(tmp_path, frame, fitted, named_file):
    path = write(frame.iloc[:, ORDER].assign(kind="a, b"), tmp_path, "csv")
    lines = path.read_text().splitlines()
    lines[5] = "1,2,3"
    lines[9] = lines[9].replace(lines[9].split(",")[1], '"1,5"', 1)
    path.write_text("\n".join(lines))
    out = tmp_path / "out.npy"
    classify(named_file, path, out, drop=["kind"], on_bad_row="quarantine")
    assert list(np.load(out)["row"]) == [i for i in range(300) if i not in (4, 8)]
    rejects = (tmp_path / "out.npy.rejects.csv").read_text()
    assert f"{path},4,6,0," in rejects
    assert f'{path},8,10,2,not a finite number,"1,5"' in rejects


def test_resuming_asks_for_the_same_columns(tmp_path, frame, named_file, monkeypatch):
    path, calls = write(frame.iloc[:, ORDER].assign(id=1.5), tmp_path, "csv"), []
    whole = labels(tmp_path, named_file, path, drop=["id"])
    real = engine_module.predict_columns

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(engine_module, "predict_columns", failing)
    options = {"drop": ["id"], "chunk_bytes": 5 * 8 * 60}
    with pytest.raises(KeyboardInterrupt):
        classify(named_file, path, tmp_path / "r.npy", **options)
    with pytest.raises(ResumeError, match="option columns differs"):
        classify(named_file, path, tmp_path / "r.npy", resume=True, columns="given", **options)
    assert classify(named_file, path, tmp_path / "r.npy", resume=True, **options).resumed_rows > 0
    assert list(np.load(tmp_path / "r.npy")["label"]) == whole


def run(*arguments, stdin=None):
    return CliRunner().invoke(main, ["classify", "--overwrite", *map(str, arguments)], input=stdin)


def test_command(tmp_path, frame, fitted, named_file, nameless_file):
    more = frame.iloc[:, ORDER].assign(id="x", **{"a, b": "y"})
    path, out = write(more, tmp_path, "csv"), tmp_path / "out.csv"
    result = run(named_file, path, "-o", out)
    assert (result.exit_code, result.stderr.count("\n")) == (3, 1)
    assert "--drop 'id,\"a, b\"'" in result.stderr
    assert not out.exists()
    for drop in (['id,"a, b"'], ["id", '"a, b"']):
        result = run(named_file, path, "-o", out, *(part for name in drop for part in ("--drop", name)))
        assert result.exit_code == 0, result.output
        assert result.stderr == "300 rows classified\n"
        assert [line.split(",")[1] for line in out.read_text().splitlines()[1:]] == list(fitted.predict(frame))
    text = frame.to_csv(index=False)
    result = run(nameless_file, "-", "-o", "-", stdin=text)
    assert result.exit_code == 0
    assert result.stderr.count("the model knows no column names") == 1
    assert "names ('alcohol', 'ash', " in result.stderr  # a bad first row that was taken for names is seen there
    assert result.stderr.count("\n") == 2
    assert run(nameless_file, "-", "-o", "-", "--columns", "given", stdin=text).stderr.count("\n") == 1
    result = run(named_file, "-", "-o", "-", stdin=frame.iloc[:, ORDER].to_csv(index=False))
    assert [line.split(",")[1] for line in result.stdout.splitlines()[1:]] == list(fitted.predict(frame))
