"""Files as others write them: the same predictions, or one line that names the option, and with it the same."""

import numpy as np
import pytest
import writers
from click.testing import CliRunner

from somknn import KNeighborsClassifier, datasets
from somknn.cli import main

NAMES = [f"pixel_{i // 8}x{i % 8}" for i in range(64)]
# Kinds of files of columns with names, and what has to be said for them.
TABLES = {
    writers.csv_pandas: [],
    writers.csv_pandas_index: ["--drop", '""'],
    writers.csv_pandas_shuffled_floats: [],
    writers.csv_r: ["--drop", '""'],
    writers.csv_excel_germany: ["--decimal", "comma"],
    writers.csv_excel_hint: None,
    writers.csv_semicolons: [],
    writers.csv_bars: [],
    writers.csv_spaces: ["--separator", "space"],
    writers.csv_capitals: [],
    writers.tsv: [],
    writers.tsv_gz: [],
    writers.csv_bz2: [],
    writers.csv_xz: [],
    writers.csv_zst: [],
    writers.csv_zip: [],
    writers.csv_without_ending: [],
    writers.csv_label_and_id: ["--drop", "target", "--id", "name"],
    writers.csv_numbered: ["--columns", "given"],
    writers.csv_without_names: ["--columns", "given"],
    writers.csv_spark: [],
    writers.parquet_pandas: [],
    writers.parquet_pandas_named_index: ["--id", "name"],
    writers.parquet_duckdb_decimals: [],
    writers.parquet_text_beside: ["--drop", "notes,kind,time"],
    writers.parquet_spark: [],
    writers.feather: [],
}
# Kinds of files of whole rows.
ROWS = {
    writers.parquet_polars_list: [],
    writers.parquet_polars_array: ["--id", "id"],
    writers.parquet_pandas_lists: [],
    writers.parquet_duckdb_list: ["--id", "id"],
    writers.parquet_nested_lists: [],
    writers.parquet_tensors: [],
    writers.parquet_hugging_face: ["--drop", "label"],
    writers.arrow_stream: ["--drop", "label"],
    writers.npy: [],
    writers.npz: [],
    writers.npz_kmnist: [],
    writers.hdf5: [],
    writers.idx: [],
    writers.idx_gz_renamed: [],
    writers.image_folder: [],
    writers.image_folders_of_classes: [],
    writers.image_glob: [],
    writers.images_of_several_kinds: [],
}
KINDS = [pytest.param(kind, said, id=kind.__name__) for kind, said in (TABLES | ROWS).items()]


@pytest.fixture(scope="module")
def rows():
    digits = datasets.load("digits", test_size=300)
    ids = [f'id "{i}", of {len(digits.X_test)}' for i in range(300)]
    return writers.Rows(digits.X_test, NAMES, digits.y_test, ids)


@pytest.fixture(scope="module")
def models(rows, tmp_path_factory):
    """A model that knows its columns by name, and one that knows no names; both answer alike."""
    digits, folder = datasets.load("digits", test_size=300), tmp_path_factory.mktemp("models")
    fitted = KNeighborsClassifier(1, algorithm="brute").fit(digits.X_train, digits.y_train)
    fitted.save(folder / "rows")
    fitted.feature_names_in_ = np.array(NAMES, dtype=object)
    fitted.save(folder / "tables")
    del fitted.feature_names_in_
    return folder, fitted.predict(rows.values)


def classify(*arguments):
    done = CliRunner().invoke(main, ["classify", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.mark.parametrize(("kind", "said"), KINDS)
def test_the_same_predictions_or_one_line(tmp_path, rows, models, kind, said):
    folder, expected = models
    place, out = kind(rows, tmp_path), tmp_path / "out.npy"
    command = [folder / ("tables" if kind in TABLES else "rows"), place, "-o", out]
    done = classify(*command)
    if said == []:
        assert done.exit_code == 0, done.stderr
        assert done.stderr == "300 rows classified\n"
    else:
        assert done.exit_code == 3
        assert done.stderr.count("\n") == 1
        assert not out.exists()
        if said is None:  # there is something to do first, which the line says
            return
        assert said[0] in done.stderr
        done = classify(*command, *said)
        assert done.exit_code == 0, done.stderr
    found = np.load(out)
    assert list(found["label"]) == list(expected)
    for name in {"name", "id"} & set(found.dtype.names):
        assert [str(each) for each in found[name]] in (rows.ids, [str(i) for i in range(300)])
