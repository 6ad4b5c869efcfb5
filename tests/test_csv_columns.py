"""CSV files: the label, the header and the features are what the file says, else an error asks."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_digits, load_iris

from somknn import datasets
from somknn.datasets import columns


@pytest.fixture
def iris():
    return load_iris(as_frame=True)


def load(tmp_path, content, name="d.csv", **options):
    path = tmp_path / name
    if isinstance(content, str):
        path.write_text(content)
    return datasets.load(path, **options)


def all_rows(data):
    """Features and label of every row, in a fixed order: the split shuffles them."""
    rows = np.column_stack([np.vstack([data.X_train, data.X_test]), np.concatenate([data.y_train, data.y_test])])
    return rows[np.lexsort(rows.T)]


def sorted_rows(X, y):
    rows = np.column_stack([X, y])
    return rows[np.lexsort(rows.T)]


def test_iris_as_pandas_writes_it(tmp_path, iris):
    iris.frame.to_csv(tmp_path / "d.csv", index=False)
    found = datasets.load(tmp_path / "d.csv")
    assert found.feature_names == iris.feature_names
    assert found.target_names == ["0", "1", "2"]
    assert found.notes == ()
    np.testing.assert_array_equal(all_rows(found), sorted_rows(iris.data, iris.target))


@pytest.mark.parametrize("name", ["label", "Target", "CLASS", " y "])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_label_by_its_name(tmp_path, iris, name, place):
    frame = iris.data.copy()
    frame.insert(place, name, iris.target_names[iris.target])
    frame.to_csv(tmp_path / "d.csv", index=False)
    found = datasets.load(tmp_path / "d.csv")
    assert found.feature_names == iris.feature_names
    assert found.target_names == list(iris.target_names)


@pytest.mark.parametrize("label", ["kind", "KIND", "name:kind", "3", 3, "number:3"])
def test_a_label_that_is_said(tmp_path, iris, label):
    frame = iris.data.copy()
    frame.insert(2, "kind", iris.target)
    frame.to_csv(tmp_path / "d.csv", index=False)
    np.testing.assert_array_equal(all_rows(load(tmp_path, None, label=label)), sorted_rows(iris.data, iris.target))
    frame.to_csv(tmp_path / "d.csv", index=False, header=False)
    if label in ("3", 3, "number:3"):
        np.testing.assert_array_equal(all_rows(load(tmp_path, None, label=label)), sorted_rows(iris.data, iris.target))


def test_dropped_columns(tmp_path, iris):
    frame = iris.frame.assign(name=[f"flower {i}" for i in range(150)])
    frame.to_csv(tmp_path / "d.csv", index=False)
    with pytest.raises(ValueError, match=r"line 2, column 6 \(name\): 'flower 0' is not a .*--drop name"):
        load(tmp_path, None)
    found = load(tmp_path, None, drop=["name", 1])
    assert found.feature_names == iris.feature_names[1:]
    np.testing.assert_array_equal(all_rows(found), sorted_rows(iris.data.iloc[:, 1:], iris.target))
    with pytest.raises(ValueError, match="--label and to --drop"):
        load(tmp_path, None, label="target", drop="target")
    quoted = "".join(f'{i % 2},"a, b",{i}\n' for i in range(10))
    assert load(tmp_path, quoted, drop=2, label=1).X_train.shape == (8, 1)


def test_the_index_of_pandas_is_no_feature(tmp_path, iris):
    iris.frame.to_csv(tmp_path / "d.csv")
    for options in ({}, {"label": "target"}):
        with pytest.raises(ValueError, match=r"column 1 \(no name\) looks like the row numbers.*--drop 1 .*--label 1 "):
            load(tmp_path, None, **options)
    np.testing.assert_array_equal(all_rows(load(tmp_path, None, drop="1")), sorted_rows(iris.data, iris.target))
    pd.read_csv(tmp_path / "d.csv").to_csv(tmp_path / "d.csv", index=False)
    with pytest.raises(ValueError, match=r"column 1 \(Unnamed: 0\) .*--drop 'Unnamed: 0' .*--label"):
        load(tmp_path, None)
    assert load(tmp_path, None, drop="Unnamed: 0").X_train.shape == (120, 4)
    pd.DataFrame(iris.frame.to_numpy()).to_csv(tmp_path / "d.csv")  # its header is ,0,1,2,3,4
    with pytest.raises(ValueError, match=r"--drop number:1 "):
        load(tmp_path, None, label=6)
    np.testing.assert_array_equal(
        all_rows(load(tmp_path, None, drop="number:1", label=6)), sorted_rows(iris.data, iris.target)
    )


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("kind,a,b", r"which column is the label\? no column is named .* --label NAME.* are kind, a, b"),
        ("label,a,y", r"which column is the label\? 2 columns are named .* --label NAME.* are label, a, y"),
        ("0,1,2,3", r"--label NAME, NUMBER or none; the columns are 0, 1, 2, 3"),
    ],
)
def test_a_label_that_the_names_do_not_tell_is_asked(tmp_path, header, message):
    width = header.count(",") + 1
    text = header + "\n" + "".join(f"{i % 3}" + ",7" * (width - 1) + "\n" for i in range(9))
    with pytest.raises(ValueError, match=message):
        load(tmp_path, text)
    assert load(tmp_path, text, label=1).target_names == ["0", "1", "2"]


def test_a_first_column_that_is_no_label_is_asked(tmp_path, iris):
    iris.frame.to_csv(tmp_path / "d.csv", index=False, header=False)
    with pytest.raises(ValueError, match=r"line 1, column 1: '5\.1' is a fraction.*first column was taken.*--label"):
        load(tmp_path, None)
    iris.frame.to_csv(tmp_path / "d.csv", header=False)  # row numbers first
    with pytest.raises(ValueError, match=r"150 different values in 150 rows: say --label NUMBER \(1 to 6\)"):
        load(tmp_path, None)
    with pytest.raises(ValueError, match="4 different values in 8 rows"):
        load(tmp_path, "".join(f"{i % 4},7\n" for i in range(8)))
    found = load(tmp_path, "".join(f"{i % 4},7\n" for i in range(9)))
    assert found.target_names == ["0", "1", "2", "3"]
    assert found.notes == (
        "d.csv: no column names: its first column is the label, 4 classes (0, 1, 2, 3); "
        "--label NUMBER says which one it is",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "c"}, r"no column 'c' for --label; its columns, 1 to 3, are label, 3, a"),
        ({"label": 0}, r"no column 0 for --label"),
        ({"label": 4}, r"no column 4 for --label"),
        ({"label": "-1"}, r"no column '-1' for --label"),
        ({"label": True}, r"--label: True is neither"),
        ({"label": 1.0}, r"--label: 1\.0 is neither"),
        ({"drop": ["a", "c"]}, r"no column 'c' for --drop"),
        ({"label": "3"}, r"column 2 is named '3', and there is a column number 3: say --label name:3 or .* number:3"),
        ({"drop": ["a", 2]}, r"no column is left for the features"),
    ],
)
def test_columns_that_are_not_there(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, "label,3,a\n0,1,2\n1,1,2\n", **options)


def test_two_columns_of_one_name(tmp_path):
    text = "kind,a,kind\n" + "0,1,2\n1,1,2\n" * 3
    with pytest.raises(ValueError, match=r"columns 1, 3 are all named 'kind'.*number of one to --label"):
        load(tmp_path, text, label="kind")
    assert load(tmp_path, text, label=3).feature_names == ["kind", "a"]


def test_rows_without_labels(tmp_path, iris):
    iris.data.to_csv(tmp_path / "d.csv", index=False)
    with pytest.raises(ValueError, match="--label NAME, NUMBER or none"):
        load(tmp_path, None)
    for options in ({"label": "none"}, {"labels_needed": False}):
        found = load(tmp_path, None, train_size=100, **options)
        assert (found.X_train.shape, found.X_test.shape) == ((100, 4), (30, 4))
        assert found.y_train is found.y_test is None
        assert found.target_names == []
        assert len(found.notes) == ("label" not in options)
    assert "all 4 columns are features" in found.notes[0]
    iris.data.to_csv(tmp_path / "d.csv", index=False, header=False)
    with pytest.raises(ValueError, match=r"say --label 1 if the first of its 4 columns is the label.* none"):
        load(tmp_path, None, labels_needed=False)
    np.save(tmp_path / "d.npy", iris.data)
    assert load(tmp_path, None, "d.npy", label="none").X_train.shape == (120, 4)
    with pytest.raises(ValueError, match="labels must be whole numbers or text; --label NUMBER"):
        load(tmp_path, None, "d.npy")
    np.save(tmp_path / "d.npy", iris.frame)
    np.testing.assert_array_equal(all_rows(load(tmp_path, None, "d.npy", label=5)), sorted_rows(iris.data, iris.target))


def test_a_header_of_numbers(tmp_path):
    X, y = load_digits(return_X_y=True)
    frame = pd.DataFrame(np.column_stack([y, X]).astype(int))
    frame.to_csv(tmp_path / "d.csv", index=False)
    found = load(tmp_path, None, label="number:1")
    assert found.feature_names == [str(i) for i in range(1, 65)]
    np.testing.assert_array_equal(all_rows(found), sorted_rows(X, y))
    frame.columns = range(1, 66)
    frame.to_csv(tmp_path / "d.csv", index=False)
    np.testing.assert_array_equal(all_rows(load(tmp_path, None, label="1")), sorted_rows(X, y))
    pd.DataFrame(X).assign(target=y).to_csv(tmp_path / "d.csv", index=False)
    np.testing.assert_array_equal(all_rows(load(tmp_path, None)), sorted_rows(X, y))
    frame.to_csv(tmp_path / "d.csv", index=False, header=False)
    np.testing.assert_array_equal(all_rows(load(tmp_path, None)), sorted_rows(X, y))


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("label,a\n0,1\n", True),
        ("kind,a\nant,1\n", True),
        ("label,0,1\n3,5,6\n", True),
        ("0,1,2,3\n5,6,7,8\n", True),
        ("1,2,3,4\n5,6,7,8\n", True),
        (",0,1\n0,5,6\n", True),
        ("2,3,4,5\n5,6,7,8\n", False),
        ("5,1,2,3\n5,6,7,8\n", False),
        ("0,1.5,2,3\n5,6,7,8\n", False),
        ("ant,5,6\nbee,1,2\n", False),
        ("5.1,3.5,ant\n5,6,bee\n", False),
        ("nan,1\n1,2\n", False),
        ("0,1,2\n5,6,7\n", None),
        ("0,1,2,3\n5,6,7,8\n0,1,2,3\n", None),
        ("0,1,2,3\n", None),
        ("ant,1,2\nbee,3,4\n", None),
        ("1,oops,3\n4,5,6\n", None),
        ("label,2019,2020\n0,5,6\n", True),
        ("Class,2019,2020\nant,5,6\n", True),
        ("y,5,6\nn,7,8\n", False),
        ("size,2019,2020\n0,5,6\n", None),
        ("label,a,\n0,5,6\n", None),
    ],
)
def test_whether_the_first_line_names_the_columns(tmp_path, text, header):
    first, *below = (line.split(",") for line in text.splitlines())
    if header is not None:
        assert columns.has_header(first, below, "d.csv") == header
        return
    with pytest.raises(ValueError, match=r"d\.csv, line 1: column names or a row\? .* --header yes or --header no"):
        columns.has_header(first, below, "d.csv")


def test_a_header_that_is_said(tmp_path):
    text = "0,1,2\n" + "1,6,7\n0,8,9\n" * 4
    with pytest.raises(ValueError, match=r"--header yes or --header no"):
        load(tmp_path, text)
    found = load(tmp_path, text, header=True, label=1)
    assert found.feature_names == ["1", "2"]
    assert len(found.X_train) + len(found.X_test) == 8
    found = load(tmp_path, text, header=False)
    assert len(found.X_train) + len(found.X_test) == 9
    with pytest.raises(ValueError, match=r"line 1, column 2: 'a' is not a finite number"):
        load(tmp_path, "label,a\n" + text, header=False)
    with pytest.raises(ValueError, match=r"line 1: column names or a row\? The label 'kind' occurs nowhere else.*"):
        load(tmp_path, "kind,2019,2020\n" + "ant,6,7\nbee,8,9\n" * 4)
    assert load(tmp_path, None, header=True, label="kind").feature_names == ["2019", "2020"]


def test_training_and_test_files_have_the_same_columns(tmp_path, iris):
    iris.frame.to_csv(tmp_path / "train.csv", index=False)
    iris.frame[:10].to_csv(tmp_path / "test.csv", index=False)
    found = datasets.load(tmp_path / "train.csv")
    np.testing.assert_array_equal(found.X_test, iris.data[:10])
    assert found.y_test.tolist() == [0] * 10
    iris.data[:10].to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(ValueError, match=r"test\.csv: .*different column names: .*test\.csv has no column 'target'"):
        datasets.load(tmp_path / "train.csv")
    iris.frame[iris.frame.columns[::-1]].to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(ValueError, match=r"test\.csv has them in another order"):
        datasets.load(tmp_path / "train.csv")
    iris.frame[:10].to_csv(tmp_path / "test.csv", index=False, header=False)
    assert datasets.load(tmp_path / "train.csv").y_test.tolist() == [0] * 10
    iris.data[:10].to_csv(tmp_path / "test.csv", index=False, header=False)
    with pytest.raises(ValueError, match=r"4 columns where the training file, train\.csv, has 5"):
        datasets.load(tmp_path / "train.csv")


def labels(tmp_path, cells):
    text = "label,a\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells))
    found = load(tmp_path, text)
    return np.concatenate([found.y_train, found.y_test])[np.argsort(np.vstack([found.X_train, found.X_test])[:, 0])]


def test_whole_floats_are_the_same_classes(tmp_path):
    for cells in (["0", "1"] * 4, ["0.0", "1.0"] * 4, ["0", "1.0"] * 4, ["+0.", "1e0"] * 4):
        found = labels(tmp_path, cells)
        assert found.dtype == np.int64
        assert found.tolist() == [0, 1] * 4
    assert labels(tmp_path, ["0.0", "other"] * 4).tolist() == ["0", "other"] * 4
    (tmp_path / "train.csv").write_text("label,a\n" + "0.0,5\n1.0,6\n" * 4)
    (tmp_path / "test.csv").write_text("label,a\n0,5\n1,6\n")
    found = datasets.load(tmp_path / "train.csv")
    assert found.target_names == ["0", "1"]
    assert found.y_train.dtype == found.y_test.dtype == np.int64


def test_labels_keep_their_digits(tmp_path):
    for big in (2**53 + 1, 2**63 - 1, -(2**63)):
        assert labels(tmp_path, [f"{big}", f"{big}.0", "1"] * 3).tolist() == [big, big, 1] * 3
    assert labels(tmp_path, [f"{2**64 + 1}", "1.0"] * 4).tolist() == [str(2**64 + 1), "1"] * 4
    np.savez(tmp_path / "d.npz", X=np.ones((4, 2)), y=np.array([0, 0, 2.0**60, 2.0**60]))
    with pytest.raises(ValueError, match=r"labels beyond 2\^53"):
        datasets.load(tmp_path / "d.npz")


def test_text_that_python_takes_for_numbers_is_text(tmp_path):
    assert labels(tmp_path, ["1_0", "2_0"] * 4).tolist() == ["1_0", "2_0"] * 4
    for cell in ("1_0", "٣", "nan", "inf"):
        with pytest.raises(ValueError, match=r"line 3, column 1 \(label\): .* is not a label among numbers"):
            labels(tmp_path, ["1", cell] * 4)


def test_cells_of_several_lines_are_refused(tmp_path):
    """Each of the two lines has as many cells as a row."""
    frame = pd.DataFrame({"label": [0, 1, 0, 1], "a": [5, 6, 7, 8], "text": ["x", "y\n1,9,z", "x", "x"]})
    frame.to_csv(tmp_path / "d.csv", index=False)
    with pytest.raises(ValueError, match="line 3: a quotation mark is not closed"):
        load(tmp_path, None, drop="text")
    with pytest.raises(ValueError, match="line 1: a quotation mark is not closed"):
        load(tmp_path, 'label,"a\n"\n0,1\n', drop="text")


def test_one_column_is_no_table(tmp_path):
    with pytest.raises(ValueError, match=r"one column only; expected a label and values \(--separator says"):
        load(tmp_path, "label\n0\n1\n")


def test_continuous_targets_are_refused(tmp_path):
    rows = load_diabetes(as_frame=True, scaled=False).frame
    rows.assign(target=rows["target"] + 0.5).to_csv(tmp_path / "d.csv", index=False)
    with pytest.raises(ValueError, match=r"line 2, column 11 \(target\): '151\.5' is a fraction.*--label"):
        datasets.load(tmp_path / "d.csv")


def test_options_of_columns_are_for_csv_files(tmp_path):
    np.savez(tmp_path / "d.npz", X=np.ones((4, 2)), y=[0, 0, 1, 1])
    np.save(tmp_path / "d.npy", np.ones((4, 2)))
    with pytest.raises(ValueError, match="digits has labels of its own and takes no --label or --drop"):
        datasets.load("digits", label="none", drop=[1])
    with pytest.raises(ValueError, match="an array of their own; --label can be said of a table only"):
        datasets.load(tmp_path / "d.npz", label=1)
    with pytest.raises(ValueError, match="--header is for CSV files"):
        datasets.load(tmp_path / "d.npy", header=True)
    with pytest.raises(ValueError, match="labels in the second one and takes no --header"):
        datasets.load((tmp_path / "d.npy", tmp_path / "d.npy"), header=True)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"a,target\r1,2\r3,4\r", r"line 1: a carriage return within the line; .*tr '\\r' '\\n'"),
        (b'a,target\n"1",2\r3,4\n', r"line 2: a carriage return within the line"),
        ("größe,target\n1,2\n".encode("latin1"), r"line 1: not UTF-8 text; .*CSV UTF-8; iconv -f latin1"),
        ("a,target\n1,2\n".encode("utf-16"), r"line 1: not UTF-8 text; it looks like UTF-16: save it as UTF-8"),
        (b'a,b,target\n"1,000",2,x\n', r"'1,000' is not a finite number; .*commas between thousands are not read"),
        (b"a,target\n$5.50,x\n", r"'\$5.50' is not a finite number; take the sign out of the file, so that '5.50' is"),
        (b"a,target\n5 %,x\n", r"'5 %' is not a finite number; take the sign out of the file, so that '5' is left"),
    ],
)
def test_messages_say_what_helps(tmp_path, raw, message):
    path = tmp_path / "t.csv"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=message):
        datasets.load(path)


def test_a_carriage_return_in_a_quoted_cell_is_text(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'a,target\n1,"x\ry"\n2,z\n3,z\n4,"x\ry"\n')
    assert datasets.load(tmp_path / "t.csv").target_names == ["x\ry", "z"]
