"""Separators and decimal commas: told by the first lines, asked for where two are as good, never guessed."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from somknn.datasets import readers
from somknn.datasets.separators import Format, format_of, plain_lines, separator_of

PATH = Path("d.csv")


def told(*lines, separator=None, decimal=None, path=PATH):
    found = format_of(lines, path, separator, decimal)
    return found.separator, found.decimal


@pytest.mark.parametrize(
    ("lines", "separator"),
    [
        (["a,b", "1,2"], ","),
        (["a;b", "1;2"], ";"),
        (["a\tb", "1\t2"], "\t"),
        (["a|b", "1|2"], "|"),
        (["a;b", "1,5;2,5"], ";"),
        (['"a;b",c', '"1;2",3'], ","),
        (['a;"b,c;d"', '1;"2,3;4"'], ";"),
        (["a,b", "1,x;y", "2,x;y"], ","),
        (["1,x;y", "2,x;y"], ","),
        (["a", "1"], ","),
        (["a;b", "1;2;3"], ";"),  # the reader says which line is wrong
    ],
)
def test_the_separator_that_fits(lines, separator):
    assert told(*lines) == (separator, ".")


def test_what_is_as_good_is_asked():
    with pytest.raises(ValueError, match=r"d.csv, line 1: what separates the cells\? comma or semicolon: say --sep"):
        told("1,5;2,5", "3,5;4,5")
    assert told("1,5;2,5", "3,5;4,5", decimal="comma") == (";", ",")
    assert told("1,5;2,5", "3,5;4,5", separator=";") == (";", ".")
    with pytest.raises(ValueError, match="spaces only: say --separator space"):
        told("a b", "1 2")
    with pytest.raises(ValueError, match="'sep=;' is a hint for Excel: delete it, and say --separator semicolon"):
        told("sep=;", "a;b", "1;2")


def test_names_of_files_and_of_separators():
    assert told("a,b", "1,2", path=Path("D.TSV.gz")) == ("\t", ".")
    assert [separator_of(name) for name in ("comma", "TAB", "\\t", ";", "space")] == [",", "\t", "\t", ";", " "]
    for wrong in ("ab", "", "1", '"', ".", "-"):
        with pytest.raises(ValueError, match="neither one character nor one of comma, semicolon"):
            separator_of(wrong)
    with pytest.raises(ValueError, match="both a comma"):
        told("a,b", separator=",", decimal="comma")


def test_decimal_commas():
    form = Format(";", ",")
    assert form.plain("1,5;-,25;1,5e3;2;a,b;7") == '1.5,-.25,1.5e3,2,"a,b",7'
    with pytest.raises(ValueError, match=r"d.csv, line 3: '1\.500' has a point, and --decimal says"):
        list(plain_lines([(3, 0, "1.500;2,5")], form, PATH))
    assert form.plain("v1.5;Iris.setosa") == "v1.5,Iris.setosa"


CELLS = st.lists(st.text(st.characters(exclude_characters="\n\r", codec="utf-8"), max_size=6), min_size=2, max_size=5)


@given(cells=CELLS, separator=st.sampled_from([";", "\t", "|", " ", ","]))
def test_lines_say_the_same(cells, separator):
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="").writerow(cells)
    assert readers.split_line(Format(separator).plain(text.getvalue())) == cells


def test_a_long_quoted_cell_is_told():
    line = '"' + "x" * 200_000 + '",1'
    for separator in (",", ";"):
        with pytest.raises(ValueError, match=r"d.csv, line 4: a quoted cell of more than 131,072 characters"):
            list(plain_lines([(4, 0, line.replace(",", separator))], Format(separator), PATH))
